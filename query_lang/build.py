"""SELECTs: from syntax to relations and releases of the logical plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from sqlglot import exp

from query_lang import logical as lp
from query_lang import nodes
from query_lang.bind import NULL, ExpressionBinder, has_aggregate
from query_lang.constants import read_number
from query_lang.errors import name_hint, position
from query_lang.grouping import AggregateBinder, Grouping, group_keys
from query_lang.relations import distinct, merged, project, renamed
from query_lang.schema import find_name
from query_lang.scope import Bound, BoundColumn, Scope, ScopeTable, Source, span, unique_names

MAX_OPERATORS: Final = 500
MAX_RELATION_DEPTH: Final = 60
MAX_LIMIT: Final = 10**9

_SELECT_ARGS: Final = frozenset(
    {"expressions", "from_", "joins", "where", "group", "having", "order", "limit", "offset", "distinct", "with_"}
    | {"consuming", "time_window"}
)

Tables = Mapping[str, Bound]
"""What FROM can read, by folded name: tables of PROCESS statements and CTEs."""


class QueryBuilder:
    """Builds the relations of one script."""

    def __init__(self, source: Source, tables: Tables) -> None:
        self.source = source
        self.tables = dict(tables)

    # --- releases -----------------------------------------------------------------------------------------

    def select(self, node: exp.Expr, index: int) -> lp.Select:
        """An outermost SELECT: one release. Raises QueryError."""
        while isinstance(node, exp.Subquery) and node.args.get("alias") is None and _plain_subquery(node):
            node = node.this
        if not isinstance(node, exp.Select):
            raise self.source.error(
                "no_aggregate",
                "the outermost SELECT must aggregate",
                node,
                "write SELECT COUNT(*) FROM (...), with this query in the parentheses",
            )
        self._check_args(node)
        tables = self._with(node, self.tables)
        if node.args.get("distinct"):
            raise self.source.error(
                "unsupported",
                "the outermost SELECT takes no DISTINCT",
                node.args["distinct"],
                "its groups are distinct already",
            )
        aggregated = node.args.get("group") or node.args.get("time_window") or _items_aggregate(node)
        if not aggregated:
            # Whatever else is wrong with them is said first.
            self._plain_outputs(node, self._from(node, tables)[0])
            raise self.source.error(
                "no_aggregate",
                "the outermost SELECT must aggregate: rows are never shown",
                _first_item(node),
                "write COUNT(*), SUM(RANGE(x, low, high)) or AVG(RANGE(x, low, high))",
            )
        grouping, outputs = self._aggregated(node, tables)
        if not grouping.aggregate.aggregates:
            raise self.source.error(
                "no_aggregate", "the outermost SELECT must aggregate", _first_item(node), "add COUNT(*) to it"
            )
        having = node.args.get("having")
        predicate = None if having is None else grouping.binder.predicate(having.this, "HAVING")
        order = self._release_order(node, grouping, outputs)
        # HAVING and ORDER BY may have called further aggregates.
        aggregate = grouping.finish()
        self._check_argmax(aggregate, outputs, bool(having or order))
        names = unique_names(name for name, _ in outputs)
        self._check_duplicates(node, [name for name, _ in outputs])
        first = span(node)
        return lp.Select(
            index=index,
            aggregate=aggregate,
            outputs=tuple(lp.Output(name, expr) for name, (_, expr) in zip(names, outputs, strict=True)),
            having=predicate,
            order=order,
            limit=self._count(node, "limit"),
            offset=self._count(node, "offset") or 0,
            epsilon_nano=self._epsilon(node),
            line=position(self.source.text, first[0])[0] if first else 1,
        )

    def _check_argmax(self, aggregate: lp.Aggregate, outputs: Sequence[tuple[str, lp.Expr]], more: bool) -> None:
        call = next((call for call in aggregate.aggregates if call.function is lp.Function.ARGMAX), None)
        if call is None:
            return
        alone = len(aggregate.aggregates) == len(aggregate.keys) == len(outputs) == 1
        if more or not alone or not isinstance(outputs[0][1], lp.Column):
            hint = "write SELECT ARGMAX(color, COUNT(*)) FROM t GROUP BY color WITH KEYS [...]"
            raise self.source.error("unsupported", "ARGMAX stands alone, over the groups of its key", call.span, hint)

    def _epsilon(self, node: exp.Expr) -> int | None:
        consuming = node.args.get("consuming")
        if consuming is None:
            return None
        value = read_number(self.source, consuming, consuming.name)
        nano = int(value * 10**9)
        if nano < 1:
            raise self.source.error("bad_value", "CONSUMING needs an epsilon above 0", consuming, "write CONSUMING 0.5")
        if value > 1000:
            raise self.source.error(
                "bad_value", "an epsilon above 1000 protects nobody", consuming, "write CONSUMING 0.5"
            )
        return nano

    def _release_order(
        self, node: exp.Expr, grouping: Grouping, outputs: Sequence[tuple[str, lp.Expr]]
    ) -> tuple[tuple[lp.Expr, bool], ...]:
        order = node.args.get("order")
        result = []
        for part in order.expressions if order is not None else ():
            position_ = self._ordinal(part.this, len(outputs))
            expr = outputs[position_][1] if position_ is not None else grouping.binder.bind(part.this)
            result.append((expr, bool(part.args.get("desc"))))
        return tuple(result)

    # --- relations ----------------------------------------------------------------------------------------

    def query(self, node: exp.Expr, tables: Tables) -> Bound:
        """A nested query as a relation. Raises QueryError."""
        if isinstance(node, exp.Subquery):
            if not _plain_subquery(node):
                raise self.source.error("unsupported", "this cannot follow a query in parentheses", node)
            bound = self.query(node.this, tables)
        elif isinstance(node, exp.Select):
            bound = self._nested_select(node, tables)
        elif isinstance(node, (exp.Union, exp.Intersect, exp.Except)):
            bound = self._set_operation(node, tables)
        elif isinstance(node, (exp.Table, nodes.OnSet)):
            raise self.source.error(
                "unsupported", "a table stands in parentheses", node, "write it without parentheses"
            )
        else:
            raise self.source.error("syntax", "expected a SELECT", node)
        return self._checked(bound, node)

    def _checked(self, bound: Bound, node: exp.Expr) -> Bound:
        if bound.size > MAX_OPERATORS or bound.depth > MAX_RELATION_DEPTH:
            hint = f"a query has at most {MAX_OPERATORS} operators, with every use of a WITH query counted"
            raise self.source.error("too_large", "this query is too large", node, hint)
        # Set operations match columns by position, so the columns in sight are the fields, in their order.
        assert [c.column.name for c in bound.columns] == [f.name for f in bound.relation.fields]
        return bound

    def _nested_select(self, node: exp.Select, tables: Tables) -> Bound:
        self._check_args(node)
        if (consuming := node.args.get("consuming")) is not None:
            hint = "put CONSUMING at the end of the outermost SELECT"
            raise self.source.error("unsupported", "a nested SELECT consumes nothing itself", consuming, hint)
        tables = self._with(node, tables)
        if node.args.get("group") or node.args.get("time_window") or _items_aggregate(node) or node.args.get("having"):
            grouping, outputs = self._aggregated(node, tables)
            having = node.args.get("having")
            predicate = None if having is None else grouping.binder.predicate(having.this, "HAVING")
            aggregate = grouping.finish()
            argmax = next((a for a in aggregate.aggregates if a.function is lp.Function.ARGMAX), None)
            if argmax is not None:
                hint = "write ARGMAX in the outermost SELECT"
                raise self.source.error("unsupported", "a nested SELECT takes no ARGMAX", argmax.span, hint)
            relation: lp.Relation = aggregate
            if predicate is not None:
                relation = lp.Filter(relation, predicate)
            inner = Bound(relation, grouping.columns(), grouping.size + 1, grouping.depth + 1)
            self._check_duplicates(node, [name for name, _ in outputs])
            bound = project(inner, outputs)
        else:
            scope, below = self._from(node, tables)
            outputs = self._plain_outputs(node, scope)
            self._check_duplicates(node, [name for name, _ in outputs])
            bound = project(below, outputs)
        if (only := node.args.get("distinct")) is not None:
            if only.args.get("on"):
                hint = "write GROUP BY with the columns that must differ"
                raise self.source.error("unsupported", "DISTINCT ON cannot be used", only, hint)
            bound = distinct(bound)
        return self._limited(node, bound)

    def _plain_outputs(self, node: exp.Select, scope: Scope) -> list[tuple[str, lp.Expr]]:
        binder = ExpressionBinder(self.source, scope)
        outputs: list[tuple[str, lp.Expr]] = []
        for number, item in enumerate(node.expressions, 1):
            if isinstance(item, exp.Star):
                outputs += [(column.name, column.column) for column in scope.columns]
            elif isinstance(item, exp.Column) and isinstance(item.this, exp.Star):
                outputs += [(c.name, c.column) for c in _qualified(self.source, scope, item)]
            else:
                expr = binder.bind(item.unalias())
                if expr is NULL:
                    raise self.source.error("type", "a column of NULLs has no type", item, "leave it out")
                outputs.append((_output_name(item, number), expr))
        return outputs

    def _check_duplicates(self, node: exp.Select, names: Sequence[str]) -> None:
        seen: set[str] = set()
        for place, name in enumerate(names):
            if name.casefold() in seen:
                items = node.expressions
                at = items[place] if len(items) == len(names) else _first_item(node)
                hint = "give one of them another name with AS"
                raise self.source.error("duplicate_name", f"two columns are called {name!r}", at, hint)
            seen.add(name.casefold())

    def _limited(self, node: exp.Expr, bound: Bound) -> Bound:
        order, limit = node.args.get("order"), self._count(node, "limit")
        offset = self._count(node, "offset")
        if limit is None:
            if order is not None or offset is not None:
                word = "OFFSET" if order is None else "ORDER BY"
                hint = "leave it out, or add LIMIT"
                raise self.source.error(
                    "unsupported", f"{word} without LIMIT in a nested SELECT has no effect", order or node, hint
                )
            return bound
        keys = []
        for part in order.expressions if order is not None else ():
            ordinal = self._ordinal(part.this, len(bound.columns))
            if ordinal is not None:
                column = bound.columns[ordinal]
            elif isinstance(part.this, exp.Column) and not part.this.table:
                column = Scope(self.source, [ScopeTable(None, bound.columns)]).get(part.this)
            else:
                hint = "give the expression a name with AS and order by that"
                raise self.source.error("unsupported", "a nested SELECT is ordered by its columns", part, hint)
            keys.append((column.column.name, bool(part.args.get("desc"))))
        relation = lp.Limit(bound.relation, limit, offset or 0, tuple(keys))
        return replace(bound, relation=relation, size=bound.size + 1, depth=bound.depth + 1)

    def _count(self, node: exp.Expr, clause: str) -> int | None:
        part = node.args.get(clause)
        if part is None:
            return None
        value = read_number(self.source, part.expression, part.expression.name)
        least = 1 if clause == "limit" else 0
        if value.denominator != 1 or not least <= value <= MAX_LIMIT:
            message = f"{clause.upper()} needs a whole number from {least}"
            raise self.source.error("bad_value", message, part.expression)
        return int(value)

    def _ordinal(self, node: exp.Expr, count: int) -> int | None:
        """The index that ORDER BY 2 means, or None for anything but a number."""
        if not isinstance(node, exp.Literal) or node.args.get("is_string"):
            return None
        value = read_number(self.source, node, node.name)
        if value.denominator != 1 or not 1 <= value <= count:
            raise self.source.error("bad_value", f"there is no column number {node.name}", node, f"there are {count}")
        return int(value) - 1

    # --- FROM ---------------------------------------------------------------------------------------------

    def _with(self, node: exp.Expr, tables: Tables) -> Tables:
        clause = node.args.get("with_")
        if clause is None:
            return tables
        if clause.args.get("recursive") or clause.args.get("search") or clause.args.get("udfs"):
            raise self.source.error("unsupported", "recursive queries cannot be used", clause)
        extended = dict(tables)
        own: set[str] = set()
        for cte in clause.expressions:
            name = cte.args["alias"].this
            folded = name.name.casefold()
            if folded in own:
                raise self.source.error(
                    "duplicate_name", f"{name.name!r} is defined twice", name, "choose another name"
                )
            own.add(folded)
            extended[folded] = replace(self.query(cte.this, extended), name=name.name)
        return extended

    def _from(self, node: exp.Select, tables: Tables) -> tuple[Scope, Bound]:
        """FROM, joins and WHERE: what expressions see, and the relation below them."""
        from_ = node.args.get("from_")
        if from_ is None:
            raise self.source.error("syntax", "this SELECT has no FROM", _first_item(node), "add FROM and a table")
        bound, name = self._table(from_.this, tables)
        scope_tables = [ScopeTable(name, bound.columns)]
        for join in node.args.get("joins") or ():
            bound, scope_tables = self._join(join, bound, scope_tables, tables)
        scope = Scope(self.source, scope_tables)
        where = node.args.get("where")
        if where is not None:
            predicate = ExpressionBinder(self.source, scope).predicate(where.this, "WHERE")
            bound = Bound(lp.Filter(bound.relation, predicate), bound.columns, bound.size + 1, bound.depth + 1)
        return scope, self._checked(bound, node)

    def _table(self, node: exp.Expr, tables: Tables) -> tuple[Bound, str | None]:
        alias = node.args.get("alias")
        name = alias.this.name if alias is not None and alias.this is not None else None
        if isinstance(node, nodes.OnSet):
            return self._on_set(node, tables), name
        if isinstance(node, exp.Subquery):
            return self.query(node, tables), name
        if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
            hint = "FROM reads tables made by PROCESS, and nested SELECTs"
            raise self.source.error("unsupported", "this is no table", node, hint)
        extra = [key for key, value in node.args.items() if value and key not in ("this", "alias")]
        if extra:
            raise self.source.error(
                "unsupported", "a table is named by one word", node, "FROM reads tables made by PROCESS"
            )
        known = find_name(node.name.casefold(), tables)
        if known is None:
            names = [table.name or folded for folded, table in tables.items()]
            hint = name_hint(node.name, names, "the statements above make")
            raise self.source.error("unknown_name", f"unknown table {node.name!r}", node.this, hint)
        return tables[known], name or node.name

    def _join(
        self, join: exp.Join, left: Bound, scope_tables: list[ScopeTable], tables: Tables
    ) -> tuple[Bound, list[ScopeTable]]:
        right, name = self._table(join.this, tables)
        if name is not None and any(t.name is not None and t.name.casefold() == name.casefold() for t in scope_tables):
            hint = "give each its own name with AS"
            raise self.source.error("duplicate_name", f"two tables are called {name!r}", join.this, hint)
        # Names of the plan must differ between the sides; what the user calls a column stays.
        names = unique_names([c.column.name for c in (*left.columns, *right.columns)])[len(left.columns) :]
        right = renamed(right, names)
        tables_in_sight = [*scope_tables, ScopeTable(name, right.columns)]
        pairs = self._equalities(join, left, right, tables_in_sight)
        side = join.args.get("side")
        kinds = {None: lp.JoinKind.INNER, "LEFT": lp.JoinKind.LEFT, "FULL": lp.JoinKind.FULL, "RIGHT": lp.JoinKind.LEFT}
        if side == "RIGHT":
            left_relation, right_relation = right.relation, left.relation
            pairs = [(b, a) for a, b in pairs]
        else:
            left_relation, right_relation = left.relation, right.relation
        relation = lp.Join(kinds[side], left_relation, right_relation, tuple(pairs))
        columns = (*left.columns, *right.columns)
        size, depth = left.size + right.size + 1, max(left.depth, right.depth) + 1
        if side == "RIGHT":
            items = tuple((column.column.name, column.column) for column in columns)
            bound = Bound(lp.Project(relation, items), columns, size + 1, depth + 1)
        else:
            bound = Bound(relation, columns, size, depth)
        return self._checked(bound, join), tables_in_sight

    def _equalities(
        self, join: exp.Join, left: Bound, right: Bound, in_sight: list[ScopeTable]
    ) -> list[tuple[str, str]]:
        pairs: list[tuple[exp.Expr, BoundColumn, BoundColumn]] = []
        if using := join.args.get("using"):
            for part in using:
                column = exp.Column(this=part.copy())
                sides = [Scope(self.source, side).get(column) for side in (in_sight[:-1], in_sight[-1:])]
                pairs.append((part, sides[0], sides[1]))
        else:
            scope = Scope(self.source, in_sight)
            for part in _conjuncts(join.args["on"]):
                pairs.append((part, *self._equality(part, scope, left, right)))
        for part, a, b in pairs:
            if a.column.type is not b.column.type:
                message = f"a {a.column.type.value} is joined with a {b.column.type.value}"
                hint = "convert one of them in a nested SELECT: SELECT CAST(x AS STRING) AS key"
                raise self.source.error("type", message, part, hint)
        return list(dict.fromkeys((a.column.name, b.column.name) for _, a, b in pairs))

    def _equality(self, part: exp.Expr, scope: Scope, left: Bound, right: Bound) -> tuple[BoundColumn, BoundColumn]:
        hint = "write a.key = b.key, and other conditions in WHERE"
        if not isinstance(part, exp.EQ):
            raise self.source.error("unsupported", "ON joins by equality of columns", part, hint)
        found = []
        for side in (part.this, part.expression):
            side = side.unnest()
            if not isinstance(side, exp.Column):
                message = "ON compares columns only"
                raise self.source.error("unsupported", message, side, "compute the key in a nested SELECT and name it")
            found.append(scope.get(side))
        a, b = found
        if a in right.columns and b in left.columns:
            a, b = b, a
        if a not in left.columns or b not in right.columns:
            message = "ON compares a column of one side with a column of the other"
            raise self.source.error("unsupported", message, part, hint)
        return a, b

    def _on_set(self, node: nodes.OnSet, tables: Tables) -> Bound:
        """The authors' (t1 UNION t2 ON column): both made unique on the column, which is all that they yield."""
        sides = []
        for part in (node.this, node.expression):
            bound, name = self._table(part, tables)
            column = Scope(self.source, [ScopeTable(name, bound.columns)]).get(exp.Column(this=node.args["on"].copy()))
            sides.append(distinct(project(bound, [(column.name, column.column)])))
        left, right = sides
        if left.columns[0].column.type is not right.columns[0].column.type:
            raise self.source.error("type", "the columns are of different types", node.args["on"])
        size, depth = left.size + right.size + 1, max(left.depth, right.depth) + 1
        kind = node.args["kind"]
        if kind == "EQUIJOIN":
            right = renamed(right, unique_names([left.columns[0].column.name, right.columns[0].column.name])[1:])
            pair = left.columns[0].column.name, right.columns[0].column.name
            join = lp.Join(lp.JoinKind.INNER, left.relation, right.relation, (pair,))
            both = Bound(join, (*left.columns, *right.columns), size, depth)
            return self._checked(project(both, [(left.columns[0].name, left.columns[0].column)]), node)
        operation = lp.SetOperation(lp.SetKind[kind], left.relation, right.relation)
        columns = merged(left.columns, [right.columns])
        return self._checked(Bound(operation, columns, size, depth), node)

    # --- set operations -----------------------------------------------------------------------------------

    def _set_operation(self, node: exp.SetOperation, tables: Tables) -> Bound:
        for key, value in node.args.items():
            if value and key not in ("this", "expression", "distinct", "order", "limit", "offset", "with_"):
                raise self.source.error(
                    "unsupported", f"this form of {node.key.upper()} cannot be used", node, "match columns by position"
                )
        tables = self._with(node, tables)
        all_rows = not node.args.get("distinct")
        if all_rows and not isinstance(node, exp.Union):
            hint = f"write {node.key.upper()} without ALL"
            raise self.source.error("unsupported", f"{node.key.upper()} ALL cannot be used", node, hint)
        parts = [node.this, node.expression]
        if all_rows:
            # A chain of UNION ALL is one operator with many branches.
            while isinstance(parts[0], exp.Union) and not parts[0].args.get("distinct") and _bare(parts[0]):
                parts[:1] = [parts[0].this, parts[0].expression]
        branches = [self.query(part, tables) for part in parts]
        first = branches[0]
        for branch, part in zip(branches[1:], parts[1:], strict=True):
            if len(branch.columns) != len(first.columns):
                message = f"{len(first.columns)} columns above, {len(branch.columns)} here"
                raise self.source.error(
                    "type", message, _first_item(part), "both sides have the same columns, by position"
                )
            for a, b in zip(first.columns, branch.columns, strict=True):
                if a.column.type is not b.column.type:
                    message = f"column {a.name} is a {a.column.type.value} above and a {b.column.type.value} here"
                    hint = f"write CAST({b.name} AS {a.column.type.value}) here"
                    raise self.source.error("type", message, _first_item(part), hint)
        columns = merged(first.columns, [branch.columns for branch in branches[1:]])
        size = 1 + sum(branch.size for branch in branches)
        depth = 1 + max(branch.depth for branch in branches)
        if all_rows:
            relation: lp.Relation = lp.UnionAll(tuple(branch.relation for branch in branches))
        else:
            kind = lp.SetKind[node.key.upper()]
            relation = lp.SetOperation(kind, branches[0].relation, branches[1].relation)
        return self._limited(node, Bound(relation, columns, size, depth))

    # --- groups -------------------------------------------------------------------------------------------

    def _aggregated(self, node: exp.Select, tables: Tables) -> tuple[Grouping, list[tuple[str, lp.Expr]]]:
        scope, below = self._from(node, tables)
        grouping = group_keys(self.source, node, scope, below)
        binder = AggregateBinder(self.source, scope, grouping)
        grouping.attach(binder)
        outputs: list[tuple[str, lp.Expr]] = []
        if grouping.window is not None:
            outputs.append((grouping.window.name, lp.Column(grouping.window.name, grouping.window.expr.type)))
        for number, item in enumerate(node.expressions, 1):
            if isinstance(item, exp.Star) or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star)):
                raise self.source.error("unsupported", "* beside aggregates or groups", item, "name the columns")
            name = _output_name(item, number)
            grouping.wanted = name if not isinstance(item, exp.Alias) or _is_call(item.this) else None
            expr = binder.bind(item.unalias())
            if expr is NULL:
                raise self.source.error("type", "a column of NULLs has no type", item, "leave it out")
            outputs.append((name, expr))
        grouping.wanted = None
        # From here on (HAVING, ORDER BY), not within the SELECT itself: names given there do not build on each other.
        binder.aliases = {name.casefold(): expr for name, expr in outputs}
        return grouping, outputs

    # --- checks -------------------------------------------------------------------------------------------

    def _check_args(self, node: exp.Select) -> None:
        for key, value in node.args.items():
            if value and key not in _SELECT_ARGS:
                raise self.source.error("unsupported", f"{key.strip('_').upper()} cannot be used in a SELECT", node)
        if not node.expressions:
            raise self.source.error("syntax", "this SELECT selects nothing", node, "write SELECT COUNT(*) FROM ...")


def _plain_subquery(node: exp.Subquery) -> bool:
    return not any(value for key, value in node.args.items() if key not in ("this", "alias"))


def _bare(node: exp.Expr) -> bool:
    return not any(node.args.get(key) for key in ("order", "limit", "offset", "with_", "by_name", "side", "kind", "on"))


def _conjuncts(node: exp.Expr) -> list[exp.Expr]:
    parts: list[exp.Expr] = []
    rest = node.unnest()
    while isinstance(rest, exp.And):
        parts.append(rest.expression.unnest())
        rest = rest.this.unnest()
    parts.append(rest)
    parts.reverse()
    return parts


def _qualified(source: Source, scope: Scope, item: exp.Column) -> tuple[BoundColumn, ...]:
    for table in scope.tables:
        if table.name is not None and table.name.casefold() == item.table.casefold():
            return table.columns
    hint = name_hint(item.table, [t.name for t in scope.tables if t.name is not None], "in FROM there is")
    raise source.error("unknown_name", f"unknown table {item.table!r}", item, hint)


def _is_call(node: exp.Expr) -> bool:
    return isinstance(node.unnest(), (exp.Anonymous, exp.Filter))


def _items_aggregate(node: exp.Select) -> bool:
    return any(has_aggregate(item) for item in node.expressions)


def _first_item(node: exp.Expr) -> exp.Expr:
    while isinstance(node, exp.Subquery):
        node = node.this
    return node.expressions[0] if node.expressions else node


def _output_name(item: exp.Expr, number: int) -> str:
    """The alias, the column's own name, or what computes it and its position."""
    if isinstance(item, exp.Alias):
        return item.alias
    part = item.unnest()
    if isinstance(part, exp.Column):
        return part.name
    while isinstance(part, exp.Filter):
        part = part.this
    if isinstance(part, exp.Anonymous):
        name = str(part.this if isinstance(part.this, str) else part.name).lower()
        return f"{'avg' if name == 'mean' else name}_{number}"
    return f"column_{number}"
