"""Ten thousand chunks in a row leave nothing behind: no process, descriptor, group, mount, file, and no memory."""

import dataclasses
import os
import tempfile
from pathlib import Path

import pytest

from tests.hostile.arena import make_slot
from workers import wire
from workers.host import cgroups, profile
from workers.host.pool import ExecutableSpec, LocalPool

CHUNKS = 10_000
PARTS = 5
GROWTH_KIB = 2048
"""Less than a page for each chunk of a process that never gives any back."""
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


def memory_kib(pid: int) -> int:
    """What a process alone needs: its share of pages of its own and of those that it has in common with forks."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in rollup if line.startswith("Pss_Anon"))


def of_guests(objects: Path) -> list[str]:
    """The System V objects that guests own."""
    header, *lines = objects.read_text().splitlines()
    uid = header.split().index("uid")
    return [line for line in lines if int(line.split()[uid]) >= profile.UNPRIVILEGED_ID]


def state(pool: LocalPool) -> dict[str, object]:
    """Everything that a chunk could leave behind, outside of it."""
    warden = pool._lanes[0].worker.pid
    zygotes = children(warden)
    everyone = [os.getpid(), warden, *zygotes]
    folders = [Path(name) for name in ("/dev/shm", "/tmp", "/var/tmp", "/run")]
    return {
        "descriptors": [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in everyone],
        "processes": (len(zygotes), [len(children(pid)) for pid in zygotes]),
        "threads": [len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in everyone],
        "mounts": [len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines()) for pid in everyone[1:]],
        "groups": sorted(
            folder for parent in cgroups.parents() for folder in parent.folder.glob(f"privid-{os.getpid()}-*")
        ),
        "shared memory": [line for kind in ("shm", "sem", "msg") for line in of_guests(Path("/proc/sysvipc") / kind)],
        "files": sorted(
            path for folder in folders for path in folder.iterdir() if path.lstat().st_uid >= profile.UNPRIVILEGED_ID
        ),
        "temporary files": sorted(Path(tempfile.gettempdir()).iterdir()),
    }


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_thousand_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
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
        everyone = (os.getpid(), warden := pool._lanes[0].worker.pid, *children(warden))
        before, trend = state(pool), []
        for _ in range(PARTS):
            run(pool, CHUNKS // PARTS)
            trend.append([memory_kib(pid) for pid in everyone])
        assert good == CHUNKS + 200
        assert pool._lanes[0].worker.pid == warden
        assert state(pool) == before
        grown = [last - first for first, last in zip(trend[0], trend[-1], strict=True)]
        assert max(grown) < GROWTH_KIB, f"KiB of host, warden and zygote after each part: {trend}"
