"""Whole events: a source table under a mask, with regions, and everything that one event can change in it."""

import random
from dataclasses import dataclass
from fractions import Fraction

from privid.domain.policy import Boundary, CameraPolicy, MaskPolicy, RegionScheme
from privid.domain.units import NANO
from privid.privacy.base import Base
from privid.privacy.calibration import Calibration, Share, calibrate
from privid.privacy.sensitivity import Sensitivity, measure
from privid.privacy.stability import analyse
from query_lang.logical import (
    Aggregate,
    AggregateCall,
    Column,
    DataType,
    Function,
    Key,
    Literal,
    Project,
    Range,
    Relation,
)
from tests.support.worlds import MINUTE, Engine, Releases, Rows, World, random_rows, source, table

CHUNKS = 24
TOUCHED = 2
"""Chunks that one segment touches: it is as long as one chunk."""
SPEED = Range(Column("x", DataType.NUMBER), Fraction(-2), Fraction(6), Fraction(0))
NAME = Column("p", DataType.STRING)
COUNT = AggregateCall("n", Function.COUNT)
CALLS = {
    "COUNT": (COUNT, ()),
    "SUM": (AggregateCall("n", Function.SUM, SPEED), ()),
    "COUNT by listed keys": (COUNT, ("a", "b")),
    "SUM of counts by chunk": (AggregateCall("n", Function.SUM, Column("m", DataType.NUMBER)), ()),
}
"""The last one, of counts that are clipped to [0, 1], has a cap: a segment moves two of them, whatever the regions."""
FULL: Rows = (("a", 6.0, True),) * 2
EMPTY: Rows = ()
OTHER: Rows = (("b", -2.0, True),) * 2


@dataclass(frozen=True)
class Scene:
    """K, k_m, the regions of a chunk and how many of them an event shows in (g)."""

    periods: int
    segments: int
    regions: int = 0
    boundary: Boundary = "none"

    @property
    def shown(self) -> int:
        """g, as the policy means it."""
        return 1 if self.boundary == "hard" else max(1, self.regions)

    def policy(self) -> CameraPolicy:
        names = tuple(f"r{i}" for i in range(self.regions))
        return CameraPolicy(
            epsilon_nano=NANO,
            rho_us=10 * 60 * MINUTE,
            K=self.periods,
            masks={"bench": MaskPolicy(20 * MINUTE, self.segments)},
            regions={"lanes": RegionScheme(names, self.boundary)} if names else {},
        )

    def base(self) -> Base:
        """The source table under the mask, as the policy makes it."""
        names = tuple(f"r{i}" for i in range(self.regions))
        return Base.of(table(chunks=CHUNKS, touched=TOUCHED, regions=names).process, self.policy(), "bench")

    def event(self, rng: random.Random, *, apart: bool) -> set[int]:
        """The slots of one event: K*k_m segments, of which each touches two chunks, in each of these g regions."""
        regions = max(1, self.regions)
        places = range(0, CHUNKS - TOUCHED + 1, TOUCHED if apart else 1)
        return {
            chunk * regions + region
            for first in rng.sample(places, self.periods * self.segments)
            for chunk in range(first, first + TOUCHED)
            for region in rng.sample(range(regions), self.shown)
        }


@dataclass(frozen=True)
class Query:
    """One of the CALLS over a scene's table."""

    base: Base
    sensitivity: Sensitivity
    releases: Releases

    @classmethod
    def of(cls, scene: Scene, name: str) -> "Query":
        base = scene.base()
        call, listed = CALLS[name]
        relation: Relation = source(base)
        if name == "SUM of counts by chunk":
            chunk = Key("chunk", Column("chunk", DataType.TIMESTAMP))
            counts = Aggregate(relation, (chunk,), (AggregateCall("m", Function.COUNT),))
            clipped = Range(Column("m", DataType.NUMBER), Fraction(0), Fraction(1), Fraction(0))
            relation = Project(counts, (("m", clipped),))
        state = analyse(relation, {base.name: base})
        keys = (Key("k", NAME),) if listed else ()
        rows = tuple((Literal(key, DataType.STRING),) for key in listed)
        select = Aggregate(state.relation, keys, (call,), ("k",) if listed else (), rows)
        sensitivity = measure(call, select, state)
        groups = tuple((key,) for key in listed) or ((),)
        return cls(base, sensitivity, Releases(Engine({base.name: base}), select, state, [sensitivity], groups))

    @property
    def calibration(self) -> Calibration:
        """For epsilon 1."""
        moved = self.sensitivity.moved[self.base.name]
        return calibrate([Share(moved.w, moved.cap, self.base.touched_slots, self.base.segments)], NANO)

    def moved(self, before: dict[int, Rows], after: dict[int, Rows]) -> Fraction:
        worlds: list[World] = [{self.base.name: rows} for rows in (before, after)]
        return self.releases.moved(0, *(self.releases.exact(world) for world in worlds))


def check_event(scene: Scene, name: str) -> tuple[Fraction, Fraction]:
    """Events move a release by at most Delta, an extreme one and random ones: (the extreme one's, Delta)."""
    query = Query.of(scene, name)
    delta = query.calibration.delta
    rng = random.Random(f"{scene} {name}")
    slots = scene.event(rng, apart=True)
    quiet: dict[int, Rows] = dict.fromkeys(range(query.base.slots), EMPTY)
    first = OTHER if name in ("SUM", "COUNT by listed keys") else EMPTY
    most = query.moved(quiet | dict.fromkeys(slots, first), quiet | dict.fromkeys(slots, FULL))
    assert most <= delta, f"an event moves {most}, Delta is {delta}"
    for _ in range(3):
        slots = scene.event(rng, apart=False)
        before = {slot: random_rows(rng, query.base) for slot in range(query.base.slots)}
        after = before | {slot: random_rows(rng, query.base) for slot in slots}
        assert query.moved(before, after) <= delta
    return most, delta
