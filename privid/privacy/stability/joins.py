"""Equality joins (privacy-model.md, section 2).

Three rules bound how many rows of a join one slot can move; where several apply, the smallest holds.

- *One row a key on both sides* (the equality covers a unique key of each): a row that leaves or enters one side takes
  or brings at most the one row it matches. INNER: r_L + r_R. A row of a LEFT join changes twice when its partner
  does, once out and once in: r_L + 2*r_R; FULL: 2*r_L + 2*r_R.
- *Trusted keys*: a changed left row matches at most j = mult(key) right rows, a right one at most i left rows:
  r_L*j + r_R*i. If the key is f(slot), the same f on every side that has the table, all changed rows have one key, and
  there are never more than i*j rows with it.
- *Dense with dense, one public domain*: one row a key on both sides, and every key matches exactly once, so the size is
  public and each column keeps its lip.

The row count moves by r in INNER, as the left side's in LEFT, and by r_L + r_R in FULL: that has a row for each key of
either side, so a row that leaves or enters one side changes their number by at most one (docs/decisions/0015).

NULL matches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from privid.privacy.refusal import Refusal
from privid.privacy.stability.frames import Frame, MappedFrame
from privid.privacy.stability.multiplicity import multiplicity
from privid.privacy.stability.slots import reach
from privid.privacy.stability.state import Bases, ColumnState, Influence, State, separate_domains
from privid.privacy.stability.unions import either, same_function
from query_lang.logical import Column, Expr, Join, JoinKind

_NOTHING = Influence(0, 0, 0, 1)
MOST_ROWS = 1_000_000_000
"""A join that could have more rows is refused."""


@dataclass(frozen=True, slots=True)
class _Bound:
    r: int
    R: int


def join(relation: Join, left: State, right: State, bases: Bases) -> State:
    """The smallest of the rules that apply. Raises Refusal if none does."""
    _check_types(relation, left, right)
    if relation.kind is JoinKind.INNER and _one_domain(relation, left, right):
        return _dense(relation, left, right, bases)
    one_a_key = _covers(left, {one for one, _ in relation.on}) and _covers(right, {two for _, two in relation.on})
    trusted = _trusted_pairs(relation, left, right) if relation.kind is JoinKind.INNER else ()
    if not one_a_key and not trusted:
        keys = ", ".join(one for one, _ in relation.on)
        hint = f"GROUP BY {keys}, and nothing else, in a nested SELECT on each side."
        if relation.kind is JoinKind.INNER:
            hint += "  Or join on chunk, or a time function of it, as well."
        raise Refusal(
            "unbounded_join",
            f"{relation.kind.value} JOIN on {keys}: one row can match any number of rows of the other side",
            hint,
        )
    _check_size(relation, left, right, one_a_key)
    influence = {
        base: _moved(relation.kind, one_a_key, trusted, left, right, base, bases)
        for base in {**left.influence, **right.influence}
    }
    return State(
        relation=relation,
        inputs=(left, right),
        columns=_columns(relation, left, right),
        influence=influence,
        rows=left.rows if relation.kind is not JoinKind.FULL else MappedFrame(left.rows, {}),
        domains=_domains(relation.kind, left, right),
        unique=_unique(relation, one_a_key),
        rule=_rule(relation.kind, one_a_key),
    )


def _check_types(relation: Join, left: State, right: State) -> None:
    for one, two in relation.on:
        if left.columns[one].type is not right.columns[two].type:
            raise Refusal("join_types", "joined columns have the same type", "Convert one side in a subquery.")


def _check_size(relation: Join, left: State, right: State, one_a_key: bool) -> None:
    """The most rows that the join can have, whatever the video shows, are few enough to be computed in public time."""
    rows = [multiplicity(side, ()) for side in (left, right)]
    if one_a_key:
        most = sum(rows)
    else:
        keys = zip(*relation.on, strict=True)
        i, j = (
            multiplicity(side, tuple(Column(name, side.columns[name].type) for name in names))
            for side, names in zip((left, right), keys, strict=True)
        )
        most = min(rows[0] * j, rows[1] * i)
    if most > MOST_ROWS:
        raise Refusal(
            "join_too_large",
            f"a join could have {most:,} rows, more than {MOST_ROWS:,}",
            "Join by shorter bins of time, or aggregate both sides first.",
        )


def _moved(
    kind: JoinKind,
    one_a_key: bool,
    trusted: tuple[tuple[str, str], ...],
    left: State,
    right: State,
    base: str,
    bases: Bases,
) -> Influence:
    """How far one source table moves the join: the smallest of the bounds that apply."""
    before = (left.influence.get(base, _NOTHING), right.influence.get(base, _NOTHING))
    bounds = []
    if one_a_key:
        bounds.append(_matched(kind, *before))
    if trusted:
        bounds.append(_products(trusted, left, right, base, bases, before))
    r, R = min(bound.r for bound in bounds), min(bound.R for bound in bounds)  # noqa: N806  # R as in the model
    net = {JoinKind.INNER: r, JoinKind.LEFT: before[0].net, JoinKind.FULL: before[0].r + before[1].r}
    return Influence(r, R, net[kind], max(side.touched for side in before), _active(left, right, base))


def _active(left: State, right: State, base: str) -> Expr | None:
    return either(left.influence.get(base), right.influence.get(base))


def _covers(side: State, names: set[str]) -> bool:
    return any(key <= names for key in side.unique)


def _trusted_pairs(relation: Join, left: State, right: State) -> tuple[tuple[str, str], ...]:
    """The joined pairs of which each side's column is trusted for every table of its side."""
    return tuple(
        (own, other)
        for own, other in relation.on
        if left.influence.keys() <= left.columns[own].trust.keys()
        and right.influence.keys() <= right.columns[other].trust.keys()
    )


def _matched(kind: JoinKind, left: Influence, right: Influence) -> _Bound:
    a = 2 if kind is JoinKind.FULL else 1
    b = 1 if kind is JoinKind.INNER else 2
    return _Bound(a * left.r + b * right.r, a * left.R + b * right.R)


def _products(
    pairs: tuple[tuple[str, str], ...],
    left: State,
    right: State,
    base: str,
    bases: Bases,
    before: tuple[Influence, Influence],
) -> _Bound:
    i = multiplicity(left, tuple(Column(one, left.columns[one].type) for one, _ in pairs))
    j = multiplicity(right, tuple(Column(two, right.columns[two].type) for _, two in pairs))
    r = before[0].r * j + before[1].r * i
    R = before[0].R * j + before[1].R * i  # noqa: N806  # R as in the model
    functions = [same_function(base, _sides(pair, left, right, base)) for pair in pairs]
    known = tuple(f for f in functions if f is not None)
    if len(known) == len(functions):
        r = min(r, i * j)
        R = min(R, i * j * reach(bases[base], known))  # noqa: N806
    return _Bound(r, R)


def _sides(pair: tuple[str, str], left: State, right: State, base: str) -> list[ColumnState]:
    """The two joined columns, on the sides that contain the table."""
    both = ((left, pair[0]), (right, pair[1]))
    return [side.columns[name] for side, name in both if base in side.influence]


def _columns(relation: Join, left: State, right: State) -> dict[str, ColumnState]:
    """Trust through INNER, and of the left columns of LEFT; columns that the join can make NULL lose all trust.

    An equated key is trusted for B, under either side's name, if one f makes it trusted on every side that contains B;
    any other column only if B is not on the other side, for a change there makes rows with any value come and go.
    """
    columns: dict[str, ColumnState] = {}
    partner = {name: pair for pair in relation.on for name in pair}
    for side, other in ((left, right), (right, left)):
        outer = relation.kind is JoinKind.FULL or (relation.kind is JoinKind.LEFT and side is right)
        for name, column in side.columns.items():
            trust: Mapping[str, Expr] = {}
            if not outer and name in partner:
                trust = _equated(partner[name], left, right)
            elif not outer:
                trust = {b: f for b, f in column.trust.items() if b not in other.influence}
            columns[name] = replace(column, trust=trust, lip={}, nullable=column.nullable or outer)
    return columns


def _equated(pair: tuple[str, str], left: State, right: State) -> dict[str, Expr]:
    found = {}
    for base in {**left.influence, **right.influence}:
        f = same_function(base, _sides(pair, left, right, base))
        if f is not None:
            found[base] = f
    return found


def _domains(kind: JoinKind, left: State, right: State) -> dict[str, Frame]:
    domains = separate_domains(right, nulls=kind is not JoinKind.INNER)
    return domains | (separate_domains(left, nulls=True) if kind is JoinKind.FULL else dict(left.domains))


def _unique(relation: Join, one_a_key: bool) -> tuple[frozenset[str], ...]:
    left = frozenset(one for one, _ in relation.on)
    if not one_a_key or relation.kind is JoinKind.FULL:
        return ()
    return (left, frozenset(two for _, two in relation.on)) if relation.kind is JoinKind.INNER else (left,)


def _rule(kind: JoinKind, one_a_key: bool) -> str:
    if not one_a_key:
        return "JOIN on trusted keys: r = min(r_L*j + r_R*i, i*j)"
    a = "2*" if kind is JoinKind.FULL else ""
    b = "" if kind is JoinKind.INNER else "2*"
    return f"{kind.value} JOIN, one row a key: r = {a}r_L + {b}r_R"


# --- dense with dense ---------------------------------------------------------------------------------------


def _one_domain(relation: Join, left: State, right: State) -> bool:
    """Both sides dense over exactly the joined columns, with the same public keys, NULL not among them."""
    if left.dense_keys is None or right.dense_keys is None:
        return False
    if {one for one, _ in relation.on} != set(left.dense_keys) or {two for _, two in relation.on} != set(
        right.dense_keys
    ):
        return False
    keys = left.rows.count(tuple(Column(one, left.columns[one].type) for one, _ in relation.on))
    others = right.rows.count(tuple(Column(two, right.columns[two].type) for _, two in relation.on))
    return keys.keys() == others.keys() and not any(None in key for key in keys)


def _dense(relation: Join, left: State, right: State, bases: Bases) -> State:
    trusted = _trusted_pairs(relation, left, right)
    influence = {
        base: replace(_moved(JoinKind.INNER, True, trusted, left, right, base, bases), net=0)
        for base in {**left.influence, **right.influence}
    }
    columns = _columns(relation, left, right)
    for side in (left, right):
        for name, column in side.columns.items():
            columns[name] = replace(columns[name], lip=column.lip)
    aliases: dict[str, Expr] = {one: Column(one, left.columns[one].type) for one, _ in relation.on}
    aliases |= {two: aliases[one] for one, two in relation.on}
    return State(
        relation=relation,
        inputs=(left, right),
        columns=columns,
        influence=influence,
        rows=MappedFrame(left.rows, aliases),
        counted=True,
        size=left.size,
        dense_keys=tuple(one for one, _ in relation.on),
        unique=(frozenset(one for one, _ in relation.on), frozenset(two for _, two in relation.on)),
        rule="dense JOIN dense, one public domain: r = r_L + r_R (1 by one trusted key), the size is exact",
    )
