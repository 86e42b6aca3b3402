"""The arena: a real pool in which one executable, made of all the attacks, does what each slot tells it to."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from privid.video.memory import FrameBuffer, FramePool
from workers import wire
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


@dataclass
class Arena:
    """One pool; `run` puts an attack between two honest slots and gives back the attack's rows."""

    pool: LocalPool
    runs: list[Run]

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
        rows = self.rows("honest", camera, "honest", "honest", region=region)
        for index in (0, 2, 3):
            assert rows[index] == (("honest", index + 1.0, True),), f"{camera} changed its neighbour {index}"
        return rows[1]


def make_arena(walls: Profile | None = None, *, exact: bool = False, max_rows: int = 3) -> Iterator[Arena]:
    """A running arena."""
    runs: list[Run] = []
    spec = ExecutableSpec(
        sha256="0" * 64,
        source=hostile_source(),
        table=wire.TableSpec(COLUMNS, max_rows, exact),
        timeout_us=TIMEOUT_US,
        libraries=("numpy",),
        memory_bytes=96 * 2**20,
    )
    cores = tuple(sorted(os.sched_getaffinity(0)))[:2]
    with LocalPool(spec, "open", cores, walls=walls, on_run=runs.append) as pool:
        yield Arena(pool, runs)
