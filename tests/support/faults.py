"""Plausible mistakes in the calculus, each with the check that sees it.

A fault replaces one rule of the real code by a wrong one. Its check passes on the right code and raises AssertionError
on the wrong: what moves on the real engine is more than what is then claimed. `tests/properties/test_seeded_faults.py`
tries all of them, `tests/properties/test_traps.py` those that the model calls traps.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from typing import Any

import pytest

from privid.domain import loss_profile
from privid.domain.budget import Grid, Loss
from privid.domain.intervals import StepFunction
from privid.engine import raw_sql
from privid.engine.sql_parts import multiply
from privid.privacy import calibration, certificate, rng, sensitivity, stability
from privid.privacy.base import Base
from privid.privacy.calibration import Share
from privid.privacy.refusal import Refusal
from privid.privacy.stability import State, groups, joins, multiplicity, results, unions
from privid.privacy.stability.formulas import count_change, sum_change
from privid.privacy.stability.state import TICKS, Influence
from query_lang import QueryError
from query_lang.duckdb_sql import number
from query_lang.logical import (
    Aggregate,
    AggregateCall,
    Call,
    Column,
    DataType,
    Function,
    Join,
    JoinKind,
    Key,
    Literal,
    Range,
    Source,
    UnionAll,
)
from tests.support.adversary import chunks_touched
from tests.support.events import Scene, check_event
from tests.support.pairs import ONCE, RELATIONS, RELEASES, TERMS, Pair, at, check_relation, check_release, seen
from tests.support.queries import certified
from tests.support.worlds import MINUTE, Engine, check_public, check_segment, check_slot, source, table

Spring = Callable[[pytest.MonkeyPatch], None]
Check = Callable[[], object]


@dataclass(frozen=True)
class Fault:
    """`spring` makes the mistake, `check` fails because of it."""

    spring: Spring
    check: Check


# --- ways to be wrong ---------------------------------------------------------------------------------------


def put(module: object, name: str, value: object) -> Spring:
    """Another value, or another function."""
    return lambda patch: patch.setattr(module, name, value)


def around(module: object, name: str, wrong: Callable[..., object]) -> Spring:
    """A function that gets the right result first, then the arguments."""

    def spring(patch: pytest.MonkeyPatch) -> None:
        right = getattr(module, name)
        patch.setattr(module, name, lambda *args, **named: wrong(right(*args, **named), *args))

    return spring


def combined(wrong: Callable[[int, Any, Any], Any]) -> Spring:
    """Another way to combine periods, M*w and the cap, in Delta and in what is charged."""

    def spring(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Share, "most", property(lambda s: wrong(s.segments, s.touched * s.w, s.cap)))
        patch.setattr(Share, "cost", lambda s, q, cap: wrong(s.segments, s.touched * q, cap))

    return spring


def operator(name: str, wrong: Callable[[State, str, Influence], Influence]) -> Spring:
    """Another influence after an operator."""

    def change(state: State, *_: object) -> State:
        return replace(state, influence={b: wrong(state, b, m) for b, m in state.influence.items()})

    return around(stability, name, change)


def of_input(state: State, base: str) -> Influence:
    return state.inputs[0].influence[base]


def of_inputs(state: State, base: str, claim: str) -> int:
    """A claim added over the inputs."""
    return sum(getattr(part.influence[base], claim) for part in state.inputs)


def largest(parts: object) -> dict[str, Influence]:
    """Of several influences the largest, as if a slot could move one branch only."""
    total: dict[str, Influence] = {}
    for part in parts:  # type: ignore[attr-defined]
        for base, moved in part.items():
            known = total.get(base, moved)
            total[base] = Influence(
                max(known.r, moved.r), max(known.R, moved.R), max(known.net, moved.net), moved.touched
            )
    return total


def sparse(part: int) -> Callable[[State, str, Influence], Influence]:
    """2r of untrusted groups divided."""
    return lambda state, base, moved: (
        replace(moved, r=moved.r // part, R=moved.R // part) if "untrusted" in state.rule else moved
    )


def released(names: tuple[str, ...], share: Fraction, *, grouped: bool | None = None) -> Spring:
    """A share of the right w and cap for some aggregates; `grouped`: by keys that are not trusted, or not so."""

    def wrong(change: Fraction, call: AggregateCall, *args: object) -> Fraction:
        trusted = args[-1]
        applies = call.function.value in names and (grouped is None or grouped is not trusted)
        return change * share if applies else change

    return around(sensitivity, "_change", wrong)


def matched(a: dict[JoinKind, tuple[int, int]]) -> Spring:
    """Other factors of r_L and r_R."""

    def wrong(_: object, kind: JoinKind, left: Influence, right: Influence) -> object:
        one, two = a.get(kind, {JoinKind.INNER: (1, 1), JoinKind.LEFT: (1, 2), JoinKind.FULL: (2, 2)}[kind])
        return joins._Bound(one * left.r + two * right.r, one * left.R + two * right.R)

    return around(joins, "_matched", wrong)


HALF = Fraction(1, 2)


# --- checks -------------------------------------------------------------------------------------------------


def relation(name: str) -> Check:
    return lambda: check_relation(RELATIONS[name])


def release(name: str) -> Check:
    return lambda: check_release(RELEASES[name])


def event(name: str, *scene: object) -> Check:
    return lambda: check_event(Scene(*scene), name)  # type: ignore[arg-type]


def untight(pair: Pair) -> Check:
    """A pair that reaches no claim as long as the rules are right."""
    return lambda: check_relation(replace(pair, relation=True))


def refused_or_within(pair: Pair, code: str) -> Check:
    """A query without a bound is refused; if it is not, it is held to what is claimed."""

    def check() -> None:
        try:
            pair.certified()
        except QueryError as refused:
            if refused.code != code:
                raise
        else:
            check_relation(pair)

    return check


OTHER_HOURS = {slot: seen("a", "a") for slot in range(40)}
TWO_HOURS = (
    "(SELECT {side}.chunk AS c, a.plate AS p FROM (SELECT bin(chunk, 2 hours) AS h, chunk, plate FROM t1) AS a"
    " JOIN (SELECT bin(chunk, 2 hours) AS h, chunk FROM t2) AS b ON a.h = b.h)"
)
"""The chunk of t2's rows: a slot of t1 moves rows of every chunk of its two hours."""

FOREIGN_KEY = Pair(
    f"SELECT c, COUNT(*) AS n FROM {TWO_HOURS.format(side='b')} GROUP BY c",
    {0: seen("a", "a")},
    {0: ()},
    others=OTHER_HOURS,
)
FOREIGN_KEY_AND_PLATE = replace(
    FOREIGN_KEY,
    select=f"SELECT c, p, COUNT(*) AS n FROM {TWO_HOURS.format(side='b')} GROUP BY c, p",
    before={0: seen("a", "b")},
    after={0: seen("c", "d")},
)
FOREIGN_KEY_LISTED = replace(
    FOREIGN_KEY,
    select=f"SELECT c, p, COUNT(*) AS n FROM {TWO_HOURS.format(side='b')} GROUP BY c, p WITH KEYS ['a', 'b']",
    before={0: seen("a", "b")},
)
HALF_A_KEY = Pair(
    f"SELECT l.k AS k, r.x AS x FROM {ONCE} AS l"
    " JOIN (SELECT DISTINCT plate AS k, speed AS x FROM t2) AS r ON l.k = r.k",
    {0: seen("a", "b")},
    {0: ()},
    others={slot: (("a", float(slot), True), ("b", float(slot), True)) for slot in range(40)},
    relation=True,
)
MIDNIGHT = "(SELECT CASE WHEN hour_of_day(chunk) = 0 THEN 'midnight' END AS {k}, COUNT(*) AS {n} FROM t1 GROUP BY {k})"
NULL_KEYS = Pair(
    f"SELECT l.n AS n, r.m AS m FROM {MIDNIGHT.format(k='x', n='n')} AS l"
    f" JOIN {MIDNIGHT.format(k='y', n='m')} AS r ON l.x = r.y",
    {0: seen("a", "b")},
    {0: ()},
)
DENSE_FILL = Pair(
    "SELECT d, COUNT(*) AS m FROM (SELECT day(h) AS d FROM (SELECT hour(chunk) AS h, plate, COUNT(*) AS n FROM t1"
    " GROUP BY h, plate WITH KEYS ['a', 'b', 'c', 'd'])) GROUP BY d",
    {0: seen("a", "b")},
    {0: ()},
)
STACKED = Pair(
    "SELECT hour(chunk) AS h, COUNT(*) AS n FROM (SELECT chunk FROM t1 UNION ALL SELECT chunk FROM t1) GROUP BY h",
    {0: seen("a", "b")},
    {0: ()},
)
NEW_YORK = "America/New_York"


def _day_of(zone: str) -> Call:
    return Call("day", (Column("chunk", DataType.TIMESTAMP), Literal(zone, DataType.STRING)), DataType.TIMESTAMP)


def check_short_day() -> None:
    """25 chunks of an hour, from the last hour of a day over one of 23 hours into the next: three days change."""
    base = table(chunks=60, chunk_us=60 * MINUTE, begin_us=1709942400_000000, timezone=NEW_YORK, touched=25)
    plan = Aggregate(source(base), (Key("d", _day_of(NEW_YORK)),), (AggregateCall("n", Function.COUNT),))
    state = stability.analyse(plan, {base.name: base})
    engine = Engine({base.name: base})
    query = engine.relation(state)
    quiet = dict.fromkeys(range(base.slots), ())
    for first in range(base.slots - 24):
        crowd = dict.fromkeys(range(first, first + 25), (("a", 0.0, True),))
        before, after = (engine.rows(state, query, {base.name: quiet | more}) for more in ({}, crowd))
        check_segment(state, base, before, after)


def _by_formula(_: int, base: Base, _exprs: object) -> int:
    """D = ceil((Mc-1)*p/bin) + 1, with days of 24 hours."""
    return -(-(base.touched_chunks - 1) * base.grid.period_us // (24 * 60 * MINUTE)) + 1


def check_regions_in_counts() -> None:
    """An inner COUNT by chunk counts the rows of all its regions."""
    base = table(chunks=3, regions=("north", "south", "west"), slots_per_chunk=3)
    chunk = Key("c", Column("chunk", DataType.TIMESTAMP))
    state = stability.analyse(
        Aggregate(source(base), (chunk,), (AggregateCall("n", Function.COUNT),)), {base.name: base}
    )
    engine = Engine({base.name: base})
    full = dict.fromkeys(range(base.slots), (("a", 0.0, True),) * 2)
    check_public(random.Random(0), state, engine.rows(state, engine.relation(state), {base.name: full}))


def check_order_of_sums() -> None:
    """The same rows in another order give the same sum."""
    sums = set()
    select = "SELECT SUM(RANGE(speed, -2e12, 2e12)) FROM t1;"
    for first, second in (((2.0**40, -(2.0**40)), (2.0**-20,)), ((2.0**-20, 2.0**40), (-(2.0**40),))):
        script, certificate = certified(select, rows="2 ROWS", epsilon=10_000, **TERMS)
        world = dict.fromkeys(range(40), ()) | {0: at(*first), 1: at(*second)}
        (one,) = certificate.selects
        measured = [release.sensitivity for release in one.releases]
        query = raw_sql.aggregate_query(script.selects[0].aggregate, one.input, measured, (0, 1))
        sums.add(Engine(certificate.bases).run(query, {"t1": world})[0][0])
    assert sums == {1}, sums


def check_join_types() -> None:
    """A NUMBER and a STRING are not joined; if they were, one number would meet many ways to write it."""
    bases = {name: table(name, camera=name, chunks=4) for name in ("t", "u")}
    number_key = Aggregate(source(bases["t"]), (Key("k", Column("x", DataType.NUMBER)),), ())
    text_key = Aggregate(source(bases["u"]), (Key("l", Column("p", DataType.STRING)),), ())
    try:
        state = stability.analyse(Join(JoinKind.INNER, number_key, text_key, (("k", "l"),)), bases)
    except Refusal as refusal:
        if refusal.code == "join_types":
            return
        raise
    engine = Engine(bases)
    query = engine.relation(state)
    texts = {slot: (("1" + slot * "0" + "e-" + str(slot), 0.0, True),) for slot in range(4)}
    quiet = dict.fromkeys(range(4), (("0", 2.0, True),))
    ones = quiet | {0: (("0", 1.0, True),)}
    before, after = (engine.rows(state, query, {"t": rows, "u": texts}) for rows in (quiet, ones))
    check_slot(state, bases["t"], 0, before, after)


def check_charges_of_regions() -> None:
    """A charge is at least what an event loses that shows in g regions of every chunk it touches."""
    grid, segment_us = Grid(0, 4, 5, 6, slots_per_chunk=3), 7
    charged = loss_profile.loss_function(Loss("none", 5, None, grid), segment_us)
    for moment in range(-12, 40):
        lost = 5 * 3 * len(chunks_touched(grid, moment, segment_us))
        assert charged(moment) >= lost, f"{lost} is lost at {moment}, {charged(moment)} charged"


def check_charges_of_two_sources() -> None:
    """Two sources of one camera that are read by one query: an event loses through both."""
    policy = Scene(1, 1).policy()
    grid = Grid(0, 4, 5, 6)
    losses = [Loss("none", 5, None, grid), Loss("none", 7, None, grid)]
    ((_, charged),) = loss_profile.weighted_losses(losses, policy).items()
    assert charged(0) >= 12 * grid.touched_chunks(policy.rho_us)


def check_rates() -> None:
    """What is charged for a touched slot, and for a segment, is at least what it can lose at that scale."""
    for w, cap in ((Fraction(10, 3), None), (Fraction(7, 11), Fraction(2, 3)), (Fraction(1), Fraction(29, 13))):
        found = calibration.calibrate([calibration.Share(w, cap, 7, 3)], 10**6)
        ((q, most),) = found.rates
        assert found.scale is not None
        assert q >= 10**9 * w / found.scale
        assert most is None or most >= 10**9 * cap / found.scale


def check_scale() -> None:
    """The scale that the sampler gets is never below the one that was certified."""
    for value in (Fraction(1, 3), Fraction(10**9, 7), Fraction(2**61 + 1, 3)):
        assert Fraction(rng.round_up_to_float(value)) >= value


def check_sources_that_share_a_budget() -> None:
    """Two sources together cost no more than the budget."""
    shares = [calibration.Share(Fraction(3), None, 7, 2), calibration.Share(Fraction(5), Fraction(20), 6, 1)]
    found = calibration.calibrate(shares, 10**9)
    assert found.scale is not None
    assert 10**9 * sum(share.most for share in shares) / found.scale <= 10**9


# --- the faults ---------------------------------------------------------------------------------------------


def _of_any_source(trust: dict[str, Any], _plan: Aggregate, _key: Key, inner: State) -> dict[str, Any]:
    """A key that is trusted for one source, taken for trusted for every source of its relation."""
    return dict.fromkeys(inner.influence, next(iter(trust.values()))) if trust else trust


def _lip_of_any_key(state: State, plan: Aggregate, inner: State, _bases: object) -> State:
    """A lip although not every key is trusted."""
    columns = dict(state.columns)
    for call in plan.aggregates:
        lip = {base: Fraction(count_change(m.r, m.net, False)) for base, m in inner.influence.items()}
        columns[call.name] = replace(columns[call.name], lip=lip)
    return replace(state, columns=columns)


def _cap_from_lip(found: sensitivity.Sensitivity, call: AggregateCall, *_: object) -> sensitivity.Sensitivity:
    assert call.arg is not None
    lips = {base: results.lip_of(call.arg, found.rows, base) for base in found.moved}
    return replace(found, moved={base: replace(moved, cap=lips[base]) for base, moved in found.moved.items()})


def _lip_through_arithmetic(_: Fraction | None, expr: Any, inner: State, base: str) -> Fraction | None:
    part = expr.arg if isinstance(expr, Range) else expr
    part = part.args[0] if isinstance(part, Call) else part
    return inner.columns[part.name].lip.get(base) if isinstance(part, Column) else None


def _without_fill(most: int, state: State, exprs: multiplicity.Exprs) -> int:
    """Dense groups counted as if only groups with rows were there."""
    if state.dense_keys is None or not isinstance(state.relation, Aggregate) or not state.relation.keys:
        return most
    keys = {key.name: key.expr for key in state.relation.keys}
    return min(most, multiplicity.multiplicity(state.inputs[0], multiplicity._through(exprs, keys)))


def _largest_branch(most: int, state: State, exprs: multiplicity.Exprs) -> int:
    if not isinstance(state.relation, UnionAll):
        return most
    return max(multiplicity.multiplicity(part, multiplicity._renamed(exprs, state, part)) for part in state.inputs)


def everywhere(wrong: Callable[..., int]) -> Spring:
    """Another `multiplicity`, in all modules that use it."""

    def spring(patch: pytest.MonkeyPatch) -> None:
        right = multiplicity.multiplicity
        for module in (multiplicity, groups, results, joins):
            patch.setattr(module, "multiplicity", lambda state, exprs: wrong(right(state, exprs), state, exprs))

    return spring


def _one_region(most: int, state: State, _exprs: object) -> int:
    return state.relation.process.max_rows if isinstance(state.relation, Source) else most


def _per_listed_key(state: State, base: str, moved: Influence) -> Influence:
    """n_B without the public domain of the keys that are not trusted."""
    plan = state.relation
    if not isinstance(plan, Aggregate) or not plan.listed:
        return moved
    return replace(moved, r=min(moved.r, len(plan.listed)), R=min(moved.R, len(plan.listed)))


def _each_alone(right: calibration.Calibration, shares: Sequence[Share]) -> calibration.Calibration:
    assert right.scale is not None
    return replace(right, scale=right.scale * max(share.most for share in shares) / right.delta)


TRAPS: dict[str, tuple[Fault, ...]] = {
    "a key trusted for one source only bounds that source only": (
        Fault(around(groups, "trusted_keys", _of_any_source), untight(FOREIGN_KEY)),
        Fault(around(groups, "trusted_keys", _of_any_source), untight(FOREIGN_KEY_AND_PLATE)),
    ),
    "as above": (
        Fault(around(groups, "trusted_keys", _of_any_source), untight(FOREIGN_KEY_LISTED)),
        Fault(operator("group", _per_listed_key), untight(FOREIGN_KEY_LISTED)),
    ),
    "same types, no implicit cast": (
        Fault(put(joins, "_check_types", lambda *_: None), check_join_types),
        Fault(
            around(joins, "_covers", lambda _, side, names: any(key & names for key in side.unique)),
            refused_or_within(HALF_A_KEY, "unbounded_join"),
        ),
        Fault(
            around(joins, "_one_domain", lambda _, plan, left, right: bool(left.dense_keys and right.dense_keys)),
            untight(NULL_KEYS),
        ),
    ),
    "mult counts regions and dense fill": (
        Fault(around(multiplicity, "_most", _one_region), check_regions_in_counts),
        Fault(everywhere(_without_fill), untight(DENSE_FILL)),
    ),
    "all trust lost": (
        Fault(
            around(stability, "limit", lambda state, _, inner: replace(state, columns=inner.columns)),
            relation("LIMIT: rows of other slots"),
        ),
    ),
    "23-hour days": (Fault(around(groups, "reach", _by_formula), check_short_day),),
    # of lip; the mark has no words of its own
    ")": (Fault(around(stability, "group", _lip_of_any_key), release("SUM over listed groups of a count")),),
    "EXACTLY 1 ROWS and a nullable x": (
        Fault(put(sensitivity, "count_change", lambda r, net, nullable: net), release("COUNT(x), x nullable: r")),
        Fault(
            put(results, "count_change", lambda r, net, nullable: net),
            release("SUM of a lip column: nullable counts"),
        ),
    ),
    "N caps inside one segment only": (
        Fault(
            combined(lambda segments, whole, cap: segments * whole if cap is None else min(segments * whole, cap)),
            event("SUM of counts by chunk", 3, 2, 3, "none"),
        ),
    ),
    "float sums in a parallel engine": (
        Fault(
            put(raw_sql, "as_ticks", lambda value: multiply(value, number(Fraction(TICKS)))),
            check_order_of_sums,
        ),
    ),
    "chunks instead of slots": (
        Fault(
            around(
                loss_profile,
                "loss_function",
                lambda right, loss, segment_us: StepFunction.of(
                    (step.from_us, step.to_us, step.value // loss.grid.slots_per_chunk) for step in right
                ),
            ),
            check_charges_of_regions,
        ),
        Fault(
            put(StepFunction, "total", staticmethod(lambda parts: max(parts, key=lambda f: max(s.value for s in f)))),
            check_charges_of_two_sources,
        ),
    ),
}
"""What the model warns of, by the first words after the mark."""

FAULTS: dict[str, Fault] = {
    "source: a segment is one slot": Fault(
        operator("source", lambda state, base, m: replace(m, R=m.r)), relation("source: R")
    ),
    "source: rows are replaced, never added": Fault(
        operator("source", lambda state, base, m: replace(m, net=0)), release("COUNT(*): net")
    ),
    "WHERE: net stays": Fault(
        operator("where", lambda state, base, m: replace(m, net=of_input(state, base).net)),
        relation("WHERE: r and net"),
    ),
    "FILTER: net stays": Fault(
        around(
            sensitivity,
            "kept",
            lambda state, inner, _: replace(
                state,
                influence={b: replace(m, net=inner.influence[b].net) for b, m in state.influence.items()},
            ),
        ),
        release("COUNT(*) FILTER: r"),
    ),
    "DISTINCT: net stays": Fault(
        operator("group", lambda state, base, m: replace(m, net=of_input(state, base).net)), relation("DISTINCT: net")
    ),
    "GROUP BY untrusted keys: r": Fault(operator("group", sparse(2)), relation("GROUP BY untrusted keys: 2r")),
    "GROUP BY untrusted keys: R": Fault(
        operator("group", lambda state, base, m: replace(m, R=m.R // 2) if "untrusted" in state.rule else m),
        relation("GROUP BY untrusted keys: 2R"),
    ),
    "GROUP BY untrusted keys: as many as before": Fault(
        operator("group", lambda state, base, m: replace(m, net=0)), relation("GROUP BY untrusted keys: net")
    ),
    "GROUP BY trusted keys: one for a segment": Fault(
        put(groups, "reach", lambda base, exprs: 1), relation("GROUP BY trusted keys: R = D")
    ),
    "GROUP BY mixed keys: one": Fault(
        operator("group", lambda state, base, m: replace(m, r=1)), relation("GROUP BY mixed keys: mult")
    ),
    "WITH KEYS: r": Fault(
        operator("group", lambda state, base, m: replace(m, r=of_input(state, base).r)), relation("WITH KEYS: 2r")
    ),
    "UNION ALL: the larger branch": Fault(put(unions, "added", largest), relation("UNION ALL: r and net add")),
    "UNION ALL: mult of the larger branch": Fault(everywhere(_largest_branch), untight(STACKED)),
    "set operations: the larger side": Fault(put(unions, "added", largest), relation("EXCEPT: r")),
    "set operations: net adds": Fault(
        operator(
            "set_operation", lambda state, base, m: replace(m, net=sum(p.influence[base].net for p in state.inputs))
        ),
        relation("UNION: net"),
    ),
    "INNER JOIN: r_L": Fault(matched({JoinKind.INNER: (1, 0)}), relation("INNER JOIN, one row a key: r and net")),
    "LEFT JOIN: r_L + r_R": Fault(matched({JoinKind.LEFT: (1, 1)}), relation("LEFT JOIN, one row a key: r_L + 2*r_R")),
    "LEFT JOIN: as many as before": Fault(
        operator("join", lambda state, base, m: replace(m, net=0)), relation("LEFT JOIN, one row a key: net_L")
    ),
    "FULL JOIN: r_L + 2*r_R": Fault(
        matched({JoinKind.FULL: (1, 2)}), relation("FULL JOIN, one row a key: 2*r_L + 2*r_R")
    ),
    "FULL JOIN: net_L": Fault(
        operator("join", lambda state, base, m: replace(m, net=state.inputs[0].influence[base].net)),
        relation("FULL JOIN, one row a key: net"),
    ),
    "JOIN on trusted keys: r_L + r_R": Fault(
        operator("join", lambda state, base, m: replace(m, r=of_inputs(state, base, "r"))),
        relation("JOIN on trusted keys, a function of its own on each side: r_L*j + r_R*i"),
    ),
    "JOIN on trusted keys: the left side's function": Fault(
        around(joins, "same_function", lambda _, base, columns: columns[0].trust.get(base)),
        relation("JOIN on trusted keys, a function of its own on each side: r_L*j + r_R*i"),
    ),
    "dense JOIN dense: always one": Fault(
        operator("join", lambda state, base, m: replace(m, r=1)),
        relation("dense JOIN dense, by two functions: r_L + r_R"),
    ),
    "LIMIT: a segment is one slot": Fault(
        operator("limit", lambda state, base, m: replace(m, R=m.r)), relation("LIMIT: R")
    ),
    "lip: a cap": Fault(around(certificate, "measure", _cap_from_lip), release("SUM of a lip column: a segment")),
    "lip: through arithmetic": Fault(
        around(sensitivity, "lip_of", _lip_through_arithmetic), release("SUM of a lip column times two")
    ),
    "SUM: u - l for a varying number of rows": Fault(
        put(sensitivity, "sum_change", lambda r, net, bounds, nullable: r * (bounds[1] - bounds[0])),
        release("SUM, 0 < l: rows that vanish"),
    ),
    "SUM: NULL forgotten": Fault(
        put(sensitivity, "sum_change", lambda r, net, bounds, nullable: sum_change(r, net, bounds, False)),
        release("SUM, nullable"),
    ),
    "COUNT(DISTINCT): net": Fault(released(("COUNT_DISTINCT",), HALF), release("COUNT(DISTINCT x): r")),
    "AVG: r": Fault(released(("AVG",), HALF, grouped=False), release("AVG, vector")),
    "VAR: 2r": Fault(released(("VAR",), Fraction(4, 5)), release("VAR")),
    "MEDIAN: r": Fault(released(("MEDIAN",), HALF), release("MEDIAN")),
    "QUANTILE: 2*r*max(q, 1-q)": Fault(released(("QUANTILE",), Fraction(3, 4), grouped=False), release("QUANTILE")),
    "COUNT by listed keys: r": Fault(released(("COUNT",), HALF, grouped=True), release("COUNT(*) by listed keys")),
    "SUM by listed keys: r": Fault(released(("SUM",), HALF, grouped=True), release("SUM by listed keys")),
    "AVG by listed keys: 2r": Fault(released(("AVG",), HALF, grouped=True), release("AVG, vector by listed keys")),
    "MIN by listed keys: r": Fault(released(("MIN",), HALF, grouped=True), release("MIN by listed keys")),
    "QUANTILE by listed keys: 2r": Fault(
        released(("QUANTILE",), HALF, grouped=True), release("QUANTILE by listed keys")
    ),
    "ARGMAX: L-infinity": Fault(released(("COUNT",), HALF, grouped=True), release("ARGMAX of COUNT by listed keys")),
    "Delta: one presence period": Fault(
        combined(lambda segments, whole, cap: whole if cap is None else min(whole, cap)),
        event("COUNT", 3, 1, 0, "none"),
    ),
    "Delta: one region of a chunk": Fault(
        put(Base, "touched_slots", property(lambda base: base.touched_chunks)), event("COUNT", 1, 1, 3, "none")
    ),
    "Mc: chunks are touched from their beginning": Fault(
        put(Grid, "touched_chunks", lambda grid, segment_us: min(grid.count, -(-segment_us // grid.period_us))),
        event("COUNT", 1, 1, 0, "none"),
    ),
    "calibration: rates rounded down": Fault(put(calibration, "ceil", floor), check_rates),
    "calibration: a scale rounded to the nearest": Fault(put(rng, "round_up_to_float", float), check_scale),
    "calibration: every source has the whole budget": Fault(
        around(calibration, "calibrate", lambda right, shares, budget: _each_alone(right, shares)),
        check_sources_that_share_a_budget,
    ),
}
