"""Rewrites of the plan, before it is measured: each preserves the exact answer, and no sensitivity, noise or charge is
ever larger for it. One module for each; the order is fixed, so that the canonical text is a function of the query."""

from __future__ import annotations

from dataclasses import replace

from query_lang.logical import Aggregate, Script, Select
from query_lang.rewrites.having import with_where
from query_lang.rewrites.nesting import without_nesting
from query_lang.rewrites.walk import everywhere
from query_lang.rewrites.window import with_windows

__all__ = ["rewritten"]


def rewritten(script: Script) -> Script:
    """The script with all rewrites done."""
    selects = tuple(_flat(with_where(select)) for select in script.selects)
    return with_windows(replace(script, selects=selects))


def _flat(select: Select) -> Select:
    below = everywhere(select.aggregate.input, without_nesting)
    aggregate: Aggregate = replace(select.aggregate, input=below)
    return replace(select, aggregate=aggregate)
