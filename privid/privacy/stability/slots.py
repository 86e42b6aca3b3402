"""Public functions of a source table's slots, over all slots at once (privacy-model.md, section 2: D and mult).

A function f(slot) is an expression over the columns `chunk`, `camera` and `region`. A month of 5 s chunks is half a
million slots, so functions of time are evaluated once for each *run* of consecutive chunks on which they are constant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain, pairwise

from privid.domain.budget import Grid
from privid.privacy.base import Base
from privid.privacy.refusal import Refusal
from privid.privacy.stability.expressions import PublicRow, engine_value, listable, public_value
from query_lang import functions
from query_lang import timefunctions as tf
from query_lang.expressions import columns_of, transform
from query_lang.logical import Call, Column, DataType, Expr, Literal, Value
from query_lang.units import DAY, HOUR

CHUNK = "chunk"
CAMERA = "camera"
REGION = "region"
TRUSTED = frozenset({CHUNK, CAMERA, REGION})
"""The columns that the system adds to a source table."""

_MOMENT = Column(CHUNK, DataType.TIMESTAMP)

Values = tuple[Value, ...]
_Regions = tuple[str, ...]
_Exprs = tuple[Expr, ...]

_COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "between"})

_RUNS_AT_MOST = 200_000
"""D is counted exactly up to so many runs; beyond, every chunk is taken for another value."""
MOST_RUNS = 600_000
"""So many runs are listed, in seconds; a filter that makes more narrows no charge."""


class EachChunk(Mapping[Values, int]):
    """The start of every chunk, with the same number of slots for each: as small for millions as for one."""

    def __init__(self, moments: range, slots: int) -> None:
        self._moments = moments
        self._slots = slots

    def times(self, weight: int) -> EachChunk:
        """So many times as many for each."""
        return EachChunk(self._moments, weight * self._slots)

    def most(self) -> int:
        """The most of any chunk."""
        return self._slots

    def __len__(self) -> int:
        return len(self._moments)

    def __iter__(self) -> Iterator[Values]:
        return ((moment,) for moment in self._moments)

    def __getitem__(self, values: Values) -> int:
        if len(values) == 1 and values[0] in self._moments:
            return self._slots
        raise KeyError(values)


def slot_counts(base: Base, exprs: _Exprs) -> Mapping[Values, int]:
    """How many slots have each tuple of values, in the order of their first chunk, then region."""
    return _slot_counts(base.grid, base.camera, base.regions, exprs)


def reach(base: Base, exprs: _Exprs) -> int:
    """D_B(T): the most distinct tuples of values among Mc consecutive chunks, all regions of each; 1 for no values."""
    if not exprs:
        return 1
    if any((isinstance(expr, Column) and expr.name == CHUNK) or not listable(expr) for expr in exprs):
        regional = any(REGION in columns_of(expr) for expr in exprs)
        return base.touched_chunks * (max(1, len(base.regions)) if regional else 1)
    return _reach(base.grid, base.camera, base.regions, exprs, base.touched_chunks)


@lru_cache(maxsize=256)
def _slot_counts(grid: Grid, camera: str, regions: _Regions, exprs: _Exprs) -> Mapping[Values, int]:
    if exprs == (_MOMENT,):
        moments = range(grid.begin_us, grid.begin_us + grid.count * grid.period_us, grid.period_us)
        return EachChunk(moments, max(1, len(regions)))
    counts: Counter[Values] = Counter()
    for number, (length, values) in enumerate(_runs(grid, camera, regions, exprs)):
        if number == MOST_RUNS:
            raise Refusal(
                "too_many_groups",
                f"time is cut into more than {MOST_RUNS:,} pieces",
                "Use longer bins of time, a shorter window, or chunk itself.",
            )
        for value in values:
            counts[value] += length
    return counts


@lru_cache(maxsize=256)
def _reach(grid: Grid, camera: str, regions: _Regions, exprs: _Exprs, window: int) -> int:
    runs: list[tuple[int, frozenset[Values]]] = []
    for length, together in _runs(grid, camera, regions, exprs):
        runs.append((length, frozenset(together)))
        if len(runs) > _RUNS_AT_MOST:
            return window * max(1, len(regions))
    inside: Counter[Values] = Counter()
    most = entered = following = 0
    # The window that starts on the last chunk of a run holds every value of each window that starts in that run.
    for index, (length, values) in enumerate(runs):
        if entered == index:
            inside.update(values)
            entered += 1
        else:
            following -= length
        while entered < len(runs) and following < window - 1:
            inside.update(runs[entered][1])
            following += runs[entered][0]
            entered += 1
        most = max(most, len(inside))
        for value in values:
            inside[value] -= 1
            if not inside[value]:
                del inside[value]
    return most


def _runs(grid: Grid, camera: str, regions: _Regions, exprs: _Exprs) -> Iterator[tuple[int, tuple[Values, ...]]]:
    """(number of chunks, one tuple of values for each region) of each run, in order of time."""
    clocks: dict[Expr, str] = {}

    def cut(part: Expr) -> Expr | None:
        """Functions of time alone become columns of their values."""
        return Column(clocks.setdefault(part, f"clock {len(clocks)}"), part.type) if _is_clock(part) else None

    rest = tuple(transform(expr, cut) for expr in exprs)
    parts = [_starts(grid, clock) for clock in clocks]
    everywhere = any(len(part) == grid.count for part in parts)
    starts: Iterable[int] = range(grid.count) if everywhere else sorted(set().union(*parts) or {0})
    for start, end in pairwise(chain(starts, (grid.count,))):
        moment = {CHUNK: grid.begin_us + start * grid.period_us}
        row: dict[str, Value | float] = {CAMERA: camera}
        for clock, name in clocks.items():
            row[name] = engine_value(clock, moment)
        values = []
        for region in regions or ("",):
            row[REGION] = region
            values.append(tuple(_value(expr, row) for expr in rest))
        yield end - start, tuple(values)


def _value(expr: Expr, row: PublicRow) -> Value:
    """What `public_value` gives, without a detour for the most common expressions."""
    if isinstance(expr, Column) and expr.type is not DataType.NUMBER:
        return row[expr.name]  # type: ignore[return-value]
    return public_value(expr, row)


def active_runs(base: Base, predicate: Expr) -> tuple[tuple[int, int], ...]:
    """Where a predicate over slots is true: (first, last) chunk of each run, in order.

    A chunk counts if one of its regions does. Runs that one segment could touch together are one run.
    """
    return _active_runs(base.grid, base.camera, base.regions, predicate, base.touched_chunks)


@lru_cache(maxsize=256)
def _active_runs(
    grid: Grid, camera: str, regions: _Regions, predicate: Expr, window: int
) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    start = 0
    for number, (length, values) in enumerate(_runs(grid, camera, regions, (predicate,))):
        if number == MOST_RUNS:
            return ((0, grid.count - 1),)
        if any(value == (True,) for value in values):
            if found and start - found[-1][1] < window:
                found[-1] = (found[-1][0], start + length - 1)
            else:
                found.append((start, start + length - 1))
        start += length
    return tuple(found)


def _is_clock(expr: Expr) -> bool:
    """`chunk`, time functions of it, or its comparison with constants."""
    if isinstance(expr, Call) and expr.function in _COMPARISONS:
        others = [arg for arg in expr.args if not isinstance(arg, Literal)]
        return len(others) == 1 and isinstance(others[0], Column) and others[0].name == CHUNK
    while isinstance(expr, Call) and expr.function in functions.TIME_FUNCTIONS:
        expr = expr.args[0]
    return isinstance(expr, Column) and expr.name == CHUNK


def _starts(grid: Grid, clock: Expr) -> Collection[int]:
    """Chunks, the first included, such that the clock's value is the same from each up to the next."""
    if isinstance(clock, Column):
        return range(grid.count)
    assert isinstance(clock, Call)
    if clock.function in _COMPARISONS:
        moments = [
            moment
            for arg in clock.args
            if isinstance(arg, Literal) and isinstance(arg.value, int)
            for moment in (arg.value, arg.value + 1)
        ]
        return _chunks_from(grid, moments)
    if not isinstance(clock.args[0], Column):
        return _starts(grid, clock.args[0])
    last = grid.begin_us + (grid.count - 1) * grid.period_us
    zone = _constant(clock.args[-1])
    assert isinstance(zone, str)
    if clock.function == "bin":
        period = int(_constant(clock.args[1]) or 0)
        if period <= grid.period_us:
            return range(grid.count)
        moments = list(range(tf.start_of_bin(grid.begin_us, period, zone) + period, last + 1, period))
    else:
        step = HOUR if clock.function in ("hour", "hour_of_day") else DAY
        if step <= grid.period_us:
            return range(grid.count)
        moments = []
        for begin, end in pairwise((grid.begin_us, *tf.transitions(zone, grid.begin_us, last), last + 1)):
            first = begin + -(begin + tf.offset_us(begin, zone)) % step
            moments += [begin, *range(first, end, step)]
    return _chunks_from(grid, moments)


def _chunks_from(grid: Grid, moments: Iterable[int]) -> set[int]:
    """The first chunk that starts at each moment or later, if there is one, and chunk 0."""
    firsts = (-(-(moment - grid.begin_us) // grid.period_us) for moment in moments)
    return {0, *(first for first in firsts if 0 < first < grid.count)}


def _constant(expr: Expr) -> Value:
    assert isinstance(expr, Literal)
    return expr.value
