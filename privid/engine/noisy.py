"""What acts on noisy values: HAVING, ORDER BY, LIMIT and the output expressions (privacy-model.md, section 3).

Nothing here sees an exact value, so nothing here costs anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from privid.domain.release import Estimate, Scalar
from privid.domain.units import isoformat
from query_lang import functions
from query_lang.expressions import columns_of
from query_lang.intervals import Interval
from query_lang.logical import Column, DataType, Expr, Select, Value

Row = dict[str, "Value | float"]


@dataclass(frozen=True, slots=True)
class Noisy:
    """One released value; `scale` and `half_width` in the value's unit, None where there are none."""

    value: Scalar
    scale: float | None
    half_width: float | None
    epsilon: float


def finished(
    select: Select, rows: Sequence[tuple[Row, Mapping[str, Noisy]]]
) -> tuple[tuple[Scalar | Estimate, ...], ...]:
    """HAVING, ORDER BY, LIMIT and the output expressions."""
    kept = []
    for keys, noisy in rows:
        values: Row = {**keys, **{name: released.value for name, released in noisy.items()}}
        if select.having is None or functions.evaluate(select.having, values) is True:
            kept.append((values, noisy))
    for expr, descending in reversed(select.order):
        present = [row for row in kept if functions.evaluate(expr, row[0]) is not None]
        missing = [row for row in kept if functions.evaluate(expr, row[0]) is None]
        present.sort(key=lambda row, expr=expr: functions.evaluate(expr, row[0]), reverse=descending)  # type: ignore[misc]
        kept = present + missing
    end = None if select.limit is None else select.offset + select.limit
    return tuple(
        tuple(_output(output.expr, values, noisy) for output in select.outputs)
        for values, noisy in kept[select.offset : end]
    )


def _output(expr: Expr, values: Row, noisy: Mapping[str, Noisy]) -> Scalar | Estimate:
    value = _scalar(functions.evaluate(expr, values), expr.type)
    used = sorted(columns_of(expr) & noisy.keys())
    if not used:
        return value
    if isinstance(expr, Column):
        released = noisy[expr.name]
        return Estimate(value, released.scale, released.half_width, released.epsilon)
    spent = sum(noisy[name].epsilon for name in used)
    return Estimate(value, None, _spread(expr, value, values, noisy, len(used)), spent)


def _spread(expr: Expr, value: Scalar, values: Row, noisy: Mapping[str, Noisy], count: int) -> float | None:
    """The half-width of a 95 % interval of an expression over noisy values, by interval arithmetic; None if unbounded.

    Each of `count` noises stays within its 1 - 0.05/count interval; that all do has probability 95 % or more.
    """
    factor = math.log(20 * count) / math.log(20)

    def bounds(column: Column) -> Interval | None:
        centre = values[column.name]
        if not isinstance(centre, float | Fraction | int) or isinstance(centre, bool):
            return None
        released = noisy.get(column.name)
        if released is None or (released.scale is None and released.half_width is None):
            return Fraction(centre), Fraction(centre)
        if released.scale is None or released.half_width is None:
            return None
        reach = Fraction(released.half_width * factor)
        return Fraction(centre) - reach, Fraction(centre) + reach

    if not isinstance(value, float):
        return None
    found = functions.value_range(expr, bounds, lambda column: values[column.name] is None)
    return None if found is None else max(float(found[1]) - value, value - float(found[0]))


def _scalar(value: object, kind: DataType) -> Scalar:
    """A value as it is shown: numbers as floats, moments as ISO 8601."""
    if value is None or isinstance(value, bool | str):
        return value
    if kind is DataType.TIMESTAMP and isinstance(value, int):
        return isoformat(value)
    return float(value)  # type: ignore[arg-type]
