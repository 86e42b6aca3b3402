"""The loss profile of privacy-model.md, section 5, against counting slots one by one."""

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privid.domain.budget import Grid, Loss
from privid.domain.intervals import StepFunction
from privid.domain.loss_profile import loss_function, most_touched, query_profile, spending
from privid.domain.policy import CameraPolicy, MaskPolicy
from privid.domain.units import NANO, SECOND


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    chunk = draw(st.integers(1, 5))
    return Grid(
        begin_us=draw(st.integers(-5, 5)),
        chunk_us=chunk,
        period_us=chunk + draw(st.integers(0, 4)),
        count=draw(st.integers(1, 7)),
        slots_per_chunk=draw(st.integers(1, 3)),
    )


@st.composite
def losses(draw: st.DrawFn, mask: str = "none") -> Loss:
    return Loss(mask, draw(st.integers(0, 5)), draw(st.none() | st.integers(0, 40)), draw(grids()))


def horizon(grid: Grid, segment_us: int) -> range:
    return range(grid.begin_us - segment_us - 3, grid.end_us + 4)


def touched(grid: Grid, t: int, segment_us: int) -> int:
    """Slots of chunks that intersect [t, t + segment), microsecond by microsecond."""
    segment = set(range(t, t + segment_us))
    chunks = (set(range(b, b + grid.chunk_us)) for b in (grid.begin_us + i * grid.period_us for i in range(grid.count)))
    return grid.slots_per_chunk * sum(bool(segment & chunk) for chunk in chunks)


@given(losses(), st.integers(1, 12))
def test_loss_function_is_the_filled_count_of_touched_slots(loss: Loss, segment_us: int) -> None:
    times = horizon(loss.grid, segment_us)
    raw = [loss.q * touched(loss.grid, t, segment_us) for t in times]
    raw = [value if loss.cap is None else min(value, loss.cap) for value in raw]
    first, last = raw.index(max(raw)), len(raw) - 1 - raw[::-1].index(max(raw))
    filled = raw[:first] + [max(raw)] * (last - first + 1) + raw[last + 1 :]
    function = loss_function(loss, segment_us)
    assert [function(t) for t in times] == filled
    assert len(function) <= 2 * loss.grid.touched_chunks(segment_us)


@given(grids(), st.integers(1, 12))
def test_the_most_touched_chunks_are_reached_and_within_the_models_bound(grid: Grid, segment_us: int) -> None:
    counted = max(touched(grid, t, segment_us) for t in horizon(grid, segment_us)) // grid.slots_per_chunk
    assert most_touched(grid, segment_us) == counted
    assert grid.touched_chunks(segment_us) - 1 <= counted <= grid.touched_chunks(segment_us)


@given(losses(), st.integers(1, 8), st.integers(0, 8))
def test_a_longer_segment_never_loses_less(loss: Loss, segment_us: int, more: int) -> None:
    longer, shorter = loss_function(loss, segment_us + more), loss_function(loss, segment_us)
    assert all(longer(t) >= shorter(t) for t in horizon(loss.grid, segment_us + more))


@given(
    st.dictionaries(st.sampled_from(["none", "a", "b"]), st.integers(1, 6), min_size=1),
    st.data(),
)
def test_spending_adds_the_masks_maxima(lengths: dict[str, int], data: st.DataObject) -> None:
    rho_us = 6
    functions = {mask: loss_function(data.draw(losses(mask)), length) for mask, length in lengths.items()}
    spent = spending(functions, lengths, rho_us)
    for tau in range(-30, 80):
        within = {m: range(tau, tau + rho_us - lengths[m] + 1) for m in lengths}
        assert spent(tau) == sum(max(functions[m](t) for t in within[m]) for m in lengths)


def test_the_profile_of_the_query_languages_example() -> None:
    policy = CameraPolicy(epsilon_nano=NANO, rho_us=30 * SECOND, K=1)
    grid = Grid(begin_us=0, chunk_us=5 * SECOND, period_us=5 * SECOND, count=8640)
    profile = query_profile([Loss("none", 142857142, None, grid)], policy)
    assert profile.steps[0] == (-29999999, -24999999, 142857142)
    assert profile.maximum() == 999999994
    assert len(profile) == 13
    assert profile.steps[-1] == (grid.end_us - 5 * SECOND, grid.end_us, 142857142)


def test_two_sources_add_and_every_slot_of_a_chunk_counts() -> None:
    policy = CameraPolicy(epsilon_nano=NANO, rho_us=10, K=3, masks=MappingProxyType({"m": MaskPolicy(10, 2)}))
    one_chunk = Grid(begin_us=100, chunk_us=5, period_us=5, count=1)
    three_regions = Grid(begin_us=100, chunk_us=5, period_us=5, count=1, slots_per_chunk=3)
    assert query_profile([Loss("none", 7, None, one_chunk)] * 2, policy).maximum() == 3 * 14
    assert query_profile([Loss("none", 7, None, three_regions)], policy).maximum() == 3 * 21
    assert query_profile([Loss("m", 7, None, one_chunk)], policy).maximum() == 3 * 2 * 7
    both = query_profile([Loss("m", 7, None, one_chunk), Loss("none", 1, None, one_chunk)], policy)
    assert both == StepFunction.of([(91, 105, 3 * 2 * 7 + 3)])


def test_adjacent_windows_of_one_grid_lose_no_more_than_one() -> None:
    policy = CameraPolicy(epsilon_nano=NANO, rho_us=30 * SECOND, K=1)
    windows = [Grid(hour * 3600 * SECOND, 5 * SECOND, 5 * SECOND, 720) for hour in range(3)]
    one = query_profile([Loss("none", 1000, None, windows[0])], policy)
    assert query_profile([Loss("none", 1000, None, grid) for grid in windows], policy).maximum() == one.maximum()


def test_an_empty_segment_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than 0"):
        loss_function(Loss("none", 1, None, Grid(0, 1, 1, 1)), 0)
