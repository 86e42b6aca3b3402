"""From the text of a query to its logical plan."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from query_lang import logical as lp
from query_lang import nodes
from query_lang.build import QueryBuilder
from query_lang.canonical import canonical_text
from query_lang.dialect import parse
from query_lang.errors import QueryError
from query_lang.relations import source_table
from query_lang.rewrites import rewritten
from query_lang.schema import Catalog
from query_lang.scope import Bound, Source, span
from query_lang.statements import StatementBinder

MAX_STATEMENTS = 200


def compile_script(
    text: str, catalog: Catalog, *, horizon_us: int | None = None, window: int | None = None
) -> lp.Script:
    """The plan of a script of SPLIT, PROCESS and SELECT statements, every name resolved against the catalog.

    `horizon_us` stands for the HORIZON of an END NEVER that has none. Of a script with EVERY this is the plan of all
    its time, or of one `window` (from 0). Raises QueryError, and nothing else, for whatever the text may be.
    """
    try:
        script = rewritten(bind_script(text, catalog, horizon_us, window))
        return replace(script, canonical=canonical_text(script.selects))
    except RecursionError:
        raise QueryError("too_large", "the query is nested too deeply", hint="name parts of it with WITH") from None


def bind_script(text: str, catalog: Catalog, horizon_us: int | None = None, window: int | None = None) -> lp.Script:
    """The plan as written, without rewrites and canonical text. Raises QueryError, or RecursionError."""
    source = Source(text)
    statements = parse(text)
    if not statements:
        raise QueryError("syntax", "the query is empty", hint="write SPLIT, PROCESS and SELECT statements")
    if len(statements) > MAX_STATEMENTS:
        raise QueryError("too_large", f"the query has more than {MAX_STATEMENTS} statements")
    binder = StatementBinder(source, catalog, horizon_us, window)
    splits: dict[str, lp.Split] = {}
    tables: dict[str, Bound] = {}
    processes: list[lp.Process] = []
    selects: list[lp.Select] = []
    for statement in statements:
        place = span(statement)
        source.statement = None if place is None else (place[0], place[0] + 1)
        if isinstance(statement, nodes.Split):
            folded = _new_name(source, statement.args["into"], splits, "chunks")
            splits[folded] = binder.split(statement)
        elif isinstance(statement, nodes.Process):
            folded = _new_name(source, statement.args["into"], tables, "table")
            process = binder.process(statement, splits)
            processes.append(process)
            tables[folded] = source_table(process)
        else:
            selects.append(QueryBuilder(source, tables).select(statement, len(selects)))
    if not selects:
        end = len(text.rstrip())
        hint = "add SELECT COUNT(*) FROM ..."
        raise source.error("no_aggregate", "the query has no SELECT, so it asks nothing", (max(0, end - 1), end), hint)
    read = {table.process for select in selects for table in lp.sources(select.aggregate)}
    windows = 1 if binder.series is None else binder.series[1]
    used = tuple(p for p in processes if p in read)
    return lp.Script(used, tuple(selects), "", text, windows, window)


def _new_name(source: Source, node: exp.Expr, taken: dict[str, lp.Split] | dict[str, Bound], what: str) -> str:
    folded = node.name.casefold()
    if folded in taken:
        message = f"{what} {node.name!r} are made twice" if what == "chunks" else f"{what} {node.name!r} is made twice"
        raise source.error("duplicate_name", message, node, "choose another name; case does not matter")
    return folded
