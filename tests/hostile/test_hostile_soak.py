"""Ten thousand chunks in a row leave nothing behind: no process, descriptor, group, mount, file, and no memory."""

import dataclasses
import os
from pathlib import Path

import pytest

from tests.hostile.arena import make_slot
from workers import wire
from workers.host import profile
from workers.host.pool import ExecutableSpec, LocalPool

CHUNKS = 10_000
SPEC = wire.TableSpec((wire.ColumnSpec("n", "NUMBER", -1),), 1)
SOURCE = b"""
import os
def process(chunk):
    if chunk.start_us % 3 == 1:
        os.abort()
    yield {"n": int(chunk.frames[0, 0, 0, 0])}
"""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def anonymous_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))


def state(pool: LocalPool) -> dict[str, object]:
    warden = pool._lanes[0].worker.pid
    zygotes = children(warden)
    everyone = [os.getpid(), warden, *zygotes]
    return {
        "descriptors": [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in everyone],
        "processes": (len(zygotes), [len(children(pid)) for pid in zygotes]),
        "mounts": len(Path(f"/proc/{warden}/mountinfo").read_text().splitlines()),
        "files": [path for path in Path("/dev/shm").iterdir() if path.stat().st_uid >= profile.UNPRIVILEGED_ID],
    }


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_thousand_chunks() -> None:
    good = 0

    def count(index: int, rows: tuple[wire.Row, ...]) -> None:
        nonlocal good
        assert rows == (((-1.0,) if index % 3 == 1 else (float(index % 200),)),)
        good += 1

    def run(pool: LocalPool, chunks: int) -> None:
        slots = (dataclasses.replace(make_slot(i, "c", value=i % 200), start_us=i) for i in range(chunks))
        pool.run(slots, chunks, count)

    spec = ExecutableSpec("0" * 64, SOURCE, SPEC, 5_000_000, libraries=("numpy",))
    with LocalPool(spec, "open", (max(os.sched_getaffinity(0)),)) as pool:
        run(pool, 200)
        before, warden = state(pool), pool._lanes[0].worker.pid
        memory = [anonymous_kib(pid) for pid in (warden, *children(warden))]
        run(pool, CHUNKS)
        assert good == CHUNKS + 200
        assert pool._lanes[0].worker.pid == warden
        assert state(pool) == before
        grown = [anonymous_kib(pid) - was for pid, was in zip((warden, *children(warden)), memory, strict=True)]
        assert max(grown) < 4096, f"KiB more than before: {grown}"
