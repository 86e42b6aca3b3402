"""Building blocks of generated SQL: exact integers out of numbers, clipping, total arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from sqlglot import exp

from privid.privacy.stability.state import TICKS
from query_lang.duckdb_sql import func, number
from query_lang.intervals import Interval
from query_lang.logical import AggregateCall, Expr, Range

BIGINT = exp.DType.BIGINT
HUGEINT = exp.DType.INT128
DOUBLE = exp.DType.DOUBLE


@dataclass(frozen=True, slots=True)
class Rows:
    """A named relation and the generated names of its columns."""

    name: str
    columns: Mapping[str, str]

    def column(self, name: str) -> exp.Expression:
        """A reference to a column of the plan."""
        return exp.column(self.columns[name], table=self.name)


@dataclass(frozen=True, slots=True)
class Clip:
    """What holds an aggregate's argument within its claimed range.

    NaN, and NULL where it was claimed to be impossible, become the lower bound. NaN is greater than everything in
    DuckDB.
    """

    bounds: Interval
    nullable: bool

    @classmethod
    def of(cls, arg: Expr | None, bounds: Interval, nullable: bool) -> Clip | None:
        """None if the argument is a RANGE with the same bounds: that clips already."""
        return None if isinstance(arg, Range) and (arg.low, arg.high) == bounds else cls(bounds, nullable)

    def apply(self, value: exp.Expression) -> exp.Expression:
        """The clipped value."""
        low, high = number(self.bounds[0]), number(self.bounds[1])
        nothing = exp.Null() if self.nullable else low.copy()
        missing = exp.Or(this=exp.Is(this=value.copy(), expression=exp.Null()), expression=func("isnan", value.copy()))
        return exp.Case(
            ifs=[
                exp.If(this=exp.LT(this=value.copy(), expression=low), true=low.copy()),
                exp.If(this=exp.LTE(this=value.copy(), expression=high), true=value),
                exp.If(this=missing, true=nothing),
            ],
            default=high.copy(),
        )


def as_ticks(clipped: exp.Expression) -> exp.Expression:
    """A number of at most 2^42 as BIGINT steps of 2^-20, rounded half to even."""
    return cast(multiply(clipped, number(Fraction(TICKS))), BIGINT)


def condition_of(call: AggregateCall, i: int, prepared: Rows) -> exp.Expression | None:
    """The FILTER of an aggregate, prepared; None without one."""
    return None if call.condition is None else prepared.column(f"if {i}")


def filtered(aggregate: exp.Expression, condition: exp.Expression | None) -> exp.Expression:
    """An aggregate over the rows for which a condition is true."""
    if condition is None:
        return aggregate
    return exp.Filter(this=aggregate, expression=exp.Where(this=condition.copy()))


def total(value: exp.Expression, condition: exp.Expression | None) -> exp.Expression:
    """An exact integer sum, 0 over nothing."""
    return func("coalesce", filtered(func("sum", value), condition), cast(exp.Literal.number(0), HUGEINT))


def count_distinct(value: exp.Expression) -> exp.Expression:
    """The number of distinct values, NULL left out."""
    return exp.Count(this=exp.Distinct(expressions=[value]))


def aliased(values: Sequence[exp.Expression], prefix: str) -> list[exp.Expr]:
    """Select items named by their position."""
    return [exp.alias_(value, f"{prefix}{i}") for i, value in enumerate(values)]


def cast(value: exp.Expression, to: exp.DType) -> exp.Expression:
    """A plain CAST: only where no value can fail it."""
    return exp.Cast(this=value, to=exp.DataType(this=to))


def multiply(a: exp.Expression, b: exp.Expression) -> exp.Expression:
    """A product in parentheses."""
    return exp.Paren(this=exp.Mul(this=a, expression=b))


def divide(a: exp.Expression, b: exp.Expression) -> exp.Expression:
    """A quotient in parentheses, NULL by zero."""
    return exp.Paren(this=exp.Div(this=a, expression=b, typed=False, safe=True))
