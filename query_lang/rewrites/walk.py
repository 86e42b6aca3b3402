"""Relations as trees: the same operator over other inputs, and a rule applied everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from query_lang.logical import Join, Relation, SetOperation, Source, UnionAll

Rule = Callable[[Relation], Relation]


def over(relation: Relation, change: Rule) -> Relation:
    """The operator with each of its inputs changed."""
    match relation:
        case Source():
            return relation
        case UnionAll(inputs):
            return UnionAll(tuple(change(branch) for branch in inputs))
        case SetOperation(left=left, right=right) | Join(left=left, right=right):
            return replace(relation, left=change(left), right=change(right))
        case _:
            return replace(relation, input=change(relation.input))


def everywhere(relation: Relation, rule: Rule) -> Relation:
    """The relation with the rule applied to every operator, from the source tables up."""
    return rule(over(relation, lambda below: everywhere(below, rule)))
