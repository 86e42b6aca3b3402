import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privid.video.frame_index import FrameIndex, decode, encode


def array(values):
    return np.array(values, dtype=np.int64)


def steady(frames=600, begin=1_700_000_000_000_000):
    positions = np.arange(frames)
    return FrameIndex(begin + positions * 100_000, 2048 + positions * 1024, array([0, 250]), array([2048, 258048]))


ascending = st.lists(st.integers(0, 2**40), unique=True, min_size=1, max_size=30).map(sorted)


@given(ascending, st.integers(-(2**50), 2**50), st.data())
def test_what_was_encoded_comes_back(ticks, begin, data):
    times = data.draw(st.lists(st.integers(1, 2**30), min_size=len(ticks), max_size=len(ticks)))
    entries = sorted({0, *data.draw(st.lists(st.integers(0, len(ticks) - 1)))})
    index = FrameIndex(
        begin + np.cumsum(array([0, *times[1:]])), array(ticks), array(entries), array([ticks[i] for i in entries])
    )
    again = decode(encode(index), int(index.times_us[0]))
    for name in ("times_us", "ticks", "entries", "entry_ticks"):
        assert getattr(again, name).tolist() == getattr(index, name).tolist()


def test_a_steady_rate_takes_little_room_and_the_begin_none():
    assert len(encode(steady())) < 100
    assert encode(steady(begin=0)) == encode(steady())


def test_frames_within_an_interval_by_their_begin():
    index = steady(10, begin=0)
    assert index.within(100_000, 300_000) == slice(1, 3)
    assert index.within(99_999, 300_001) == slice(1, 4)
    assert index.within(10**9, 2 * 10**9) == slice(10, 10)


def test_the_entry_before_a_frame():
    assert [steady().entry_before(i) for i in (0, 249, 250, 599)] == [0, 0, 1, 1]


@pytest.mark.parametrize("data", [b"", b"\x01\0\0", b"\x02" + encode(steady())[1:], encode(steady())[:-4], b"x" * 50])
def test_other_bytes_are_refused(data):
    with pytest.raises(ValueError, match="not an index"):
        decode(data, 0)


@pytest.mark.parametrize(
    ("times", "ticks", "entries", "entry_ticks"),
    [
        ([], [], [0], [0]),
        ([1, 1], [1, 2], [0], [1]),
        ([1, 2], [2, 1], [0], [1]),
        ([1, 2], [1], [0], [1]),
        ([1, 2], [1, 2], [], []),
        ([1, 2], [1, 2], [1], [2]),
        ([1, 2], [1, 2], [0, 1], [1]),
    ],
)
def test_an_index_that_contradicts_itself_cannot_be_made(times, ticks, entries, entry_ticks):
    with pytest.raises(ValueError, match="index"):
        FrameIndex(array(times), array(ticks), array(entries), array(entry_ticks))
