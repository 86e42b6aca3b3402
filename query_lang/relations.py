"""Small steps on bound relations: a table's columns, projection, distinct rows, renaming, merging."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from query_lang import logical as lp
from query_lang.bind import zone_of
from query_lang.expressions import columns_of
from query_lang.logical import DataType
from query_lang.scope import Bound, BoundColumn, rename


def source_table(process: lp.Process) -> Bound:
    """The rows of a PROCESS: trusted columns, then those of the schema."""
    zone = process.split.timezone
    trusted = [
        BoundColumn("chunk", lp.Column("chunk", DataType.TIMESTAMP), zone, listed=False),
        BoundColumn("camera", lp.Column("camera", DataType.STRING), listed=False),
    ]
    if process.split.region is not None:
        trusted.append(BoundColumn("region", lp.Column("region", DataType.STRING), listed=False))
    own = [
        BoundColumn(c.name, lp.Column(c.name, c.type), default=c.default if isinstance(c.default, Fraction) else None)
        for c in process.schema
    ]
    columns = (*trusted, *own)
    fields = tuple(lp.Field(c.column.name, c.column.type) for c in columns)
    return Bound(lp.Source(process, fields), columns, name=process.name)


def project(bound: Bound, outputs: Sequence[tuple[str, lp.Expr]]) -> Bound:
    """The outputs as columns; nothing is added to the plan if they are the columns of the relation as they stand."""
    by_name = {column.column.name: column for column in bound.columns}
    columns = []
    for name, expr in outputs:
        known = by_name.get(expr.name) if isinstance(expr, lp.Column) else None
        listed = any(by_name[used].listed for used in columns_of(expr))
        zone = zone_of(expr, bound.columns) if expr.type is DataType.TIMESTAMP else None
        default = known.default if known is not None else None
        columns.append(BoundColumn(name, lp.Column(name, expr.type), zone, default, listed))
    same = [column.column for column in bound.columns] == [expr for _, expr in outputs]
    if same and [name for name, _ in outputs] == [column.column.name for column in bound.columns]:
        return replace(bound, columns=tuple(columns))
    project = lp.Project(bound.relation, tuple(outputs))
    return Bound(project, tuple(columns), bound.size + 1, bound.depth + 1)


def distinct(bound: Bound) -> Bound:
    """The distinct rows."""
    keys = tuple(lp.Key(column.column.name, column.column) for column in bound.columns)
    return replace(bound, relation=lp.Aggregate(bound.relation, keys, ()), size=bound.size + 1, depth=bound.depth + 1)


def renamed(bound: Bound, names: Sequence[str]) -> Bound:
    """The columns under other names in the plan; the user's names stay."""
    if list(names) == [column.column.name for column in bound.columns]:
        return bound
    items = tuple((name, column.column) for name, column in zip(names, bound.columns, strict=True))
    project = lp.Project(bound.relation, items)
    return Bound(project, rename(bound.columns, names), bound.size + 1, bound.depth + 1)


def merged(first: Sequence[BoundColumn], others: Sequence[Sequence[BoundColumn]]) -> tuple[BoundColumn, ...]:
    """The columns of a set operation: what all branches agree on."""
    result = []
    for place, column in enumerate(first):
        same = [branch[place] for branch in others]
        zone = column.zone if all(c.zone == column.zone for c in same) else None
        default = column.default if all(c.default == column.default for c in same) else None
        listed = column.listed or any(c.listed for c in same)
        result.append(replace(column, zone=zone, default=default, listed=listed))
    return tuple(result)
