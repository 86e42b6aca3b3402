"""The server as a whole: the only place that wires its parts together."""

import asyncio
import fcntl
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from privid.database.connect import open_database
from privid.domain.home import Home
from privid.domain.units import SECOND
from privid.engine.lanes import Lanes
from privid.ledger import Ledger, Policies
from privid.ledger.archive import Archive
from privid.ledger.watermark import Watermark
from privid.server.admin_service import AdminService, Office
from privid.server.audits import AuditDesk
from privid.server.auth import Authenticator, ensure_owner
from privid.server.cameras import Cameras
from privid.server.clock import Clock, system_clock
from privid.server.endpoints import analysts_endpoint, owners_endpoint
from privid.server.executables import ExecutableStore, limits_of
from privid.server.forecast import Forecaster
from privid.server.people import People
from privid.server.policies import PolicyDesk
from privid.server.ports import QueryEngine
from privid.server.queries import Queries
from privid.server.query_service import QueryService
from privid.server.samples import Samples
from privid.server.settings import Settings
from privid.video.catalog import Catalog
from privid.video.pictures import PictureStore

_THREADS = 16
_GRACE_SECONDS = 5.0

_log = structlog.get_logger("privid.server")


class AlreadyRunning(Exception):
    """Another server works on this data directory."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the server is made of; tests put their own in."""

    database: sa.Engine
    engine: QueryEngine
    ledger: Ledger
    policies: Policies
    lanes: Lanes
    clock: Clock


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server really listens; `analysts` is empty if only owners are served."""

    analysts: str
    owners: str


def hold(home: Home) -> int:
    """Lock a data directory for this process; the lock goes with the process. Raises AlreadyRunning."""
    handle = os.open(home.root / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise AlreadyRunning(f"a server works on {home.root} already; stop it, or choose another --home") from None
    return handle


def wire(settings: Settings) -> Parts:
    """Put the real parts together: database, ledger, engine. Raises DatabaseError, ValueError for slot cores,
    or BadStoreSetting.

    The process keeps to the shared cores from here on, and so does every thread and child that does not say otherwise.
    """
    # Here and not above: whoever serves with another engine (tests do) needs neither DuckDB nor workers.
    from privid.engine.service import Engine

    home = Home(settings.home)
    lanes = Lanes.of_host(settings.slot_cores)
    os.sched_setaffinity(0, lanes.shared)
    database = open_database(settings.database_url or home.database)
    watermark = Watermark(home.ledger_head, database)
    if settings.restored:
        watermark.advance()
    watermark.require()
    ledger = Ledger(database, system_clock)
    delay_us = round(settings.window_delay_seconds * SECOND)
    engine = Engine(home, database, ledger, lanes, system_clock, delay_us, settings.inference_device)
    return Parts(
        database=database,
        engine=engine,
        ledger=ledger,
        policies=Policies(database, system_clock, engine.renew),
        lanes=lanes,
        clock=system_clock,
    )


async def serve_until_signal(settings: Settings, parts: Parts, on_ready: Callable[[Addresses], None]) -> None:
    """Serve until SIGTERM or SIGINT. Raises CannotListen before anything has started."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(settings, parts, on_ready, stop)


async def serve(settings: Settings, parts: Parts, on_ready: Callable[[Addresses], None], stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then let running calls end and stop the engine.

    Raises CannotListen before anything has started.
    """
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="call"))
    home = Home(settings.home)
    if ensure_owner(parts.database, home.owner_token, parts.clock):
        _log.info("first start: the owner's token was written", path=str(home.owner_token))
    samples = Samples(parts.database, home.samples, parts.clock)
    cameras = Cameras(parts.database, parts.clock, parts.policies, parts.ledger, samples)
    people = People(parts.database, parts.clock)
    executables = ExecutableStore(parts.database, home.executables, parts.clock, limits_of(settings))
    executables.discard_leftovers()
    queries = Queries(parts.database)
    desk = PolicyDesk(parts.policies, Catalog(parts.database), PictureStore(home.pictures))
    authenticator = Authenticator(parts.database)
    analysts = analysts_endpoint(
        QueryService(parts.engine, cameras, desk, samples, people, executables, queries, settings, parts.clock),
        authenticator,
        settings,
    )
    owners = owners_endpoint(
        AdminService(
            parts.engine,
            cameras,
            desk,
            people,
            executables,
            queries,
            Office(
                Forecaster(parts.database, parts.clock, cameras, parts.ledger, parts.engine),
                AuditDesk(parts.database),
                Archive(parts.database, parts.clock),
                samples,
                parts.lanes,
                parts.clock,
            ),
            settings,
        ),
        authenticator,
        settings,
    )

    if not settings.restored:
        await asyncio.to_thread(parts.engine.start)
    try:
        if not settings.restored:
            await analysts.start()
        await owners.start()
        _log.info("ready", analysts=analysts.address, owners=owners.address)
        on_ready(Addresses("" if settings.restored else analysts.address, owners.address))
        await stop.wait()
        _log.info("stopping")
    finally:
        await asyncio.gather(analysts.stop(_GRACE_SECONDS), owners.stop(_GRACE_SECONDS))
        await asyncio.to_thread(parts.engine.stop)
        _log.info("stopped")
