"""SELECTs nested for their names or by habit, taken out.

    SELECT n AS m FROM (SELECT x AS n FROM t)           ->  SELECT x AS m FROM t
    SELECT DISTINCT p FROM (SELECT p FROM t GROUP BY p) ->  SELECT p FROM t GROUP BY p

Sound, because the rows stay what they are, and with them the influence of every slot. What is known of them only grows:
DISTINCT forgets exact sizes and lip, and gives every row that can come or go to the row count (net := r).
"""

from __future__ import annotations

from query_lang.expressions import substitute
from query_lang.logical import Aggregate, Column, Filter, Limit, Project, Relation, SetOperation


def without_nesting(relation: Relation) -> Relation:
    """The operator itself, or a shorter one with the same rows and the same names."""
    if isinstance(relation, Aggregate):
        relation = _without_distinct(relation)
    if isinstance(relation, Project) and isinstance(relation.input, Project):
        relation = _merged(relation, relation.input)
    if isinstance(relation, Project) and _is_identity(relation):
        return relation.input
    return relation


def _merged(outer: Project, inner: Project) -> Project:
    """Two projections as one, where one of them only renames: no expression grows, and none is computed twice."""
    below = dict(inner.items)
    names = [expr.name for _, expr in outer.items if isinstance(expr, Column)]
    picks = len(set(names)) == len(outer.items)
    if picks or all(isinstance(expr, Column) for expr in below.values()):
        return Project(inner.input, tuple((name, substitute(expr, below)) for name, expr in outer.items))
    return outer


def _is_identity(relation: Project) -> bool:
    own = [(field.name, Column(field.name, field.type)) for field in relation.input.fields]
    return list(relation.items) == own


def _without_distinct(relation: Aggregate) -> Relation:
    """DISTINCT over columns that no two rows share is a projection."""
    if relation.aggregates or relation.listed:
        return relation
    names = {key.expr.name for key in relation.keys if isinstance(key.expr, Column)}
    unique = _unique(relation.input)
    if unique is None or len(names) < len(relation.keys) or not unique <= names:
        return relation
    return Project(relation.input, tuple((key.name, key.expr) for key in relation.keys))


def _unique(relation: Relation) -> set[str] | None:
    """Columns of which no two rows have the same values, if the operators tell."""
    match relation:
        case Aggregate(keys=keys):
            return {key.name for key in keys}
        case SetOperation():
            return {field.name for field in relation.fields}
        case Filter(input=below) | Limit(input=below):
            return _unique(below)
        case Project(input=below, items=items):
            passed = {expr.name: name for name, expr in items if isinstance(expr, Column)}
            unique = _unique(below)
            known = unique is not None and unique <= passed.keys()
            return {passed[name] for name in unique} if known and unique is not None else None
        case _:
            return None
