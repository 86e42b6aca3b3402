"""How DuckDB computes the functions of the registry: builders of sqlglot expressions that never fail on any value.

Checked against DuckDB 2.0: arithmetic on DOUBLE, sqrt, ln, exp and pow give NaN or infinity instead of raising; what
raises (//, and % by zero on integers, plain CAST) is not used on values from rows or is guarded here. An argument is
never written twice, except a moment in a calendar function, so that nested calls do not grow exponentially.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from itertools import pairwise
from typing import Final

from sqlglot import exp

from query_lang import timefunctions as tf
from query_lang.logical import DataType, Literal
from query_lang.pure import LENGTH
from query_lang.units import DAY, HOUR, WEEK

Args = Sequence[exp.Expression]
Builder = Callable[[Args], exp.Expression]

_WINDOW: ContextVar[tuple[int, int]] = ContextVar("window")
_WEEK_SHIFT: Final = 16_500 * 7 * DAY
"""Whole weeks, 316 years: what time functions give before 1970 is shifted beyond 0, where // rounds down."""


@contextmanager
def public_window(window: tuple[int, int]) -> Iterator[None]:
    """Calendar functions built inside are valid for moments in the window."""
    token = _WINDOW.set(window)
    try:
        yield
    finally:
        _WINDOW.reset(token)


def func(name: str, *args: exp.Expression) -> exp.Expression:
    """A DuckDB function by name, untouched by sqlglot's translation."""
    return exp.Anonymous(this=name, expressions=list(args))


def call(name: str) -> Builder:
    """A function that DuckDB has under a name."""
    return lambda args: func(name, *args)


def number(value: Fraction) -> exp.Expression:
    """A DOUBLE constant, the nearest to the fraction."""
    text = repr(abs(float(value)))
    # With an exponent: without one DuckDB reads a DECIMAL.
    magnitude = exp.Literal(this=text if "e" in text else f"{text}e0", is_string=False)
    return exp.Paren(this=exp.Neg(this=magnitude)) if value < 0 else magnitude


def integer(value: int) -> exp.Expression:
    """A BIGINT constant."""
    return _cast(exp.Literal.string(str(value)), exp.DType.BIGINT)


def _cast(arg: exp.Expression, to: exp.DType) -> exp.Expression:
    return exp.Cast(this=arg, to=exp.DataType(this=to))


def _try(arg: exp.Expression, to: exp.DType) -> exp.Expression:
    return exp.TryCast(this=arg, to=exp.DataType(this=to))


def literal(expr: Literal) -> exp.Expression:
    """A constant of its type."""
    value = expr.value
    if value is None:
        kinds = {
            DataType.NUMBER: exp.DType.DOUBLE,
            DataType.STRING: exp.DType.VARCHAR,
            DataType.BOOLEAN: exp.DType.BOOLEAN,
            DataType.TIMESTAMP: exp.DType.BIGINT,
        }
        return _cast(exp.Null(), kinds[expr.type])
    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, str):
        return exp.Literal.string(value)
    return integer(value) if isinstance(value, int) else number(value)


def binary(kind: type[exp.Expression]) -> Builder:
    """An operator between two arguments, in parentheses."""
    return lambda args: exp.Paren(this=kind(this=args[0], expression=args[1]))


def divide(args: Args) -> exp.Expression:
    """Division; NULL by zero."""
    divisor = func("nullif", args[1], number(Fraction(0)))
    return exp.Paren(this=exp.Div(this=args[0], expression=divisor, typed=False, safe=True))


def modulo(args: Args) -> exp.Expression:
    """Remainder; NULL by zero."""
    divisor = func("nullif", args[1], number(Fraction(0)))
    return exp.Paren(this=exp.Mod(this=args[0], expression=divisor))


def negate(args: Args) -> exp.Expression:
    """Negative."""
    return exp.Paren(this=exp.Sub(this=number(Fraction(0)), expression=args[0]))


def sign(args: Args) -> exp.Expression:
    """-1, 0 or 1 as DOUBLE."""
    return _cast(func("sign", args[0]), exp.DType.DOUBLE)


def round_(args: Args) -> exp.Expression:
    """Rounding, halves away from zero."""
    digits = _small(args[1]) if len(args) > 1 else exp.Literal.number(0)
    return func("round", args[0], digits)


def _small(arg: exp.Expression) -> exp.Expression:
    """A checked NUMBER constant as a plain integer literal."""
    return exp.Literal.number(int(float(arg.name)))


def between(args: Args) -> exp.Expression:
    """Within both bounds."""
    return exp.Paren(this=exp.Between(this=args[0], low=args[1], high=args[2]))


def is_in(args: Args) -> exp.Expression:
    """One of the values."""
    return exp.Paren(this=exp.In(this=args[0], expressions=list(args[1:])))


def not_(args: Args) -> exp.Expression:
    """Negation."""
    return exp.Paren(this=exp.Not(this=args[0]))


def chain(word: str) -> Builder:
    """AND or OR of any number of arguments, as one flat chain."""
    kind: type[exp.Expression] = exp.And if word == "AND" else exp.Or

    def build(args: Args) -> exp.Expression:
        parts = list(args)
        while len(parts) > 1:
            pairs = [kind(this=a, expression=b) for a, b in zip(parts[::2], parts[1::2], strict=False)]
            parts = [exp.Paren(this=pair) for pair in pairs] + (parts[-1:] if len(parts) % 2 else [])
        return parts[0]

    return build


def is_null(args: Args) -> exp.Expression:
    """Whether there is no value."""
    return exp.Paren(this=exp.Is(this=args[0], expression=exp.Null()))


def length(args: Args) -> exp.Expression:
    """The number of characters, as DOUBLE."""
    return _cast(func("length", args[0]), exp.DType.DOUBLE)


def substring(args: Args) -> exp.Expression:
    """Characters from a position."""
    return func("substring", args[0], *(_small(arg) for arg in args[1:]))


def counted(name: str) -> Builder:
    """LEFT or RIGHT with a constant number of characters."""
    return lambda args: func(name, args[0], _small(args[1]))


def _cut(arg: exp.Expression) -> exp.Expression:
    return func("left", arg, exp.Literal.number(LENGTH))


def concat(args: Args) -> exp.Expression:
    """Strings one after the other, cut to the greatest length; NULL if one of them is."""
    result = args[0]
    for arg in args[1:]:
        result = _cut(exp.Paren(this=exp.DPipe(this=result, expression=arg)))
    return result


def replace(args: Args) -> exp.Expression:
    """Occurrences replaced, cut to the greatest length."""
    return _cut(func("replace", *args))


def like(args: Args) -> exp.Expression:
    """LIKE with a constant pattern."""
    return exp.Paren(this=exp.Like(this=args[0], expression=args[1]))


def to_number(args: Args) -> exp.Expression:
    """Conversion, NULL where there is none."""
    return _try(args[0], exp.DType.DOUBLE)


def to_string(args: Args) -> exp.Expression:
    """Conversion to a string."""
    return _try(args[0], exp.DType.VARCHAR)


def to_boolean(args: Args) -> exp.Expression:
    """Conversion, NULL where there is none."""
    return _try(args[0], exp.DType.BOOLEAN)


def case(whens: Sequence[tuple[exp.Expression, exp.Expression]], default: exp.Expression | None) -> exp.Expression:
    """CASE WHEN ... END."""
    return exp.Case(ifs=[exp.If(this=test, true=value) for test, value in whens], default=default)


def clip(arg: exp.Expression, low: Fraction, high: Fraction, default: Fraction) -> exp.Expression:
    """RANGE: NULL and what is not finite become the default, then the value is clipped. The argument is written once.

    NaN is the greatest DOUBLE in DuckDB and infinity next, so after replacing both ends the rest is a comparison.
    A plain column may be written often, and then one comparison settles most rows.
    """
    if isinstance(arg, exp.Column):
        inside = exp.Between(this=arg.copy(), low=number(low), high=number(high))
        missing = exp.Or(
            this=exp.Is(this=arg.copy(), expression=exp.Null()),
            expression=exp.Not(this=func("isfinite", arg.copy())),
        )
        below = exp.LT(this=arg.copy(), expression=number(low))
        filler = number(min(max(default, low), high))
        return case([(inside, arg), (missing, filler), (below, number(low))], number(high))
    finite = arg
    for word in ("nan", "inf", "-inf"):
        finite = func("nullif", finite, _cast(exp.Literal.string(word), exp.DType.DOUBLE))
    filled = func("coalesce", finite, number(default))
    return func("least", func("greatest", filled, number(low)), number(high))


# --- time ---------------------------------------------------------------------------------------------------


def _steps(moment: exp.Expression, values: Sequence[tuple[int, int]]) -> exp.Expression:
    """A step function of the moment: (from, value), by bisection so that nesting stays logarithmic."""
    distinct = [values[0]] + [b for a, b in pairwise(values) if a[1] != b[1]]
    return _bisect(moment, distinct)


def _bisect(moment: exp.Expression, values: Sequence[tuple[int, int]]) -> exp.Expression:
    if len(values) == 1:
        return integer(values[0][1])
    middle = len(values) // 2
    test = exp.LT(this=moment.copy(), expression=integer(values[middle][0]))
    return case([(test, _bisect(moment, values[:middle]))], _bisect(moment, values[middle:]))


def _zone(arg: exp.Expression) -> str:
    name = arg.name
    assert isinstance(name, str)
    return name


def _plus(a: exp.Expression, b: exp.Expression) -> exp.Expression:
    return exp.Paren(this=exp.Add(this=a, expression=b))


def _minus(a: exp.Expression, b: exp.Expression) -> exp.Expression:
    return exp.Paren(this=exp.Sub(this=a, expression=b))


def _floor(arg: exp.Expression, length: int) -> exp.Expression:
    """A BIGINT of 0 or more, rounded down to a multiple."""
    whole = exp.Paren(this=exp.IntDiv(this=arg, expression=integer(length)))
    return exp.Paren(this=exp.Mul(this=whole, expression=integer(length)))


def _strict(moment: exp.Expression, value: exp.Expression) -> exp.Expression:
    """NULL for a NULL moment, also where the value is made of comparisons only."""
    return case([(exp.Is(this=moment.copy(), expression=exp.Null()), _cast(exp.Null(), exp.DType.BIGINT))], value)


def calendar(unit: str) -> Builder:
    """The start of the local calendar unit."""

    def build(args: Args) -> exp.Expression:
        moment, timezone = args[0], _zone(args[1])
        begin, end = _WINDOW.get()
        if unit == "month":
            starts = tf.months(timezone, begin, end)
            return _strict(moment, _steps(moment, [(start, start) for start in starts]))
        length = {"hour": HOUR, "day": DAY, "week": WEEK}[unit]
        # Shifted by whole units, so that integer division rounds down and weeks begin on Monday.
        shift = _WEEK_SHIFT + (3 * DAY if unit == "week" else 0)
        parts = tf.pieces(unit, timezone, begin, end)
        offset = _steps(moment, [(start, o + shift) for start, o, _ in parts])
        back = _steps(moment, [(start, o + shift) for start, _, o in parts])
        return _minus(_floor(_plus(moment, offset), length), back)

    return build


def fixed_bin(args: Args) -> exp.Expression:
    """The start of the bin of fixed length."""
    period = int(Fraction(args[1].name))
    origin = tf.bin_origin(period, _zone(args[2]))
    return _plus(_floor(_minus(args[0], integer(origin)), period), integer(origin))


def _local_hours(args: Args, length: int) -> exp.Expression:
    moment, timezone = args[0], _zone(args[1])
    begin, end = _WINDOW.get()
    changes = (begin, *tf.transitions(timezone, begin, end))
    offset = _steps(moment, [(c, tf.offset_us(c, timezone) + _WEEK_SHIFT) for c in changes])
    return exp.Paren(this=exp.IntDiv(this=_plus(moment, offset), expression=integer(length)))


def _remainder(arg: exp.Expression, divisor: int) -> exp.Expression:
    return exp.Paren(this=exp.Mod(this=arg, expression=integer(divisor)))


def hour_of_day(args: Args) -> exp.Expression:
    """The local hour, 0 to 23, as DOUBLE."""
    return _cast(_remainder(_local_hours(args, HOUR), 24), exp.DType.DOUBLE)


def day_of_week(args: Args) -> exp.Expression:
    """The local day of the week, 1 for Monday to 7, as DOUBLE."""
    # The epoch was a Thursday: three days after a Monday.
    days = _plus(_local_hours(args, DAY), integer(3))
    return _cast(_plus(_remainder(days, 7), integer(1)), exp.DType.DOUBLE)
