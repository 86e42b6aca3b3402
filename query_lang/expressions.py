"""Expressions of the plan as trees: their parts, what they read, and the same with something replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from query_lang.logical import Call, Case, Column, DataType, Expr, Range


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


def conjuncts(predicate: Expr) -> tuple[Expr, ...]:
    """The parts of a predicate that must all be true for it to be true."""
    if isinstance(predicate, Call) and predicate.function == "and":
        return tuple(part for arg in predicate.args for part in conjuncts(arg))
    return (predicate,)


def conjunction(parts: Sequence[Expr]) -> Expr:
    """The predicate that is true where all of these (at least one) are."""
    return parts[0] if len(parts) == 1 else Call("and", tuple(parts), DataType.BOOLEAN)
