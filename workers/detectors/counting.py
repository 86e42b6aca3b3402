"""How many: in view on average, and how many different ones."""

from collections.abc import Sequence

from workers.detectors.boxes import Boxes
from workers.detectors.tracking import Path


def in_view(found: Sequence[Boxes]) -> float:
    """The average number of things in a frame; 0 without frames."""
    return sum(map(len, found)) / len(found) if found else 0.0


def different(paths: Sequence[Path], least_seconds: float = 0.0) -> int:
    """How many different things there were, as far as a tracker can tell: paths of at least so many seconds.

    The shortest paths are mostly the detector's errors, or pieces of a longer one.
    """
    return sum(path.duration >= least_seconds for path in paths)
