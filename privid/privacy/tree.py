"""A plan for people: at every operator its influence, the rule that gave it, and what is known of its columns.

Plain values (dicts, lists, strings, numbers), so that the tree travels in the explain document; how it is drawn is the
command line's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from privid.domain.units import isoformat
from privid.privacy.stability import Bases, State
from query_lang import functions
from query_lang.logical import (
    Aggregate,
    AggregateCall,
    Call,
    Case,
    Column,
    DataType,
    Expr,
    Filter,
    Join,
    Limit,
    Literal,
    Project,
    Range,
    Select,
    SetOperation,
    Source,
    UnionAll,
    Value,
)
from query_lang.units import format_duration

_INFIX = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "mod": "%",
    "eq": "=",
    "ne": "<>",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "and": "AND",
    "or": "OR",
    "like": "LIKE",
    "concat": "||",
}
_CASTS = {"to_number": "NUMBER", "to_string": "STRING", "to_boolean": "BOOLEAN"}


def plan_tree(state: State, bases: Bases) -> dict[str, Any]:
    """One operator with its inputs below it. `size` is the exact number of rows where it is public.

    A table has a `source`: what it is made from, with times in microseconds.
    """
    return {
        "operator": operator(state),
        "source": _source(state.relation, bases) if isinstance(state.relation, Source) else None,
        "rule": state.rule,
        "influence": {base: {"r": moved.r, "R": moved.R, "net": moved.net} for base, moved in state.influence.items()},
        "size": state.size,
        "columns": [
            {
                "name": column.name,
                "type": column.type.value,
                "range": None if column.range is None else [float(bound) for bound in column.range],
                "nullable": column.nullable,
                "trusted_for": sorted(column.trust),
            }
            for column in state.columns.values()
        ],
        "inputs": [plan_tree(part, bases) for part in state.inputs],
    }


def _source(relation: Source, bases: Bases) -> dict[str, Any]:
    process, base = relation.process, bases[relation.process.name]
    split = process.split
    return {
        "camera": split.camera,
        "mask": base.mask,
        "region": split.region,
        "begin_us": split.begin_us,
        "end_us": split.end_us,
        "written_us": None if split.written is None else list(split.written),
        "chunk_us": split.chunk_us,
        "period_us": split.period_us,
        "executable": process.executable,
        "timeout_us": process.timeout_us,
        "segment_us": base.segment_us,
        "segments": base.segments,
        "touched_per_segment": base.touched_slots,
    }


def operator(state: State) -> str:
    """An operator in one line."""
    match state.relation:
        case Source(process=process):
            return f"table {process.name}: PRODUCING {'EXACTLY ' if process.exact else ''}{process.max_rows} ROWS"
        case Filter(predicate=predicate):
            return f"WHERE {outermost(predicate)}"
        case Project(items=items):
            return "SELECT " + ", ".join(_named(name, expr) for name, expr in items)
        case Aggregate() as aggregate:
            return grouping(aggregate)
        case UnionAll():
            return "UNION ALL"
        case SetOperation(kind=kind):
            return kind.value
        case Join(kind=kind, on=on):
            return f"{kind.value} JOIN ON " + " AND ".join(f"{left} = {right}" for left, right in on)
        case Limit(count=count, offset=offset):
            return f"LIMIT {count}" + (f" OFFSET {offset}" if offset else "")


def grouping(aggregate: Aggregate) -> str:
    """A GROUP BY in one line."""
    calls = ", ".join(f"{call_text(call)} AS {call.name}" for call in aggregate.aggregates)
    keys = ", ".join(_named(key.name, key.expr) for key in aggregate.keys)
    listed = f" WITH KEYS for {', '.join(aggregate.listed_keys)}" if aggregate.listed_keys else ""
    if not calls:
        return f"DISTINCT {keys}{listed}"
    return f"{calls} GROUP BY {keys}{listed}" if keys else calls


def after_noise(select: Select) -> list[str]:
    """What an outermost SELECT does with its noisy values, clause by clause."""
    clauses = []
    computed = [output for output in select.outputs if not isinstance(output.expr, Column)]
    if computed:
        clauses.append("SELECT " + ", ".join(_named(output.name, output.expr) for output in computed))
    if select.having is not None:
        clauses.append(f"HAVING {outermost(select.having)}")
    if select.order:
        clauses.append("ORDER BY " + ", ".join(outermost(e) + (" DESC" if down else "") for e, down in select.order))
    if select.limit is not None:
        clauses.append(f"LIMIT {select.limit}" + (f" OFFSET {select.offset}" if select.offset else ""))
    return clauses


def call_text(call: AggregateCall) -> str:
    """An aggregate call as it could be written."""
    argument = "*" if call.arg is None else outermost(call.arg)
    match call.function.value:
        case "COUNT_DISTINCT":
            text = f"COUNT(DISTINCT {argument})"
        case name:
            more = [] if call.parameter is None else [f"{float(call.parameter):g}"]
            more += [] if call.score is None else [call_text(call.score)]
            text = f"{name}({', '.join([argument, *more])})"
    return text if call.condition is None else f"{text} FILTER (WHERE {outermost(call.condition)})"


def outermost(expr: Expr) -> str:
    """An expression that stands alone: without parentheses around it."""
    text = expression(expr)
    return text[1:-1] if text.startswith("(") else text


def expression(expr: Expr) -> str:
    """A scalar expression as it could be written; the zone of time functions is left out."""
    match expr:
        case Column(name=name):
            return name
        case Literal(value=value, type=kind):
            return _literal(value, kind)
        case Range(arg=arg, low=low, high=high):
            return f"RANGE({outermost(arg)}, {float(low):g}, {float(high):g})"
        case Case(whens=whens, default=default):
            parts = [f"WHEN {expression(test)} THEN {expression(value)}" for test, value in whens]
            parts += [] if default is None else [f"ELSE {expression(default)}"]
            return f"CASE {' '.join(parts)} END"
        case Call(function=name, args=args):
            if name in functions.TIME_FUNCTIONS:
                return _time(name, args)
            return _call(name, [expression(arg) for arg in args])


def _time(name: str, args: Sequence[Expr]) -> str:
    moment = expression(args[0])
    if name == "bin" and isinstance(args[1], Literal) and isinstance(args[1].value, Fraction):
        return f"bin({moment}, {format_duration(int(args[1].value))})"
    return f"{name}({moment})"


def _call(name: str, texts: Sequence[str]) -> str:
    if name in _INFIX:
        return "(" + f" {_INFIX[name]} ".join(texts) + ")"
    if name in _CASTS:
        return f"CAST({texts[0]} AS {_CASTS[name]})"
    match name:
        case "between":
            return f"({texts[0]} BETWEEN {texts[1]} AND {texts[2]})"
        case "in":
            return f"({texts[0]} IN ({', '.join(texts[1:])}))"
        case "not":
            return f"(NOT {texts[0]})"
        case "neg":
            return f"(-{texts[0]})"
        case "is_null":
            return f"({texts[0]} IS NULL)"
        case _:
            return f"{name}({', '.join(texts)})"


def _named(name: str, expr: Expr) -> str:
    text = outermost(expr)
    return text if text == name else f"{text} AS {name}"


def _literal(value: Value, kind: DataType) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bool):
        return str(value).upper()
    if kind is DataType.TIMESTAMP and isinstance(value, int):
        return f"TIMESTAMP '{isoformat(value)}'"
    return f"{float(value):.12g}"
