"""Returns as they are seen in pictures: made-up scenes of which all is known, drawn, detected and tracked."""

from fractions import Fraction

import pytest

from privid.persistence.detect import Motion, detect
from privid.persistence.estimate import estimate
from privid.persistence.study import track
from privid.testing.scenes import frames, ground_truth, returning

FPS = Fraction(2)


def _seen_visits(visits: int, seed: int) -> int:
    """The most visits that are recognised where one of nine people comes so often and the others come once."""
    scene = returning(visits, seed, others=8, minutes=4)
    assert visits == ground_truth(scene).K
    shown = list(frames(scene, FPS))
    detector = Motion()
    detector.begin([frame for _, frame in shown[:: len(shown) // 31]])
    size = (scene.width, scene.height)
    said, _ = estimate(*track([detect(detector, shown)], (scene.start_us, scene.end_us), size, size, FPS), missed=0)
    return said.seen_K


@pytest.mark.parametrize("visits", [1, 2, 3])
def test_returns_are_counted_in_pictures(visits: int) -> None:
    assert _seen_visits(visits, seed=0) == visits


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_returns_are_counted_in_most_scenes() -> None:
    """Not in all: some people wear what others wear, and some walk beside somebody all the way."""
    seen = [(visits, _seen_visits(visits, seed)) for seed in range(1, 6) for visits in (1, 3)]
    assert sum(visits == said for visits, said in seen) >= 8, seen
    assert all(said >= 2 for visits, said in seen if visits == 3), seen
