"""What moves in recorded video, or what a network finds there, with what each thing looks like.

This runs on the owner's side, on whole pictures: nothing of it reaches an analyst but the policy that an owner chooses.
"""

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from privid.persistence.returns import BINS
from workers.detectors import coco
from workers.detectors.boxes import Boxes, Frame, boxes
from workers.detectors.engines import opencv
from workers.detectors.fastestdet import FastestDet

SURE = 0.5
"""Boxes of at least this confidence begin a track; others only keep it going."""
_CONTRAST = 24
_SMALLEST = 0.0005
"""Area of the smallest thing that moves, as a share of the picture."""
_COLOURED = 60
"""Saturation above which a pixel has a hue to speak of."""


class BadWeights(ValueError):
    """A file of weights that cannot be used."""


class Detector(Protocol):
    """Finds things in the frames of one block. `name` says which it is, with all that its results depend on."""

    name: str

    def begin(self, samples: Sequence[Frame]) -> None:
        """Get ready for a block of frames like these, which are spread over it and beyond its ends."""

    def find(self, frame: Frame) -> Boxes:
        """What is in a frame; `classes` are not used."""


class Motion:
    """Whatever differs from the background, which is the median of pictures over the block. Needs no weights.

    What stands still for most of a block is background, people who overlap are one thing, shadows belong to whoever
    casts them.
    """

    name = "motion-1"

    def __init__(self) -> None:
        self._background: Frame | None = None
        self._contrast: npt.NDArray[np.float32] | None = None

    def begin(self, samples: Sequence[Frame]) -> None:
        """Take the background from the samples, and from how they differ how much a pixel changes by itself."""
        if not samples:
            self._background = self._contrast = None
            return
        stack = np.stack([cv2.GaussianBlur(sample, (5, 5), 0) for sample in samples])
        middle = np.median(stack, axis=0)
        strays = np.median(np.abs(stack - middle).max(axis=3), axis=0) * 1.4826
        self._background = middle.astype(np.uint8)
        self._contrast = np.maximum(_CONTRAST, 4 * strays).astype(np.float32)

    def find(self, frame: Frame) -> Boxes:
        """The connected areas that differ, each with how much it does as its confidence."""
        if self._background is None or self._contrast is None:
            return boxes([], [], [])
        smooth = cv2.GaussianBlur(frame, (5, 5), 0)
        # Clouds and exposure change all pixels alike: brought back by the ratio of the medians.
        gain = float(np.median(self._background[::8, ::8]) + 1) / float(np.median(smooth[::8, ::8]) + 1)
        level = cv2.convertScaleAbs(smooth, alpha=gain)
        blue, green, red = cv2.split(cv2.absdiff(level, self._background))
        differs = cv2.max(cv2.max(blue, green), red)
        moving = (differs > self._contrast).astype(np.uint8)
        side = max(3, frame.shape[0] // 60)
        joined = cv2.morphologyEx(moving, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        joined = cv2.morphologyEx(joined, cv2.MORPH_CLOSE, np.ones((2 * side, side), np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(joined)
        left, top, width, height, area = stats[1:].T
        large = area >= _SMALLEST * frame.shape[0] * frame.shape[1]
        corners = np.stack([left, top, left + width, top + height], axis=1)[large]
        return boxes(corners, np.full(len(corners), 0.9), np.zeros(len(corners)))


class Network:
    """FastestDet with the classes of COCO: people and vehicles."""

    def __init__(self, weights: Path) -> None:
        """Read its weights. Raises BadWeights."""
        import hashlib

        try:
            content = weights.read_bytes()
            self._net = FastestDet(opencv(content), threshold=0.3)
            self._net(np.zeros((352, 352, 3), np.uint8))
        except OSError as error:
            raise BadWeights(f"cannot read {weights}: {error.strerror}") from None
        except (cv2.error, ValueError):
            raise BadWeights(f"{weights} holds no weights of FastestDet") from None
        self.name = f"fastestdet-{hashlib.sha256(content).hexdigest()[:16]}"

    def begin(self, samples: Sequence[Frame]) -> None:
        """Nothing to get ready."""

    def find(self, frame: Frame) -> Boxes:
        """People and vehicles."""
        found = self._net(frame)
        return found.of((coco.PERSON, *coco.VEHICLES))


def look(frame: Frame, box: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """A histogram of the colours in a box, shape (BINS,), summing to about 255: of its upper half and of its lower one.

    In each, eight hues at three brightnesses where there is colour, and eight greys elsewhere. The sides of the box are
    left out: they show what is behind.
    """
    x0, y0, x1, y1 = box
    inset = 0.2 * (x1 - x0)
    left, right = max(0, int(x0 + inset)), max(int(x0 + inset) + 1, int(x1 - inset))
    top, bottom = max(0, int(y0)), max(int(y0) + 2, int(y1))
    part = frame[top:bottom, left:right]
    found = np.zeros(BINS)
    if part.shape[0] < 2 or part.shape[1] < 1:
        found[0] = 255
        return found.astype(np.uint8)
    hue, saturation, value = (plane.astype(np.int64) for plane in cv2.split(cv2.cvtColor(part, cv2.COLOR_BGR2HSV)))
    bins = np.where(saturation > _COLOURED, hue * 8 // 180 * 3 + value * 3 // 256, 24 + value // 32)
    half = BINS // 2
    middle = len(part) // 2
    found[:half] = np.bincount(bins[:middle].ravel(), minlength=half)
    found[half:] = np.bincount(bins[middle:].ravel(), minlength=half)
    return np.asarray(np.round(found * (255 / found.sum())), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What was found in the frames of one block: a row a thing. `frames_us` are the times of all frames, shape (n,)."""

    frames_us: npt.NDArray[np.int64]
    time_us: npt.NDArray[np.int64]
    xyxy: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    looks: npt.NDArray[np.uint8]


def detect(detector: Detector, frames: Iterable[tuple[int, Frame]]) -> Detections:
    """Detections in frames with their times."""
    moments, times = list[int](), list[int]()
    corners, scores, looks = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)], [np.zeros((0, BINS), np.uint8)]
    for time_us, frame in frames:
        moments.append(time_us)
        found = detector.find(frame)
        times.extend([time_us] * len(found))
        corners.append(found.xyxy)
        scores.append(found.scores)
        looks.extend(look(frame, box)[None] for box in found.xyxy)
    return Detections(
        np.array(moments, np.int64),
        np.array(times, np.int64),
        np.concatenate(corners),
        np.concatenate(scores),
        np.concatenate(looks),
    )


def has_tracker() -> bool:
    """Whether the package that joins boxes into tracks is installed: the extra `detectors`."""
    return importlib.util.find_spec("trackers") is not None


def new_tracker(fps: float) -> Any:
    """ByteTrack of the package `trackers`, which forgets a thing after two seconds without it."""
    from trackers import ByteTrackTracker

    # The package counts its buffer in 30ths of a second, whatever the rate.
    return ByteTrackTracker(
        lost_track_buffer=60, frame_rate=fps, track_activation_threshold=SURE, high_conf_det_threshold=SURE
    )
