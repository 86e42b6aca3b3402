"""`kill -9` of the server in the middle of a query: the same reservation, no slot twice, one charge, one release."""

import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from privid.database.connect import open_database
from privid.database.schema import charges, releases, reservations
from privid.testing.system import LocalSystem, descendants, wait_until
from tests.support.minute import COUNT_FRAMES, PLENTY, query

CHUNKS = 30


def tables(system: LocalSystem, *names: sa.Table) -> list[list[sa.Row]]:
    database = open_database(system.home.database, migrate=False)
    try:
        with database.connect() as connection:
            return [list(connection.execute(sa.select(name))) for name in names]
    finally:
        database.dispose()


@pytest.mark.parametrize("timing", ["slotted", "open"])
@pytest.mark.parametrize("kills", [1, 3])
def test_a_killed_server_goes_on(install: Callable[..., LocalSystem], timing: str, kills: int) -> None:
    system = install(epsilon=PLENTY, timing=timing)
    token = system.add_analyst("alice", "plaza")
    slow = COUNT_FRAMES.replace(b"    yield", b"    import time\n    time.sleep(0.1)\n    yield")
    with system.client(token) as client:
        client.upload("frames.py", slow)
        submitted = client.submit(query(epsilon=str(PLENTY), timeout="300ms")).query
    charged = tables(system, charges)
    finished = 0
    for _ in range(kills):
        wait_until(lambda: len(system.logged("slot finished")) >= finished + 4)  # noqa: B023 - waits right here
        rows = list((system.home.spool / submitted.id).iterdir())
        assert [stat.S_IMODE(path.stat().st_mode) for path in rows] == [0o600]
        workers = descendants(system.pid)
        assert workers
        system.kill()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))  # noqa: B023 - as above
        finished = len(system.logged("slot finished"))
        assert finished < CHUNKS
        system.start()
    with system.client(token) as client:
        *_, last = client.watch(submitted.id)
        assert last.query.state == "released"
        answer = client.result(submitted.id)
        assert [query.id for query in client.queries()] == [submitted.id]
    assert answer.tables[0].rows[0][0].value == pytest.approx(30, abs=0.1)

    runs = Counter(entry["slot"] for entry in system.logged("slot finished"))
    assert runs == dict.fromkeys(range(CHUNKS), 1)
    assert not (system.home.spool / submitted.id).exists()
    kept, released, reserved = tables(system, charges, releases, reservations)
    assert [kept] == charged
    assert len(released) == len(reserved) == 1
    assert reserved[0].state == "released"


def test_a_server_that_is_stopped_goes_on_too(install: Callable[..., LocalSystem]) -> None:
    system = install(epsilon=PLENTY)
    token = system.add_analyst("alice", "plaza")
    with system.client(token) as client:
        client.upload("frames.py", COUNT_FRAMES)
        submitted = client.submit(query(epsilon=str(PLENTY))).query
    wait_until(lambda: len(system.logged("slot finished")) >= 4)
    system.stop()
    assert len(system.logged("slot finished")) < CHUNKS
    system.start()
    with system.client(token) as client:
        *_, last = client.watch(submitted.id)
        assert last.query.state == "released"
        assert client.result(submitted.id).tables[0].rows[0][0].value == pytest.approx(30, abs=0.1)
    assert len(system.logged("slot finished")) == CHUNKS
