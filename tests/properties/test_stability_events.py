"""Whole events against Delta: all presence periods, all segments under a mask, all regions (privacy-model.md, 3 and 4).

A slot moves a release by at most w, a segment by at most cap; an event is K periods of k_m segments, and in each of
their chunks up to g regions. What is charged for it is checked against what it moves, on the real engine.
"""

import random
from fractions import Fraction

import pytest

from privid.domain.budget import Loss
from privid.domain.loss_profile import weighted_losses
from privid.domain.policy import CameraPolicy, MaskPolicy, RegionScheme
from privid.domain.units import NANO
from privid.privacy.base import Base
from privid.privacy.calibration import Share, calibrate
from privid.privacy.sensitivity import Sensitivity, measure
from privid.privacy.stability import analyse
from query_lang.logical import Aggregate, AggregateCall, Column, DataType, Function, Key, Literal, Range
from tests.support.worlds import MINUTE, Engine, Releases, World, random_rows, source, table

CHUNKS, TOUCHED = 24, 2
SPEED = Range(Column("x", DataType.NUMBER), Fraction(-2), Fraction(6), Fraction(0))
NAME = Column("p", DataType.STRING)
COUNT = AggregateCall("n", Function.COUNT)
CALLS = {
    "COUNT": (COUNT, ()),
    "SUM": (AggregateCall("n", Function.SUM, SPEED), ()),
    "COUNT by listed keys": (COUNT, ("a", "b")),
}
FULL, EMPTY, OTHER = (("a", 6.0, True),) * 2, (), (("b", -2.0, True),) * 2


def based(periods: int, segments: int, regions: int, boundary: str) -> tuple[Base, CameraPolicy]:
    """A source table under a mask, as a policy makes it."""
    names = tuple(f"r{i}" for i in range(regions))
    plain = table(chunks=CHUNKS, touched=TOUCHED, regions=names)
    policy = CameraPolicy(
        epsilon_nano=NANO,
        rho_us=10 * 60 * MINUTE,
        K=periods,
        masks={"bench": MaskPolicy(plain.segment_us, segments)},
        regions={"lanes": RegionScheme(names, boundary)} if names else {},
    )
    return Base.of(plain.process, policy, "bench"), policy


def released(base: Base, name: str) -> tuple[Sensitivity, Releases]:
    call, listed = CALLS[name]
    state = analyse(source(base), {base.name: base})
    keys = (Key("k", NAME),) if listed else ()
    rows = tuple((Literal(key, DataType.STRING),) for key in listed)
    select = Aggregate(state.relation, keys, (call,), ("k",) if listed else (), rows)
    sensitivity = measure(call, select, state)
    groups = tuple((key,) for key in listed) or ((),)
    return sensitivity, Releases(Engine({base.name: base}), select, state, [sensitivity], groups)


def delta(base: Base, sensitivity: Sensitivity) -> Fraction:
    moved = sensitivity.moved[base.name]
    return calibrate([Share(moved.w, moved.cap, base.touched_slots, base.segments)], NANO).delta


def event(rng: random.Random, base: Base, *, apart: bool) -> set[int]:
    """The slots of one event: K*k_m segments of Mc chunks, in each chunk g regions."""
    regions = max(1, len(base.regions))
    places = list(range(0, CHUNKS - TOUCHED + 1, TOUCHED if apart else 1))
    return {
        chunk * regions + region
        for first in rng.sample(places, base.segments)
        for chunk in range(first, first + base.touched_chunks)
        for region in rng.sample(range(regions), min(regions, base.grid.slots_per_chunk))
    }


SCHEMES = [(0, "none"), (3, "hard"), (3, "none"), (2, "soft")]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("regions", "boundary"), SCHEMES)
@pytest.mark.parametrize(("periods", "segments"), [(1, 1), (3, 1), (1, 4), (2, 3)])
def test_an_event_reaches_delta_and_no_event_exceeds_it(name, regions, boundary, periods, segments):
    base, _ = based(periods, segments, regions, boundary)
    assert base.segments == periods * segments
    assert base.touched_slots == TOUCHED * (1 if boundary == "hard" or not regions else regions)
    sensitivity, releases = released(base, name)
    most = delta(base, sensitivity)
    rng = random.Random(f"{name} {regions} {boundary} {periods} {segments}")

    def moved(slots: set[int], before: World, after: World) -> Fraction:
        assert {s for s in before["t"] if before["t"][s] != after["t"][s]} <= slots
        return releases.moved(0, releases.exact(before), releases.exact(after))

    slots = event(rng, base, apart=True)
    quiet: World = {"t": dict.fromkeys(range(base.slots), EMPTY)}
    extreme = dict.fromkeys(slots, (EMPTY, FULL) if name == "COUNT" else (OTHER, FULL))
    before = {"t": {**quiet["t"], **{slot: pair[0] for slot, pair in extreme.items()}}}
    after = {"t": {**quiet["t"], **{slot: pair[1] for slot, pair in extreme.items()}}}
    assert moved(slots, before, after) == most
    for _ in range(4):
        slots = event(rng, base, apart=False)
        before = {"t": {slot: random_rows(rng, base) for slot in range(base.slots)}}
        after = {"t": {**before["t"], **{slot: random_rows(rng, base) for slot in slots}}}
        assert moved(slots, before, after) <= most


@pytest.mark.parametrize(("regions", "boundary"), SCHEMES)
@pytest.mark.parametrize(("periods", "segments"), [(1, 1), (2, 3)])
def test_the_charge_of_an_event_covers_what_it_loses(regions, boundary, periods, segments):
    # What the ledger takes at the worst moment is at least moved/b for an event that reaches Delta.
    base, policy = based(periods, segments, regions, boundary)
    sensitivity, _ = released(base, "SUM")
    moved = sensitivity.moved[base.name]
    found = calibrate([Share(moved.w, moved.cap, base.touched_slots, base.segments)], NANO)
    ((q, cap),) = found.rates
    ((_, profile),) = weighted_losses([Loss("bench", q, cap, base.grid)], policy).items()
    charged = max(step.value for step in profile)
    assert charged <= NANO
    assert charged >= NANO * delta(base, sensitivity) / found.scale
