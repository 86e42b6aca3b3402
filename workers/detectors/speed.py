"""How fast things move over the ground."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.detectors.lines import Point, Points
from workers.detectors.tracking import Path

MOST_POINTS = 60
"""Points of a path that are looked at: all pairs of them are."""


@dataclass(frozen=True, slots=True)
class Ground:
    """From pixels to metres on flat ground, by a homography (3, 3)."""

    homography: NDArray[np.float64]

    @classmethod
    def from_points(cls, pixels: Sequence[Point], metres: Sequence[Point]) -> "Ground":
        """Of at least four points, no three in a line, whose place on the ground is known. Raises ValueError."""
        if len(pixels) != len(metres) or len(pixels) < 4:
            raise ValueError(f"a ground plane takes at least four points and as many places, not {len(pixels)}")
        found, _ = cv2.findHomography(np.asarray(pixels, np.float64), np.asarray(metres, np.float64))
        if found is None or abs(np.linalg.det(found)) < np.finfo(float).eps:
            raise ValueError("three of these points lie in a line, so they do not say where the ground is")
        return cls(np.asarray(found))

    @classmethod
    def seen_from_above(cls, metres_per_pixel: float) -> "Ground":
        """Of a camera that looks straight down, or from so far that its scale is the same everywhere."""
        return cls(np.diag([metres_per_pixel, metres_per_pixel, 1.0]))

    def places(self, points: Points) -> Points:
        """Where points (n, 2) of the picture are, in metres; (n, 2)."""
        return np.asarray(cv2.perspectiveTransform(points.reshape(-1, 1, 2), self.homography), np.float64).reshape(
            -1, 2
        )


def velocity(path: Path, ground: Ground, least_seconds: float = 0.5) -> tuple[float, float] | None:
    """Metres a second along both axes of the ground; None for a path of less than `least_seconds`.

    The median of the velocities between any two moments that are far enough apart (Theil and Sen), so that a few boxes
    that jump do not matter.
    """
    if path.duration < least_seconds:
        return None
    chosen = np.linspace(0, len(path.seconds) - 1, min(len(path.seconds), MOST_POINTS)).round().astype(int)
    moments, places = path.seconds[chosen], ground.places(path.feet[chosen])
    first, second = np.triu_indices(len(chosen), 1)
    apart = moments[second] - moments[first]
    far = apart >= least_seconds / 2
    x, y = np.median((places[second] - places[first])[far] / apart[far, None], axis=0)
    return float(x), float(y)


def speed(path: Path, ground: Ground, least_seconds: float = 0.5) -> float | None:
    """Metres a second over the ground; None for a path of less than `least_seconds`."""
    moving = velocity(path, ground, least_seconds)
    return None if moving is None else float(np.hypot(*moving))
