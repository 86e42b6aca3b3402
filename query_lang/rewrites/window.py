"""A filter on `chunk` narrows what is processed.

    SPLIT ... BEGIN 08:00 END 20:00 ...; SELECT COUNT(*) FROM t WHERE chunk >= TIMESTAMP '... 12:00'
    ->  SPLIT ... BEGIN 12:00 END 20:00 ... (on the same grid of chunks), the filter as before

A chunk is left out only if the filters drop every row that comes of it, whatever the executable writes. Comparisons of
`chunk` with moments are followed down to the table: through projections, through group keys (a group holds rows of its
own key only), through UNION, INTERSECT and EXCEPT (they match equal rows); through `hour`, `day`, `week`, `month` and
`bin`, whose value is at most their length before the moment. A join or LIMIT mixes rows of different chunks, and CASE
can keep a chunk's time in a column of its own: nothing is followed through these.

Sound, because the same rows pass the filters and the same public keys do, and because influence, multiplicities and
touched slots can only fall with the number of chunks. The chunks that stay keep their places, hence their slots on the
ledger's grid. Several uses of one table, in one SELECT or in several, process the hull of what each needs; every
release is charged for its own chunks only (privacy-model.md, section 5: slots that a public filter drops lose nothing).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from query_lang import timefunctions
from query_lang.expressions import children, conjuncts
from query_lang.logical import (
    Aggregate,
    Call,
    Case,
    Column,
    Expr,
    Filter,
    Join,
    Limit,
    Literal,
    Process,
    Project,
    Relation,
    Script,
    SetOperation,
    Source,
    Split,
    UnionAll,
)
from query_lang.rewrites.having import COMPARISONS
from query_lang.rewrites.walk import everywhere
from query_lang.units import DAY, HOUR, LAST_MOMENT, WEEK

Moments = tuple[int, int]
"""Both included, in microseconds."""
Wanted = Mapping[str, Moments]
"""Columns of a relation, each with the values outside of which a row does not matter."""

_ALWAYS: Final = (-LAST_MOMENT, 2 * LAST_MOMENT)
_LENGTHS: Final = {"hour": HOUR, "day": DAY + 3 * HOUR, "week": WEEK + 3 * HOUR, "month": 31 * DAY + 3 * HOUR}
"""No unit is longer, nor is a moment further from the start of its own: clocks are set back by 3 hours at most."""
_MIRRORED: Final = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le", "eq": "eq"}


def with_windows(script: Script) -> Script:
    """The script with every SPLIT cut down to the chunks that matter to some SELECT."""
    needed: dict[str, Moments] = {}
    for select in script.selects:
        for name, moments in _needed(select.aggregate, {}):
            first, last = needed.get(name, moments)
            needed[name] = min(first, moments[0]), max(last, moments[1])
    processes = {
        process.name: replace(process, split=narrowed(process.split, needed[process.name]))
        for process in script.processes
        if process.split.every_us is None  # the windows of a series are equal, and calibrated as such
    }

    def exchanged(relation: Relation) -> Relation:
        if not isinstance(relation, Source):
            return relation
        return replace(relation, process=processes.get(relation.process.name, relation.process))

    selects = []
    for select in script.selects:
        aggregate = everywhere(select.aggregate, exchanged)
        assert isinstance(aggregate, Aggregate)
        selects.append(replace(select, aggregate=aggregate))
    return replace(script, processes=tuple(processes.get(p.name, p) for p in script.processes), selects=tuple(selects))


def narrowed(split: Split, moments: Moments) -> Split:
    """The chunks that begin at these moments, on the same grid; all of them if there is none."""
    first = max(0, -(-(moments[0] - split.begin_us) // split.period_us))
    last = min(split.count - 1, (moments[1] - split.begin_us) // split.period_us)
    if first > last or (first, last) == (0, split.count - 1):
        return split
    begin = split.begin_us + first * split.period_us
    end = split.begin_us + last * split.period_us + split.chunk_us
    return replace(split, begin_us=begin, end_us=end, written=(split.begin_us, split.end_us))


def _needed(relation: Relation, wanted: Wanted) -> Iterator[tuple[str, Moments]]:
    """For every use of a table, the moments at which a chunk that matters can begin."""
    match relation:
        case Source(process=Process(name=name)):
            yield name, wanted.get("chunk", _ALWAYS)
        case Filter(input=below, predicate=predicate):
            yield from _needed(below, _filtered(wanted, predicate))
        case Project(input=below, items=items):
            yield from _needed(below, _through(wanted, dict(items)) if _is_plain(relation) else {})
        case Aggregate(input=below, keys=keys):
            exprs = {key.name: key.expr for key in keys}
            yield from _needed(below, _through(wanted, exprs) if _is_plain(relation) else {})
        case UnionAll() | SetOperation():
            plain = _is_plain(relation)
            for branch in _branches(relation):
                yield from _needed(branch, _by_position(wanted, relation, branch) if plain else {})
        case Join(left=left, right=right):
            yield from _needed(left, {})
            yield from _needed(right, {})
        case Limit(input=below):
            yield from _needed(below, {})


def _branches(relation: UnionAll | SetOperation) -> tuple[Relation, ...]:
    return relation.inputs if isinstance(relation, UnionAll) else (relation.left, relation.right)


def _is_plain(relation: Relation) -> bool:
    """Whether no column below holds moments of its own: all that is public of the rows is what the filters leave."""
    match relation:
        case Source():
            return True
        case Filter(input=below):
            return _is_plain(below)
        case Project(input=below, items=items):
            return _is_plain(below) and not any(_has_case(expr) for _, expr in items)
        case Aggregate(input=below, keys=keys):
            return _is_plain(below) and not any(_has_case(key.expr) for key in keys)
        case UnionAll() | SetOperation():
            return all(_is_plain(branch) for branch in _branches(relation))
        case _:
            return False


def _has_case(expr: Expr) -> bool:
    return isinstance(expr, Case) or any(_has_case(part) for part in children(expr))


# --- what a filter keeps ------------------------------------------------------------------------------------


def _filtered(wanted: Wanted, predicate: Expr) -> Wanted:
    kept = dict(wanted)
    for part in conjuncts(predicate):
        for name, (first, last) in _compared(part):
            before = kept.get(name, _ALWAYS)
            kept[name] = max(before[0], first), min(before[1], last)
    return kept


def _compared(part: Expr) -> Iterator[tuple[str, Moments]]:
    """The column of moments that a comparison with constants bounds, and its bounds."""
    if not isinstance(part, Call) or part.function not in COMPARISONS:
        return
    function, args = part.function, list(part.args)
    if function in _MIRRORED and isinstance(args[0], Literal):
        function, args = _MIRRORED[function], args[::-1]
    moments = [arg.value for arg in args[1:] if isinstance(arg, Literal)]
    values = [moment for moment in moments if isinstance(moment, int) and not isinstance(moment, bool)]
    if len(values) == len(args) - 1:
        yield from _preimage(args[0], _bounds(function, values))


def _bounds(function: str, values: Sequence[int]) -> Moments:
    value = values[0]
    match function:
        case "between":
            return value, values[1]
        case "eq":
            return value, value
        case "lt" | "le":
            return _ALWAYS[0], value - (function == "lt")
        case _:
            return value + (function == "gt"), _ALWAYS[1]


# --- through expressions and operators ----------------------------------------------------------------------


def _preimage(expr: Expr, bounds: Moments) -> Iterator[tuple[str, Moments]]:
    """Where the column below lies if the expression lies within bounds: `f(t) <= t < f(t) + length`."""
    first, last = bounds
    match expr:
        case Column(name=name):
            yield name, bounds
        case Call(function="bin", args=(inner, Literal(value=period), Literal(value=str() as zone))):
            assert period is not None
            if _ALWAYS[0] < last < _ALWAYS[1]:
                last = timefunctions.start_of_bin(last, int(period), zone) + int(period) - 1
            yield from _preimage(inner, (first, last))
        case Call(function=function, args=(inner, Literal(value=str() as zone))) if function in _LENGTHS:
            yield from _preimage(inner, (first, _last_of_unit(function, last, zone)))


def _last_of_unit(unit: str, last: int, zone: str) -> int:
    """No later moment is in a unit that starts at `last` or before; exact, unless the clock changes near it."""
    length = _LENGTHS[unit]
    near = max(0, last - 2 * length), last + 2 * length
    if not 0 <= last < LAST_MOMENT or timefunctions.transitions(zone, *near):
        return last + length
    following = timefunctions.start_of(unit, last, zone) + length
    return timefunctions.start_of(unit, following, zone) - 1


def _through(wanted: Wanted, exprs: Mapping[str, Expr]) -> Wanted:
    below: dict[str, Moments] = {}
    for name, bounds in wanted.items():
        if name in exprs:
            for column, (first, last) in _preimage(exprs[name], bounds):
                before = below.get(column, _ALWAYS)
                below[column] = max(before[0], first), min(before[1], last)
    return below


def _by_position(wanted: Wanted, relation: Relation, branch: Relation) -> Wanted:
    names = zip(relation.fields, branch.fields, strict=True)
    return {own.name: wanted[field.name] for field, own in names if field.name in wanted}
