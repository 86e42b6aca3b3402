"""What isolation costs per chunk: plain fork, sandboxed child of the zygote, fresh isolated process.

Prints a table and writes benchmarks/out/chunk_isolation.json. Each figure is wall time for one run of an executable
that does nothing, the best and the median of interleaved rounds (other load on the machine only ever makes a run
slower):

- plain fork: fork a process that has the libraries loaded, let the child exit, wait for it;
- in a run: what a chunk takes in a pool's run of many chunks on one core, where the next guest is prepared while one
  works: fork, confine, start, import the executable, read and check its rows, end;
- alone: the same for one chunk on an idle worker, with nothing prepared: every step is waited for;
- exec, oci: as alone, with the backends that start a fresh process for each chunk, where the host has them;
- fresh process: start a worker, run one chunk, end the worker: what isolation costs without a zygote.

Target: in a run a chunk takes at most 6 ms with numpy and cv2 (20 with torch, 30 with ultralytics), or the plain fork
of the same run plus 4 ms, whichever is larger. The time includes the worker's memory and pids cgroups, where the host
has them; the last line says whether. Exit status 1 if it is missed.

    python benchmarks/chunk_isolation.py [--rounds 50] [--fresh 5]
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from workers import wire
from workers.guest import chunk
from workers.guest import start as guest_start
from workers.host import backends, cgroups, channel, profile
from workers.host.feeder import Slot
from workers.host.launcher import Worker, unprivileged_id
from workers.host.pool import ExecutableSpec, LocalPool

HERE = Path(__file__).resolve().parent
TABLE = wire.TableSpec((wire.ColumnSpec("n", "NUMBER", 0),), 1)
SOURCE = b"def process(chunk):\n    return {'n': 1}\n"
FACTS = chunk.pack(
    {"camera": "c", "region": "", "start_us": 0, "end_us": 1, "fps": 1.0, "width": 0, "height": 0, "channels": 3,
     "frame_count": 0},
    (),
)  # fmt: skip
SETS = {
    "numpy + cv2": ("numpy", "cv2"),
    "numpy + cv2 + torch": ("numpy", "cv2", "torch"),
    "ultralytics (and all of them)": ("numpy", "cv2", "torch", "ultralytics"),
}
TARGET_MS = dict(zip(SETS, (6.0, 20.0, 30.0), strict=True))
FORK_PLUS_MS = 4.0
RUN_SLOTS = 60


def milliseconds(function: Callable[[], None]) -> float:
    started = time.perf_counter()
    function()
    return (time.perf_counter() - started) * 1000


def start(libraries: tuple[str, ...], backend: backends.Name = "fork") -> tuple[Worker, cgroups.Group]:
    config = {
        "backend": backend,
        "libraries": list(libraries), "columns": [("n", "NUMBER", 0)], "max_rows": 1, "exact": False, "core": None,
        "output_limit": wire.output_limit(TABLE), "lead_ns": 0, "margin_ns": 0, "sweep_bytes": 0, "log_bytes": 0,
        "memory_bytes": 256 * 2**20, "weights_bytes": 0, "uid": unprivileged_id(), "housekeeping": [], "profile": {},
        "model": None,
    }  # fmt: skip
    group = cgroups.Group.create(cgroups.group_name(time.monotonic_ns()), 8 * 2**30, 200)
    worker = Worker(config, SOURCE, b"", group)
    while not worker.ready:
        worker.receive()
    return worker, group


def one_task(worker: Worker) -> None:
    worker.send(0, 0, 0, 5_000_000_000, FACTS, (-1, 0))
    outcome = worker.receive()
    assert outcome is not None
    assert wire.parse_rows(outcome.data, TABLE) == ((1.0,),), outcome


def one_after_the_other(libraries: tuple[str, ...], backend: backends.Name, rounds: int) -> list[float]:
    worker, group = start(libraries, backend)
    one_task(worker)
    times = [milliseconds(lambda: one_task(worker)) for _ in range(rounds)]
    worker.close()
    group.remove()
    return times


def fresh(libraries: tuple[str, ...]) -> None:
    worker, group = start(libraries)
    one_task(worker)
    worker.close()
    group.remove()


class PlainFork:
    """A process with the libraries loaded that forks on request and says how long it took, in milliseconds."""

    def __init__(self, libraries: tuple[str, ...]) -> None:
        import socket

        self._sock, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            self._sock.close()
            os.environ.update(profile.ENVIRONMENT)
            guest_start.load(profile.modules(libraries))
            try:
                while True:
                    channel.receive(theirs)
                    took = milliseconds(self._fork)
                    channel.send(theirs, b"T", {"ms": took})
            except channel.ClosedError:
                os._exit(0)
        theirs.close()

    @staticmethod
    def _fork() -> None:
        if (pid := os.fork()) == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    def measure(self) -> float:
        channel.send(self._sock, b"F")
        return float(channel.receive(self._sock).fields["ms"])

    def close(self) -> None:
        self._sock.close()
        os.waitpid(self._pid, 0)


def in_a_run(pool: LocalPool) -> float:
    """Milliseconds a chunk of a run of RUN_SLOTS."""
    slots = (Slot(i, None, 0, 0, 0, 3, (), 0, 1, "c", "", 1.0) for i in range(RUN_SLOTS))
    return milliseconds(lambda: pool.run(slots, RUN_SLOTS, lambda _index, _rows: None)) / RUN_SLOTS


def measure(libraries: tuple[str, ...], rounds: int, fresh_rounds: int) -> dict[str, dict[str, float]]:
    plain = PlainFork(libraries)
    worker, group = start(libraries)
    times: dict[str, list[float]] = {"plain fork": [], "in a run": [], "alone": [], "fresh process": []}
    plain.measure()
    one_task(worker)
    spec = ExecutableSpec("0" * 64, SOURCE, TABLE, 5_000_000, libraries, 256 * 2**20)
    with LocalPool(spec, "open", (max(os.sched_getaffinity(0)),)) as pool:
        in_a_run(pool)
        for index in range(rounds):
            times["plain fork"].append(plain.measure())
            times["alone"].append(milliseconds(lambda: one_task(worker)))
            if index % 10 == 0:
                times["in a run"].append(in_a_run(pool))
    plain.close()
    worker.close()
    group.remove()
    for backend in backends.BACKENDS.values():
        if backend.imports and backend.missing() is None:
            times[backend.name] = one_after_the_other(libraries, backend.name, fresh_rounds)
    times["fresh process"] = [milliseconds(lambda: fresh(libraries)) for _ in range(fresh_rounds)]
    return {name: {"best": min(values), "median": statistics.median(values)} for name, values in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--fresh", type=int, default=5)
    arguments = parser.parse_args()
    results = {}
    missed = False
    for name, libraries in SETS.items():
        if lacking := [library for library in libraries if importlib.util.find_spec(library) is None]:
            print(f"{name}: {', '.join(lacking)} is not installed (extra `vision`), not measured")
            continue
        found = measure(libraries, arguments.rounds, arguments.fresh if "torch" not in libraries else 1)
        allowed = max(TARGET_MS[name], found["plain fork"]["best"] + FORK_PLUS_MS)
        ok = found["in a run"]["best"] <= allowed
        missed = missed or not ok
        results[name] = {**found, "allowed_ms": allowed, "met": ok}
        print(f"{name}  (allowed {allowed:.1f} ms: {'met' if ok else 'MISSED'})")
        for kind, value in found.items():
            print(f"  {kind:<16} best {value['best']:9.2f} ms   median {value['median']:9.2f} ms")
    print(f"cgroup hierarchies that limit each worker: {len(cgroups.parents())}")
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    (out / "chunk_isolation.json").write_text(
        json.dumps({"sets": results, "cgroups": len(cgroups.parents())}, indent=2)
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
