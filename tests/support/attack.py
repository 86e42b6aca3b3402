"""Attacks on the calculus: random worlds, changed by hill climbing so that the claims are strained more and more.

One *neighbour pair* is two worlds that differ in one slot, or in all slots that one segment touches, of one source
table. Both go through the real engine, and everything that is claimed about the relation, and about a release on top of
it, is checked: r, net, R, the net of a segment, w, cap, trust, lip, sizes, keys, domains, ranges and multiplicities.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from privid.engine.sql import Rendered
from privid.privacy.base import Base
from privid.privacy.refusal import Refusal
from privid.privacy.sensitivity import Sensitivity, measure
from privid.privacy.stability import State, analyse
from privid.privacy.stability.groups import public_keys
from query_lang.logical import Aggregate, AggregateCall, Function
from tests.support.plans import OUTER, Planner
from tests.support.worlds import (
    MINUTE,
    Engine,
    Releases,
    World,
    changed,
    check_public,
    check_segment,
    check_slot,
    random_rows,
    random_world,
    segment_slots,
    table,
)

# An hour before a spring-forward day in New York, and before a fall-back day.
BEGINS = (0, 1710054000_000000, 1793512800_000000)
ZONES = ("UTC", "America/New_York", "Asia/Kolkata")


@dataclass
class Record:
    """What was tried: plans that were refused and that were attacked, neighbour pairs, and the largest share of a claim
    that was reached, by rule and claim."""

    refused: int = 0
    plans: int = 0
    pairs: int = 0
    reached: dict[tuple[str, str], Fraction] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def note(self, rule: str, claim: str, moved: int | Fraction, most: int | Fraction) -> Fraction:
        """Remember the share moved/most. Where nothing may move, and nothing does, there is no share."""
        if not most:
            return Fraction(0)
        share = Fraction(moved) / Fraction(most)
        self.reached[rule, claim] = max(share, self.reached.get((rule, claim), share))
        return share


def random_tables(rng: random.Random) -> dict[str, Base]:
    found = {}
    for i in range(rng.choice((1, 1, 1, 2))):
        regions = rng.choice(((), (), ("north", "south")))
        found[f"t{i}"] = table(
            f"t{i}",
            camera=f"cam{i}",
            chunks=rng.choice((3, 4, 6)),
            chunk_us=rng.choice((20, 30, 45)) * MINUTE,
            stride_us=rng.choice((0, 0, 10)) * MINUTE,
            begin_us=rng.choice(BEGINS),
            timezone=rng.choice(ZONES),
            max_rows=rng.choice((1, 2, 3)),
            exact=rng.random() < 0.4,
            regions=regions,
            slots_per_chunk=rng.choice((1, 2)) if regions else 1,
            touched=rng.choice((2, 2, 3)),
        )
    return found


@dataclass
class Target:
    """One plan and one of its source tables: how far changing some slots moves everything that is claimed about it."""

    rng: random.Random
    engine: Engine
    state: State
    query: Rendered
    releases: Releases | None
    base: Base
    record: Record
    known: tuple[World, Counter, list[dict]] | None = None

    def strain(self, world: World, other: World, slots: Sequence[int], *, whole: bool) -> Fraction:
        """Checks every claim; the mean share of a claim that is reached."""
        self.record.pairs += 1
        before, exact = self._before(world)
        after = self.engine.rows(self.state, self.query, other)
        claim, rule = self.state.influence[self.base.name], self.state.rule
        if whole:
            move = check_segment(self.state, self.base, before, after)
            reached = [
                self.record.note(rule, "R", move.rows, claim.R),
                self.record.note(rule, "net_segment", move.net, claim.net_segment),
            ]
        else:
            move = check_slot(self.state, self.base, slots[0], before, after)
            reached = [
                self.record.note(rule, "r", move.rows, claim.r),
                self.record.note(rule, "net", move.net, claim.net),
            ]
        if self.releases is not None:
            changed_values = self.releases.exact(other)
            for i, sensitivity in enumerate(self.releases.measured):
                moved = sensitivity.moved[self.base.name]
                most = moved.w
                if whole:
                    most = self.base.touched_slots * moved.w if moved.cap is None else moved.cap
                change = self.releases.moved(i, exact, changed_values)
                assert change <= most, (sensitivity.call, sensitivity.method, whole, change, most)
                name = f"{sensitivity.call.function.value}: {sensitivity.method.value}"
                reached.append(self.record.note(name, "cap or M*w" if whole else "w", change, most))
        return sum(reached, Fraction(0)) / len(reached)

    def _before(self, world: World) -> tuple[Counter, list[dict]]:
        """The relation and the releases of a world, kept until another one is asked for: most steps keep theirs."""
        if self.known is None or self.known[0] is not world:
            rows = self.engine.rows(self.state, self.query, world)
            check_public(self.rng, self.state, rows)
            self.known = (world, rows, [] if self.releases is None else self.releases.exact(world))
        return self.known[1], self.known[2]

    def climb(self, bases: Mapping[str, Base], steps: int, *, whole: bool) -> None:
        """Hill climbing: keeps what strains the claims more."""
        base, rng = self.base, self.rng
        slots = segment_slots(rng, base) if whole else [rng.randrange(base.slots)]
        world = random_world(rng, bases)
        rows = {slot: random_rows(rng, base) for slot in slots}
        best = self.strain(world, changed(world, base.name, rows), slots, whole=whole)
        for _ in range(steps):
            next_world, next_rows = world, dict(rows)
            for _ in range(rng.choice((1, 1, 2, 4))):
                if rng.random() < 0.5:
                    slot = rng.choice(slots)
                    next_rows[slot] = random_rows(rng, base)
                else:
                    table_name = rng.choice(list(bases))
                    slot = rng.randrange(bases[table_name].slots)
                    next_world = changed(next_world, table_name, {slot: random_rows(rng, bases[table_name])})
            reached = self.strain(next_world, changed(next_world, base.name, next_rows), slots, whole=whole)
            if reached >= best:
                world, rows, best = next_world, next_rows, reached


def climb_everywhere(
    rng: random.Random,
    bases: Mapping[str, Base],
    state: State,
    releases: Releases | None,
    steps: int,
    record: Record,
) -> None:
    """Climb with one slot, then with a segment, of every source table of a plan."""
    engine = Engine(bases)
    record.plans += 1
    for rule in rules(state):
        record.seen[rule] = record.seen.get(rule, 0) + 1
    for name in state.influence:
        target = Target(rng, engine, state, engine.relation(state), releases, bases[name], record)
        target.climb(bases, steps, whole=False)
        target.climb(bases, steps, whole=True)


def rules(state: State) -> set[str]:
    """The rules that were applied in a plan, as the plan tells people."""
    own = {part for part in state.rule.split("; ") if part}
    return own.union(*(rules(part) for part in state.inputs))


def attack(seed: int, steps: int, record: Record) -> None:
    """The plan of this seed, of up to 6 operators, with up to three releases on top, if the calculus accepts it."""
    rng = random.Random(seed)
    bases = random_tables(rng)
    planner = Planner(rng, bases)
    relation = planner.relation(rng.randint(1, 6))
    try:
        state = analyse(relation, bases)
    except Refusal:
        record.refused += 1
        return
    calls = tuple(call for call in (planner.call(relation, OUTER) for _ in range(2)) if call is not None)
    releases = _releases(rng, bases, planner.aggregate(relation, calls), state)
    climb_everywhere(rng, bases, state, releases, steps, record)


def _releases(rng: random.Random, bases: Mapping[str, Base], select: Aggregate, state: State) -> Releases | None:
    """The releases of an outermost SELECT, and ARGMAX of the first where that is possible; None if it is refused."""
    try:
        keys = public_keys(select, state)
        measured: list[Sensitivity] = [measure(call, select, state) for call in select.aggregates]
        first = select.aggregates[0]
        if len(select.keys) == 1 and rng.random() < 0.5 and first.function in (Function.COUNT, Function.SUM):
            best = AggregateCall("best", Function.ARGMAX, select.keys[0].expr, score=first)
            measured.append(measure(best, select, state))
    except Refusal:
        return None
    return Releases(Engine(bases), select, state, measured, ((),) if keys is None else keys.rows)
