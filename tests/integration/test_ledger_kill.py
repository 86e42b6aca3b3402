"""SIGKILL at every statement and every commit of the ledger's transactions, on both databases.

A forked child works on the database and kills itself at a given point; the parent then looks at what is left, and
does the same work again from the beginning, as a client and an engine would that do not know how far it had come.
"""

import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from privid.database.connect import open_database
from privid.database.transactions import reading
from privid.domain.budget import Charge
from privid.domain.units import NANO
from privid.ledger import BudgetExceeded, Ledger, Policies, Reservation, State
from privid.ledger.consistency import problems
from tests.support.databases import postgresql_server, why_no_postgresql
from tests.support.hammer import hammer
from tests.support.ledgers import HOUR, PLAIN, Clock, World, all_steps, charge

Scenario = Callable[[sa.Engine], None]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def new_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], str]]:
    if request.param == "sqlite":
        folder: Path = tmp_path_factory.mktemp("kill")
        names = (str(folder / f"{number}.sqlite3") for number in count())
        yield lambda: next(names)
        return
    if reason := why_no_postgresql():
        pytest.skip(reason)
    with postgresql_server() as server:
        yield server.new_database


def in_child(work: Callable[[], None]) -> int:
    """The status with which a forked child ends that does `work`: 0, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - a forked child must not return into pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(point: int, location: str, scenario: Scenario) -> int:
    """Do the scenario in a child that dies at its point-th step, a statement or the moment before or after a commit."""

    def work() -> None:
        engine = open_database(location)
        passed = 0

        def step(*_: object) -> None:
            nonlocal passed
            passed += 1
            if passed == point:
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(engine, "before_cursor_execute", step)
        event.listen(engine, "commit", step)
        event.listen(engine.pool, "checkin", step)
        scenario(engine)

    return in_child(work)


def life_of_several_queries(engine: sa.Engine) -> None:
    """What may be done twice from the beginning, as clients and the engine do after a crash."""
    ledger = Ledger(engine, Clock())
    answered = ledger.reserve(request("first", charge(NANO // 2)))
    if ledger.query(answered.query_id).state is not State.RELEASED:
        ledger.start(answered.query_id)
        ledger.release(answered.query_id, '{"answer": 1}')
    withdrawn = ledger.reserve(request("second", charge(NANO // 2)))
    if ledger.query(withdrawn.query_id).state is not State.CANCELLED:
        ledger.cancel(withdrawn.query_id, actor="analyst:ana")
    with pytest.raises(BudgetExceeded):
        ledger.reserve(request("third", charge(NANO)))
    ledger.reserve(request("fourth", charge(NANO // 2), cache_key="first"))
    failing = ledger.reserve(request("fifth", charge(NANO // 4)))
    if ledger.query(failing.query_id).state is not State.FAILED:
        ledger.fail(failing.query_id, "disk")


def change_of_policy(engine: sa.Engine) -> None:
    policies = Policies(engine, Clock())
    longer = replace(PLAIN, rho_us=2 * PLAIN.rho_us, K=2)
    if policies.current("plaza").K == 1:
        policies.put("plaza", longer, actor="owner:olga", confirmed=policies.preview("plaza", longer))


def request(name: str, *charges: Charge, cache_key: str | None = None) -> Reservation:
    """The same in the child and in the parent: planned once, however often it is sent."""
    return Reservation(
        analyst_id=1,
        request_id=name,
        text=name,
        default_epsilon_nano=NANO,
        cache_key=cache_key or name,
        plan="{}",
        certificate="{}",
        charges=charges,
        policy_versions={"plaza": 1},
        visible_us=0,
    )


def assert_consistent(engine: sa.Engine) -> None:
    with reading(engine) as connection:
        assert problems(connection) == ()


def outcome(engine: sa.Engine) -> list[object]:
    """Everything that must be the same however often the work was interrupted."""
    with engine.connect() as connection:
        found: list[object] = [
            tuple(row)
            for row in connection.exec_driver_sql(
                "SELECT request_id, state, (SELECT count(*) FROM releases x WHERE x.reservation_id = r.id),"
                " (SELECT count(*) FROM charges c WHERE c.reservation_id = r.id AND c.refunded_us IS NULL)"
                " FROM queries q JOIN reservations r ON r.id = q.reservation_id ORDER BY request_id"
            )
        ]
    return found + list(all_steps(engine))


@pytest.fixture
def prepared(new_database: Callable[[], str]) -> Callable[[], str]:
    """Makes databases with one camera, one analyst and one earlier charge."""

    def make() -> str:
        location = new_database()
        engine = open_database(location)
        World(engine).ledger.reserve(request("before", charge(NANO // 4, HOUR)))
        engine.dispose()
        return location

    return make


@pytest.mark.parametrize("scenario", [life_of_several_queries, change_of_policy])
def test_a_kill_at_any_point_can_be_recovered_from(prepared: Callable[[], str], scenario: Scenario) -> None:
    undisturbed = prepared()
    assert killed_at(0, undisturbed, scenario) == 0
    engine = open_database(undisturbed)
    expected = outcome(engine)
    # PostgreSQL takes a quarter of a second for a new database, so there only every fifth point is met.
    points = range(1, 1_000, 1 if engine.dialect.name == "sqlite" else 5)
    engine.dispose()
    killed = 0
    for point in points:
        location = prepared()
        status = killed_at(point, location, scenario)
        engine = open_database(location)
        assert_consistent(engine)
        scenario(engine)
        assert outcome(engine) == expected
        assert_consistent(engine)
        engine.dispose()
        if status == 0:
            break
        assert status == -signal.SIGKILL
        killed += 1
    assert killed * points.step >= 20


def random_kills(new_database: Callable[[], str], rounds: int) -> None:
    location = new_database()
    engine = open_database(location)
    world = World(engine)
    world.add_camera("bridge", PLAIN)
    analyst = world.analyst
    engine.dispose()
    rng = random.Random(7)
    for number in range(rounds):
        child = os.fork()
        if child == 0:
            try:
                hammer(open_database(location), analyst, ["plaza", "bridge"], f"round{number}", 30)
            finally:
                os._exit(1)
        time.sleep(rng.uniform(0.02, 0.4))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        engine = open_database(location)
        assert_consistent(engine)
        ledger = Ledger(engine, Clock())
        if number % 10 == 9:
            # Nothing is stuck: what was interrupted can be brought to its end.
            for work in ledger.unfinished():
                ledger.start(work.reservation_id)
                ledger.release(work.reservation_id, "{}")
            assert ledger.unfinished() == ()
            assert_consistent(engine)
        engine.dispose()
    engine = open_database(location)
    assert len(Ledger(engine, Clock()).queries()) > rounds / 2
    engine.dispose()


def test_random_kills_leave_the_books_balanced(new_database: Callable[[], str]) -> None:
    random_kills(new_database, 12)


@pytest.mark.slow
def test_two_hundred_random_kills(new_database: Callable[[], str]) -> None:
    random_kills(new_database, 200)
