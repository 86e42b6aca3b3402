"""How long things stay in a place."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.detectors.lines import Point
from workers.detectors.tracking import Path


def inside(points: NDArray[np.float64], polygon: Sequence[Point]) -> NDArray[np.bool_]:
    """Which of these points (n, 2) lie in a polygon or on its edge; shape (n,)."""
    outline = np.asarray(polygon, np.float32)
    return np.array([cv2.pointPolygonTest(outline, (float(x), float(y)), False) >= 0 for x, y in points], bool)


def dwell_seconds(path: Path, polygon: Sequence[Point], longest_gap: float = 1.0) -> float:
    """Seconds for which a thing stood in a polygon, from frame to frame; steps longer than `longest_gap` do not count.

    A step counts if both its ends are inside, half if one of them is.
    """
    here = inside(path.feet, polygon)
    steps = np.diff(path.seconds)
    share = (here[1:].astype(float) + here[:-1]) / 2
    return float((steps * share)[steps <= longest_gap].sum())
