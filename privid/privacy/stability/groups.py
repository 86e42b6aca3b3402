"""GROUP BY inside a query, DISTINCT, WITH KEYS (privacy-model.md, section 2).

- *No aggregates* (DISTINCT): whether a row is there depends on its copies only: r stays, net := r.
- *Untrusted keys*: a slot that removes r rows and adds r changes up to 2r groups; each of them may leave as one row and
  come back as another anywhere: 2r.
- *Trusted keys*: all rows of a slot fall into one group, f(slot), so at most one row leaves and one enters; a segment
  reaches at most D keys.
- *Mixed keys*: all groups that change share the trusted part of their key, and only mult(T) groups do.
- *Dense*: if every key has a public domain, or is listed by WITH KEYS, every key is there exactly once, whatever the
  video shows: the size is exact and net 0.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from math import prod

from privid.privacy.refusal import Refusal
from privid.privacy.stability import results
from privid.privacy.stability.expressions import public_value
from privid.privacy.stability.frames import Frame, ListedFrame, MappedFrame, slot_keys
from privid.privacy.stability.multiplicity import multiplicity
from privid.privacy.stability.slots import Values, reach
from privid.privacy.stability.state import Bases, ColumnState, Influence, State, grid_value
from query_lang.logical import Aggregate, Column, DataType, Expr, Key, Literal, Value

MOST_GROUPS = 2_000_000
"""More public groups than this are refused: they are all listed."""


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """The public keys of a grouping: every combination, once, in the order of the group keys."""

    names: tuple[str, ...]
    rows: tuple[Values, ...]


def group(relation: Aggregate, inner: State, bases: Bases) -> State:
    """The state of an inner GROUP BY. Raises Refusal for an aggregate that cannot be inside."""
    if not relation.aggregates and not relation.listed:
        return _distinct(relation, inner)
    trust = {key.name: trusted_keys(relation, key, inner) for key in relation.keys}
    public = _public_frame(relation, inner)
    dense = public is not None
    names = tuple(key.name for key in relation.keys)
    columns = {key.name: _key_column(relation, key, inner, trust[key.name]) for key in relation.keys}
    rows, domains = (public, {}) if public is not None else _key_frames(relation, inner)
    state = State(
        relation=relation,
        inputs=(inner,),
        columns=columns,
        influence={},
        rows=rows,
        rule="",
        domains=domains,
        counted=dense,
        size=public.size if public is not None else None,
        dense_keys=names if dense else None,
        unique=(frozenset(names),),
    )
    influence = {}
    rules = set()
    for base, before in inner.influence.items():
        influence[base], rule = _moved(relation, state, before, base, bases, trust)
        rules.add(rule)
    by_trusted = {base for base in inner.influence if all(base in trust[name] for name in names)}
    columns |= {call.name: results.column(call, relation, inner, dense, by_trusted) for call in relation.aggregates}
    return replace(state, columns=columns, influence=influence, rule="; ".join(sorted(rules)))


def _public_frame(relation: Aggregate, inner: State) -> Frame | None:
    """All public keys, each once; None if the groups are sparse."""
    if relation.keys and not relation.listed_keys and all(inner.rows.knows(key.expr) for key in relation.keys):
        slots = slot_keys(inner.rows, {key.name: key.expr for key in relation.keys})
        if slots is not None and slots.size <= MOST_GROUPS:
            return slots
    keys = public_keys(relation, inner, sparse=not relation.listed_keys)
    return None if keys is None else ListedFrame(keys.names, keys.rows)


def _distinct(relation: Aggregate, inner: State) -> State:
    rows, domains = _key_frames(relation, inner)
    columns = {
        key.name: ColumnState(
            key.name, key.expr.type, inner.range_of(key.expr), inner.nullable(key.expr), inner.trust_map(key.expr)
        )
        for key in relation.keys
    }
    return State(
        relation=relation,
        inputs=(inner,),
        columns=columns,
        influence={base: replace(before, net=before.r) for base, before in inner.influence.items()},
        rows=rows,
        domains=domains,
        unique=(frozenset(columns),),
        rule="DISTINCT: r stays, net := r",
    )


def _key_column(relation: Aggregate, key: Key, inner: State, trust: dict[str, Expr]) -> ColumnState:
    """A key's column; a listed one has exactly the listed values, wherever the expression can lie."""
    if key.name not in relation.listed_keys:
        return ColumnState(key.name, key.expr.type, inner.range_of(key.expr), inner.nullable(key.expr), trust)
    position = relation.listed_keys.index(key.name)
    values = {_literal(row[position]) for row in relation.listed}
    numbers = [value for value in values if isinstance(value, Fraction)]
    bounds = (min(numbers), max(numbers)) if numbers else None
    return ColumnState(key.name, key.expr.type, bounds, None in values, {} if None in values else trust)


def _key_frames(relation: Aggregate, inner: State) -> tuple[Frame, dict[str, Frame]]:
    """Public values of the keys of sparse groups: together where possible, else each for itself."""
    together = {key.name: key.expr for key in relation.keys if inner.rows.knows(key.expr)}
    apart = {
        key.name: domain
        for key in relation.keys
        if key.name not in together and (domain := inner.domain(key.expr, key.name)) is not None
    }
    return MappedFrame(inner.rows, together), apart


def _moved(
    relation: Aggregate,
    state: State,
    before: Influence,
    base: str,
    bases: Bases,
    trust: dict[str, dict[str, Expr]],
) -> tuple[Influence, str]:
    """The influence of one source table on the groups, and the rule's name."""
    dense = state.dense_keys is not None
    known = {key.name: trust[key.name][base] for key in relation.keys if base in trust[key.name]}
    net = 0 if dense else before.r
    if dense and len(known) == len(relation.keys):
        reached = reach(bases[base], tuple(known.values()))
        moved = replace(before, r=1, R=min(before.touched, reached), net=net)
        return moved, "GROUP BY trusted keys: dense, r = 1, R = min(M, D), net = 0"
    free = {name: f for name, f in known.items() if name not in relation.listed_keys}
    r, R = 2 * before.r, 2 * before.R  # noqa: N806  # R as in the model
    if dense or free:
        columns = state.columns
        most = multiplicity(state, tuple(Column(name, columns[name].type) for name in free))
        r, R = min(r, most), min(R, most * reach(bases[base], tuple(free.values())))  # noqa: N806
    if dense:
        rule = "GROUP BY with public keys: dense, r = min(2r, n), net = 0"
    elif free:
        rule = "GROUP BY mixed keys: r = min(2r, mult(T)), net := r"
    else:
        rule = "GROUP BY untrusted keys: r = 2r, net := r"
    return replace(before, r=r, R=R, net=net), rule


def trusted_keys(relation: Aggregate, key: Key, inner: State) -> dict[str, Expr]:
    """f for every base for which a key is trusted. A listed NUMBER is rounded to the grid: then only if f is on it."""
    trust = inner.trust_map(key.expr)
    if not trust or key.name not in relation.listed_keys or key.expr.type is not DataType.NUMBER:
        return trust
    domain = inner.domain(key.expr, key.name)
    if domain is None:
        return {}
    values = (value for (value,) in domain.count((Column(key.name, key.expr.type),)))
    return trust if all(isinstance(v, int | float) or v == _converted(v) for v in values) else {}


def _converted(value: Value) -> Value:
    return grid_value(value) if isinstance(value, Fraction) else value


def public_keys(relation: Aggregate, inner: State, *, sparse: bool = False) -> PublicKeys | None:
    """Every combination of keys, each of them listed or with a public domain.

    Keys whose values are public together are combined as they occur, others in every way. A key that is neither gives
    None if the groups may be `sparse`, else Refusal; too many groups are always refused.
    """
    free = [key for key in relation.keys if key.name not in relation.listed_keys]
    together = [key for key in free if inner.rows.knows(key.expr)]
    apart = [key for key in free if not inner.rows.knows(key.expr)]
    parts: list[tuple[tuple[str, ...], Collection[Values]]] = []
    if relation.listed_keys:
        listed = dict.fromkeys(tuple(_literal(value) for value in row) for row in relation.listed)
        parts.append((relation.listed_keys, tuple(listed)))
    for key in apart:
        domain = inner.domain(key.expr, key.name)
        if domain is None:
            if sparse:
                return None
            raise Refusal(
                "keys_not_public",
                f"the groups of {key.name} come from the video, so they must be listed",
                f"Add WITH KEYS [...] with the values of {key.name} that you want to see.",
                key.span,
            )
        parts.append(((key.name,), domain.count((Column(key.name, key.expr.type),))))
    if together:
        parts.append((tuple(key.name for key in together), inner.rows.count(tuple(k.expr for k in together))))
    if prod(len(rows) for _, rows in parts) > MOST_GROUPS:
        raise Refusal(
            "too_many_groups",
            f"there would be more than {MOST_GROUPS:,} groups",
            "Group by longer bins of time, or list fewer keys.",
            relation.keys[0].span if relation.keys else None,
        )
    if len(parts) == 1 and parts[0][0] == tuple(key.name for key in relation.keys):
        return PublicKeys(parts[0][0], tuple(parts[0][1]))
    order = [name for names, _ in parts for name in names]
    positions = [order.index(key.name) for key in relation.keys]
    rows = [tuple(value for part in combination for value in part) for combination in product(*(r for _, r in parts))]
    return PublicKeys(tuple(key.name for key in relation.keys), tuple(tuple(row[i] for i in positions) for row in rows))


def _literal(literal: Literal) -> Value:
    """A listed key as the engine compares it: numbers on the grid of NUMBER values."""
    return _converted(public_value(literal, {}))
