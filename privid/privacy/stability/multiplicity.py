"""mult: the most rows of a relation that have one value of given public columns (section 2).

Source: max_rows * slots per value. WHERE, projection, DISTINCT, LIMIT keep it; UNION ALL adds; JOIN multiplies; GROUP
BY: as the input if sparse, the public keys with that value if dense. Bounds are for every possible video, so they
need no trust; an expression whose values are not public is left out, which only makes the bound larger.
"""

from __future__ import annotations

from collections.abc import Mapping

from privid.privacy.stability.slots import EachChunk
from privid.privacy.stability.state import State
from query_lang.expressions import columns_of, substitute
from query_lang.logical import (
    Aggregate,
    Column,
    Expr,
    Filter,
    Join,
    JoinKind,
    Limit,
    Project,
    SetKind,
    SetOperation,
    Source,
    UnionAll,
)

Exprs = tuple[Expr, ...]


def multiplicity(state: State, exprs: Exprs) -> int:
    """The most rows with one value of these expressions over the relation's columns."""
    inputs = state.inputs
    match state.relation:
        case Source():
            return _most(state, exprs)
        case Filter():
            return multiplicity(inputs[0], exprs)
        case Project(items=items):
            return multiplicity(inputs[0], _through(exprs, dict(items)))
        case Aggregate(keys=keys):
            if state.dense_keys is not None:
                return _most(state, exprs)
            return multiplicity(inputs[0], _through(exprs, {key.name: key.expr for key in keys}))
        case UnionAll():
            return sum(multiplicity(branch, _renamed(exprs, state, branch)) for branch in inputs)
        case SetOperation(kind=kind):
            left, right = (multiplicity(branch, _renamed(exprs, state, branch)) for branch in inputs)
            return {SetKind.UNION: left + right, SetKind.INTERSECT: min(left, right), SetKind.EXCEPT: left}[kind]
        case Join() as join:
            return _joined(join, state, exprs)
        case Limit(count=count):
            return min(count, multiplicity(inputs[0], exprs))


def _most(state: State, exprs: Exprs) -> int:
    known = tuple(expr for expr in exprs if state.rows.knows(expr))
    counts = state.rows.count(known)
    return counts.most() if isinstance(counts, EachChunk) else max(counts.values(), default=0)


def _through(exprs: Exprs, items: Mapping[str, Expr]) -> Exprs:
    return tuple(substitute(expr, items) for expr in exprs if columns_of(expr) <= items.keys())


def _renamed(exprs: Exprs, state: State, branch: State) -> Exprs:
    names = dict(zip(state.columns, branch.columns.values(), strict=True))
    return _through(exprs, {name: Column(column.name, column.type) for name, column in names.items()})


def _joined(join: Join, state: State, exprs: Exprs) -> int:
    """The product, or the smaller side where a key has one row on both; unmatched rows come on top.

    A bound on a joined column bounds its partner on the other side as well (not through NULLs).
    """
    left, right = state.inputs
    sides = []
    for side, pairs in ((left, join.on), (right, tuple((two, one) for one, two in join.on))):
        names: dict[str, Expr] = {name: Column(name, column.type) for name, column in side.columns.items()}
        if join.kind is JoinKind.INNER:
            names |= {other: names[own] for own, other in pairs}
        sides.append(multiplicity(side, _through(exprs, names)))
    one_a_key = all(
        any(key <= {pair[side] for pair in join.on} for key in inner.unique) for side, inner in enumerate((left, right))
    )
    if one_a_key:
        return {JoinKind.INNER: min(sides), JoinKind.LEFT: sides[0], JoinKind.FULL: sum(sides)}[join.kind]
    if join.kind is JoinKind.INNER:
        return sides[0] * sides[1]
    unmatched = sides[1] if join.kind is JoinKind.FULL else 0
    return sides[0] * max(1, sides[1]) + unmatched
