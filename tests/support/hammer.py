"""Random work on one ledger, for tests that let many hands do it at once or kill them while they do."""

import random
import time

import sqlalchemy as sa

from privid.database.connect import open_database
from privid.domain.budget import Charge, Grid, Loss
from privid.domain.units import NANO, SECOND
from privid.ledger import BudgetExceeded, Ledger, LedgerError, Reservation
from tests.support.ledgers import Clock


def random_reservation(rng: random.Random, analyst_id: int, name: str, cameras: list[str]) -> Reservation:
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
        policy_versions=dict.fromkeys(cameras, 1),
        visible_us=0,
    )


def hammer(engine: sa.Engine, analyst_id: int, cameras: list[str], seed: str, seconds: float) -> int:
    """Reserve, start, release, cancel and fail at random; returns how many reservations were new."""
    rng = random.Random(seed)
    ledger = Ledger(engine, Clock())
    mine: list[str] = []
    admitted = number = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        number += 1
        try:
            reserved = ledger.reserve(random_reservation(rng, analyst_id, f"{seed}-{number}", cameras))
            admitted += not reserved.existing
            mine.append(reserved.query_id)
        except BudgetExceeded:
            pass
        for query_id in rng.sample(mine, min(len(mine), 2)):
            try:
                _step(rng, ledger, query_id)
            except LedgerError:
                mine.remove(query_id)
    return admitted


def _step(rng: random.Random, ledger: Ledger, query_id: str) -> None:
    match rng.randint(0, 4):
        case 0 | 1:
            ledger.cancel(query_id, actor="test")
        case 2:
            ledger.start(query_id)
        case 3:
            ledger.release(query_id, '{"answer": 1}')
        case _:
            ledger.fail(query_id, "test")


def hammer_process(location: str, analyst_id: int, cameras: list[str], seed: str, seconds: float) -> None:
    """`hammer` in a process of its own."""
    engine = open_database(location)
    hammer(engine, analyst_id, cameras, seed, seconds)
    engine.dispose()
