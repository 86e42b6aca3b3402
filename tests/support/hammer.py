"""Random work on one ledger, for tests that let many hands do it at once or kill them while they do."""

import random
import time
from dataclasses import dataclass, field, replace
from multiprocessing.queues import Queue

import sqlalchemy as sa

from privid.database.connect import open_database
from privid.domain.budget import Charge, Grid, Loss
from privid.domain.units import NANO, SECOND
from privid.ledger import BudgetExceeded, Ledger, LedgerError, Policies, PolicyChanged, Reservation, StalePreview
from tests.support.ledgers import PLAIN, Clock


@dataclass
class Told:
    """What the ledger answered to one hand, or to several: the ids of reservations that it said it made or returned."""

    admitted: set[str] = field(default_factory=set)
    returned: set[str] = field(default_factory=set)

    def __or__(self, other: "Told") -> "Told":
        return Told(self.admitted | other.admitted, self.returned | other.returned)


def random_reservation(
    rng: random.Random, analyst_id: int, name: str, cameras: list[str], versions: dict[str, int]
) -> Reservation:
    """A query of one or two cameras, calibrated for rho 30 s; a third of them asks what others have asked."""
    chunk_us = rng.choice([5 * SECOND, 7 * SECOND])
    grid = Grid(rng.randint(0, 20) * 10 * SECOND, chunk_us, chunk_us, rng.randint(1, 40))
    q = NANO // rng.choice([4, 20, 100, 400]) // grid.touched_slots(30 * SECOND)
    charges = tuple(Charge(camera, (Loss("none", q, None, grid),)) for camera in rng.sample(cameras, rng.randint(1, 2)))
    key = f"shared-{rng.randint(0, 49)}" if rng.random() < 0.3 else name
    return Reservation(
        analyst_id=analyst_id,
        request_id=name,
        text=name,
        default_epsilon_nano=NANO,
        cache_key=key,
        plan="{}",
        certificate="{}",
        charges=charges,
        policy_versions=versions,
        visible_us=0,
    )


def hammer(engine: sa.Engine, analyst_id: int, cameras: list[str], seed: str, seconds: float) -> Told:
    """Reserve, send again, start, release, cancel and fail at random."""
    rng = random.Random(seed)
    ledger, policies = Ledger(engine, Clock()), Policies(engine, Clock())
    told = Told()
    mine: list[str] = []
    number = 0
    versions = {camera: policies.current(camera).version for camera in cameras}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        number += 1
        asked = random_reservation(rng, analyst_id, f"{seed}-{number}", cameras, versions)
        try:
            reserved = ledger.reserve(asked)
        except BudgetExceeded:
            pass
        except PolicyChanged:
            versions = {camera: policies.current(camera).version for camera in cameras}
        else:
            if not reserved.existing:
                told.admitted.add(reserved.query_id)
            if rng.random() < 0.2:
                again = ledger.reserve(asked)
                assert (again.query_id, again.existing) == (reserved.query_id, True)
            mine.append(reserved.query_id)
        for query_id in rng.sample(mine, min(len(mine), 2)):
            try:
                _step(rng, ledger, query_id, told)
            except LedgerError:
                mine.remove(query_id)
    return told


def _step(rng: random.Random, ledger: Ledger, query_id: str, told: Told) -> None:
    match rng.randint(0, 4):
        case 0 | 1:
            cancelled = ledger.cancel(query_id, actor="test")
            if cancelled.refunded:
                told.returned.add(cancelled.reservation_id)
        case 2:
            ledger.start(query_id)
        case 3:
            ledger.release(query_id, '{"answer": 1}')
        case _:
            if ledger.fail(query_id, "test"):
                told.returned.add(query_id)


def change_policies(engine: sa.Engine, camera: str, seed: str, seconds: float) -> int:
    """An owner who changes one camera's policy ten times a second; returns how often."""
    rng = random.Random(seed)
    policies = Policies(engine, Clock())
    until = time.monotonic() + seconds
    changes = 0
    while time.monotonic() < until:
        policy = replace(PLAIN, K=rng.randint(1, 2), rho_us=rng.choice([20, 30, 40]) * SECOND)
        try:
            policies.put(camera, policy, actor="owner:olga", confirmed=policies.preview(camera, policy))
            changes += 1
        except StalePreview:
            pass
        time.sleep(0.1)
    return changes


def hammer_process(
    location: str, analyst_id: int, cameras: list[str], seed: str, seconds: float, results: "Queue[Told]"
) -> None:
    """`hammer` in a process of its own."""
    engine = open_database(location)
    results.put(hammer(engine, analyst_id, cameras, seed, seconds))
    engine.dispose()
