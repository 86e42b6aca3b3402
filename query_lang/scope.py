"""Names and where they lead: the columns that an expression can see, and the tables that a SELECT can read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from sqlglot import exp

from query_lang import logical as lp
from query_lang.errors import QueryError, Span, name_hint


@dataclass(frozen=True, slots=True)
class BoundColumn:
    """A column of a bound relation: `name` is what the user calls it, `column` what the plan does.

    `zone` is the timezone of a TIMESTAMP (None: rows of several zones), `default` the schema's default of a NUMBER
    that comes straight from an executable. `listed` says whether an outermost group of it needs WITH KEYS, as far as
    names tell: it is filled by an executable, or computed from such a column.
    """

    name: str
    column: lp.Column
    zone: str | None = None
    default: Fraction | None = None
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound relation. `size` counts the operators of its tree, every occurrence of a shared part included.

    `name` is that of a table or CTE, as declared.
    """

    relation: lp.Relation
    columns: tuple[BoundColumn, ...]
    size: int = 1
    depth: int = 1
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ScopeTable:
    """A table in FROM, under the name by which its columns can be qualified."""

    name: str | None
    columns: tuple[BoundColumn, ...]


class Source:
    """The text of a query, for errors that point into it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.statement: Span | None = None
        """Where the statement begins that is being bound: the place of errors that have no closer one."""

    def error(self, code: str, message: str, at: exp.Expr | Span | None = None, hint: str | None = None) -> QueryError:
        """The error at a syntax node or at a place in the text."""
        place = span(at) if isinstance(at, exp.Expr) else at
        return QueryError(code, message, text=self.text, span=place or self.statement, hint=hint)


def span(node: exp.Expr) -> Span | None:
    """The place of a node: its own position and those of all that is below it."""
    start: int | None = None
    end = 0
    for part in node.walk():
        first, last = part.meta_get("start"), part.meta_get("end")
        if isinstance(first, int) and isinstance(last, int):
            start = first if start is None else min(start, first)
            end = max(end, last + 1)
    return None if start is None else (start, end)


class Scope:
    """The tables of one FROM."""

    def __init__(self, source: Source, tables: Sequence[ScopeTable]) -> None:
        self.source = source
        self.tables = tuple(tables)

    @property
    def columns(self) -> tuple[BoundColumn, ...]:
        """All columns, in the order of the tables."""
        return tuple(column for table in self.tables for column in table.columns)

    def find(self, node: exp.Column) -> BoundColumn | None:
        """The column that a reference names; None if there is none. Raises QueryError if there are several."""
        wanted = node.name.casefold()
        found = [column for table in self._tables(node) for column in table.columns if column.name.casefold() == wanted]
        if len(found) > 1:
            owners = [f"{t.name}.{node.name}" for t in self.tables if t.name and _has(t.columns, wanted)]
            hint = f"write {' or '.join(owners)}" if len(owners) > 1 else "give the tables names with AS"
            raise self.source.error("ambiguous_name", f"column {node.name!r} is in several tables", node, hint)
        return found[0] if found else None

    def get(self, node: exp.Column) -> BoundColumn:
        """The column that a reference names. Raises QueryError, with a suggestion, if there is none."""
        found = self.find(node)
        if found is not None:
            return found
        if node.this.args.get("quoted") and not node.table:
            hint = f"text is written in single quotes: '{node.name}'"
        else:
            names = {column.name for table in self._tables(node) for column in table.columns}
            hint = name_hint(node.name, names, "there is")
        raise self.source.error("unknown_name", f"unknown column {node.name!r}", node, hint)

    def _tables(self, node: exp.Column) -> tuple[ScopeTable, ...]:
        if node.args.get("db") or node.args.get("catalog"):
            raise self.source.error("unsupported", "a column has at most one qualifier", node, "write table.column")
        if not node.table:
            return self.tables
        tables = tuple(t for t in self.tables if t.name is not None and t.name.casefold() == node.table.casefold())
        if not tables:
            names = [t.name for t in self.tables if t.name is not None]
            hint = name_hint(node.table, names, "in FROM there is")
            raise self.source.error("unknown_name", f"unknown table {node.table!r}", node.args["table"], hint)
        return tables

    @property
    def zone(self) -> str | None:
        """The one zone of all moments in sight, or None."""
        zones = {column.zone for column in self.columns if column.column.type is lp.DataType.TIMESTAMP}
        return zones.pop() if len(zones) == 1 else None


def _has(columns: Iterable[BoundColumn], folded: str) -> bool:
    return any(column.name.casefold() == folded for column in columns)


def unique_names(wanted: Iterable[str]) -> list[str]:
    """The names, with a number behind those that would occur twice (engines do not tell case apart)."""
    taken: set[str] = set()
    result = []
    for name in wanted:
        unique, number = name, 2
        while unique.casefold() in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique.casefold())
        result.append(unique)
    return result


def rename(columns: Iterable[BoundColumn], names: Iterable[str]) -> tuple[BoundColumn, ...]:
    """The columns with other names in the plan."""
    return tuple(
        replace(column, column=lp.Column(name, column.column.type)) for column, name in zip(columns, names, strict=True)
    )
