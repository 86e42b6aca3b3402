"""People by FastestDet. One row: `in_view`, their average number in a frame, and `different`, how many came by."""

from workers.detectors import coco, counting, engines, tracking
from workers.detectors.fastestdet import FastestDet
from workers.guest.sdk import net

SURE, FAINT = 0.65, 0.4
"""Scores: of boxes that count, and of those that only help to follow somebody."""


def process(chunk):
    """Called once for each chunk; all frames are looked at, so the query says how many there are (AT 5 FPS)."""
    detect = FastestDet(engines.opencv(net("coco")), threshold=FAINT)
    found = [detect(frame).of([coco.PERSON]) for frame in chunk.frames]
    return {
        "in_view": counting.in_view([boxes.over(SURE) for boxes in found]),
        "different": counting.different(tracking.paths(chunk, found, sure=SURE), least_seconds=1),
    }
