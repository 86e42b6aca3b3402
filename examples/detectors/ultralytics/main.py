"""Things of one class by ultralytics' YOLO. One row: `in_view`, their average number; `different`, how many came."""

from workers.detectors import counting, tracking
from workers.detectors.ultralytics_yolo import Ultralytics
from workers.guest.sdk import weights

SURE, FAINT = 0.5, 0.25
CLASS = 0


def process(chunk):
    """Called once for each chunk."""
    detect = Ultralytics(weights("yolo"), size=320, threshold=FAINT)
    found = [detect(frame).of([CLASS]) for frame in chunk.frames]
    return {
        "in_view": counting.in_view([boxes.over(SURE) for boxes in found]),
        "different": counting.different(tracking.paths(chunk, found, sure=SURE), least_seconds=0.5),
    }
