"""Constants as written: numbers, strings, truth values, moments, and names of types."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

from sqlglot import exp

from query_lang import logical as lp
from query_lang import nodes, units
from query_lang.logical import DataType
from query_lang.scope import Source

MAX_MAGNITUDE: Final = Fraction(2**42)
MAX_STRING_BYTES: Final = 256

_NUMBER: Final = re.compile(r"[0-9]{1,60}(\.[0-9]{0,60})?([eE][+-]?[0-9]{1,2})?|\.[0-9]{1,60}", re.ASCII)

_TYPE_NAMES: Final = {
    **dict.fromkeys(("number", "double", "float", "real", "decimal", "numeric", "int", "integer", "bigint"), "NUMBER"),
    **dict.fromkeys(("string", "varchar", "text", "char"), "STRING"),
    **dict.fromkeys(("boolean", "bool"), "BOOLEAN"),
}


def data_type(source: Source, name: exp.Expr, *, strict: bool) -> DataType:
    """The type of a name. `strict` (schemas) knows the three names only, and says which one was meant."""
    known = _TYPE_NAMES.get(name.name.lower())
    if known is None or (strict and known.lower() != name.name.lower()):
        hint = f"write {known}" if known else "write STRING, NUMBER or BOOLEAN"
        raise source.error("type", f"unknown type {name.name!r}", name, hint)
    return DataType(known)


def read_number(source: Source, node: exp.Expr, text: str) -> Fraction:
    """A numeral as an exact fraction. Raises QueryError for what is no numeral, or 2^42 and beyond."""
    if not _NUMBER.fullmatch(text):
        raise source.error("syntax", f"{text!r} is not a number", node, "write 12, 0.5 or 1e3")
    value = Fraction(Decimal(text))
    if value >= MAX_MAGNITUDE:
        raise source.error("bad_value", f"{text} is too large", node, "numbers lie below 2^42, about 4.4e12")
    return value


def read_string(source: Source, node: exp.Expr, text: str) -> str:
    """A string constant. Raises QueryError for more than 256 bytes."""
    if len(text.encode()) > MAX_STRING_BYTES:
        raise source.error("bad_value", f"this text is longer than {MAX_STRING_BYTES} bytes", node, "shorten it")
    return text


def constant(source: Source, node: exp.Expr, zone: str | None) -> lp.Literal:
    """A literal node, as in defaults and in WITH KEYS."""
    if isinstance(node, exp.Neg):
        value = constant(source, node.this, zone).value
        assert isinstance(value, Fraction)
        return lp.Literal(-value, DataType.NUMBER)
    if isinstance(node, exp.Boolean):
        return lp.Literal(bool(node.this), DataType.BOOLEAN)
    if isinstance(node, nodes.Moment):
        return lp.Literal(read_moment(source, node, zone), DataType.TIMESTAMP)
    if node.args.get("is_string"):
        return lp.Literal(read_string(source, node, node.name), DataType.STRING)
    return lp.Literal(read_number(source, node, node.name), DataType.NUMBER)


def read_moment(source: Source, node: exp.Expr, zone: str | None) -> int:
    """A moment; `zone` is the camera's, None if there are cameras of several zones."""
    try:
        moment = units.parse_moment(node.name, zone or "UTC")
        if zone is None and moment != units.parse_moment(node.name, "Asia/Kolkata"):
            raise ValueError(f"{node.name!r} has no zone, and the cameras are in several")
    except ValueError as error:
        raise source.error("bad_time", str(error), node, "write 2026-12-01T08:00:00Z") from None
    return moment
