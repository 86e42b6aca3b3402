"""The arena: a real pool in which one executable, made of all the attacks, does what each slot tells it to."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from privid.video.memory import FrameBuffer, FramePool
from workers import wire
from workers.host.backends import BACKENDS, Name
from workers.host.feeder import Slot
from workers.host.pool import ExecutableSpec, LocalPool, Run
from workers.host.profile import Profile

FOLDER = Path(__file__).parent / "executables"
FAMILIES = ("writing", "reading", "network", "processes", "memory", "kernel", "state", "results")
COLUMNS = (
    wire.ColumnSpec("verdict", "STRING", "default"),
    wire.ColumnSpec("value", "NUMBER", -1),
    wire.ColumnSpec("flag", "BOOLEAN", False),
)
DEFAULT = ("default", -1.0, False)
STOPPED = ("stopped", 1.0, True)
SHAPE = (4, 48, 64, 3)
TIMEOUT_US = 3_000_000


def hostile_source() -> bytes:
    """All attacks in one file."""
    return b"\n".join((FOLDER / f"{name}.py").read_bytes() for name in ("prelude", *FAMILIES, "entry"))


def names(family: str, prefix: str) -> list[str]:
    """The attacks of one family."""
    lines = (FOLDER / f"{family}.py").read_text().splitlines()
    return [line.split("(")[0][len(f"def {prefix}_") :] for line in lines if line.startswith(f"def {prefix}_")]


LETHAL = {
    "processes": {
        "ignore_signals", "close_and_sleep", "spin", "exit", "hard_exit", "abort", "segfault", "raise",
    },
    "memory": {"bomb_kept", "frames_write"},
    "kernel": {"x32", "int80"},
}  # fmt: skip
"""Attacks that end in the guest's death: their slot gives the default row."""
NEEDS_PLACES = {"host_files"}
ATTACKS = tuple(family for family in FAMILIES if family not in ("state", "results"))


def harmless(family: str) -> list[str]:
    """The attacks of a family that a guest survives, for many in one guest."""
    return sorted(set(names(family, "attack")) - LETHAL.get(family, set()) - NEEDS_PLACES)


def frames(value: int) -> FrameBuffer:
    """Frames of one value, in the memory that the decoder uses."""
    n, h, w, _ = SHAPE
    memory = FramePool()
    buffer = memory.take(n, h, w)
    memory.close()  # what is given back is not kept: tests count descriptors
    for i in range(n):
        buffer.write(i, np.full((h, 3 * w), value, np.uint8))
    return buffer


def make_slot(index: int, camera: str, region: str = "", value: int = 7) -> Slot:
    n, h, w, c = SHAPE
    return Slot(index, frames(value), n, h, w, c, tuple(range(n)), 0, 1_000_000, camera, region, 4.0)


def everything() -> list[str]:
    """All attacks and malformed results that need nothing planted, each with an honest slot not far behind."""
    attacks = [f"attack:{name}" for family in FAMILIES for name in names(family, "attack") if name not in NEEDS_PLACES]
    results = [f"result:{name}" for name in names("results", "result")]
    cameras = attacks + results
    return [camera for i in range(0, len(cameras), 4) for camera in (*cameras[i : i + 4], "honest")]


@dataclass
class Arena:
    """One pool; `run` puts an attack between two honest slots and gives back the attack's rows.

    Where a slot is slow to start (`together`) all attacks run in one go, at the first question for one of them.
    """

    pool: LocalPool
    runs: list[Run]
    together: bool = False
    found: dict[str, tuple[wire.Row, ...]] = field(default_factory=dict)

    def rows(self, *cameras: str, region: str = "") -> dict[int, tuple[wire.Row, ...]]:
        """Run these slots and check that our own processes took no harm."""
        self.runs.clear()
        rows: dict[int, tuple[wire.Row, ...]] = {}
        workers = [lane.worker.pid for lane in self.pool._lanes]
        slots = (make_slot(i, camera, region, value=i + 1) for i, camera in enumerate(cameras))
        self.pool.run(slots, len(cameras), rows.__setitem__)
        assert [lane.worker.pid for lane in self.pool._lanes] == workers, "a worker had to be started again"
        return rows

    def run(self, camera: str, region: str = "") -> tuple[wire.Row, ...]:
        """The rows of this slot, once its neighbours have been found unharmed."""
        if not self.together or region:
            return self.alone(camera, region)
        if not self.found:
            cameras = everything()
            rows = self.rows(*cameras)
            for index, one in enumerate(cameras):
                if one == "honest":
                    assert rows[index] == (("honest", index + 1.0, True),), f"{cameras[index - 4 : index]} changed it"
                self.found[one] = rows[index]
        return self.found[camera]

    def alone(self, camera: str, region: str = "") -> tuple[wire.Row, ...]:
        """As `run`, here and now."""
        rows = self.rows("honest", camera, "honest", "honest", region=region)
        for index in (0, 2, 3):
            assert rows[index] == (("honest", index + 1.0, True),), f"{camera} changed its neighbour {index}"
        return rows[1]


def require(backend: Name) -> None:
    """Skip the test if this host lacks the backend."""
    if missing := BACKENDS[backend].missing():
        pytest.skip(missing)


def make_arena(
    walls: Profile | None = None,
    *,
    backend: Name = "fork",
    exact: bool = False,
    max_rows: int = 3,
    timeout_us: int = TIMEOUT_US,
) -> Iterator[Arena]:
    """A running arena. Skips the test where the host lacks the backend."""
    require(backend)
    runs: list[Run] = []
    spec = ExecutableSpec(
        sha256="0" * 64,
        source=hostile_source(),
        table=wire.TableSpec(COLUMNS, max_rows, exact),
        timeout_us=timeout_us,
        libraries=("numpy",),
        memory_bytes=96 * 2**20,
    )
    cores = tuple(sorted(os.sched_getaffinity(0)))[:2]
    with LocalPool(spec, "open", cores, backend=backend, walls=walls, on_run=runs.append) as pool:
        yield Arena(pool, runs, together=backend != "fork")
