"""Speeds of vehicles on a road, by background subtraction: no weights. One row for each vehicle: `kmh`."""

from workers.detectors import background, speed, tracking

# Lower ends of the marks between lanes: 12.19 m from one to the next, and 10.97 m over three lanes, as is the rule on
# American motorways. In pixels of the picture: the two nearest and the two behind them, left and right.
MARKS = [(194.3, 220.7), (500.7, 231.2), (251.0, 114.3), (427.3, 117.4)]
METRES = [(0, 0), (10.97, 0), (0, 12.19), (10.97, 12.19)]
NEAR = 130
"""Vehicles count that come nearer than this row of pixels: behind it a pixel is half a metre and more."""


def process(chunk):
    """Called once for each chunk."""
    ground = speed.Ground.from_points(MARKS, METRES)
    for path in tracking.paths(chunk, background.things(chunk.frames)):
        metres_per_second = speed.speed(path, ground)
        if metres_per_second is not None and path.feet[:, 1].max() > NEAR:
            yield {"kmh": 3.6 * metres_per_second}
