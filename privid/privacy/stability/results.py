"""The columns that aggregates of an inner GROUP BY make (privacy-model.md, section 2)."""

from __future__ import annotations

from collections.abc import Set
from fractions import Fraction

from privid.privacy.refusal import Refusal
from privid.privacy.stability.formulas import count_change, sum_change
from privid.privacy.stability.multiplicity import multiplicity
from privid.privacy.stability.rows import kept
from privid.privacy.stability.state import TICKS, ColumnState, State
from query_lang.intervals import Interval
from query_lang.logical import (
    Aggregate,
    AggregateCall,
    Column,
    DataType,
    Expr,
    Function,
    Range,
    aggregate_type,
)

_EXACT_DOUBLE = 1 << 53


def column(call: AggregateCall, relation: Aggregate, inner: State, dense: bool, by_trusted: Set[str]) -> ColumnState:
    """The state of an aggregate's column. No aggregate's result is trusted, MIN(chunk) included.

    `dense`: the groups are dense, so a group may be empty. `by_trusted`: the tables for which every key is trusted;
    only for these there is a lip.
    """
    if call.function is Function.ARGMAX:
        raise Refusal(
            "argmax_inside", "ARGMAX cannot be inside a subquery", "Use it in the outermost SELECT.", call.span
        )
    rows = kept(inner, call.condition) if call.condition is not None else inner
    most = multiplicity(inner, tuple(key.expr for key in relation.keys))
    bounds = _range(call, inner, most)
    counted = call.function in (Function.COUNT, Function.COUNT_DISTINCT, Function.SUM)
    empty = dense or call.condition is not None
    nullable = not counted and (empty or (call.arg is not None and inner.nullable(call.arg)))
    lip = {base: _lip(call, rows, base, most) for base in by_trusted} if dense else {}
    return ColumnState(
        call.name,
        aggregate_type(call),
        bounds,
        nullable,
        lip={base: bound for base, bound in lip.items() if bound is not None},
    )


def _range(call: AggregateCall, inner: State, most: int) -> Interval | None:
    """An inner COUNT lies in [0, mult of the keys]; AVG, MIN, MAX and quantiles where the argument does.

    VAR is at most (u-l)^2/4 (Popoviciu), STDDEV (u-l)/2.
    """
    if call.function in (Function.COUNT, Function.COUNT_DISTINCT):
        return Fraction(0), Fraction(most)
    if call.arg is None or call.arg.type is not DataType.NUMBER:
        return None
    bounds = inner.range_of(call.arg)
    if call.function in (Function.VAR, Function.STDDEV):
        return _spread(call, bounds, most)
    if bounds is None:
        return None
    low, high = bounds
    if call.function is Function.SUM:
        return min(Fraction(0), most * low), max(Fraction(0), most * high)
    return low, high


def _spread(call: AggregateCall, bounds: Interval | None, most: int) -> Interval:
    if bounds is None or ((bounds[1] - bounds[0]) * TICKS * most) ** 2 >= 1 << 125:
        raise Refusal(
            "no_range",
            f"{call.function.value} needs an argument with a range that is not too wide",
            "Write RANGE(x, low, high) around its argument.",
            call.span,
        )
    width = bounds[1] - bounds[0]
    return Fraction(0), width * width / 4 if call.function is Function.VAR else width / 2


def _lip(call: AggregateCall, rows: State, base: str, most: int) -> Fraction | None:
    """How much one slot moves the column, summed over all groups: a slot's rows are in one group."""
    moved = rows.influence[base]
    if call.function is Function.COUNT:
        nullable = call.arg is not None and rows.nullable(call.arg)
        return Fraction(count_change(moved.r, moved.net, nullable))
    if call.function is not Function.SUM or call.arg is None:
        return None
    bounds = rows.range_of(call.arg)
    if bounds is None or most * max(abs(bounds[0]), abs(bounds[1])) * TICKS > _EXACT_DOUBLE:
        return None
    change = sum_change(moved.r, moved.net, bounds, rows.nullable(call.arg))
    passed = lip_of(call.arg, rows, base)
    return change if passed is None else min(change, passed)


def lip_of(expr: Expr, rows: State, base: str) -> Fraction | None:
    """The lip of an argument: that of a column, or of RANGE over one."""
    inner = expr.arg if isinstance(expr, Range) else expr
    return rows.columns[inner.name].lip.get(base) if isinstance(inner, Column) else None
