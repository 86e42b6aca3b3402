from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privid.video.sampling import choose


def at(*seconds):
    return np.array([round(1e6 * s) for s in seconds], dtype=np.int64)


def test_without_a_rate_every_frame_is_taken():
    assert choose(at(0, 0.1, 0.2), 0, None).tolist() == [0, 1, 2]


def test_a_tick_takes_the_first_frame_at_or_after_it():
    times = at(0.05, 0.15, 0.25, 0.35, 0.45, 0.55)
    assert choose(times, 0, Fraction(5)).tolist() == [0, 2, 4]
    assert choose(at(0, 0.1, 0.2, 0.3, 0.4), 0, Fraction(5)).tolist() == [0, 2, 4]


def test_a_frame_that_is_first_for_several_ticks_is_taken_once():
    assert choose(at(0, 0.9, 0.95, 1.0), 0, Fraction(10)).tolist() == [0, 1, 3]


def test_more_than_the_recorded_rate_takes_every_frame_once():
    assert choose(at(0, 0.1, 0.2), 0, Fraction(1000)).tolist() == [0, 1, 2]


def test_the_grid_is_anchored_at_the_chunk():
    assert choose(at(10.3, 10.5, 10.8), at(10.3)[0], Fraction(2)).tolist() == [0, 2]


def test_no_frames():
    assert choose(np.empty(0, np.int64), 0, Fraction(1)).tolist() == []


def test_a_rate_must_be_positive():
    with pytest.raises(ValueError, match="more than 0"):
        choose(at(0), 0, Fraction(0))


@given(
    st.lists(st.integers(0, 5_000_000), unique=True, min_size=1).map(sorted),
    st.fractions(min_value=Fraction(1, 10), max_value=50, max_denominator=1001),
)
def test_as_the_definition_says(times, fps):
    """Each tick takes the first frame at or after it, none twice."""
    expected, tick = set(), 0
    while tick / fps * 1_000_000 <= times[-1]:
        expected.add(next(i for i, time in enumerate(times) if time >= tick / fps * 1_000_000))
        tick += 1
    begin = 1_700_000_000_000_000
    found = choose(np.array(times, dtype=np.int64) + begin, begin, fps)
    assert found.tolist() == sorted(expected)
