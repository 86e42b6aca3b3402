"""What a detector finds in one frame: boxes with scores and classes, as columns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Frame = NDArray[np.uint8]
"""One picture: shape (height, width, 3), BGR."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """Things found in one frame.

    `xyxy`: float32 (n, 4), left, top, right, bottom in pixels of the frame; `scores`: float32 (n,), 0 to 1;
    `classes`: int64 (n,), the numbers of the model's own classes.
    """

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, chosen: ArrayLike) -> "Boxes":
        """Those of a boolean mask or of an array of indices."""
        chosen = np.asarray(chosen)
        return Boxes(self.xyxy[chosen], self.scores[chosen], self.classes[chosen])

    def of(self, classes: Iterable[int]) -> "Boxes":
        """Those of these classes."""
        return self[np.isin(self.classes, list(classes))]

    def over(self, score: float) -> "Boxes":
        """Those that the detector is at least so sure of."""
        return self[self.scores >= score]


Detector = Callable[[Frame], Boxes]


def boxes(xyxy: ArrayLike, scores: ArrayLike, classes: ArrayLike) -> Boxes:
    """Columns of any number type, also of no rows, as `Boxes`."""
    return Boxes(
        np.asarray(xyxy, np.float32).reshape(-1, 4),
        np.asarray(scores, np.float32).reshape(-1),
        np.asarray(classes, np.int64).reshape(-1),
    )


def suppress(found: Boxes, overlap: float, *, across_classes: bool = False) -> Boxes:
    """Of boxes that overlap by more than this share of their union, the one of the highest score.

    Greedy non-maximum suppression, each class by itself; `across_classes`: all as one, so that what looks like a
    car and like a truck counts once. The result is sorted by falling score.
    """
    if len(found) == 0:
        return found
    corners = found.xyxy.astype(np.float64)
    as_sizes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    nms: Any = cv2.dnn.NMSBoxesBatched  # its types want lists, and arrays are what it takes as they are
    classes = np.zeros(len(found), np.int32) if across_classes else found.classes.astype(np.int32)
    kept = np.asarray(nms(as_sizes, found.scores, classes, 0.0, overlap), np.intp).reshape(-1)
    return found[kept[np.argsort(-found.scores[kept], kind="stable")]]
