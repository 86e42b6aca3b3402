"""Vehicles that cross a line, each way, by background subtraction: no weights. One row: `away` and `towards`."""

from workers.detectors import background, lines, tracking

LINE = lines.Line(start=(530, 150), end=(150, 150))
"""Across the carriageway, in pixels of the picture. From right to left, so that driving up the picture is forward."""


def process(chunk):
    """Called once for each chunk; the query gives it enough frames that a vehicle overlaps itself in the next."""
    paths = tracking.paths(chunk, background.things(chunk.frames))
    away, towards = lines.crossings(paths, LINE)
    return {"away": away, "towards": towards}
