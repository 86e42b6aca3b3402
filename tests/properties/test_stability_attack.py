"""Random plans attacked with random worlds: nothing that one slot or one segment moves ever exceeds the claim.

The relation's r, net, R, trust, lip, sizes, keys, domains, ranges and multiplicities are all checked against what the
real engine computes, and so is w, or the cap, of a release on top of it.
"""

import random

import pytest

from privid.privacy.base import Base
from privid.privacy.refusal import Refusal
from privid.privacy.sensitivity import measure
from privid.privacy.stability import analyse
from privid.privacy.stability.groups import public_keys
from tests.support.plans import OUTER, Planner
from tests.support.worlds import (
    MINUTE,
    Engine,
    changed,
    check_public,
    check_segment,
    check_slot,
    l1,
    random_rows,
    random_world,
    release_query,
    released_vectors,
    segment_slots,
    table,
)

# An hour before a spring-forward day in New York, and before a fall-back day.
BEGINS = (0, 1710054000_000000, 1793512800_000000)
ZONES = ("UTC", "America/New_York", "Asia/Kolkata")


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


def attack(seed: int, worlds: int) -> bool:
    """Whether the plan of this seed is one that the calculus accepts; if so, it has withstood the attack."""
    rng = random.Random(seed)
    bases = random_tables(rng)
    planner = Planner(rng, bases)
    relation = planner.relation(rng.randint(1, 6))
    try:
        state = analyse(relation, bases)
    except Refusal:
        return False
    engine = Engine(bases)
    query = engine.relation(state)
    calls = tuple(call for call in (planner.call(relation, OUTER) for _ in range(2)) if call is not None)
    select = planner.aggregate(relation, calls)
    try:
        keys = public_keys(select, state)
        measured = [measure(call, select, state) for call in calls]
        released = release_query(engine, select, state, measured)
    except Refusal:
        released = None
    groups = () if released is None else ((),) if keys is None else keys.rows
    for _ in range(worlds):
        world = random_world(rng, bases)
        before = engine.rows(state, query, world)
        check_public(rng, state, before)
        vectors = [] if released is None else released_vectors(engine, released, select, measured, groups, world)
        for name in state.influence:
            base = bases[name]
            slot = rng.randrange(base.slots)
            one = changed(world, name, {slot: random_rows(rng, base)})
            check_slot(state, base, slot, before, engine.rows(state, query, one))
            many = changed(world, name, {s: random_rows(rng, base) for s in segment_slots(rng, base)})
            check_segment(state, base, before, engine.rows(state, query, many))
            if released is None:
                continue
            for other, whole in ((one, False), (many, True)):
                after = released_vectors(engine, released, select, measured, groups, other)
                for sensitivity, a, b in zip(measured, vectors, after, strict=True):
                    moved = sensitivity.moved[name]
                    most = moved.w
                    if whole:
                        most = base.touched_slots * moved.w if moved.cap is None else moved.cap
                    assert l1(a, b) <= most, (sensitivity.call, sensitivity.method, whole, l1(a, b), most)
    return True


@pytest.mark.parametrize("batch", range(6))
def test_no_random_plan_moves_further_than_claimed(batch):
    withstood = sum(attack(seed, worlds=3) for seed in range(batch * 8, batch * 8 + 8))
    assert withstood >= 2, "most plans of this batch were refused, so little was tested"


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(20))
def test_no_random_plan_moves_further_than_claimed_soak(batch):
    for seed in range(10_000 + batch * 50, 10_000 + batch * 50 + 50):
        attack(seed, worlds=6)
