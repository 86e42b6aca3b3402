"""Source tables, WHERE, projection and LIMIT (privacy-model.md, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from privid.privacy.base import Base
from privid.privacy.stability.expressions import listable
from privid.privacy.stability.frames import Frame, KeptFrame, MappedFrame, SlotFrame
from privid.privacy.stability.slots import TRUSTED
from privid.privacy.stability.state import ColumnState, Influence, State
from query_lang.expressions import columns_of, conjunction, conjuncts, substitute
from query_lang.logical import Column, Expr, Filter, Limit, Project, Range, Source


def source(relation: Source, base: Base) -> State:
    """r = max_rows, R = M*r; EXACTLY n: the size is exact and net 0, else net = max_rows.

    A slot writes between 1 and max_rows rows and nothing else, so changing it replaces at most max_rows rows by as
    many. The system's own columns are the slot's chunk, camera and region.
    """
    process = base.process
    most = process.max_rows
    influence = Influence(most, base.touched_slots * most, 0 if process.exact else most, base.touched_slots)
    columns = {
        field.name: ColumnState(
            field.name, field.type, trust={base.name: Column(field.name, field.type)} if field.name in TRUSTED else {}
        )
        for field in relation.fields
    }
    return State(
        relation=relation,
        inputs=(),
        columns=columns,
        influence={base.name: influence},
        rows=SlotFrame(base, most),
        counted=process.exact,
        size=most * base.slots if process.exact else None,
        rule=f"source: r = {'exactly ' if process.exact else ''}max_rows, R = M*r",
    )


def where(relation: Filter, inner: State) -> State:
    """r and R stay; net := r unless the predicate reads trusted columns only; the exact size stays for public columns.

    A filter keeps or drops each row by itself, so no more rows change than before; but a row that replaces another may
    be dropped where the other was kept, so the count can move by r. If the predicate is a function of the slot, rows of
    one slot are kept or dropped together. lip stays where the predicate is trusted. Of `a AND b`, a part that is public
    narrows the public values, and one that is trusted the slots that are charged, whatever the other part is.
    """
    state = kept(inner, relation.predicate)
    return replace(state, relation=relation, inputs=(inner,))


def kept(inner: State, predicate: Expr) -> State:
    """The rows of a relation for which the predicate is true: WHERE, HAVING, FILTER. `relation` stays the input's."""
    names = columns_of(predicate)
    parts = conjuncts(predicate)
    public = [part for part in parts if inner.rows.knows(part)]
    counted = inner.counted and len(public) == len(parts)
    influence = {}
    for base, before in inner.influence.items():
        trusted = all(base in inner.columns[name].trust for name in names)
        net = 0 if counted else before.net if trusted else before.r
        # A slot for which some part is not true, all its rows alike, moves nothing from here on.
        active = [] if before.active is None else [before.active]
        active += _by_slot(parts, inner, base)
        influence[base] = replace(before, net=net, active=conjunction(active) if active else None)
    columns = {
        name: replace(
            column,
            lip={b: lip for b, lip in column.lip.items() if all(b in inner.columns[name].trust for name in names)},
        )
        for name, column in inner.columns.items()
    }
    rows: Frame = KeptFrame(inner.rows, conjunction(public)) if public else inner.rows
    return replace(
        inner,
        columns=columns,
        influence=influence,
        rows=rows,
        counted=counted,
        size=rows.size if counted else None,
        dense_keys=inner.dense_keys if counted else None,
        rule="WHERE on public columns: r, net and the exact size stay"
        if counted
        else "WHERE: r stays, net := r (stays where the predicate is trusted)",
    )


def _by_slot(parts: Sequence[Expr], inner: State, base: str) -> list[Expr]:
    """Those conditions that are a function of the base's slots, as such."""
    found = []
    for part in parts:
        names = columns_of(part)
        if all(base in inner.columns[name].trust for name in names):
            keeps = substitute(part, {name: inner.columns[name].trust[base] for name in names})
            found += [keeps] if listable(keeps) else []
    return found


def project(relation: Project, inner: State) -> State:
    """r, R, net and the size stay: one row in, one row out. An expression is trusted iff all its inputs are.

    RANGE is 1-Lipschitz, so lip survives it, and a column passed on.
    """
    items = dict(relation.items)
    columns = {name: _expression(name, expr, inner) for name, expr in items.items()}
    known = {name: expr for name, expr in items.items() if inner.rows.knows(expr)}
    domains = {
        name: domain
        for name, expr in items.items()
        if name not in known and (domain := inner.domain(expr, name)) is not None
    }
    renamed = {expr.name: name for name, expr in reversed(relation.items) if isinstance(expr, Column)}
    unique = tuple(frozenset(renamed[name] for name in key) for key in inner.unique if key <= renamed.keys())
    dense = inner.dense_keys
    if dense is not None:
        dense = tuple(renamed[name] for name in dense) if renamed.keys() >= set(dense) else None
    return State(
        relation=relation,
        inputs=(inner,),
        columns=columns,
        influence=inner.influence,
        rows=MappedFrame(inner.rows, known),
        domains=domains,
        counted=inner.counted,
        size=inner.size,
        dense_keys=dense,
        unique=unique,
        rule="projection: r, R and net stay",
    )


def _expression(name: str, expr: Expr, inner: State) -> ColumnState:
    lip: dict[str, Fraction] = {}
    passed = expr.arg if isinstance(expr, Range) else expr
    if isinstance(passed, Column):
        lip = dict(inner.columns[passed.name].lip)
    return ColumnState(name, expr.type, inner.range_of(expr), inner.nullable(expr), inner.trust_map(expr), lip)


def limit(relation: Limit, inner: State) -> State:
    """r := min(r, n), R := min(R, n); net and an exact size stay; all trust and lip are lost; mult is at most n.

    The rows kept are the first n of a total order over all columns. One row removed from or added to the input changes
    that prefix by at most one row out and one in, so r of each change at most r, and there are only n. Which rows are
    kept depends on every slot, hence no trust.
    """
    most = relation.count
    influence = {
        base: replace(before, r=min(before.r, most), R=min(before.R, most), net=min(before.net, most))
        for base, before in inner.influence.items()
    }
    size = None if inner.size is None else min(most, max(0, inner.size - relation.offset))
    return replace(
        inner,
        relation=relation,
        inputs=(inner,),
        columns={name: column.without_promises() for name, column in inner.columns.items()},
        influence=influence,
        counted=False,
        size=size,
        dense_keys=None,
        rule="LIMIT n: r = min(r, n), all trust lost",
    )
