import pytest

from privid.domain.budget import Grid
from privid.video.chunking import Chunk, chunk_count, chunks


def test_chunks_follow_each_other_and_leave_the_stride_out():
    assert chunks(100, 130, 10, 10) == (Chunk(0, 100, 110), Chunk(1, 110, 120), Chunk(2, 120, 130))
    assert chunks(100, 130, 5, 10) == (Chunk(0, 100, 105), Chunk(1, 110, 115), Chunk(2, 120, 125))


@pytest.mark.parametrize(("length", "count"), [(4, 0), (5, 1), (14, 1), (15, 2), (24, 2), (25, 3)])
def test_only_whole_chunks(length, count):
    assert chunk_count(0, length, 5, 10) == count == len(chunks(0, length, 5, 10))


def test_they_are_the_chunks_that_the_ledger_charges():
    found = chunks(1000, 2000, 30, 70)
    grid = Grid(begin_us=1000, chunk_us=30, period_us=70, count=len(found))
    assert found[-1].end_us == grid.end_us


@pytest.mark.parametrize(("chunk", "period"), [(0, 1), (-1, 1), (2, 1)])
def test_nonsense_is_refused(chunk, period):
    with pytest.raises(ValueError, match="chunk"):
        chunks(0, 10, chunk, period)
