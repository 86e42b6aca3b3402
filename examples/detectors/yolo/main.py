"""Things of one class by a YOLO that you exported to ONNX. One row: `in_view`, their average number in a frame."""

from workers.detectors import counting, engines
from workers.detectors.yolo import Yolo
from workers.guest.sdk import net

SIZE = (640, 640)
"""Height and width of the export (imgsz)."""
LAYOUT = "v8"
"""v8 for what ultralytics exports of YOLOv8 to YOLO12, v5 for YOLOv5, end-to-end for exports with nms=True."""
CLASS = 0


def process(chunk):
    """Called once for each chunk."""
    detect = Yolo(engines.opencv(net("yolo")), SIZE, LAYOUT)
    return {"in_view": counting.in_view([detect(frame).of([CLASS]) for frame in chunk.frames])}
