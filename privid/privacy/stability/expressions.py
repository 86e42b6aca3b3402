"""Expressions over public columns: which can be listed in advance, and their values."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from privid.privacy.refusal import Refusal
from query_lang import functions
from query_lang.expressions import children
from query_lang.logical import Call, Case, Column, Expr, Literal, Range, Value

PublicRow = Mapping[str, Value | float]

_EXACT = functions.TIME_FUNCTIONS | {
    "add",
    "sub",
    "mul",
    "div",
    "mod",
    "neg",
    "abs",
    "sign",
    "floor",
    "ceil",
    "least",
    "greatest",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "between",
    "in",
    "not",
    "and",
    "or",
    "is_null",
    "coalesce",
    "nullif",
}
"""Functions that Python and DuckDB compute alike, bit by bit. With one difference, a predicate could be false here,
where the charge is computed, and true there, where the answer is: so text functions, roots and more are left out."""


def listable(expr: Expr) -> bool:
    """Whether Python computes exactly the value that DuckDB does, so that its values may be listed in advance."""
    match expr:
        case Call(function=function):
            exact = function in _EXACT
        case Literal(value=str() as text):
            exact = text.isprintable()
        case _:
            exact = True
    return exact and all(listable(part) for part in children(expr))


def public_value(expr: Expr, row: PublicRow) -> Value:
    """The value of a listable expression for a row of public values; numbers as exact fractions of doubles.

    Raises Refusal for arithmetic whose result is no finite number.
    """
    value = engine_value(expr, row)
    return Fraction(value) if isinstance(value, float) else value


def engine_value(expr: Expr, row: PublicRow) -> Value | float:
    """What DuckDB computes: every number is a double at every step, NULL is None."""
    match expr:
        case Column(name=name):
            return row[name]
        case Literal(value=value):
            return _double(value)
        case Range(arg=arg, low=low, high=high, default=default):
            number = engine_value(arg, row)
            filled = float(default) if number is None else number
            assert isinstance(filled, float)
            return min(max(filled, float(low)), float(high))
        case Case(whens=whens, default=default):
            for test, branch in whens:
                if engine_value(test, row) is True:
                    return engine_value(branch, row)
            return None if default is None else engine_value(default, row)
        case Call(function=function, args=args):
            return _called(function, [engine_value(arg, row) for arg in args])


def _called(function: str, args: list[Value | float]) -> Value | float:
    """A function of the registry, with three-valued logic also where the registry says NULL for any NULL."""
    if function == "between":
        bounds = [functions.apply("ge", args[:2]), functions.apply("le", [args[0], args[2]])]
        return functions.apply("and", bounds)  # type: ignore[no-any-return]
    if function == "in" and args[0] is not None and None in args:
        return True if args[0] in [arg for arg in args[1:] if arg is not None] else None
    result = functions.apply(function, args)
    undefined = function in ("div", "mod") and args[1] == 0
    if result is None and None not in args and function != "nullif" and not undefined:
        raise Refusal(
            "not_finite", "arithmetic on public values gives no finite number", "Use numbers of a sensible size."
        )
    return _double(result)


def _double(value: Value | float) -> Value | float:
    return float(value) if isinstance(value, Fraction) else value


def engine_row(row: Mapping[str, Value]) -> PublicRow:
    """Public values as the engine's: numbers as doubles."""
    return {name: _double(value) for name, value in row.items()}
