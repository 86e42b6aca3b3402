"""The logical plan: what a checked script means, free of its text.

Everything downstream (stability, charges, SQL for the engine, explain) works on these values only. A plan is
closed: every name is resolved, every expression typed, every alias replaced by an internal column name that is
unique within its relation. Times are integer microseconds UTC, numbers exact fractions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from fractions import Fraction


class DataType(Enum):
    """The types of columns and expressions. Counts and calendar numbers are NUMBER, moments are TIMESTAMP."""

    NUMBER = "NUMBER"
    STRING = "STRING"
    BOOLEAN = "BOOLEAN"
    TIMESTAMP = "TIMESTAMP"


Value = str | bool | Fraction | int | None
"""A constant: Fraction for NUMBER, int (microseconds UTC) for TIMESTAMP, None for NULL."""


# --- scalar expressions -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the relation that the expression is evaluated over."""

    name: str
    type: DataType


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: Value
    type: DataType


@dataclass(frozen=True, slots=True)
class Call:
    """A function or operator of `query_lang.functions`, by its registry name."""

    function: str
    args: tuple[Expr, ...]
    type: DataType


@dataclass(frozen=True, slots=True)
class Case:
    """CASE WHEN ... THEN ... ELSE default END; a missing ELSE is None."""

    whens: tuple[tuple[Expr, Expr], ...]
    default: Expr | None
    type: DataType


@dataclass(frozen=True, slots=True)
class Range:
    """RANGE(arg, low, high). NULL and non-finite values become `default`, then the value is clipped."""

    arg: Expr
    low: Fraction
    high: Fraction
    default: Fraction

    @property
    def type(self) -> DataType:
        """Always a NUMBER."""
        return DataType.NUMBER


Expr = Column | Literal | Call | Case | Range


# --- statements ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Split:
    """A SPLIT statement. `masks` are in the order written.

    With `every_us` it is cut into windows of that length, a whole number of periods, each released by itself; the plan
    of one window has that window's begin and end.

    Only whole chunks are cut: chunk i is [begin + i*(chunk + stride), that + chunk), for as long as it ends by `end`.
    `written` is the window (begin, end) of the text, where filters have narrowed it.
    """

    name: str
    camera: str
    timezone: str
    begin_us: int
    end_us: int
    chunk_us: int
    stride_us: int
    region: str | None = None
    masks: tuple[str, ...] = ()
    fps: Fraction | None = None
    resize: tuple[int, int] | None = None
    every_us: int | None = None
    written: tuple[int, int] | None = field(default=None, compare=False)

    @property
    def windows(self) -> int:
        """The number of windows; 1 without EVERY."""
        return 1 if self.every_us is None else (self.end_us - self.begin_us) // self.every_us

    def window(self, index: int) -> Split:
        """The part that one window reads. Only with EVERY."""
        assert self.every_us is not None
        begin_us = self.begin_us + index * self.every_us
        return replace(self, begin_us=begin_us, end_us=begin_us + self.every_us)

    @property
    def period_us(self) -> int:
        """From the start of one chunk to the start of the next."""
        return self.chunk_us + self.stride_us

    @property
    def count(self) -> int:
        """The number of chunks, at least 1 in a checked plan."""
        return max(0, (self.end_us - self.begin_us - self.chunk_us) // self.period_us + 1)


@dataclass(frozen=True, slots=True)
class SchemaColumn:
    """A column that the executable fills. `default` stands for missing, wrong, non-finite or oversized values."""

    name: str
    type: DataType
    default: str | bool | Fraction


@dataclass(frozen=True, slots=True)
class Process:
    """A PROCESS statement: one untrusted table, produced slot by slot. Its source is one SPLIT.

    `calls`: of `model`, the most that a slot makes; None: as many as fit into it.
    """

    name: str
    split: Split
    executable: str
    sha256: str | None
    model: str | None
    timeout_us: int
    max_rows: int
    exact: bool
    schema: tuple[SchemaColumn, ...]
    model_sha256: str | None = None
    calls: int | None = None


# --- relations ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a relation."""

    name: str
    type: DataType


@dataclass(frozen=True, slots=True)
class Source:
    """The rows of a PROCESS table, with the trusted columns `chunk`, `camera` and, with regions, `region`."""

    process: Process
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """WHERE, or an inner HAVING: the rows for which `predicate` is true."""

    input: Relation
    predicate: Expr

    @property
    def fields(self) -> tuple[Field, ...]:
        """Those of the input."""
        return self.input.fields


@dataclass(frozen=True, slots=True)
class Project:
    """One expression for each output column."""

    input: Relation
    items: tuple[tuple[str, Expr], ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        """One for each item."""
        return tuple(Field(name, expr.type) for name, expr in self.items)


class Function(Enum):
    """Aggregate functions. COUNT without an argument is COUNT(*)."""

    COUNT = "COUNT"
    COUNT_DISTINCT = "COUNT_DISTINCT"
    SUM = "SUM"
    AVG = "AVG"
    VAR = "VAR"
    STDDEV = "STDDEV"
    MIN = "MIN"
    MAX = "MAX"
    MEDIAN = "MEDIAN"
    QUANTILE = "QUANTILE"
    ARGMAX = "ARGMAX"


@dataclass(frozen=True, slots=True)
class AggregateCall:
    """An aggregate call: `name` is its column, `parameter` the q of QUANTILE, `score` the inner call of ARGMAX.

    `condition` is FILTER (WHERE ...), `span` the call's place in `Script.text`, for errors.
    """

    name: str
    function: Function
    arg: Expr | None = None
    parameter: Fraction | None = None
    score: AggregateCall | None = None
    condition: Expr | None = None
    span: tuple[int, int] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Key:
    """A group key; `span` is its place in `Script.text`, for errors."""

    name: str
    expr: Expr
    span: tuple[int, int] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """GROUP BY inside a query. `listed` are the combinations of WITH KEYS for the key names in `listed_keys`.

    No keys at all is one group. Without aggregates it is DISTINCT over the keys.
    """

    input: Relation
    keys: tuple[Key, ...]
    aggregates: tuple[AggregateCall, ...]
    listed_keys: tuple[str, ...] = ()
    listed: tuple[tuple[Literal, ...], ...] = ()

    @property
    def fields(self) -> tuple[Field, ...]:
        """Keys, then aggregates."""
        return tuple(Field(k.name, k.expr.type) for k in self.keys) + tuple(
            Field(a.name, aggregate_type(a)) for a in self.aggregates
        )


def aggregate_type(call: AggregateCall) -> DataType:
    """The type of an aggregate's result: that of its argument for MIN, MAX and ARGMAX, else NUMBER."""
    if call.function in (Function.MIN, Function.MAX, Function.ARGMAX) and call.arg is not None:
        return call.arg.type
    return DataType.NUMBER


@dataclass(frozen=True, slots=True)
class UnionAll:
    """All rows of all inputs, columns by position, named as in the first."""

    inputs: tuple[Relation, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        """Those of the first input."""
        return self.inputs[0].fields


class SetKind(Enum):
    """Set operations on distinct rows."""

    UNION = "UNION"
    INTERSECT = "INTERSECT"
    EXCEPT = "EXCEPT"


@dataclass(frozen=True, slots=True)
class SetOperation:
    """UNION, INTERSECT or EXCEPT of two relations; the result has distinct rows, named as in `left`."""

    kind: SetKind
    left: Relation
    right: Relation

    @property
    def fields(self) -> tuple[Field, ...]:
        """Those of the left side."""
        return self.left.fields


class JoinKind(Enum):
    """Kinds of equality joins."""

    INNER = "INNER"
    LEFT = "LEFT"
    FULL = "FULL"


@dataclass(frozen=True, slots=True)
class Join:
    """Rows whose `on` columns (left, right) are equal and not NULL. All columns of both sides; names are disjoint."""

    kind: JoinKind
    left: Relation
    right: Relation
    on: tuple[tuple[str, str], ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        """Those of the left, then those of the right."""
        return self.left.fields + self.right.fields


@dataclass(frozen=True, slots=True)
class Limit:
    """The first `count` rows after `offset`, in the order of all columns (`order`: column, descending)."""

    input: Relation
    count: int
    offset: int = 0
    order: tuple[tuple[str, bool], ...] = ()

    @property
    def fields(self) -> tuple[Field, ...]:
        """Those of the input."""
        return self.input.fields


Relation = Source | Filter | Project | Aggregate | UnionAll | SetOperation | Join | Limit


# --- releases -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Output:
    """A column of an answer: an expression over the names of keys and aggregates, evaluated on noisy values."""

    name: str
    expr: Expr


@dataclass(frozen=True, slots=True)
class Select:
    """An outermost SELECT: one release. Everything after `aggregates` acts on noisy values only."""

    index: int
    aggregate: Aggregate
    outputs: tuple[Output, ...]
    having: Expr | None
    order: tuple[tuple[Expr, bool], ...]
    limit: int | None
    offset: int
    epsilon_nano: int | None
    line: int


@dataclass(frozen=True, slots=True)
class Script:
    """A whole query: the tables that its SELECTs read (each processed once), its SELECTs, its canonical text.

    `text` is what the user wrote; spans in the plan point into it. A script with EVERY stands for its `windows`, and is
    planned window by window; `window` is the one that this plan is for.
    """

    processes: tuple[Process, ...]
    selects: tuple[Select, ...]
    canonical: str
    text: str = field(default="", compare=False, repr=False)
    windows: int = 1
    window: int | None = None

    @property
    def every_us(self) -> int | None:
        """The length of a window, the same for all tables; None without EVERY."""
        return self.processes[0].split.every_us

    @property
    def begin_us(self) -> int:
        """The start of the earliest video that it reads."""
        return min(process.split.begin_us for process in self.processes)

    @property
    def end_us(self) -> int:
        """When the last video that it reads has been recorded."""
        return max(process.split.end_us for process in self.processes)


def sources(relation: Relation) -> tuple[Source, ...]:
    """Every occurrence of a source table in `relation`, from left to right."""
    match relation:
        case Source():
            return (relation,)
        case UnionAll(inputs):
            return tuple(s for branch in inputs for s in sources(branch))
        case SetOperation(left=left, right=right) | Join(left=left, right=right):
            return sources(left) + sources(right)
        case _:
            return sources(relation.input)
