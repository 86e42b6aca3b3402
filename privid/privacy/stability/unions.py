"""UNION ALL and the set operations (privacy-model.md, section 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from privid.privacy.stability.frames import Frame, MappedFrame, StackedFrame
from privid.privacy.stability.state import ColumnState, Influence, State
from query_lang import intervals
from query_lang.logical import Call, Column, DataType, Expr, SetKind, SetOperation, UnionAll


def union_all(relation: UnionAll, branches: Sequence[State]) -> State:
    """r, R and net add over the branches; lip and keys are lost; the size is exact iff every branch's is.

    A slot's change acts on each branch that reads its table. A column stays trusted for B only if every branch that
    contains B has the same f: a row that changes may come from any of them.
    """
    counted = all(branch.counted for branch in branches)
    sizes = [branch.size for branch in branches]
    return replace(
        _stacked(relation, branches),
        counted=counted,
        size=None if any(size is None for size in sizes) else sum(size or 0 for size in sizes),
        rule="UNION ALL: r, R and net add",
    )


def set_operation(relation: SetOperation, left: State, right: State) -> State:
    """r and R add; net := r; rows are distinct, so all columns together are a key; trust as UNION ALL.

    Whether a row is in the result depends on its copies on both sides only. So each changed row of either side takes
    out or brings in at most that one row.
    """
    both = _stacked(relation, (left, right))
    columns = both.columns
    if relation.kind is not SetKind.UNION:
        columns = {
            name: replace(column, range=first.range, nullable=first.nullable)
            for (name, column), first in zip(columns.items(), left.columns.values(), strict=True)
        }
    return replace(
        both,
        columns=columns,
        influence={base: replace(moved, net=moved.r) for base, moved in both.influence.items()},
        unique=(frozenset(columns),),
        rule=f"{relation.kind.value}: r and R add, net := r",
    )


def _stacked(relation: UnionAll | SetOperation, branches: Sequence[State]) -> State:
    names = tuple(branches[0].columns)
    by_position = list(zip(*(branch.columns.values() for branch in branches), strict=True))
    columns = {name: _column(name, parts, branches) for name, parts in zip(names, by_position, strict=True)}
    together: dict[str, int] = {}
    apart: dict[str, Frame] = {}
    for position, (name, parts) in enumerate(zip(names, by_position, strict=True)):
        if all(part.name in branch.rows.columns for part, branch in zip(parts, branches, strict=True)):
            together[name] = position
            continue
        frames = [
            branch.domain(Column(part.name, part.type), name) for part, branch in zip(parts, branches, strict=True)
        ]
        known = tuple(frame for frame in frames if frame is not None)
        if len(known) == len(frames):
            apart[name] = StackedFrame(known)
    rows = StackedFrame(
        tuple(
            MappedFrame(
                branch.rows,
                {n: Column(by_position[p][i].name, by_position[p][i].type) for n, p in together.items()},
            )
            for i, branch in enumerate(branches)
        )
    )
    return State(
        relation=relation,
        inputs=tuple(branches),
        columns=columns,
        influence=added([branch.influence for branch in branches]),
        rows=rows,
        rule="",
        domains=apart,
    )


def _column(name: str, parts: Sequence[ColumnState], branches: Sequence[State]) -> ColumnState:
    trust: dict[str, Expr] = {}
    for base in {base for branch in branches for base in branch.influence}:
        f = same_function(base, [p for p, b in zip(parts, branches, strict=True) if base in b.influence])
        if f is not None:
            trust[base] = f
    return ColumnState(
        name,
        parts[0].type,
        intervals.hull([part.range for part in parts]),
        any(part.nullable for part in parts),
        trust,
    )


def same_function(base: str, columns: Sequence[ColumnState]) -> Expr | None:
    """The one f that makes every one of these columns trusted for the base, if there is one."""
    functions = {column.trust.get(base) for column in columns}
    return functions.pop() if len(functions) == 1 else None


def either(first: Influence | None, second: Influence | None) -> Expr | None:
    """When a slot moves one of two relations; None is always."""
    parts = [side.active for side in (first, second) if side is not None]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not known:
        return None
    return known[0] if len(known) == 1 or known[0] == known[1] else Call("or", tuple(known), DataType.BOOLEAN)


def added(parts: Sequence[Mapping[str, Influence]]) -> dict[str, Influence]:
    """Influences added up, base by base."""
    total: dict[str, Influence] = {}
    for part in parts:
        for base, moved in part.items():
            before = total.get(base)
            if before is None:
                total[base] = moved
                continue
            total[base] = Influence(
                before.r + moved.r, before.R + moved.R, before.net + moved.net, moved.touched, either(before, moved)
            )
    return total
