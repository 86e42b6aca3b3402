"""People (or anything that moves) by background subtraction: the background is taken from the chunk itself.

No weights and no memory of earlier chunks: the background is the median of some of the chunk's own frames, what
differs from it is moving, and each connected moving area counts as one. What stands still for most of a chunk is
background, and people who overlap count once: on a plaza with 5 s chunks the two errors are small.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.detectors.boxes import Boxes, boxes
from workers.guest.chunk import Chunk

WORKING_HEIGHT = 288
"""Frames are reduced to this height: enough for people of 20 pixels, and cheap."""
BACKGROUND_FRAMES = 15
CONTRAST = 25
"""Grey levels by which moving things differ from the background."""
SMALLEST = 0.00027
"""Area of the smallest person, as a share of the picture."""

Grey = NDArray[np.uint8]


def reduce(frame: NDArray[np.uint8]) -> Grey:
    """A smoothed grey picture of the working height; shape (height, width)."""
    height, width = frame.shape[:2]
    small: Any = frame
    if height > WORKING_HEIGHT:
        small = cv2.resize(frame, (width * WORKING_HEIGHT // height, WORKING_HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (5, 5), 0), dtype=np.uint8)


def background(greys: list[Grey]) -> Grey:
    """The median of at most BACKGROUND_FRAMES of these pictures, evenly chosen."""
    chosen = np.linspace(0, len(greys) - 1, min(len(greys), BACKGROUND_FRAMES)).round().astype(int)
    median: Grey = np.median(np.stack([greys[i] for i in chosen]), axis=0).astype(np.uint8)
    return median


def moving_areas(grey: Grey, behind: Grey) -> NDArray[np.int32]:
    """Separate things that differ from the background: (n, 5) of left, top, width, height and area in pixels."""
    moving = (cv2.absdiff(grey, behind) > CONTRAST).astype(np.uint8)
    upright = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 13))  # joins head, trunk and legs, not neighbours
    joined = cv2.morphologyEx(moving, cv2.MORPH_CLOSE, upright)
    _, _, stats, _ = cv2.connectedComponentsWithStats(joined)
    return np.asarray(stats[1:][stats[1:, cv2.CC_STAT_AREA] >= SMALLEST * grey.size], np.int32)


def count_moving(grey: Grey, behind: Grey) -> int:
    """How many separate things differ from the background."""
    return len(moving_areas(grey, behind))


def things(frames: NDArray[np.uint8]) -> list[Boxes]:
    """What moves in each of these frames (n, height, width, 3), as boxes of class 0 and score 1, for a tracker."""
    greys = [reduce(frame) for frame in frames]
    if not greys:
        return []
    behind = background(greys)
    found = []
    for grey in greys:
        left, top, width, height, _ = moving_areas(grey, behind).T * (frames.shape[1] / grey.shape[0])
        corners = np.stack([left, top, left + width, top + height], axis=1)
        found.append(boxes(corners, np.ones(len(corners)), np.zeros(len(corners))))
    return found


def people_in_view(frames: NDArray[np.uint8], behind: Grey | None = None) -> float:
    """The average number of moving people over frames of shape (n, height, width, 3); 0 without frames."""
    if len(frames) == 0:
        return 0.0
    greys = [reduce(frame) for frame in frames]
    behind = background(greys) if behind is None else behind
    return sum(count_moving(grey, behind) for grey in greys) / len(greys)


def process(chunk: Chunk) -> Iterator[dict[str, Any]]:
    """One row: `people`, the average number of people in view."""
    yield {"people": people_in_view(chunk.frames)}
