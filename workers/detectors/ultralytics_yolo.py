"""Ultralytics' own YOLO models, with their weights: `weights("name")` of a bundle with the format `ultralytics`.

The package is AGPL-3.0 and belongs to the extra `vision`; it is loaded on the guest's side of the sandbox only.
"""

from dataclasses import dataclass
from typing import Any

from workers.detectors.boxes import Boxes, Frame, boxes


@dataclass(frozen=True, slots=True)
class Ultralytics:
    """A detector of the classes of `model`, an `ultralytics.YOLO`; each frame is reduced to `size` pixels (its longer
    side). On the processor only: a guest has no other device.
    """

    model: Any
    size: int = 640
    threshold: float = 0.25
    overlap: float = 0.45

    def __call__(self, frame: Frame) -> Boxes:
        """What is in a frame."""
        (result,) = self.model.predict(
            frame, imgsz=self.size, conf=self.threshold, iou=self.overlap, device="cpu", verbose=False
        )
        found = result.boxes
        return boxes(found.xyxy.numpy(), found.conf.numpy(), found.cls.numpy())
