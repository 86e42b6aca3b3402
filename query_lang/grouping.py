"""GROUP BY: keys, WITH KEYS, and expressions over groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Final

from sqlglot import exp

from query_lang import logical as lp
from query_lang import nodes
from query_lang.bind import NULL, ExpressionBinder, has_aggregate, zone_of
from query_lang.constants import constant
from query_lang.errors import QueryError
from query_lang.expressions import columns_of
from query_lang.logical import DataType
from query_lang.names import AGGREGATES
from query_lang.scope import Bound, BoundColumn, Scope, Source, span, unique_names

MAX_LISTED: Final = 10_000


@dataclass
class Grouping:
    """The groups of one SELECT while its expressions are bound: keys, and the aggregates called so far."""

    below: Bound
    keys: tuple[lp.Key, ...]
    listed_keys: tuple[str, ...]
    listed: tuple[tuple[lp.Literal, ...], ...]
    window: lp.Key | None = None
    calls: list[lp.AggregateCall] = field(default_factory=list)
    wanted: str | None = None
    """The name that the next aggregate gets if it is free: that of the output which it is."""
    _binder: AggregateBinder | None = None

    def attach(self, binder: AggregateBinder) -> None:
        """Let HAVING and ORDER BY be bound by the same binder as the outputs."""
        self._binder = binder

    @property
    def binder(self) -> AggregateBinder:
        """The binder of this SELECT's expressions over groups."""
        assert self._binder is not None
        return self._binder

    @property
    def aggregate(self) -> lp.Aggregate:
        """The operator, with the aggregates called so far."""
        return lp.Aggregate(self.below.relation, self.keys, tuple(self.calls), self.listed_keys, self.listed)

    def finish(self) -> lp.Aggregate:
        """The operator, when everything is bound; AGG(DISTINCT x) becomes AGG over distinct keys and x."""
        return self.binder.distinct_below(self.aggregate)

    @property
    def size(self) -> int:
        """Operators below and this one."""
        return self.below.size + 1 + (1 if self.binder.distinct is not None else 0)

    @property
    def depth(self) -> int:
        """Depth below and this one."""
        return self.below.depth + 1 + (1 if self.binder.distinct is not None else 0)

    def columns(self) -> tuple[BoundColumn, ...]:
        """The columns of the groups, for the SELECT around."""
        listed = {c.column.name: c.listed for c in self.below.columns}
        columns = []
        for key in self.keys:
            zone = zone_of(key.expr, self.below.columns) if key.expr.type is DataType.TIMESTAMP else None
            untrusted = any(listed[name] for name in columns_of(key.expr))
            columns.append(BoundColumn(key.name, lp.Column(key.name, key.expr.type), zone, None, untrusted))
        for call in self.calls:
            kind = lp.aggregate_type(call)
            zone = None
            if kind is DataType.TIMESTAMP and call.arg is not None:
                zone = zone_of(call.arg, self.below.columns)
            columns.append(BoundColumn(call.name, lp.Column(call.name, kind), zone))
        return tuple(columns)

    def add(self, call: lp.AggregateCall) -> lp.Column:
        """The column of an aggregate; the same call twice is one aggregate."""
        for known in self.calls:
            if replace(known, name="") == replace(call, name=""):
                return lp.Column(known.name, lp.aggregate_type(known))
        name = self.wanted if self.wanted is not None else call.name
        self.wanted = None
        taken = [key.name for key in self.keys] + [known.name for known in self.calls]
        name = unique_names([*taken, name])[-1]
        self.calls.append(replace(call, name=name))
        return lp.Column(name, lp.aggregate_type(call))


class AggregateBinder(ExpressionBinder):
    """Binds expressions over groups: of keys, aggregates and constants. Arguments of aggregates see the rows."""

    def __init__(self, source: Source, scope: Scope, grouping: Grouping) -> None:
        super().__init__(source, scope)
        self.grouping = grouping
        self.rows = ExpressionBinder(source, scope)
        self.aliases: dict[str, lp.Expr] = {}
        self.distinct: tuple[lp.Expr, exp.Expr] | None = None
        """The argument of SUM(DISTINCT x) and the like."""

    def bind(self, node: exp.Expr | None) -> lp.Expr:
        """As for rows; what is computed as a key is that key."""
        if (
            node is not None
            and self.grouping.keys
            and isinstance(node, (exp.Anonymous, exp.Case, exp.Binary, nodes.Convert))
        ):
            key = self._as_key(node)
            if key is not None:
                return key
        return super().bind(node)

    def _as_key(self, node: exp.Expr) -> lp.Expr | None:
        if has_aggregate(node):
            return None
        try:
            expr = self.rows.bind(node)
        except QueryError:
            return None
        return self._key(expr)

    def _key(self, expr: lp.Expr) -> lp.Expr | None:
        for key in self.grouping.keys:
            if key.expr == expr:
                return lp.Column(key.name, key.expr.type)
        return None

    def column(self, node: exp.Column) -> lp.Expr:
        """A key; in HAVING and ORDER BY also an output, by its name."""
        if isinstance(node.this, exp.Star):
            return super().column(node)
        folded = node.name.casefold()
        output = None if node.table else self.aliases.get(folded)
        found = self.scope.find(node)
        key = None if found is None else self._key(found.column)
        if output is not None and key is not None and output != key:
            message = f"{node.name!r} is both a column and a name given in this SELECT"
            raise self.source.error("ambiguous_name", message, node, "give the expression another name with AS")
        if key is None and found is None and not node.table:
            named = (k for k in self.grouping.keys if k.name.casefold() == folded)
            key = next((lp.Column(k.name, k.expr.type) for k in named), None)
        if (known := key or output) is not None:
            return known
        self.scope.get(node)
        raise self.source.error(
            "not_grouped",
            f"column {node.name!r} is neither in GROUP BY nor inside an aggregate",
            node,
            f"add it to GROUP BY, or write COUNT({node.name})",
        )

    def _zone(self, expr: lp.Expr) -> str | None:
        return zone_of(expr, self.grouping.columns())

    def _bound_column(self, expr: lp.Expr) -> BoundColumn | None:
        key = next((k for k in self.grouping.keys if lp.Column(k.name, k.expr.type) == expr), None)
        return None if key is None else super()._bound_column(key.expr)

    def aggregate(self, node: exp.Expr) -> lp.Expr:
        """An aggregate call: its column."""
        return self.grouping.add(self._call(node))

    def _call(self, node: exp.Expr) -> lp.AggregateCall:
        condition: lp.Expr | None = None
        whole = node
        if isinstance(node, exp.Filter):
            where = node.expression
            condition = self.rows.predicate(where.this, "FILTER (WHERE ...)")
            node = node.this
        if not isinstance(node, exp.Anonymous) or (name := _name(node)) not in AGGREGATES:
            raise self.source.error(
                "unsupported", "FILTER belongs behind an aggregate", whole, "COUNT(*) FILTER (WHERE ...)"
            )
        function = AGGREGATES[name]
        args, low, high = self._named_bounds(node)
        call = lp.AggregateCall(f"{function.value.lower()}_1", function, condition=condition, span=span(whole))
        if function is lp.Function.ARGMAX:
            return self._argmax(call, args, node)
        if function is lp.Function.COUNT and len(args) == 1 and isinstance(args[0], exp.Star):
            return call
        wanted = 2 if function is lp.Function.QUANTILE else 1
        if len(args) != wanted:
            shown = (
                "QUANTILE(x, 0.9)"
                if wanted == 2
                else f"{name.upper()}(x)" + (" or COUNT(*)" if name == "count" else "")
            )
            raise self.source.error(
                "type", f"{name} takes {wanted} argument{'s' * (wanted > 1)}", node, f"write {shown}"
            )
        if function is lp.Function.QUANTILE:
            q = self.rows.fold(args[1], "the q of QUANTILE")
            if not 0 < q < 1:
                hint = "write QUANTILE(x, 0.9), or MIN(x), MAX(x)"
                raise self.source.error("bad_value", "the q of QUANTILE lies between 0 and 1", args[1], hint)
            call = replace(call, parameter=q)
        return self._argument(call, args[0], low, high)

    def _argument(
        self, call: lp.AggregateCall, node: exp.Expr, low: exp.Expr | None, high: exp.Expr | None
    ) -> lp.AggregateCall:
        if isinstance(node, exp.Star):
            raise self.source.error("syntax", "only COUNT takes *", node, "name a column")
        distinct = isinstance(node, exp.Distinct)
        if distinct:
            if len(node.expressions) != 1:
                hint = "count rows of a nested SELECT DISTINCT a, b"
                raise self.source.error("unsupported", "DISTINCT takes one column here", node, hint)
            node = node.expressions[0]
        arg = self.rows.bind(node)
        if arg is NULL:
            raise self.source.error("type", "NULL cannot be aggregated", node, "name a column")
        if low is not None and high is not None and not isinstance(arg, lp.Range):
            arg = self.rows.ranged(arg, low, high)
        numeric = call.function not in (lp.Function.COUNT, lp.Function.MIN, lp.Function.MAX)
        if numeric and arg.type is not DataType.NUMBER:
            if arg.type is DataType.BOOLEAN:
                hint = "write COUNT(*) FILTER (WHERE test), or CASE WHEN test THEN 1 ELSE 0 END"
            else:
                hint = "write CAST(... AS NUMBER) for text that holds numbers"
            message = f"{call.function.value} needs a NUMBER, this is a {arg.type.value}"
            raise self.source.error("type", message, node, hint)
        if distinct and call.function is lp.Function.COUNT:
            if self.distinct is not None:
                self._refuse_mixture(node)
            return replace(call, function=lp.Function.COUNT_DISTINCT, name="count_1", arg=arg)
        if distinct and call.function not in (lp.Function.MIN, lp.Function.MAX):
            self._only_distinct(arg, node, call)
        elif self.distinct is not None:
            self._refuse_mixture(node)
        return replace(call, arg=arg)

    def _only_distinct(self, arg: lp.Expr, node: exp.Expr, call: lp.AggregateCall) -> None:
        other = self.grouping.calls if self.distinct is None else self.distinct[0] != arg
        if call.condition is not None or other:
            self._refuse_mixture(node)
        self.distinct = (arg, node)

    def _refuse_mixture(self, node: exp.Expr) -> None:
        raise self.source.error(
            "unsupported", "DISTINCT beside another aggregate, or with FILTER", node, "write one SELECT for each"
        )

    def distinct_below(self, aggregate: lp.Aggregate) -> lp.Aggregate:
        """AGG(DISTINCT x) is AGG over SELECT DISTINCT keys, x (privacy-model.md, section 2)."""
        if self.distinct is None:
            return aggregate
        arg, node = self.distinct
        if any(call.arg != arg for call in aggregate.aggregates):
            self._refuse_mixture(node)
        name = unique_names([*(key.name for key in aggregate.keys), "distinct"])[-1]
        inner = lp.Aggregate(aggregate.input, (*aggregate.keys, lp.Key(name, arg)), ())
        column = lp.Column(name, arg.type)
        # The range of x is declared again above: the distinct values keep it, the column alone would not.
        over: lp.Expr = replace(arg, arg=column) if isinstance(arg, lp.Range) else column
        keys = tuple(replace(key, expr=lp.Column(key.name, key.expr.type)) for key in aggregate.keys)
        calls = tuple(replace(call, arg=over) for call in aggregate.aggregates)
        return replace(aggregate, input=inner, keys=keys, aggregates=calls)

    def _argmax(self, call: lp.AggregateCall, args: Sequence[exp.Expr], node: exp.Expr) -> lp.AggregateCall:
        if len(args) != 2 or not has_aggregate(args[1]):
            raise self.source.error("type", "ARGMAX takes a key and its score", node, "write ARGMAX(color, COUNT(*))")
        if call.condition is not None:
            raise self.source.error("unsupported", "ARGMAX takes no FILTER", node, "put FILTER behind the score")
        score = self._call(args[1].unnest())
        if score.function not in (lp.Function.COUNT, lp.Function.COUNT_DISTINCT, lp.Function.SUM):
            raise self.source.error("unsupported", "the score of ARGMAX is COUNT or SUM", args[1])
        key = self.rows.bind(args[0])
        if self._key(key) is None:
            hint = "write GROUP BY with the same key, and WITH KEYS if an executable fills it"
            raise self.source.error("not_grouped", "ARGMAX chooses among the groups of its key", args[0], hint)
        return replace(call, arg=key, score=replace(score, name="score"))

    def _named_bounds(self, node: exp.Anonymous) -> tuple[list[exp.Expr], exp.Expr | None, exp.Expr | None]:
        """Arguments, and the authors' `l=0, u=10` behind them."""
        args = list(node.expressions)
        bounds: dict[str, exp.Expr] = {}
        while len(args) > 1 and isinstance(args[-1], exp.EQ) and _bound_name(args[-1]) is not None:
            last = args.pop()
            name = _bound_name(last)
            assert name is not None
            if name in bounds:
                raise self.source.error("syntax", f"{name} is given twice", last)
            bounds[name] = last.expression
        if bounds and set(bounds) != {"l", "u"}:
            raise self.source.error("syntax", "a range has two bounds", node, "write l=0, u=10")
        return args, bounds.get("l"), bounds.get("u")


def _bound_name(node: exp.Expr) -> str | None:
    column = node.this
    if isinstance(column, exp.Column) and not column.table and column.name.lower() in ("l", "u"):
        return column.name.lower()
    return None


def _name(node: exp.Anonymous) -> str:
    return str(node.this if isinstance(node.this, str) else node.name).lower()


# --- keys ---------------------------------------------------------------------------------------------------


def group_keys(source: Source, select: exp.Select, scope: Scope, below: Bound) -> Grouping:
    """The keys of GROUP BY and WITH WINDOW, with their lists. Raises QueryError."""
    binder = ExpressionBinder(source, scope)
    group = select.args.get("group")
    parts = list(group.expressions) if group is not None else []
    bound: list[tuple[str, lp.Expr, exp.Expr, list[exp.Expr] | None]] = []
    for number, part in enumerate(parts, 1):
        items = None
        if isinstance(part, nodes.Keyed):
            part, items = part.this, part.expressions
        name, expr = _key(source, select, scope, binder, part, number)
        if any(expr == known for _, known, _, _ in bound):
            raise source.error("duplicate_name", "this key is in GROUP BY twice", part, "leave one out")
        bound.append((name, expr, part, items))
    window = select.args.get("time_window")
    if window is not None:
        moment = exp.Column(this=exp.Identifier(this="chunk", quoted=False).update_positions(window))
        expr = binder.bin(moment, window, window)
        bound.insert(0, ("window", expr, window, None))
    names = unique_names(name for name, _, _, _ in bound)
    keys = tuple(lp.Key(name, expr, span(part)) for name, (_, expr, part, _) in zip(names, bound, strict=True))
    listed_keys, listed = _listed(source, scope, keys, [(part, items) for _, _, part, items in bound])
    return Grouping(below, keys, listed_keys, listed, keys[0] if window is not None else None)


def _key(
    source: Source, select: exp.Select, scope: Scope, binder: ExpressionBinder, part: exp.Expr, number: int
) -> tuple[str, lp.Expr]:
    """The name and expression of a key: a column, an expression, an alias of the SELECT, or a position in it."""
    node = part.unnest()
    aliased = {item.alias.casefold(): item for item in select.expressions if isinstance(item, exp.Alias)}
    name: str | None = None
    if isinstance(node, exp.Literal) and not node.args.get("is_string"):
        place = int(node.name) if node.name.isdecimal() and len(node.name) < 6 else 0
        if not 1 <= place <= len(select.expressions):
            raise source.error("bad_value", f"there is no column number {node.name}", part, "name the key")
        item = select.expressions[place - 1]
        name, node = item.alias or None, item.unalias()
    elif isinstance(node, exp.Column) and not node.table and (item := aliased.get(node.name.casefold())):
        own = scope.find(node)
        target = item.this.unnest()
        same = isinstance(target, exp.Column) and scope.find(target) == own
        if own is not None and not same:
            message = f"{node.name!r} is both a column and a name given in this SELECT"
            raise source.error("ambiguous_name", message, part, "give the expression another name with AS")
        name, node = item.alias, item.this
    if has_aggregate(node):
        raise source.error(
            "misplaced_aggregate", "groups cannot be made by an aggregate", part, "aggregate in a nested SELECT first"
        )
    expr = binder.bind(node)
    if expr is NULL or not columns_of(expr):
        raise source.error("bad_value", "a constant makes no groups", part, "leave it out of GROUP BY")
    if name is None:
        name = _key_name(select, node, number)
    return name, expr


def _key_name(select: exp.Select, node: exp.Expr, number: int) -> str:
    """The name that the SELECT gives to the same expression, else the column's, else what computes it."""
    for item in select.expressions:
        if isinstance(item, exp.Alias) and not has_aggregate(item.this) and item.this.unnest() == node.unnest():
            return item.alias
    node = node.unnest()
    if isinstance(node, exp.Column):
        return node.name
    return f"{_name(node)}_{number}" if isinstance(node, exp.Anonymous) else f"key_{number}"


def _listed(
    source: Source,
    scope: Scope,
    keys: tuple[lp.Key, ...],
    lists: Sequence[tuple[exp.Expr, list[exp.Expr] | None]],
) -> tuple[tuple[str, ...], tuple[tuple[lp.Literal, ...], ...]]:
    """The combinations of WITH KEYS: one list of tuples for all untrusted keys, or a list for each key, multiplied."""
    untrusted = {c.column.name for c in scope.columns if c.listed}
    needing = [index for index, key in enumerate(keys) if columns_of(key.expr) & untrusted]
    given = [(index, part, items) for index, (part, items) in enumerate(lists) if items is not None]
    if not given:
        return (), ()
    for _, part, items in given:
        if not items:
            raise source.error("syntax", "WITH KEYS lists nothing", part, "list at least one group")
    chosen: list[tuple[tuple[int, ...], list[tuple[lp.Literal, ...]]]] = []
    for index, _, items in given:
        width = max(len(item.expressions) if isinstance(item, exp.Tuple) else 1 for item in items)
        own = tuple(place for place, _, _ in given)
        if len(given) == 1 and width == len(keys) and width > 1:
            targets = tuple(range(len(keys)))
        elif len(given) == 1 and width == len(needing):
            targets = tuple(needing)
        elif width == 1:
            targets = (index,)
        else:
            names = ", ".join(keys[place].name for place in (needing or own))
            message = f"groups of {width} values for {len(needing or own)} keys"
            raise source.error("bad_value", message, items[0], f"list one value for each of: {names}")
        chosen.append((targets, [_tuple(source, scope, keys, targets, item) for item in items]))
    listed_keys = tuple(keys[place].name for targets, _ in chosen for place in targets)
    count = 1
    for _, values in chosen:
        count *= len(values)
    if count > MAX_LISTED:
        raise source.error("too_large", f"WITH KEYS lists {count:,} groups", given[0][1], f"at most {MAX_LISTED:,}")
    combined = (tuple(v for group in combination for v in group) for combination in product(*(v for _, v in chosen)))
    return listed_keys, tuple(dict.fromkeys(combined))


def _tuple(
    source: Source, scope: Scope, keys: tuple[lp.Key, ...], targets: tuple[int, ...], item: exp.Expr
) -> tuple[lp.Literal, ...]:
    parts = item.expressions if isinstance(item, exp.Tuple) else [item]
    if len(parts) != len(targets):
        names = ", ".join(keys[place].name for place in targets)
        message = f"this group lists {len(parts)} of {len(targets)} values"
        raise source.error("bad_value", message, item, f"list one value for each of: {names}")
    values = []
    for place, part in zip(targets, parts, strict=True):
        key = keys[place]
        zone = zone_of(key.expr, scope.columns) if key.expr.type is DataType.TIMESTAMP else None
        value = constant(source, part, zone)
        if value.type is not key.expr.type:
            message = f"key {key.name} is a {key.expr.type.value}, this is a {value.type.value}"
            example = {"STRING": "'RED'", "NUMBER": "3", "BOOLEAN": "TRUE", "TIMESTAMP": "TIMESTAMP '2026-12-01'"}
            raise source.error("type", message, part, f"write it as {example[key.expr.type.value]}")
        values.append(value)
    return tuple(values)
