"""What is known of a relation: its influence for each source table, its columns, its public rows (section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from privid.privacy.base import Base
from privid.privacy.stability.expressions import public_value
from privid.privacy.stability.frames import Frame, ListedFrame, MappedFrame, StackedFrame
from query_lang import functions
from query_lang.expressions import columns_of, substitute
from query_lang.intervals import Interval
from query_lang.logical import Case, Column, DataType, Expr, Literal, Relation

TICKS = 1 << 20
"""Steps of the NUMBER grid in 1: values are fixed-point with granularity 2^-20 (section 4)."""
MAGNITUDE = 1 << 42
"""NUMBER values are below this."""


@dataclass(frozen=True, slots=True)
class Influence:
    """How far one source table B moves a relation.

    Changing one slot of B removes at most `r` rows and adds at most `r`, and moves the row count by at most `net`.
    `R` is `r` for all slots that one segment touches, at most `touched` (M) of them. Changing a slot for which the
    public predicate `active` is not true changes nothing at all; None is always true.
    """

    r: int
    R: int
    net: int
    touched: int
    active: Expr | None = None

    @property
    def net_segment(self) -> int:
        """How far one segment moves the row count: min(M*net, R)."""
        return min(self.touched * self.net, self.R)


@dataclass(frozen=True, slots=True)
class ColumnState:
    """A column. `low` and `high` bound its values other than NULL, if known.

    `trust` maps B to f: every row that a change of slot s of B removes or adds has f(s) here. `lip` maps B to a bound
    of the sum of this column's absolute changes when one slot of B changes.
    """

    name: str
    type: DataType
    range: Interval | None = None
    nullable: bool = False
    trust: Mapping[str, Expr] = field(default_factory=dict)
    lip: Mapping[str, Fraction] = field(default_factory=dict)

    def without_promises(self) -> ColumnState:
        """The same column with no trust and no lip."""
        return replace(self, trust={}, lip={})


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A relation, as far as it is public.

    `rows` lists the values of public columns, together; `domains` those of further columns, each for itself.
    `counted`: there are exactly as many rows of each public tuple as `rows` says. `size` is the exact number of rows,
    if public. `dense_keys`: every tuple of `rows` over these columns has exactly one row. `unique` are keys: no
    two rows are equal on one of them. `rule` says, for people, which rule gave the influence.
    """

    relation: Relation
    inputs: tuple[State, ...]
    columns: Mapping[str, ColumnState]
    influence: Mapping[str, Influence]
    rows: Frame
    rule: str
    domains: Mapping[str, Frame] = field(default_factory=dict)
    counted: bool = False
    size: int | None = None
    dense_keys: tuple[str, ...] | None = None
    unique: tuple[frozenset[str], ...] = ()

    def column(self, name: str) -> ColumnState:
        """A column by name."""
        return self.columns[name]

    def range_of(self, expr: Expr) -> Interval | None:
        """How far an expression over this relation's columns can lie, on the grid; None if unknown."""
        found = functions.value_range(
            expr, lambda column: self.columns[column.name].range, lambda column: self.columns[column.name].nullable
        )
        return None if found is None else on_grid(found)

    def nullable(self, expr: Expr) -> bool:
        """Whether an expression over this relation's columns can be NULL."""
        return functions.nullable(expr, lambda column: self.columns[column.name].nullable)

    def trusted(self, expr: Expr, base: str) -> Expr | None:
        """f, if the expression equals f(s) in every row that a change of slot s of the base removes or adds.

        All inputs are trusted, and the result is never NULL.
        """
        names = columns_of(expr)
        if self.nullable(expr) or any(base not in self.columns[name].trust for name in names):
            return None
        return substitute(expr, {name: self.columns[name].trust[base] for name in names})

    def trust_map(self, expr: Expr) -> dict[str, Expr]:
        """f for every base for which the expression is trusted."""
        found = {base: self.trusted(expr, base) for base in self.influence}
        return {base: f for base, f in found.items() if f is not None}

    def domain(self, expr: Expr, name: str) -> Frame | None:
        """The public domain of an expression by itself, as the values of column `name` of a frame; None if not public.

        It holds every value that the expression has in some row. It survives CASE over public values, whatever the
        conditions are.
        """
        if self.rows.knows(expr):
            return MappedFrame(self.rows, {name: expr})
        inputs = columns_of(expr)
        if len(inputs) == 1 and (frame := self.domains.get(*inputs)) is not None and frame.knows(expr):
            return MappedFrame(frame, {name: expr})
        match expr:
            case Literal():
                return ListedFrame((name,), ((public_value(expr, {}),),))
            case Case(whens=whens, default=default, type=kind):
                branches = [value for _, value in whens] + [Literal(None, kind) if default is None else default]
                parts = [self.domain(branch, name) for branch in branches]
                known = tuple(part for part in parts if part is not None)
                return StackedFrame(known) if len(known) == len(parts) else None
        return None


Bases = Mapping[str, Base]
"""Every source table of a script, by name."""


def on_grid(interval: Interval) -> Interval:
    """Both bounds on the NUMBER grid."""
    return grid_value(interval[0]), grid_value(interval[1])


def grid_value(value: Fraction) -> Fraction:
    """The nearest multiple of 2^-20 that is a double, halves to even: what the engine compares with."""
    return Fraction(round(Fraction(float(value)) * TICKS), TICKS)


def separate_domains(state: State, nulls: bool = False) -> dict[str, Frame]:
    """The public domain of every column that has one, each for itself; with NULL where an outer join adds it."""
    found: dict[str, Frame] = {}
    for name, column in state.columns.items():
        frame = state.domain(Column(name, column.type), name)
        if frame is not None:
            found[name] = StackedFrame((frame, ListedFrame((name,), ((None,),)))) if nulls else frame
    return found
