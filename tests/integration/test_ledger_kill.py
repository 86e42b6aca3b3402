"""SIGKILL at every statement and every commit of the ledger's transactions, on both databases.

A forked child works on the database and kills itself at a given point; the parent then looks at what is left, and
does the same work again from the beginning, as a client and an engine would that do not know how far it had come.
Points have names: what the ledger was asked to do, and the statement (or side of the commit) at which it died.
"""

import os
import random
import re
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar, cast

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from privid.database.connect import open_database
from privid.database.transactions import reading
from privid.domain.budget import Charge
from privid.domain.policy import MaskPolicy
from privid.domain.units import NANO
from privid.ledger import BudgetExceeded, IllegalTransition, Ledger, Policies, Reservation, State
from privid.ledger.consistency import problems
from privid.ledger.values import SeriesReservation, Window
from tests.support.databases import postgresql_server, why_no_postgresql
from tests.support.hammer import hammer
from tests.support.ledgers import HOUR, PLAIN, Clock, World, all_steps, charge

Scenario = Callable[[Ledger, Policies], None]
Worker = TypeVar("Worker", Ledger, Policies)


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


_STATEMENT = re.compile(r"(SELECT)\b.*?\b(?:FROM (\w+)|(pg_advisory_xact_lock)|$)|(\w+(?: INTO| FROM)?) ?(\w*)", re.S)


class Points:
    """Follows a child's work from point to point and kills it at one.

    `reserve 2: INSERT INTO charges` is where the second reservation is about to insert its first charge.
    """

    def __init__(self, engine: sa.Engine, fatal: str | None) -> None:
        self.passed: list[str] = []
        self._fatal = fatal
        self._doing = "open"
        self._calls: Counter[str] = Counter()
        event.listen(engine, "before_cursor_execute", lambda c, cursor, sql, *_: self._step(_short(sql)))
        event.listen(engine, "commit", lambda _: self._step("before the commit"))
        event.listen(engine.pool, "checkin", lambda *_: self._step("after the commit"))

    def _step(self, at: str) -> None:
        point = f"{self._doing}: {at}"
        if point not in self.passed:
            self.passed.append(point)
        if point == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def of(self, worker: Worker) -> Worker:
        """The same ledger or policies; its methods give the points their names."""
        return cast(Worker, _Named(worker, self))

    def call(self, method: Callable[..., object], *arguments: object, **named: object) -> object:
        """Call a method; the points in it carry its name."""
        self._calls[method.__name__] += 1
        self._doing = f"{method.__name__} {self._calls[method.__name__]}"
        return method(*arguments, **named)


class _Named:
    def __init__(self, worker: object, points: Points) -> None:
        self._worker = worker
        self._points = points

    def __getattr__(self, name: str) -> Callable[..., object]:
        return partial(self._points.call, getattr(self._worker, name))


def _short(sql: str) -> str:
    """`INSERT INTO charges` and the like."""
    found = _STATEMENT.match(sql)
    assert found is not None, sql
    return " ".join(part for part in found.groups() if part)


def in_points(location: str, scenario: Scenario, fatal: str | None = None) -> tuple[int, list[str]]:
    """Do the scenario in a child that dies at the point `fatal`; its status, and if it lived the points it passed."""
    receive, send = os.pipe()

    def work() -> None:
        engine = open_database(location)
        points = Points(engine, fatal)
        scenario(points.of(Ledger(engine, Clock())), points.of(Policies(engine, Clock())))
        os.write(send, "\n".join(points.passed).encode())

    status = in_child(work)
    os.close(send)
    with os.fdopen(receive) as pipe:
        return status, pipe.read().splitlines()


def life_of_several_queries(ledger: Ledger, _: Policies) -> None:
    """What may be done twice from the beginning, as clients and the engine do after a crash."""
    answered = ledger.reserve(request("first", charge(NANO // 2)))
    if ledger.query(answered.query_id).state is not State.RELEASED:
        ledger.start(answered.query_id)
        ledger.postpone(answered.query_id, 10)
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


def life_of_a_series(ledger: Ledger, _: Policies) -> None:
    """A standing query: all windows reserved at once, one answered, the others withdrawn."""
    windows = [
        Window(
            begin,
            begin + HOUR,
            replace(request("series", charge(NANO // 2, begin), cache_key=f"window {begin}"), ready_us=begin + HOUR),
        )
        for begin in (10 * HOUR, 11 * HOUR, 12 * HOUR)
    ]
    asked = SeriesReservation(
        analyst_id=1, request_id="series", text="series", default_epsilon_nano=NANO, horizon_us=None, every_us=HOUR,
        certificate="{}", windows=tuple(windows),
    )  # fmt: skip
    series_id = ledger.reserve_series(asked).series_id
    first = ledger.windows(series_id)[0]
    if first.state is not State.RELEASED:
        ledger.start(first.id)
        ledger.release(first.id, '{"answer": 1}')
    if State.CANCELLED not in ledger.series(series_id).windows:
        ledger.cancel_series(series_id, actor="analyst:ana")


def change_of_policy(_: Ledger, policies: Policies) -> None:
    longer = replace(PLAIN, rho_us=2 * PLAIN.rho_us, K=2, masks={"benches": MaskPolicy(PLAIN.rho_us, 2)})
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


def outcome(location: str, scenario: Scenario) -> list[object]:
    """Check what is there, do the scenario again, and collect all that must be the same however often it was begun."""
    engine = open_database(location)
    assert_consistent(engine)
    scenario(Ledger(engine, Clock()), Policies(engine, Clock()))
    assert_consistent(engine)
    with engine.connect() as connection:
        found: list[object] = [
            tuple(row)
            for row in connection.exec_driver_sql(
                "SELECT q.text, cache_key, state, (SELECT count(*) FROM releases x WHERE x.reservation_id = r.id),"
                " (SELECT count(*) FROM charges c WHERE c.reservation_id = r.id AND c.refunded_us IS NULL)"
                " FROM queries q JOIN reservations r ON r.id = q.reservation_id ORDER BY q.text, cache_key"
            )
        ]
    found += all_steps(engine)
    engine.dispose()
    return found


@pytest.fixture
def on_sqlite(new_database: Callable[[], str]) -> bool:
    return "://" not in new_database()


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


def kill_at_every_point(prepared: Callable[[], str], scenario: Scenario, stride: int) -> int:
    """Returns how many points there are; every stride-th is met."""
    undisturbed = prepared()
    status, points = in_points(undisturbed, scenario)
    assert status == 0
    expected = outcome(undisturbed, scenario)
    for point in points[::stride]:
        location = prepared()
        status, _ = in_points(location, scenario, point)
        assert status == -signal.SIGKILL, point
        assert outcome(location, scenario) == expected, point
    return len(points)


SCENARIOS = [(life_of_several_queries, 80), (life_of_a_series, 40), (change_of_policy, 20)]


@pytest.mark.parametrize(("scenario", "least"), SCENARIOS)
def test_a_kill_at_any_point_can_be_recovered_from(
    prepared: Callable[[], str], on_sqlite: bool, scenario: Scenario, least: int
) -> None:
    # A sample; all of them are for the soak. PostgreSQL takes a quarter of a second for a new database.
    assert kill_at_every_point(prepared, scenario, 4 if on_sqlite else 15) >= least


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize(("scenario", "least"), SCENARIOS)
def test_a_kill_at_every_point_can_be_recovered_from(
    prepared: Callable[[], str], scenario: Scenario, least: int
) -> None:
    assert kill_at_every_point(prepared, scenario, 1) >= least


def hammer_in_threads(location: str, analyst: int, seed: str) -> None:
    """Several hands, so that what dies is a transaction that they share."""
    engine = open_database(location)
    with ThreadPoolExecutor(4) as pool:
        for number in range(4):
            pool.submit(hammer, engine, analyst, ["plaza", "bridge"], f"{seed}-{number}", 30)


def random_kills(new_database: Callable[[], str], rounds: int) -> None:
    location = new_database()
    engine = open_database(location)
    world = World(engine)
    world.add_camera("bridge", PLAIN)
    analyst = world.analyst
    engine.dispose()
    rng = random.Random(7)
    killed = 0
    for number in range(rounds):
        child = os.fork()
        if child == 0:
            try:
                hammer_in_threads(location, analyst, f"round{number}")
            finally:
                os._exit(1)
        time.sleep(rng.uniform(0.05, 0.5))
        os.kill(child, signal.SIGKILL)
        killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        engine = open_database(location)
        assert_consistent(engine)
        if number % 10 == 9 or number == rounds - 1:
            finish_everything(engine)
        engine.dispose()
    assert killed == rounds
    engine = open_database(location)
    assert len(Ledger(engine, Clock()).queries()) > rounds / 2
    engine.dispose()


def finish_everything(engine: sa.Engine) -> None:
    """Nothing is stuck: what was interrupted can be brought to its end, once."""
    ledger = Ledger(engine, Clock())
    for work in ledger.unfinished():
        ledger.start(work.reservation_id)
        ledger.release(work.reservation_id, "{}")
        with pytest.raises(IllegalTransition):
            ledger.release(work.reservation_id, "again")
    assert ledger.unfinished() == ()
    assert_consistent(engine)


def test_random_kills_leave_the_books_balanced(new_database: Callable[[], str]) -> None:
    random_kills(new_database, 5)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_two_hundred_random_kills(new_database: Callable[[], str]) -> None:
    random_kills(new_database, 200)
