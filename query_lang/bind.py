"""Names and types of expressions: syntax nodes in, expressions of the plan out. Nothing is converted silently."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from sqlglot import exp

from query_lang import functions, nodes, units
from query_lang import logical as lp
from query_lang.constants import MAX_MAGNITUDE, constant, data_type
from query_lang.errors import QueryError, did_you_mean
from query_lang.expressions import columns_of
from query_lang.logical import DataType
from query_lang.names import AGGREGATES, OPERATORS, REFUSED_FUNCTIONS, SCALARS, SIGNS, SYNONYMS
from query_lang.scope import BoundColumn, Scope, Source, span

MAX_DEPTH: Final = 100
MAX_PERIOD: Final = 30 * 365 * units.DAY

NULL: Final = lp.Literal(None, DataType.NUMBER)
"""NULL before its type is known; compared by identity."""


class ExpressionBinder:
    """Binds the expressions of one SELECT. Subclasses decide what a column means and whether aggregates may occur."""

    def __init__(self, source: Source, scope: Scope) -> None:
        self.source = source
        self.scope = scope
        self.depth = 0

    # --- entry points -------------------------------------------------------------------------------------

    def bind(self, node: exp.Expr | None) -> lp.Expr:
        """The expression of a node. Raises QueryError at the user's own token."""
        if node is None:
            raise self.source.error("syntax", "an expression is missing")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.source.error(
                "too_large", "this expression is nested too deeply", node, "compute parts of it in a nested SELECT"
            )
        try:
            handler = _HANDLERS.get(type(node))
            if handler is None:
                raise self._unsupported(node)
            bound: lp.Expr = getattr(self, handler)(node)
            return bound
        finally:
            self.depth -= 1

    def predicate(self, node: exp.Expr, clause: str) -> lp.Expr:
        """A BOOLEAN expression."""
        expr = self.bind(node)
        if expr.type is not DataType.BOOLEAN or expr is NULL:
            raise self.source.error(
                "type", f"{clause} needs a condition, this is a {expr.type.value}", node, "compare it: x > 0, x = 'a'"
            )
        return expr

    def fold(self, node: exp.Expr, what: str) -> Fraction:
        """A constant NUMBER, computed exactly."""
        expr = self.bind(node)
        value = functions.evaluate(expr, {}) if expr is not NULL and not columns_of(expr) else None
        if not isinstance(value, Fraction):
            raise self.source.error("bad_value", f"{what} is a constant number", node, "write the number itself")
        if abs(value) >= MAX_MAGNITUDE:
            raise self.source.error("bad_value", f"{what} is too large", node, "numbers lie below 2^42, about 4.4e12")
        return value

    # --- leaves -------------------------------------------------------------------------------------------

    def column(self, node: exp.Column) -> lp.Expr:
        """A column reference."""
        if isinstance(node.this, exp.Star):
            raise self.source.error("unsupported", "* stands alone in a SELECT", node, "name the column")
        return self.scope.get(node).column

    def aggregate(self, node: exp.Expr) -> lp.Expr:
        """An aggregate call."""
        raise self.source.error(
            "misplaced_aggregate",
            f"{_call_name(node).upper()} cannot stand here",
            node,
            "aggregate in a nested SELECT and use its column, or filter groups with HAVING",
        )

    def _literal(self, node: exp.Expr) -> lp.Expr:
        return constant(self.source, node, self.scope.zone)

    def _null(self, _: exp.Expr) -> lp.Expr:
        return NULL

    def _star(self, node: exp.Expr) -> lp.Expr:
        raise self.source.error("syntax", "* cannot stand here", node, "write COUNT(*), or name a column")

    def _paren(self, node: exp.Expr) -> lp.Expr:
        return self.bind(node.this)

    # --- operators ----------------------------------------------------------------------------------------

    def _operator(self, node: exp.Expr) -> lp.Expr:
        name = OPERATORS[type(node)]
        return self.call(name, [node.this, node.expression], node)

    def _negative(self, node: exp.Expr) -> lp.Expr:
        arg = self.bind(node.this)
        if isinstance(arg, lp.Literal) and isinstance(arg.value, Fraction):
            return lp.Literal(-arg.value, DataType.NUMBER)
        return self._typed("neg", [arg], [node.this], node)

    def _logic(self, node: exp.Expr) -> lp.Expr:
        kind = type(node)
        name = "and" if kind is exp.And else "or"
        parts: list[exp.Expr] = []
        rest: exp.Expr = node
        # Chains lean to the left: walked in a loop, so that a long one is no deep one.
        while isinstance(rest, kind):
            parts.append(rest.expression)
            rest = rest.this
        parts.append(rest)
        parts.reverse()
        args: list[lp.Expr] = []
        for part in parts:
            bound = self.predicate(part, name.upper())
            args += bound.args if isinstance(bound, lp.Call) and bound.function == name else (bound,)
        return lp.Call(name, tuple(args), DataType.BOOLEAN)

    def _not(self, node: exp.Expr) -> lp.Expr:
        return lp.Call("not", (self.predicate(node.this, "NOT"),), DataType.BOOLEAN)

    def _is(self, node: exp.Expr) -> lp.Expr:
        if isinstance(node.expression, exp.Null):
            result: lp.Expr = lp.Call("is_null", (self._value(node.this),), DataType.BOOLEAN)
        elif isinstance(node.expression, exp.Boolean):
            inner = self.predicate(node.this, "IS")
            absent = lp.Literal(False, DataType.BOOLEAN)
            known = lp.Call("coalesce", (inner, absent), DataType.BOOLEAN)
            negated = lp.Call("not", (inner,), DataType.BOOLEAN)
            result = known if node.expression.this else lp.Call("coalesce", (negated, absent), DataType.BOOLEAN)
        else:
            raise self.source.error("unsupported", "IS compares with NULL, TRUE or FALSE", node, "write x = y")
        return lp.Call("not", (result,), DataType.BOOLEAN) if node.args.get("negate") else result

    def _between(self, node: exp.Expr) -> lp.Expr:
        return self.call("between", [node.this, node.args["low"], node.args["high"]], node)

    def _in(self, node: exp.Expr) -> lp.Expr:
        if not node.expressions:
            raise self.source.error("syntax", "IN needs a list of values", node, "write x IN ('a', 'b')")
        return self.call("in", [node.this, *node.expressions], node)

    def _like(self, node: exp.Expr) -> lp.Expr:
        result = self.call("like", [node.this, node.expression], node)
        return lp.Call("not", (result,), DataType.BOOLEAN) if node.args.get("negate") else result

    def _case(self, node: exp.Expr) -> lp.Expr:
        operand = node.args.get("this")
        if operand is not None and not isinstance(operand.unnest(), exp.Column):
            # It is written out once for each branch.
            hint = "write CASE WHEN test THEN value END, or name the expression in a nested SELECT"
            raise self.source.error("unsupported", "CASE compares a column", operand, hint)
        tests, values = [], []
        for branch in node.args["ifs"]:
            test = branch.this
            tests.append(self.predicate(test, "WHEN") if operand is None else self.call("eq", [operand, test], branch))
            values.append((branch.args.get("true"), self.bind(branch.args.get("true"))))
        default = node.args.get("default")
        if default is not None:
            values.append((default, self.bind(default)))
        kind = next((value.type for _, value in values if value is not NULL), None)
        if kind is None:
            raise self.source.error("type", "every branch of this CASE is NULL", node, "give one branch a value")
        results = []
        for part, value in values:
            if value is not NULL and value.type is not kind:
                raise self.source.error(
                    "type",
                    f"the branches of CASE are of different types: {kind.value} and {value.type.value}",
                    part,
                    _conversion_hint(self.source, part, value.type, kind),
                )
            results.append(lp.Literal(None, kind) if value is NULL else value)
        otherwise = results.pop() if default is not None else None
        if isinstance(otherwise, lp.Literal) and otherwise.value is None:
            otherwise = None
        return lp.Case(tuple(zip(tests, results, strict=True)), otherwise, kind)

    def _convert(self, node: exp.Expr) -> lp.Expr:
        kind = data_type(self.source, node.args["kind"], strict=False)
        arg = self._value(node.this)
        if arg.type is DataType.TIMESTAMP:
            raise self.source.error(
                "type", "a moment is not converted", node, "use hour_of_day(chunk) or day_of_week(chunk) for a number"
            )
        return arg if arg.type is kind else lp.Call(f"to_{kind.value.lower()}", (arg,), kind)

    # --- calls --------------------------------------------------------------------------------------------

    def _anonymous(self, node: exp.Expr) -> lp.Expr:
        name = _call_name(node)
        if name in AGGREGATES:
            return self.aggregate(node)
        if name == "range":
            return self._range(node)
        if name == "bin":
            return self._bin(node)
        if name in functions.TIME_FUNCTIONS:
            return self._time(name, node)
        name = SYNONYMS.get(name, name)
        if name in SCALARS:
            return self.call(name, node.expressions, node)
        if refused := REFUSED_FUNCTIONS.get(name):
            raise self.source.error("unsupported", f"{name} cannot be used: {refused[0]}", node, refused[1])
        guess = did_you_mean(name, {*SCALARS, *AGGREGATES, "range", "bin"})
        hint = guess or "functions are listed in the reference of the language"
        raise self.source.error("unknown_name", f"unknown function {name!r}", _head(node, len(name)), hint)

    def _filter(self, node: exp.Expr) -> lp.Expr:
        return self.aggregate(node)

    def _value(self, node: exp.Expr) -> lp.Expr:
        expr = self.bind(node)
        if expr is NULL:
            raise self.source.error(
                "type",
                "NULL cannot stand here",
                node,
                "write x IS NULL, or CASE WHEN test THEN x END for a missing value",
            )
        return expr

    def call(self, name: str, args: Sequence[exp.Expr], node: exp.Expr) -> lp.Call:
        """A call of a registry function, its arguments checked."""
        return self._typed(name, [self._value(arg) for arg in args], args, node)

    def _typed(self, name: str, args: Sequence[lp.Expr], parts: Sequence[exp.Expr], node: exp.Expr) -> lp.Call:
        function = functions.REGISTRY[name]
        shown = SIGNS.get(name, name)
        signature = function.signature
        most = len(signature.params)
        if len(args) < most - signature.optional or (len(args) > most and not signature.variadic):
            least = most - signature.optional
            count = f"{least}" if least == most else f"{least} or {most}"
            count = f"at least {least}" if signature.variadic else count
            raise self.source.error("type", f"{shown} takes {count} argument{'' if count == '1' else 's'}", node)
        kind = functions.result_type(function, [arg.type for arg in args])
        if kind is None:
            raise self._mismatch(function, args, parts, node)
        if any(arg.type is DataType.TIMESTAMP for arg in args) and name.startswith("to_"):
            raise self.source.error("type", "a moment is not converted", node)
        constants = {}
        for position in function.constants:
            if position >= len(args):
                continue
            arg = args[position]
            if not isinstance(arg, lp.Literal):
                raise self.source.error(
                    "type",
                    f"argument {position + 1} of {shown} is a constant",
                    parts[position],
                    "write the value itself",
                )
            constants[position] = arg.value
        if function.check is not None:
            try:
                function.check(constants)
            except ValueError as error:
                raise self.source.error("bad_value", str(error), node) from None
        return lp.Call(name, tuple(args), kind)

    def _mismatch(
        self, function: functions.ScalarFunction, args: Sequence[lp.Expr], parts: Sequence[exp.Expr], node: exp.Expr
    ) -> QueryError:
        shown = SIGNS.get(function.name, function.name)
        params = function.signature.params
        free: DataType | None = None
        for index, (arg, part) in enumerate(zip(args, parts, strict=True)):
            param = params[min(index, len(params) - 1)]
            wanted = param or free
            if wanted is None:
                free = arg.type
            elif arg.type is not wanted:
                if param is None:
                    message = f"{shown} needs one type on both sides, here {wanted.value} and {arg.type.value}"
                else:
                    message = f"{shown} needs a {wanted.value}, this is a {arg.type.value}"
                return self.source.error("type", message, part, _conversion_hint(self.source, part, arg.type, wanted))
        return self.source.error("type", f"{shown} does not fit these arguments", node)

    def _range(self, node: exp.Expr) -> lp.Expr:
        if len(node.expressions) != 3:
            raise self.source.error(
                "type", "RANGE takes a value, its low and its high bound", node, "write RANGE(x, 0, 100)"
            )
        value, low_node, high_node = node.expressions
        arg = self._value(value)
        if arg.type is not DataType.NUMBER:
            raise self.source.error(
                "type",
                f"RANGE needs a NUMBER, this is a {arg.type.value}",
                value,
                _conversion_hint(self.source, value, arg.type, DataType.NUMBER),
            )
        return self.ranged(arg, low_node, high_node)

    def ranged(self, arg: lp.Expr, low_node: exp.Expr, high_node: exp.Expr) -> lp.Range:
        """RANGE with its default: the schema's for a column that an executable filled, else the low bound."""
        low, high = self.fold(low_node, "a bound of RANGE"), self.fold(high_node, "a bound of RANGE")
        if low > high:
            raise self.source.error(
                "bad_value", "the low bound of RANGE is above the high one", low_node, "write RANGE(x, low, high)"
            )
        column = self._bound_column(arg)
        default = low if column is None or column.default is None else column.default
        return lp.Range(arg, low, high, default)

    def _bound_column(self, expr: lp.Expr) -> BoundColumn | None:
        return next((c for c in self.scope.columns if c.column == expr), None)

    # --- time ---------------------------------------------------------------------------------------------

    def _time(self, name: str, node: exp.Expr) -> lp.Expr:
        if len(node.expressions) != 1:
            raise self.source.error("type", f"{name} takes one moment", node, f"write {name}(chunk)")
        return self._on_moment(name, node.expressions[0], node, ())

    def _bin(self, node: exp.Expr) -> lp.Expr:
        if len(node.expressions) != 2 or not isinstance(node.expressions[1], nodes.Duration):
            raise self.source.error("type", "bin takes a moment and a length", node, "write bin(chunk, 15 min)")
        length = node.expressions[1]
        return self.bin(node.expressions[0], length, node)

    def bin(self, moment: exp.Expr, length: exp.Expr, node: exp.Expr) -> lp.Expr:
        """bin(moment, length); a bare unit (bin(chunk, day)) is the calendar function of that name."""
        word = length.name.strip().lower()
        if word in ("hour", "day", "week", "month"):
            return self._on_moment(word, moment, node, ())
        return self._on_moment("bin", moment, node, (lp.Literal(self.duration(length), DataType.NUMBER),))

    def duration(self, raw: exp.Expr) -> Fraction:
        """A positive duration in microseconds."""
        try:
            value = units.parse_duration(raw.name)
            if not 0 < value <= MAX_PERIOD:
                raise ValueError(f"{raw.name!r} is no length for a bin: it lies above 0 and below 30 years")
        except ValueError as error:
            raise self.source.error("bad_time", str(error), raw, "write 15 min, 1 hour or 500ms") from None
        return Fraction(value)

    def _on_moment(self, name: str, part: exp.Expr, node: exp.Expr, more: tuple[lp.Literal, ...]) -> lp.Expr:
        arg = self._value(part)
        if arg.type is not DataType.TIMESTAMP:
            raise self.source.error(
                "type", f"{name} needs a moment, this is a {arg.type.value}", part, f"write {name}(chunk)"
            )
        if isinstance(arg, lp.Call) and arg.function in functions.TIME_FUNCTIONS:
            raise self.source.error(
                "unsupported",
                "functions of time are not nested in one expression",
                node,
                f"name the inner one in a nested SELECT: SELECT {arg.function}(...) AS moment",
            )
        zone = self._zone(arg)
        if zone is None:
            raise self.source.error(
                "type",
                f"{name} of moments from cameras in different timezones",
                node,
                f"write {name}(chunk) inside each SELECT, before the tables are put together",
            )
        args = (arg, *more, lp.Literal(zone, DataType.STRING))
        kind = functions.REGISTRY[name].signature.result
        assert kind is not None
        return lp.Call(name, args, kind)

    def _zone(self, expr: lp.Expr) -> str | None:
        return zone_of(expr, self.scope.columns)

    # --- refusals -----------------------------------------------------------------------------------------

    def _subquery(self, node: exp.Expr) -> lp.Expr:
        raise self.source.error(
            "unsupported",
            "a SELECT cannot stand inside an expression",
            node,
            "write it as its own statement, or join with it in FROM",
        )

    def _tuple(self, node: exp.Expr) -> lp.Expr:
        raise self.source.error(
            "unsupported", "a list of values cannot stand here", node, "compare each column: a = 1 AND b = 2"
        )

    def _distinct(self, node: exp.Expr) -> lp.Expr:
        raise self.source.error("unsupported", "DISTINCT belongs into an aggregate", node, "write COUNT(DISTINCT x)")

    def _unsupported(self, node: exp.Expr) -> QueryError:
        name = {"AtTimeZone": "AT TIME ZONE", "Concat": "text beside text", "All": "ALL", "Any": "ANY"}.get(
            type(node).__name__, type(node).__name__.upper()
        )
        return self.source.error(
            "unsupported", f"{name} cannot be used in an expression", node, "see the reference of the language"
        )


_HANDLERS: Final[dict[type[exp.Expr], str]] = {
    exp.Column: "column",
    exp.Literal: "_literal",
    exp.Boolean: "_literal",
    nodes.Moment: "_literal",
    exp.Null: "_null",
    exp.Star: "_star",
    exp.Paren: "_paren",
    **dict.fromkeys(OPERATORS, "_operator"),
    exp.Neg: "_negative",
    exp.And: "_logic",
    exp.Or: "_logic",
    exp.Not: "_not",
    exp.Is: "_is",
    exp.Between: "_between",
    exp.In: "_in",
    exp.Like: "_like",
    exp.Case: "_case",
    nodes.Convert: "_convert",
    exp.Anonymous: "_anonymous",
    exp.Filter: "_filter",
    exp.Subquery: "_subquery",
    exp.Tuple: "_tuple",
    exp.Distinct: "_distinct",
}


def _call_name(node: exp.Expr) -> str:
    while isinstance(node, exp.Filter):
        node = node.this
    name = node.args.get("this")
    return (name if isinstance(name, str) else node.name).lower()


def _head(node: exp.Expr, length: int) -> tuple[int, int] | exp.Expr:
    """The name of a call alone."""
    start = node.meta_get("start")
    return (start, start + length) if isinstance(start, int) else node


def _conversion_hint(source: Source, node: exp.Expr | None, have: DataType, want: DataType) -> str:
    """What to write for a node of one type where another is needed."""
    if want is DataType.TIMESTAMP:
        return "write a moment as TIMESTAMP '2026-12-01T08:00:00Z'"
    if have is DataType.TIMESTAMP:
        return "moments are compared with TIMESTAMP '2026-12-01T08:00:00Z'"
    if want is DataType.BOOLEAN:
        return "compare it: x > 0, x = 'a'"
    if have is DataType.BOOLEAN and want is DataType.NUMBER:
        return "write CASE WHEN test THEN 1 ELSE 0 END"
    place = None if node is None else span(node)
    text = "x" if place is None else source.text[place[0] : place[1]]
    if isinstance(node, exp.Literal):
        if want is DataType.STRING:
            return f"write it as text: '{node.name}'"
        return f"write {node.name} without quotes" if node.name.isdecimal() else "write a number there"
    return f"write CAST({text if len(text) <= 40 else '...'} AS {want.value})"


def zone_of(expr: lp.Expr, columns: Sequence[BoundColumn]) -> str | None:
    """The timezone of a TIMESTAMP expression, None if its moments come from several."""
    names = columns_of(expr)
    zones = {c.zone for c in columns if c.column.name in names and c.column.type is DataType.TIMESTAMP}
    return zones.pop() if len(zones) == 1 else None


def has_aggregate(node: exp.Expr) -> bool:
    """Whether an aggregate is called in the expression (not in a SELECT nested in it)."""
    found = node.find(exp.Anonymous, exp.Filter, bfs=False) is not None
    return found and any(
        isinstance(part, exp.Filter) or (isinstance(part, exp.Anonymous) and _call_name(part) in AGGREGATES)
        for part in node.walk(prune=lambda n: isinstance(n, exp.Query))
    )
