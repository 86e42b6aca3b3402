"""Expressions over columns: their inputs, composition, and evaluation over public values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from query_lang import functions
from query_lang.logical import Call, Case, Column, DataType, Expr, Literal, Range, Value

PublicRow = Mapping[str, Value | float]

_INEXACT = frozenset({"exp", "ln", "power", "sqrt", "to_number", "to_string"})
"""Functions that may differ between Python and DuckDB, in the last digit or where they have no value: what they give is
not listed in advance. So does rounding to a number of digits."""


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct parts of an expression."""
    match expr:
        case Call(args=args):
            return args
        case Case(whens=whens, default=default):
            parts = tuple(part for when in whens for part in when)
            return parts if default is None else (*parts, default)
        case Range(arg=arg):
            return (arg,)
        case _:
            return ()


def rebuild(expr: Expr, parts: Sequence[Expr]) -> Expr:
    """The same operation on other parts, given in the order of `children`."""
    match expr:
        case Call(function=function, type=kind):
            return Call(function, tuple(parts), kind)
        case Case(whens=whens, default=default, type=kind):
            pairs = tuple(zip(parts[0 : 2 * len(whens) : 2], parts[1 : 2 * len(whens) : 2], strict=True))
            return Case(pairs, None if default is None else parts[-1], kind)
        case Range(low=low, high=high, default=default):
            return Range(parts[0], low, high, default)
        case _:
            return expr


def transform(expr: Expr, change: Callable[[Expr], Expr | None]) -> Expr:
    """The expression with each part, from the outside in, replaced by what `change` gives, where it gives something."""
    changed = change(expr)
    if changed is not None:
        return changed
    parts = children(expr)
    return rebuild(expr, [transform(part, change) for part in parts]) if parts else expr


def columns_of(expr: Expr) -> frozenset[str]:
    """The names of all columns that an expression reads."""
    if isinstance(expr, Column):
        return frozenset((expr.name,))
    return frozenset().union(*(columns_of(part) for part in children(expr)))


def substitute(expr: Expr, replacement: Mapping[str, Expr]) -> Expr:
    """The expression with every column replaced; each must be in `replacement`."""
    return transform(expr, lambda part: replacement[part.name] if isinstance(part, Column) else None)


def listable(expr: Expr) -> bool:
    """Whether Python computes exactly the value that DuckDB does."""
    if isinstance(expr, Call) and (expr.function in _INEXACT or (expr.function == "round" and len(expr.args) > 1)):
        return False
    return all(listable(part) for part in children(expr))


def as_doubles(expr: Expr) -> Expr:
    """The same expression with every number constant as the double that DuckDB reads.

    `functions.evaluate` then does the double arithmetic of the engine, so that public keys are equal to those of rows.
    """

    def double(part: Expr) -> Expr | None:
        if isinstance(part, Literal) and part.type is DataType.NUMBER and part.value is not None:
            return Literal(float(part.value), DataType.NUMBER)  # type: ignore[arg-type]  # evaluate takes floats too
        return None

    return transform(expr, double)


def public_value(expr: Expr, row: PublicRow) -> Value:
    """The value of an expression, prepared by `as_doubles`, for a row of public values; numbers as exact fractions."""
    value = functions.evaluate(expr, row)
    if expr.type is DataType.NUMBER and value is not None:
        return Fraction(float(value))
    result: Value = value
    return result


def engine_row(row: Mapping[str, Value]) -> PublicRow:
    """Public values as the engine's: numbers as doubles."""
    return {name: float(value) if isinstance(value, Fraction) else value for name, value in row.items()}
