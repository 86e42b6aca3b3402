"""Stability: how far one slot, and one segment, of each source table can move a relation (privacy-model.md, section 2).

One module for each family of operators; each holds its rule and why it is true. Anything not listed there is refused.
"""

from __future__ import annotations

from privid.privacy.stability.groups import group
from privid.privacy.stability.joins import join
from privid.privacy.stability.rows import limit, project, source, where
from privid.privacy.stability.state import Bases, State
from privid.privacy.stability.unions import set_operation, union_all
from query_lang.logical import Aggregate, Filter, Join, Limit, Project, Relation, SetOperation, Source, UnionAll

__all__ = ["Bases", "State", "analyse"]


def analyse(relation: Relation, bases: Bases) -> State:
    """The state of a relation, from its source tables up. Raises Refusal where no rule applies."""
    match relation:
        case Source(process=process):
            return source(relation, bases[process.name])
        case Filter():
            return where(relation, analyse(relation.input, bases))
        case Project():
            return project(relation, analyse(relation.input, bases))
        case Aggregate():
            return group(relation, analyse(relation.input, bases), bases)
        case UnionAll():
            return union_all(relation, [analyse(branch, bases) for branch in relation.inputs])
        case SetOperation():
            return set_operation(relation, analyse(relation.left, bases), analyse(relation.right, bases))
        case Join():
            return join(relation, analyse(relation.left, bases), analyse(relation.right, bases), bases)
        case Limit():
            return limit(relation, analyse(relation.input, bases))
