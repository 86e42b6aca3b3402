"""How long people stay in a place, by FastestDet. One row: `seconds` of all of them together, and `people` that did."""

from workers.detectors import coco, dwell, engines, tracking
from workers.detectors.fastestdet import FastestDet
from workers.guest.sdk import net

PLACE = [(300, 180), (560, 180), (620, 300), (300, 300)]
"""The crossing around the lamp post, in pixels of the picture; a person is where the feet are."""
SURE, FAINT = 0.65, 0.4
LEAST_SECONDS = 1.0


def process(chunk):
    """Called once for each chunk; nobody can be longer in a place than the chunk is."""
    detect = FastestDet(engines.opencv(net("coco")), threshold=FAINT)
    found = [detect(frame).of([coco.PERSON]) for frame in chunk.frames]
    paths = tracking.paths(chunk, found, sure=SURE)
    stays = [dwell.dwell_seconds(path, PLACE) for path in paths]
    return {"seconds": sum(stays), "people": sum(stay >= LEAST_SECONDS for stay in stays)}
