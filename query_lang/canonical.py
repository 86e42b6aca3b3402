"""The canonical text of a script: one text for all queries that mean the same up to case, blanks, aliases and the order
of commutative operands. Equal texts share one stored release, so whatever changes the meaning must change the text.

Columns are written by position ($1 is the first of the relation below), tables by what makes them; conjunctions,
disjunctions, sums, products, equalities and join conditions have their operands sorted; > is written as <. Literals
stand as exact values, moments in microseconds UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from query_lang import functions
from query_lang import logical as lp
from query_lang.logical import DataType

_MIRRORED = {"gt": "lt", "ge": "le"}


def canonical_text(selects: Sequence[lp.Select]) -> str:
    """The canonical text of the releases of a script, in their order."""
    writer = _Writer()
    lines = [writer.release(select) for select in selects]
    return "\n".join([*writer.tables, *lines])


class _Writer:
    def __init__(self) -> None:
        self.tables: list[str] = []
        self.known: dict[str, str] = {}

    # --- releases -----------------------------------------------------------------------------------------

    def release(self, select: lp.Select) -> str:
        names = [*(key.name for key in select.aggregate.keys), *(call.name for call in select.aggregate.aggregates)]
        columns = _positions(names)
        parts = ["RELEASE", _list(self.expr(output.expr, columns) for output in select.outputs)]
        if select.having is not None:
            parts.append(f"HAVING {self.expr(select.having, columns)}")
        if select.order:
            parts.append(
                "ORDER " + _list(self.expr(e, columns) + (" DESC" if desc else "") for e, desc in select.order)
            )
        if select.limit is not None:
            parts.append(f"LIMIT {select.limit}")
        if select.offset:
            parts.append(f"OFFSET {select.offset}")
        parts.append(f"FROM {self.relation(select.aggregate)}")
        if select.epsilon_nano is not None:
            parts.append(f"CONSUMING {_number(Fraction(select.epsilon_nano, 10**9))}")
        return " ".join(parts)

    # --- tables -------------------------------------------------------------------------------------------

    def table(self, process: lp.Process) -> str:
        split = process.split
        parts = [
            f"SPLIT {_string(split.camera)} {split.timezone}",
            f"BEGIN {split.begin_us} END {split.end_us} BY TIME {split.chunk_us} STRIDE {split.stride_us}",
        ]
        if split.every_us is not None:
            parts.append(f"EVERY {split.every_us}")
        if split.region is not None:
            parts.append(f"BY REGION {_string(split.region)}")
        if split.masks:
            parts.append("WITH MASK " + ", ".join(_string(mask) for mask in sorted(split.masks)))
        if split.fps is not None:
            parts.append(f"AT {_number(split.fps)} FPS")
        if split.resize is not None:
            parts.append(f"RESIZE {split.resize[0]}x{split.resize[1]}")
        parts.append(f"PROCESS USING {_string(process.executable)} {process.sha256 or '-'}")
        if process.model is not None:
            parts.append(f"WITH MODEL {_string(process.model)} {process.model_sha256 or '-'}")
        if process.calls is not None:
            parts.append(f"CALLS {process.calls}")
        exactly = "EXACTLY " if process.exact else ""
        parts.append(f"TIMEOUT {process.timeout_us} PRODUCING {exactly}{process.max_rows} ROWS")
        columns = (f"{c.name}:{c.type.value}={self.literal(lp.Literal(c.default, c.type))}" for c in process.schema)
        parts.append(f"WITH SCHEMA {_list(columns)}")
        text = " ".join(parts)
        if text not in self.known:
            self.known[text] = f"t{len(self.known) + 1}"
            self.tables.append(f"TABLE {self.known[text]}: {text}")
        return self.known[text]

    # --- relations ----------------------------------------------------------------------------------------

    def relation(self, relation: lp.Relation) -> str:
        match relation:
            case lp.Source(process=process):
                return self.table(process)
            case lp.Filter(input=below, predicate=predicate):
                return f"filter({self.relation(below)}, {self.expr(predicate, _fields(below))})"
            case lp.Project(input=below, items=items):
                text = self.relation(below)
                columns = _fields(below)
                exprs = [self.expr(expr, columns) for _, expr in items]
                # Columns that only get other names are no operator.
                return text if exprs == list(columns.values()) else f"project({text}, {_list(exprs)})"
            case lp.Aggregate():
                return self.aggregate(relation)
            case lp.UnionAll(inputs=inputs):
                return "union_all(" + ", ".join(self.relation(branch) for branch in inputs) + ")"
            case lp.SetOperation(kind=kind, left=left, right=right):
                return f"{kind.value.lower()}({self.relation(left)}, {self.relation(right)})"
            case lp.Join(kind=kind, left=left, right=right, on=on):
                first, second = self.relation(left), self.relation(right)
                a, b = _fields(left), _fields(right)
                pairs = _list(sorted(f"{a[x]} = {b[y]}" for x, y in on))
                return f"{kind.value.lower()}_join({first}, {second}, {pairs})"
            case lp.Limit(input=below, count=count, offset=offset, order=order):
                text = self.relation(below)
                columns = _fields(below)
                keys = _list(columns[name] + (" DESC" if desc else "") for name, desc in order)
                return f"limit({text}, {count}, {offset}, {keys})"

    def aggregate(self, relation: lp.Aggregate) -> str:
        text = self.relation(relation.input)
        columns = _fields(relation.input)
        parts = [text, _list(self.expr(key.expr, columns) for key in relation.keys)]
        parts.append(_list(self.call(call, columns) for call in relation.aggregates))
        if relation.listed_keys:
            places = {key.name: str(number) for number, key in enumerate(relation.keys, 1)}
            groups = _list(_list(self.literal(value) for value in group) for group in relation.listed)
            parts.append(f"keys {_list(places[name] for name in relation.listed_keys)} {groups}")
        return f"aggregate({', '.join(parts)})"

    def call(self, call: lp.AggregateCall, columns: dict[str, str]) -> str:
        args = ["*" if call.arg is None else self.expr(call.arg, columns)]
        if call.parameter is not None:
            args.append(_number(call.parameter))
        if call.score is not None:
            args.append(self.call(call.score, columns))
        text = f"{call.function.value}({', '.join(args)})"
        return text if call.condition is None else f"{text} WHERE {self.expr(call.condition, columns)}"

    # --- expressions --------------------------------------------------------------------------------------

    def expr(self, expr: lp.Expr, columns: dict[str, str]) -> str:
        match expr:
            case lp.Column(name=name):
                return columns[name]
            case lp.Literal():
                return self.literal(expr)
            case lp.Range(arg=arg, low=low, high=high, default=default):
                bounds = ", ".join(_number(value) for value in (low, high, default))
                return f"range({self.expr(arg, columns)}, {bounds})"
            case lp.Case(whens=whens, default=default):
                branches = [f"{self.expr(test, columns)}: {self.expr(value, columns)}" for test, value in whens]
                branches.append("else " + ("null" if default is None else self.expr(default, columns)))
                return f"case({'; '.join(branches)})"
            case lp.Call(function=name, args=args):
                texts = [self.expr(arg, columns) for arg in args]
                if name in _MIRRORED:
                    name = _MIRRORED[name]
                    texts.reverse()
                elif functions.REGISTRY[name].commutative:
                    texts.sort()
                elif name == "in":
                    texts[1:] = sorted(set(texts[1:]))
                return f"{name}({', '.join(texts)})"

    def literal(self, literal: lp.Literal) -> str:
        value = literal.value
        if value is None:
            return f"null:{literal.type.value}"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            return _string(value)
        if literal.type is DataType.TIMESTAMP:
            return f"@{value}"
        return _number(Fraction(value))


def _fields(relation: lp.Relation) -> dict[str, str]:
    return _positions(field.name for field in relation.fields)


def _positions(names: Iterable[str]) -> dict[str, str]:
    return {name: f"${number}" for number, name in enumerate(names, 1)}


def _list(parts: Iterable[str]) -> str:
    return "[" + ", ".join(parts) + "]"


def _string(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _number(value: Fraction) -> str:
    """A decimal number where there is a finite one, else a fraction."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    digits = max(twos, fives)
    whole = str(abs(value.numerator) * 10**digits // value.denominator).rjust(digits + 1, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{whole[:-digits]}.{whole[-digits:]}" if digits else f"{sign}{whole}"
