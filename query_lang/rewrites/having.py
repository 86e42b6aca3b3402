"""HAVING on the time of a group becomes WHERE as well.

    SELECT hour(chunk) AS h, COUNT(*) FROM t GROUP BY h HAVING h < TIMESTAMP '...' AND COUNT(*) > 5
    ->  ... FROM t WHERE hour(chunk) < TIMESTAMP '...' GROUP BY h HAVING ... (as before)

Sound, because the groups that the condition drops are dropped in any case, and no other group has a row of theirs. Then
these rows need no noise, and the chunks that only they come from are neither charged nor, if possible, processed.
Only comparisons of moments, and of hours and days with whole numbers, are moved: of these alone it is certain that the
engine, which filters rows, and the arithmetic on noisy values, which filters groups, agree.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Final

from query_lang.expressions import columns_of, conjunction, conjuncts, substitute
from query_lang.functions import TIME_FUNCTIONS
from query_lang.logical import Call, Column, DataType, Expr, Filter, Literal, Select

COMPARISONS: Final = frozenset({"lt", "le", "gt", "ge", "eq", "between"})


def with_where(select: Select) -> Select:
    """The release, the part of its HAVING that reads times only also below its groups."""
    if select.having is None:
        return select
    keys = {key.name: key.expr for key in select.aggregate.keys if _is_time(key.expr)}
    moved = [substitute(part, keys) for part in conjuncts(select.having) if _compares(part, keys)]
    if not moved:
        return select
    below = Filter(select.aggregate.input, conjunction(moved))
    return replace(select, aggregate=replace(select.aggregate, input=below))


def _is_time(expr: Expr) -> bool:
    return expr.type is DataType.TIMESTAMP or (isinstance(expr, Call) and expr.function in TIME_FUNCTIONS)


def _compares(part: Expr, keys: dict[str, Expr]) -> bool:
    """Whether a key of time is compared with constants that a double holds exactly."""
    if not isinstance(part, Call) or part.function not in COMPARISONS or not columns_of(part) <= keys.keys():
        return False
    constants = [arg.value for arg in part.args if isinstance(arg, Literal)]
    columns = [arg for arg in part.args if isinstance(arg, Column)]
    whole = all(isinstance(value, int | Fraction) and value.denominator == 1 for value in constants)
    return len(columns) == 1 and len(constants) == len(part.args) - 1 and whole
