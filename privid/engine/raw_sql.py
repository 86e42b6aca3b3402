"""The SQL of an outermost SELECT: the exact integers that its releases are made from (privacy-model.md, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from sqlglot import exp

from privid.engine.sql import Rendered, Renderer, expressions, group_expressions, moments
from privid.engine.sql_parts import (
    BIGINT,
    HUGEINT,
    Clip,
    Rows,
    aliased,
    as_ticks,
    cast,
    condition_of,
    count_distinct,
    divide,
    filtered,
    multiply,
    total,
)
from privid.privacy.candidates import Grid
from privid.privacy.sensitivity import SQUARE_STEPS, Method, Sensitivity
from privid.privacy.stability import State
from query_lang.duckdb_sql import func, number
from query_lang.intervals import Interval
from query_lang.logical import Aggregate


def aggregate_query(
    aggregate: Aggregate, inner: State, measured: Sequence[Sensitivity], window: tuple[int, int]
) -> Rendered:
    """The exact values that an outermost SELECT is released from: keys, then the integers of each aggregate in order.

    COUNT: the count. SUM, AVG_EXACT: the sum in ticks. AVG_VECTOR: sum in ticks, count. VAR: the same and the sum of
    squares in steps of 1/SQUARE_STEPS. ARGMAX: as its score. CONSTANT, POINT: nothing. A group that has no row is not
    there.
    """
    aggregate = replace(aggregate, aggregates=tuple(sensitivity.raw_call for sensitivity in measured))
    renderer = Renderer(moments(window, (*expressions(inner), *group_expressions(aggregate))))
    clips = [None if m.range is None else Clip.of(m.raw_call.arg, m.range, m.nullable) for m in measured]
    prepared = renderer.prepare(aggregate, inner, clips)
    keys = [prepared.column(f"key {i}") for i in range(len(aggregate.keys))]
    values: list[exp.Expression] = []
    for i, sensitivity in enumerate(measured):
        values += _released(sensitivity.score or sensitivity, i, prepared)
    if not keys and not values:
        values = [func("count", exp.Star())]
    query = exp.select(*aliased([*keys, *values], "c")).from_(prepared.name)
    return renderer.statement(query.group_by(*keys) if keys else query)


def histogram_query(
    aggregate: Aggregate, inner: State, measured: Sensitivity, grid: Grid, window: tuple[int, int]
) -> Rendered:
    """How many values are nearest to each point of a public grid: keys, the point's index, the number. NULL is none."""
    aggregate = replace(aggregate, aggregates=(measured.call,))
    renderer = Renderer(moments(window, (*expressions(inner), *group_expressions(aggregate))))
    assert measured.range is not None
    prepared = renderer.prepare(aggregate, inner, [Clip.of(measured.call.arg, measured.range, measured.nullable)])
    keys = [prepared.column(f"key {i}") for i in range(len(aggregate.keys))]
    value = prepared.column("arg 0")
    start = exp.Literal.string(str(grid.low - grid.step // 2))
    above = exp.Paren(this=exp.Sub(this=cast(as_ticks(value), HUGEINT), expression=cast(start, HUGEINT)))
    step = cast(exp.Literal.string(str(grid.step)), HUGEINT)
    point = cast(exp.Paren(this=exp.IntDiv(this=above, expression=step)), BIGINT)
    query = exp.select(*aliased([*keys, point, func("count", exp.Star())], "c")).from_(prepared.name)
    query = query.where(exp.Not(this=exp.Is(this=value.copy(), expression=exp.Null())))
    condition = condition_of(measured.call, 0, prepared)
    if condition is not None:
        query = query.where(condition)
    return renderer.statement(query.group_by(*keys, point.copy()))


def raw_width(method: Method) -> int:
    """How many integers a method needs."""
    return {Method.AVG_VECTOR: 2, Method.VAR: 3, Method.CONSTANT: 0, Method.POINT: 0}.get(method, 1)


def _released(sensitivity: Sensitivity, i: int, prepared: Rows) -> list[exp.Expression]:
    call = sensitivity.call
    condition = condition_of(call, i, prepared)
    if call.arg is None:
        return [filtered(func("count", exp.Star()), condition)]
    value = prepared.column(f"arg {i}")
    match sensitivity.method:
        case Method.COUNT:
            return [filtered(func("count", value if sensitivity.nullable else exp.Star()), condition)]
        case Method.COUNT_DISTINCT:
            return [filtered(count_distinct(value), condition)]
        case Method.CONSTANT | Method.POINT:
            return []
    assert sensitivity.range is not None
    ticks = as_ticks(value)
    summed = total(ticks, condition)
    if sensitivity.method in (Method.SUM, Method.AVG_EXACT):
        return [summed]
    rows = filtered(func("count", ticks.copy() if sensitivity.nullable else exp.Star()), condition)
    if sensitivity.method is Method.AVG_VECTOR:
        return [summed, rows]
    return [summed, rows, total(_squares(value.copy(), sensitivity.range), condition)]


def _squares(value: exp.Expression, bounds: Interval) -> exp.Expression:
    """s^2 for s = (x - mid) / h, rounded to whole steps; at most SQUARE_STEPS whatever doubles round to."""
    low, high = bounds
    s = divide(exp.Paren(this=exp.Sub(this=value, expression=number((low + high) / 2))), number((high - low) / 2))
    steps = multiply(func("pow", s, number(Fraction(2))), number(Fraction(SQUARE_STEPS)))
    most = func("least", steps, number(Fraction(SQUARE_STEPS)))
    missing = exp.If(this=exp.Is(this=value.copy(), expression=exp.Null()), true=exp.Null())
    return cast(exp.Case(ifs=[missing], default=most), BIGINT)
