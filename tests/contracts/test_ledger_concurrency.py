"""Many hands on one ledger: threads and processes, on both databases."""

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce
from operator import or_

import pytest
import sqlalchemy as sa

from privid.database.connect import open_database
from privid.database.transactions import reading
from privid.domain.budget import Charge
from privid.domain.units import NANO
from privid.ledger import BudgetExceeded, Ledger, LedgerError, Reservation
from privid.ledger.consistency import problems
from tests.support.hammer import Told, change_policies, hammer, hammer_process
from tests.support.ledgers import PLAIN, Clock, World, all_steps, charge, losses

CAMERAS = ["plaza", "bridge", "gate"]


@pytest.fixture
def world(engine: sa.Engine) -> World:
    made = World(engine)
    for camera in CAMERAS[1:]:
        made.add_camera(camera, PLAIN)
    return made


def assert_consistent(engine: sa.Engine) -> None:
    with reading(engine) as connection:
        assert problems(connection) == ()


def at_once(count: int, action: Callable[[int], object]) -> list[object]:
    """What `count` threads get that call `action` at the same moment; exceptions of the ledger are results."""
    barrier = threading.Barrier(count)

    def run(number: int) -> object:
        barrier.wait()
        try:
            return action(number)
        except LedgerError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.parametrize("round_", range(5))
def test_of_two_that_fit_only_alone_one_is_admitted(world: World, round_: int) -> None:
    requests = [world.request(charge(NANO * 6 // 10)) for _ in range(2)]
    results = at_once(2, lambda number: world.ledger.reserve(requests[number]))
    assert sorted(isinstance(result, BudgetExceeded) for result in results) == [False, True]
    assert world.most_spent() == NANO * 6 // 10 // 7 * 7
    assert_consistent(world.engine)


def test_as_many_as_fit_are_admitted(world: World) -> None:
    requests = [world.request(charge(NANO // 4)) for _ in range(8)]
    results = at_once(8, lambda number: world.ledger.reserve(requests[number]))
    assert sum(isinstance(result, BudgetExceeded) for result in results) == 4
    assert world.most_spent() == 4 * (NANO // 4 // 7 * 7)
    assert_consistent(world.engine)


def test_cameras_named_in_opposite_orders_do_not_wait_for_each_other(world: World) -> None:
    loss = losses(NANO // 50)
    requests = [
        world.request(*(Charge(camera, (loss,)) for camera in (CAMERAS if number % 2 else CAMERAS[::-1])))
        for number in range(12)
    ]
    results = at_once(12, lambda number: world.ledger.reserve(requests[number]))
    assert not any(isinstance(result, LedgerError) for result in results)
    assert_consistent(world.engine)


def test_one_request_sent_many_times_is_charged_once(world: World) -> None:
    request = world.request(charge(NANO))
    results = at_once(8, lambda _: world.ledger.reserve(request))
    assert len({result.query_id for result in results}) == 1  # type: ignore[attr-defined]
    assert sum(not result.existing for result in results) == 1  # type: ignore[attr-defined]
    assert_consistent(world.engine)


@pytest.mark.parametrize("priced", [True, False])
def test_one_question_asked_by_many_is_worked_on_once(world: World, priced: bool) -> None:
    request = world.request(*([charge(NANO)] if priced else []), cache_key="same")
    results = at_once(8, lambda number: world.ledger.reserve(replace(request, request_id=f"r{number}")))
    assert len({result.reservation_id for result in results}) == 1  # type: ignore[attr-defined]
    assert sum(not result.existing for result in results) == 1  # type: ignore[attr-defined]
    assert len(world.ledger.queries()) == 8
    assert_consistent(world.engine)


def test_a_query_is_not_lost_between_a_cancellation_and_somebody_who_joins(world: World) -> None:
    for number in range(6):
        first = world.reserve(charge(1_000), cache_key=f"same-{number}")
        joining = world.request(charge(1_000), cache_key=f"same-{number}")
        actions: list[Callable[[], object]] = [
            lambda query=first.query_id: world.ledger.cancel(query, actor="test"),  # type: ignore[misc]
            lambda request=joining: world.ledger.reserve(request),  # type: ignore[misc]
        ]
        at_once(2, lambda which, actions=actions: actions[which]())  # type: ignore[misc]
    assert_consistent(world.engine)
    assert len(world.ledger.unfinished()) == 6


def test_an_answer_is_stored_once_however_many_try(world: World) -> None:
    query_id = world.reserve(charge(NANO)).query_id
    world.ledger.start(query_id)
    results = at_once(8, lambda number: world.ledger.release(query_id, str(number)))
    assert sum(isinstance(result, LedgerError) for result in results) == 7
    assert_consistent(world.engine)


def test_a_policy_and_a_query_do_not_pass_each_other(world: World) -> None:
    """Either the query was admitted first and is derived again, or it is told that its plan is old."""
    for number in range(2, 8):
        policy = replace(PLAIN, K=number, epsilon_nano=100 * NANO)
        request = world.request(charge(NANO // 10), versions={"plaza": number - 1})
        actions: list[Callable[[], object]] = [
            lambda policy=policy: world.policies.put("plaza", policy, actor="test"),  # type: ignore[misc]
            lambda request=request: world.ledger.reserve(request),  # type: ignore[misc]
        ]
        at_once(2, lambda which, actions=actions: actions[which]())  # type: ignore[misc]
        with world.engine.connect() as connection:
            weights = connection.scalars(sa.text("SELECT DISTINCT weight FROM charges")).all()
        assert set(weights) <= {number}
    assert_consistent(world.engine)


def reserve_in_process(location: str, request: Reservation, results: "multiprocessing.Queue[str]") -> None:
    engine = open_database(location)
    try:
        Ledger(engine, Clock()).reserve(request)
        results.put("admitted")
    except BudgetExceeded:
        results.put("refused")
    engine.dispose()


def test_of_two_processes_one_is_admitted(world: World, database: str) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = context.Queue()
    requests = [world.request(charge(NANO * 6 // 10)) for _ in range(2)]
    processes = [context.Process(target=reserve_in_process, args=(database, request, results)) for request in requests]
    for process in processes:
        process.start()
    found = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
    assert found == ["admitted", "refused"]
    assert_consistent(world.engine)


def deadlocks(engine: sa.Engine) -> int:
    """How many PostgreSQL has had to break; on SQLite there can be none."""
    if engine.dialect.name == "sqlite":
        return 0
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
        statement = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        return int(connection.exec_driver_sql(statement).scalar_one())


def hammer_all(world: World, database: str, threads: int, processes: int, seconds: float) -> None:
    """Analysts on all cameras, an owner who changes the policy of one; then what everybody was told must be true."""
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[Told] = context.Queue()
    others = [
        context.Process(
            target=hammer_process, args=(database, world.analyst, CAMERAS, f"process{number}", seconds, results)
        )
        for number in range(processes)
    ]
    for process in others:
        process.start()
    with ThreadPoolExecutor(threads + 1) as pool:
        changes = pool.submit(change_policies, world.engine, CAMERAS[-1], "owner", seconds)
        hands = [
            pool.submit(hammer, world.engine, world.analyst, CAMERAS, f"thread{number}", seconds)
            for number in range(threads)
        ]
        told = reduce(or_, [hand.result(seconds + 60) for hand in hands])
    told = reduce(or_, [results.get(timeout=seconds + 60) for _ in others], told)
    for process in others:
        process.join(60)
        assert process.exitcode == 0
    assert changes.result() > 0
    assert told.admitted
    assert told.returned
    assert_consistent(world.engine)
    with world.engine.connect() as connection:
        made = set(connection.scalars(sa.text("SELECT id FROM reservations")))
        returned = set(connection.scalars(sa.text("SELECT reservation_id FROM charges WHERE refunded_us IS NOT NULL")))
    assert made == told.admitted
    assert returned == told.returned
    assert deadlocks(world.engine) == 0
    for camera in CAMERAS[:-1]:
        assert 0 < world.most_spent(camera) <= NANO
    for work in world.ledger.unfinished():
        world.ledger.fail(work.reservation_id, "test")
    assert_consistent(world.engine)
    assert all_steps(world.engine)


def test_many_hands_keep_the_books_balanced(world: World, database: str) -> None:
    hammer_all(world, database, threads=8, processes=2, seconds=3)


@pytest.mark.slow
def test_sixteen_threads_and_four_processes_for_a_minute(world: World, database: str) -> None:
    hammer_all(world, database, threads=16, processes=4, seconds=60)
