"""Who crosses a line, and which way."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.detectors.tracking import Path

Point = tuple[float, float]
Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """A line from `start` to `end`, in pixels. `forward` is from its left to its right, as seen going along it."""

    start: Point
    end: Point

    def crossing(self, points: Points) -> int:
        """1 if a way through these points (n, 2) crosses the line forward, -1 if backward, 0 if it does neither.

        A way crosses where one of its steps meets the segment between start and end. Who steps to and fro on the line
        has crossed it once or not at all: steps there and back cancel.
        """
        along = np.subtract(self.end, self.start)
        side = _cross(along, points - self.start) > 0  # in pictures y points down: positive is on the right
        steps = points[1:] - points[:-1]
        # Start and end of the line lie on different sides of the step, or one of them on it.
        meets = _cross(steps, self.start - points[:-1]) * _cross(steps, self.end - points[:-1]) <= 0
        change = side[1:].astype(int) - side[:-1]
        return int(np.sign(change[meets].sum()))


def _cross(a: Points, b: Points) -> Points:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def crossings(paths: Iterable[Path], line: Line) -> tuple[int, int]:
    """How many paths cross the line forward, and how many backward; where a thing stands counts."""
    ways = [line.crossing(path.feet) for path in paths]
    return ways.count(1), ways.count(-1)
