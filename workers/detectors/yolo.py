"""The YOLO family from ONNX files, in the layouts in which their exporters write boxes.

| layout | output | of |
|---|---|---|
| `v5` | (1, n, 5 + classes): middle, size, whether there is a thing, classes | YOLOv5, YOLOv7, decoded YOLOX |
| `v8` | (1, 4 + classes, n): middle, size, classes | YOLOv8, YOLOv9, YOLO11, YOLO12 as ultralytics exports them |
| `end-to-end` | (1, n, 6): corners, score, class; suppressed already | YOLOv10, YOLO26, and `nms=True` exports |

All in pixels of the input. The layout is named, not guessed: the first and the last look the same for one class.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from workers.detectors.boxes import Boxes, Frame, boxes, suppress
from workers.detectors.engines import Engine, Tensor
from workers.detectors.pictures import letterboxed, tensor

Layout = Literal["v5", "v8", "end-to-end"]


def decode(output: Tensor, layout: Layout, threshold: float) -> Boxes:
    """Boxes in pixels of the network's input, before suppression. Raises ValueError for another layout."""
    if output.ndim != 3 or output.shape[0] != 1:
        raise ValueError(f"a YOLO output is (1, n, m), this one {output.shape}: give one frame, and a detection model")
    table = output[0].T if layout == "v8" else output[0]
    if layout == "end-to-end":
        _check_width(output, layout, exact=6)
        kept = table[table[:, 4] > threshold]
        return boxes(kept[:, :4], kept[:, 4], kept[:, 5])
    first = 5 if layout == "v5" else 4
    _check_width(output, layout, least=first + 1)
    scores = table[:, first:] * table[:, 4:5] if layout == "v5" else table[:, first:]
    best = scores.max(axis=1)
    chosen = best > threshold
    middle, half = table[chosen, :2], table[chosen, 2:4] / 2
    corners = np.concatenate([middle - half, middle + half], axis=1)
    return boxes(corners, best[chosen], scores[chosen].argmax(axis=1))


def _check_width(output: Tensor, layout: Layout, *, exact: int | None = None, least: int = 0) -> None:
    _, rows, columns = output.shape
    width, length = (rows, columns) if layout == "v8" else (columns, rows)
    if (exact is not None and width != exact) or width < least or (exact is None and width > length):
        raise ValueError(f"an output of shape {output.shape} is not in the layout {layout}: try v5, v8 or end-to-end")


@dataclass(frozen=True, slots=True)
class Yolo:
    """A detector of the classes of an exported model. `size`: the graph's input, (height, width)."""

    run: Engine
    size: tuple[int, int] = (640, 640)
    layout: Layout = "v8"
    threshold: float = 0.25
    overlap: float = 0.45

    def __call__(self, frame: Frame) -> Boxes:
        """What is in a frame."""
        picture, placement = letterboxed(frame, self.size)
        output = self.run(tensor(picture, rgb=True))[0]
        found = decode(output, self.layout, self.threshold)
        if self.layout != "end-to-end":
            found = suppress(found, self.overlap)
        return boxes(placement.back(found.xyxy), found.scores, found.classes)
