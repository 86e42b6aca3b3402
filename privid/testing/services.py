"""The services with an engine that only pretends: for tests of clients, command lines and the services themselves."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from privid.database import schema
from privid.database.connect import open_database
from privid.database.transactions import write
from privid.domain.budget import Charge, Grid, Loss
from privid.domain.home import Home
from privid.domain.release import Estimate, Release, Table
from privid.domain.units import SECOND
from privid.engine.errors import NotCancellable, UnknownQuery
from privid.engine.lanes import Lanes
from privid.ledger import Ledger, Policies
from privid.ledger.values import Place
from privid.server.app import Addresses, Parts, serve
from privid.server.clock import system_clock
from privid.server.ports import Standing
from privid.server.settings import Settings

DOCUMENT: Mapping[str, Any] = {
    "canonical": "SELECT",
    "chunks": 8,
    "public_time_s": 2.0,
    "releases": [],
    "charges": [{"camera": "plaza", "epsilon": 0.5, "profile": [[0, 10, 500_000_000]]}],
    "plans": [],
    "admissible": True,
    "admissible_epsilon": 0.65,
    "refusals": [],
}


START_US = 1_796_112_000 * SECOND
"""2026-12-01T08:00:00Z: where what the pretended engine prices begins."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A submission."""

    query_id: str
    existing: bool
    shared: bool


@dataclass(slots=True)
class PretendedQuery:
    """A query and its public state."""

    query_id: str
    state: str
    submitted_us: int
    starts_us: int
    visible_us: int
    epsilon_nano: Mapping[str, int]
    standing: Standing | None = None
    place: Place | None = None
    note: str = ""


@dataclass(slots=True)
class PretendedEngine:
    """Admits everything, answers 42 after `duration_us`.

    Explain, submit and cancel take `delay_seconds` and raise `trouble`.
    """

    database: sa.Engine
    clock: Callable[[], int] = system_clock
    duration_us: int = SECOND // 2
    trouble: Exception | None = None
    delay_seconds: float = 0.0
    calls: list[str] = field(default_factory=list)
    queries: dict[str, PretendedQuery] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _requests: dict[tuple[int, str], str] = field(default_factory=dict)

    def explain(
        self, analyst_id: int, text: str, default_epsilon_nano: int, horizon_us: int | None = None
    ) -> Mapping[str, Any]:
        """Always the same document, with the text as it arrived."""
        self._call("explain" if horizon_us is None else f"explain up to {horizon_us}")
        return {**DOCUMENT, "canonical": text, "asked": [analyst_id, default_epsilon_nano]}

    def price(self, text: str, default_epsilon_nano: int) -> tuple[Charge, ...]:  # noqa: ARG002 - always the same
        """Half the default epsilon, under a policy of 30 s, from ten minutes of plaza."""
        self._call("price")
        grid = Grid(START_US, 5 * SECOND, 5 * SECOND, 120)
        return (Charge("plaza", (Loss("none", default_epsilon_nano // 14, None, grid),)),)

    def submit(
        self,
        analyst_id: int,
        request_id: str,
        text: str,
        default_epsilon_nano: int,
        horizon_us: int | None = None,
    ) -> Outcome:
        """A query that is released `duration_us` later."""
        self._call("submit" if horizon_us is None else f"submit up to {horizon_us}")
        if (known := self._requests.get((analyst_id, request_id))) is not None:
            return Outcome(known, existing=True, shared=False)
        query_id = f"q{next(self._numbers)}"
        now = self.clock()
        self._requests[analyst_id, request_id] = query_id
        self.queries[query_id] = PretendedQuery(
            query_id, "running", now, now, now + self.duration_us, {"plaza": default_epsilon_nano}
        )
        write(self.database, lambda connection: self._store(connection, query_id, analyst_id, request_id, text))
        return Outcome(query_id, existing=False, shared=False)

    def status(self, query_id: str) -> PretendedQuery:
        """Released as soon as it is visible."""
        query = self.queries.get(query_id)
        if query is None:
            raise UnknownQuery("no such query")
        if query.state == "running" and self.clock() >= query.visible_us:
            query.state = "released"
        return query

    def windows(self, query_id: str) -> tuple[PretendedQuery, ...]:
        """No query has any."""
        self.status(query_id)
        return ()

    def result(self, query_id: str) -> Release | None:
        """One table with one noisy and one public column."""
        if self.status(query_id).state != "released":
            return None
        rows = ((8, Estimate(42.0, 1.0, 3.0, 0.5)), (9, Estimate(17.25, 1.0, 3.0, 0.5)))
        return Release("another id", 1_000_000, (Table(0, ("h", "count_1"), rows, 0.5),), values_only=False)

    def cancel(self, query_id: str, actor: str) -> None:
        """Only while it runs."""
        self._call(f"cancel by {actor}")
        query = self.status(query_id)
        if query.state != "running":
            raise NotCancellable(f"the query is {query.state}", "nothing is left to do")
        query.state = "cancelled"

    def start(self) -> None:
        """Remember it."""
        self.calls.append("start")

    def stop(self) -> None:
        """Remember it."""
        self.calls.append("stop")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        time.sleep(self.delay_seconds)
        if self.trouble is not None:
            raise self.trouble

    def _store(self, connection: sa.Connection, query_id: str, analyst_id: int, request_id: str, text: str) -> None:
        now = self.clock()
        connection.execute(
            schema.reservations.insert().values(
                id=query_id,
                cache_key=query_id,
                plan="{}",
                certificate="{}",
                state="running",
                reserved_us=now,
                visible_us=now + self.duration_us,
            )
        )
        connection.execute(
            schema.queries.insert().values(
                id=query_id,
                analyst_id=analyst_id,
                request_id=request_id,
                text=text,
                default_epsilon_nano=1,
                reservation_id=query_id,
                submitted_us=now,
            )
        )


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server on loopback, with what is behind it."""

    addresses: Addresses
    home: Home
    parts: Parts
    engine: PretendedEngine

    @property
    def owner_token(self) -> str:
        """As written at the first start."""
        return self.home.owner_token.read_text().strip()


@contextmanager
def running_server(root: Path, **settings: Any) -> Iterator[RunningServer]:
    """Both services on free ports of loopback, with the pretended engine and the real database and ledger."""
    home = Home(root).create()
    defaults: dict[str, Any] = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "tick_seconds": 0.05}
    chosen = Settings(home=root, **(defaults | settings))
    database = open_database(home.database)
    engine = PretendedEngine(database)
    parts = Parts(
        database,
        engine,
        Ledger(database, system_clock),
        Policies(database, system_clock),
        Lanes((1,), (0,)),
        system_clock,
    )
    started: list[Addresses] = []
    ready = threading.Event()
    failure: list[BaseException] = []
    control: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        stop = asyncio.Event()
        control.append((asyncio.get_running_loop(), stop))

        def on_ready(addresses: Addresses) -> None:
            started.append(addresses)
            ready.set()

        await serve(chosen, parts, on_ready, stop)

    def target() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            failure.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=target, name="server")
    thread.start()
    try:
        ready.wait(30)
        if failure:
            raise failure[0]
        yield RunningServer(started[0], home, parts, engine)
    finally:
        if control and thread.is_alive():
            loop, stop = control[0]
            loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        database.dispose()
