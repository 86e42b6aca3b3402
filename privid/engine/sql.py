"""A checked plan as SQL for DuckDB, built as a sqlglot tree (privacy-model.md, sections 2, 4 and 7).

Every identifier is generated here and every constant is quoted by sqlglot: nothing that an analyst wrote reaches the
engine as text. Every expression is total: no value of any row makes it fail. And the promises that the noise rests on
hold by construction in the SQL itself, not only in the calculus: an aggregate's argument is clipped to the range that
was claimed, and one that was claimed to be never NULL is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import pyarrow as pa
from sqlglot import exp

from privid.engine.sql_parts import (
    BIGINT,
    DOUBLE,
    HUGEINT,
    Clip,
    Rows,
    aliased,
    as_ticks,
    cast,
    condition_of,
    count_distinct,
    divide,
    filtered,
    multiply,
)
from privid.engine.tables import ARROW_TYPES
from privid.privacy.stability import State
from privid.privacy.stability.formulas import WIDE
from privid.privacy.stability.state import TICKS
from query_lang import functions
from query_lang.duckdb_sql import func, number
from query_lang.expressions import children
from query_lang.intervals import Interval
from query_lang.logical import (
    Aggregate,
    AggregateCall,
    Call,
    Column,
    DataType,
    Expr,
    Filter,
    Function,
    Join,
    JoinKind,
    Key,
    Limit,
    Literal,
    Project,
    Range,
    SetKind,
    SetOperation,
    Source,
    UnionAll,
)
from query_lang.units import DAY


@dataclass(frozen=True, slots=True)
class Rendered:
    """One statement, and the public tables that it reads besides the source tables (`sources`: name by PROCESS)."""

    sql: str
    sources: Mapping[str, str]
    public: Mapping[str, pa.Table]


@dataclass(slots=True)
class Renderer:
    """Builds one statement out of common table expressions, one for each operator of the plan."""

    window: tuple[int, int]
    ctes: list[tuple[str, exp.Expression]] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    public: dict[str, pa.Table] = field(default_factory=dict)

    def statement(self, query: exp.Select) -> Rendered:
        """The finished statement."""
        for name, body in self.ctes:
            query = query.with_(name, as_=body, copy=False)
        return Rendered(query.sql(dialect="duckdb"), self.sources, self.public)

    def expression(self, expr: Expr, relation: Rows) -> exp.Expression:
        """An expression over a relation's columns.

        A computed number has 0 added, which turns -0.0 into 0.0: the engine takes them for equal, so which of them a
        group or a set would keep depended on the order of rows.
        """
        rendered = functions.render(expr, lambda column: relation.column(column.name), self.window)
        plain = expr.arg if isinstance(expr, Range) else expr
        if expr.type is not DataType.NUMBER or isinstance(plain, Column | Literal):
            return rendered
        return exp.Paren(this=exp.Add(this=rendered, expression=number(Fraction(0))))

    # --- relations ------------------------------------------------------------------------------------------

    def relation(self, state: State) -> Rows:
        """A relation of the plan, as a common table expression."""
        match state.relation:
            case Source() as source:
                return self._source(source)
            case Filter(predicate=predicate):
                inner = self.relation(state.inputs[0])
                where = self.expression(predicate, inner)
                return self._named(state, [inner.column(name) for name in state.columns], inner, where=where)
            case Project(items=items):
                inner = self.relation(state.inputs[0])
                return self._named(state, [self.expression(expr, inner) for _, expr in items], inner)
            case Aggregate() as aggregate:
                return self._aggregate(aggregate, state)
            case UnionAll():
                return self._union(state, exp.Union, distinct=False)
            case SetOperation(kind=kind):
                kinds = {SetKind.UNION: exp.Union, SetKind.INTERSECT: exp.Intersect, SetKind.EXCEPT: exp.Except}
                return self._union(state, kinds[kind], distinct=True)
            case Join() as join:
                return self._join(join, state)
            case Limit() as limit:
                return self._limit(limit, state)

    def _add(self, columns: Sequence[str], body: exp.Expression) -> Rows:
        name = f"r{len(self.ctes)}"
        self.ctes.append((name, body))
        return Rows(name, {column: f"c{i}" for i, column in enumerate(columns)})

    def _named(
        self,
        state: State,
        values: Sequence[exp.Expression],
        source: Rows,
        where: exp.Expression | None = None,
    ) -> Rows:
        query = exp.select(*aliased(values, "c")).from_(source.name)
        return self._add(tuple(state.columns), query if where is None else query.where(where))

    def _source(self, source: Source) -> Rows:
        name = self.sources.setdefault(source.process.name, f"t{len(self.sources)}")
        return Rows(name, {f.name: f"c{i}" for i, f in enumerate(source.fields)})

    def _union(self, state: State, kind: type[exp.SetOperation], *, distinct: bool) -> Rows:
        branches = [self.relation(branch) for branch in state.inputs]
        parts = [exp.select(*(exp.column(c) for c in b.columns.values())).from_(b.name) for b in branches]
        body: exp.Expression = parts[0]
        for part in parts[1:]:
            body = kind(this=body, expression=part, distinct=distinct)
        whole = self._add(tuple(branches[0].columns), body)
        # A source table is used under its own column names, so a union of two is named anew.
        return self._named(state, [exp.column(c, table=whole.name) for c in branches[0].columns.values()], whole)

    def _join(self, join: Join, state: State) -> Rows:
        left, right = (self.relation(side) for side in state.inputs)
        # Two occurrences of one source table are told apart.
        right = self._named(state.inputs[1], [right.column(name) for name in state.inputs[1].columns], right)
        on = exp.and_(*(exp.EQ(this=left.column(a), expression=right.column(b)) for a, b in join.on))
        values = [left.column(n) for n in left.columns] + [right.column(n) for n in right.columns]
        side = {JoinKind.INNER: "inner", JoinKind.LEFT: "left", JoinKind.FULL: "full"}[join.kind]
        query = exp.select(*aliased(values, "c")).from_(left.name).join(right.name, on=on, join_type=side)
        return self._add(tuple(state.columns), query)

    def _limit(self, limit: Limit, state: State) -> Rows:
        """Ordered by the given columns, then by all others: never by the engine's own order."""
        inner = self.relation(state.inputs[0])
        given = dict(limit.order)
        order = [*limit.order, *((name, False) for name in state.columns if name not in given)]
        terms = [exp.Ordered(this=inner.column(name), desc=desc, nulls_first=False) for name, desc in order]
        query = exp.select(*aliased([inner.column(name) for name in state.columns], "c")).from_(inner.name)
        return self._add(tuple(state.columns), query.order_by(*terms).limit(limit.count).offset(limit.offset))

    # --- groups ---------------------------------------------------------------------------------------------

    def _aggregate(self, aggregate: Aggregate, state: State) -> Rows:
        inner = state.inputs[0]
        prepared = self.prepare(aggregate, inner, [_inner_clip(call, inner) for call in aggregate.aggregates])
        keys = [prepared.column(f"key {i}") for i in range(len(aggregate.keys))]
        if not aggregate.aggregates and state.dense_keys is None:
            query = exp.select(*aliased(keys, "c")).from_(prepared.name).distinct()
            return self._add(tuple(state.columns), query)
        results = [self._inner_result(call, i, prepared, inner) for i, call in enumerate(aggregate.aggregates)]
        query = exp.select(*aliased([*keys, *results], "c")).from_(prepared.name)
        if keys:
            query = query.group_by(*keys)
        groups = self._add(tuple(state.columns), query)
        if state.dense_keys is None or not keys:
            return groups
        return self._dense(aggregate, state, groups)

    def _dense(self, aggregate: Aggregate, state: State, groups: Rows) -> Rows:
        """Every public key exactly once; COUNT and SUM of an empty group are 0, anything else NULL."""
        keys = tuple(state.rows.count(tuple(Column(key.name, key.expr.type) for key in aggregate.keys)))
        public = self.public_table(aggregate.keys, keys)
        pairs = [
            exp.NullSafeEQ(this=exp.column(f"c{i}", table=public), expression=groups.column(key.name))
            for i, key in enumerate(aggregate.keys)
        ]
        values: list[exp.Expression] = [exp.column(f"c{i}", table=public) for i in range(len(aggregate.keys))]
        for call in aggregate.aggregates:
            value = groups.column(call.name)
            zero = call.function in (Function.COUNT, Function.COUNT_DISTINCT, Function.SUM)
            values.append(func("coalesce", value, number(Fraction(0))) if zero else value)
        query = exp.select(*aliased(values, "c")).from_(public)
        return self._add(tuple(state.columns), query.join(groups.name, on=exp.and_(*pairs), join_type="left"))

    def public_table(self, keys: Sequence[Key], rows: Sequence[tuple[object, ...]]) -> str:
        """The name of a table that holds public keys."""
        columns = {}
        for i, key in enumerate(keys):
            values = [float(row[i]) if isinstance(row[i], Fraction) else row[i] for row in rows]  # type: ignore[arg-type]
            columns[f"c{i}"] = pa.array(values, ARROW_TYPES[key.expr.type])
        name = f"p{len(self.public)}"
        self.public[name] = pa.table(columns)
        return name

    def prepare(self, aggregate: Aggregate, inner: State, clips: Sequence[Clip | None]) -> Rows:
        """The rows to be grouped: `key i`, and the argument `arg i` and FILTER `if i` of each aggregate, clipped."""
        source = self.relation(inner)
        values: dict[str, exp.Expression] = {}
        for i, key in enumerate(aggregate.keys):
            values[f"key {i}"] = self._key(aggregate, key, source)
        for i, call in enumerate(aggregate.aggregates):
            if call.arg is not None:
                values[f"arg {i}"] = self.expression(call.arg, source)
            if call.condition is not None:
                values[f"if {i}"] = self.expression(call.condition, source)
        if not values:
            values["row"] = exp.Boolean(this=True)
        raw = self._add(tuple(values), exp.select(*aliased(list(values.values()), "c")).from_(source.name))
        needed = {f"arg {i}": clip for i, clip in enumerate(clips) if clip is not None}
        if not needed:
            return raw
        clipped = [needed[n].apply(raw.column(n)) if n in needed else raw.column(n) for n in values]
        return self._add(tuple(values), exp.select(*aliased(clipped, "c")).from_(raw.name))

    def _key(self, aggregate: Aggregate, key: Key, source: Rows) -> exp.Expression:
        """A group key; a listed NUMBER on the grid, as the listed values are."""
        value = self.expression(key.expr, source)
        if key.name not in aggregate.listed_keys or key.expr.type is not DataType.NUMBER:
            return value
        ticks = func("round_even", exp.Mul(this=value, expression=number(Fraction(TICKS))), exp.Literal.number(0))
        return exp.Div(this=ticks, expression=number(Fraction(TICKS)), typed=False, safe=True)

    def _inner_result(self, call: AggregateCall, i: int, prepared: Rows, inner: State) -> exp.Expression:
        """An aggregate inside a query; NUMBER results as DOUBLE, from exact integers."""
        condition = condition_of(call, i, prepared)
        if call.arg is None:
            return cast(filtered(func("count", exp.Star()), condition), DOUBLE)
        value = prepared.column(f"arg {i}")
        nullable = inner.nullable(call.arg)
        match call.function:
            case Function.COUNT:
                counted = value if nullable else exp.Star()
                return cast(filtered(func("count", counted), condition), DOUBLE)
            case Function.COUNT_DISTINCT:
                return cast(filtered(count_distinct(value), condition), DOUBLE)
        if call.arg.type is not DataType.NUMBER:
            return filtered(func(call.function.value.lower(), value), condition)
        match call.function:
            case Function.MIN | Function.MAX:
                return filtered(func(call.function.value.lower(), value), condition)
            case Function.MEDIAN | Function.QUANTILE:
                q = Fraction(1, 2) if call.parameter is None else call.parameter
                return filtered(func("quantile_disc", value, number(q)), condition)
        ticks = as_ticks(value)
        summed = filtered(func("sum", ticks), condition)
        rows = cast(filtered(func("count", ticks.copy() if nullable else exp.Star()), condition), DOUBLE)
        match call.function:
            case Function.SUM:
                filled = func("coalesce", summed, cast(exp.Literal.number(0), HUGEINT))
                return divide(cast(filled, DOUBLE), number(Fraction(TICKS)))
            case Function.AVG:
                return divide(cast(summed, DOUBLE), multiply(rows, number(Fraction(TICKS))))
            case _:
                return _spread(call.function, ticks, condition, inner.range_of(call.arg) or WIDE)


def _spread(
    function: Function, ticks: exp.Expression, condition: exp.Expression | None, bounds: Interval
) -> exp.Expression:
    """Population variance or deviation from exact sums of (x - low): (n*Q - S*S) / n^2."""
    low = exp.Literal.string(str(round(bounds[0] * TICKS)))
    deviation = cast(exp.Paren(this=exp.Sub(this=ticks, expression=cast(low, BIGINT))), HUGEINT)
    n = cast(filtered(func("count", ticks.copy()), condition), HUGEINT)
    summed = filtered(func("sum", deviation), condition)
    squares = filtered(func("sum", multiply(deviation.copy(), deviation.copy())), condition)
    exact = exp.Paren(this=exp.Sub(this=multiply(n, squares), expression=multiply(summed, summed.copy())))
    rows = cast(n.copy(), DOUBLE)
    unit = number(Fraction(TICKS) ** 2)
    variance = divide(cast(exact, DOUBLE), multiply(multiply(rows, rows.copy()), unit))
    return func("sqrt", variance) if function is Function.STDDEV else variance


def _inner_clip(call: AggregateCall, inner: State) -> Clip | None:
    """The clip of a NUMBER argument inside a query; without a known range, one that keeps exact sums from
    overflowing."""
    if call.arg is None or call.arg.type is not DataType.NUMBER:
        return None
    if call.function in (Function.COUNT, Function.COUNT_DISTINCT):
        return None
    return Clip.of(call.arg, inner.range_of(call.arg) or WIDE, inner.nullable(call.arg))


def moments(window: tuple[int, int], exprs: Iterable[Expr]) -> tuple[int, int]:
    """The public interval that holds every moment in the plan's rows.

    A function of time gives the start of something that holds its argument: at most a month, or the bin, before.
    """
    return window[0] - sum(_back_us(expr) for expr in exprs), window[1]


def _back_us(expr: Expr) -> int:
    own = 0
    if isinstance(expr, Call) and expr.function in functions.TIME_FUNCTIONS:
        period = expr.args[1] if expr.function == "bin" else None
        own = int(period.value or 0) if isinstance(period, Literal) else 32 * DAY
    return own + sum(_back_us(part) for part in children(expr))


def expressions(state: State) -> Iterator[Expr]:
    """Every expression of a plan."""
    for part in state.inputs:
        yield from expressions(part)
    match state.relation:
        case Project(items=items):
            yield from (expr for _, expr in items)
        case Filter(predicate=predicate):
            yield predicate
        case Aggregate() as aggregate:
            yield from group_expressions(aggregate)


def group_expressions(aggregate: Aggregate) -> Iterator[Expr]:
    """Every expression of a GROUP BY."""
    yield from (key.expr for key in aggregate.keys)
    for call in aggregate.aggregates:
        yield from (expr for expr in (call.arg, call.condition) if expr is not None)
