"""Frames as networks take them, and boxes back in pixels of the frame."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.detectors.boxes import Frame

GREY = (114, 114, 114)
"""What YOLO's training puts around pictures of another shape."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a frame lies in a network's input: `scale` input pixels for each of the frame's, beginning at `offset`.

    Both as (x, y); `size` is the frame's own (width, height).
    """

    scale: tuple[float, float]
    offset: tuple[float, float]
    size: tuple[int, int]

    def back(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (n, 4) of the input in pixels of the frame, cut at its edges."""
        points = (xyxy.reshape(-1, 2, 2) - np.array(self.offset)) / np.array(self.scale)
        return np.asarray(np.clip(points, 0, np.array(self.size)), np.float32).reshape(-1, 4)


def stretched(frame: Frame, size: tuple[int, int]) -> tuple[Frame, Placement]:
    """The frame reduced to `size` (height, width), whatever becomes of its proportions."""
    height, width = frame.shape[:2]
    scale = (size[1] / width, size[0] / height)
    resized = cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8), Placement(scale, (0, 0), (width, height))


def letterboxed(frame: Frame, size: tuple[int, int]) -> tuple[Frame, Placement]:
    """The frame within `size` (height, width) in its own proportions, with grey on both sides of what is left.

    Rounded as ultralytics does (`LetterBox`), so that the same weights give the same boxes.
    """
    height, width = frame.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    inner = round(width * scale), round(height * scale)
    left, top = (round((size[1] - inner[0]) / 2 - 0.1), round((size[0] - inner[1]) / 2 - 0.1))
    resized = frame if inner == (width, height) else cv2.resize(frame, inner, interpolation=cv2.INTER_LINEAR)
    right, bottom = size[1] - inner[0] - left, size[0] - inner[1] - top
    framed = cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=GREY)
    return np.asarray(framed, np.uint8), Placement((scale, scale), (left, top), (width, height))


def tensor(picture: Frame, *, rgb: bool) -> NDArray[np.float32]:
    """A picture as float32 (1, 3, height, width), 0 to 1, its channels in the order red, green, blue or as they are."""
    channels = picture[..., ::-1] if rgb else picture
    planes: NDArray[np.float32] = np.ascontiguousarray(channels.transpose(2, 0, 1), dtype=np.float32)
    planes /= 255
    return planes[None]
