"""Syntax nodes that the dialect adds to sqlglot's: the Privid statements and clauses, still unchecked."""

# ruff: noqa: RUF012 - sqlglot reads arg_types from the class
from __future__ import annotations

from sqlglot import exp


class Raw(exp.Expression):
    """A piece of the text as written (a moment, a duration, a size), for `query_lang.units` to read."""

    arg_types = {"this": True}


class Split(exp.Expression):
    """SPLIT camera clauses INTO name."""

    arg_types = {
        "this": True,
        "begin": True,
        "end": True,
        "chunk": True,
        "stride": False,
        "region": False,
        "masks": False,
        "fps": False,
        "resize": False,
        "every": False,
        "horizon": False,
        "into": True,
    }


class Process(exp.Expression):
    """PROCESS chunks USING executable clauses INTO name."""

    arg_types = {
        "this": True,
        "using": True,
        "model": False,
        "calls": False,
        "timeout": True,
        "rows": True,
        "exact": False,
        "expressions": True,
        "into": True,
    }


class SchemaColumn(exp.Expression):
    """A column in WITH SCHEMA: name, type, default."""

    arg_types = {"this": True, "kind": True, "default": True}


class Keyed(exp.Expression):
    """A group key with its WITH KEYS list. Each item is a literal or a tuple of literals."""

    arg_types = {"this": True, "expressions": True}


class Duration(exp.Expression):
    """A length of time inside an expression, such as the 15 min of bin(chunk, 15 min); or a bare unit (`day`)."""

    arg_types = {"this": True}


class Moment(exp.Expression):
    """TIMESTAMP '...'."""

    arg_types = {"this": True}


class Convert(exp.Expression):
    """CAST(x AS TYPE) or TRY_CAST(x AS TYPE)."""

    arg_types = {"this": True, "kind": True}


class OnSet(exp.Expression):
    """(t1 UNION t2 ON column), as written for the authors' parser; likewise INTERSECT and EQUIJOIN."""

    arg_types = {"this": True, "expression": True, "kind": True, "on": True, "alias": False}
