"""When our own side fails: another outcome than a guest's crash, and nothing is left behind."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.arena import SHAPE, frames, make_slot
from workers import wire
from workers.host import cgroups, rootfs
from workers.host.errors import SandboxBroken, SandboxUnavailable
from workers.host.feeder import Slot
from workers.host.pool import ExecutableSpec, LocalPool

SPEC = wire.TableSpec((wire.ColumnSpec("verdict", "STRING", "default"),), 1)
SOURCE = b"""
import time
def process(chunk):
    time.sleep(0.1 if chunk.camera == "slow" else 0)
    yield {"verdict": chunk.camera}
"""


def make_pool(timeout_us: int = 500_000, **options: object) -> LocalPool:
    spec = ExecutableSpec("0" * 64, SOURCE, SPEC, timeout_us, libraries=(), **options)  # type: ignore[arg-type]
    return LocalPool(spec, "open", (min(os.sched_getaffinity(0)),))


def slots(count: int, camera: str = "slow") -> Iterator[Slot]:
    return (make_slot(index, camera) for index in range(count))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def own_state() -> tuple[int, set[str], set[Path]]:
    """Open descriptors, child processes, cgroups made by this process."""
    groups = {folder for parent in cgroups.parents() for folder in parent.folder.glob(f"privid-{os.getpid()}-*")}
    pids = {pid for thread in Path("/proc/self/task").iterdir() for pid in (thread / "children").read_text().split()}
    return len(list(Path("/proc/self/fd").iterdir())), pids, groups


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("victim", ["zygote", "warden"])
def test_a_dead_worker_is_replaced_and_its_slots_run_again(victim: str) -> None:
    rows: dict[int, tuple[wire.Row, ...]] = {}
    with make_pool() as pool:
        warden = pool._lanes[0].worker.pid
        pid = warden if victim == "warden" else children(warden)[0]
        threading.Timer(0.35, lambda: os.kill(pid, signal.SIGKILL)).start()
        reused: list[int] = []
        given = list(slots(8))
        for slot in given:
            watch_reuse(slot, reused)
        pool.run(iter(given), 8, rows.__setitem__)
        assert pool._lanes[0].worker.pid != warden
    assert rows == dict.fromkeys(range(8), (("slow",),))
    # Of a slot that ran twice the first guest may still be ending: other frames never take the place of its own.
    assert 0 < len(reused) < 8
    assert all(slot.frames is not None and slot.frames.fd == -1 for slot in given)


def watch_reuse(slot: Slot, reused: list[int]) -> None:
    assert slot.frames is not None
    reuse = slot.frames.reuse

    def watched() -> None:
        reused.append(slot.index)
        reuse()

    slot.frames.reuse = watched  # type: ignore[method-assign]


def test_a_worker_that_dies_again_and_again_ends_the_run_without_rows() -> None:
    rows: dict[int, tuple[wire.Row, ...]] = {}
    over = threading.Event()
    pool = make_pool()

    def hunt() -> None:
        while not over.wait(0.02):
            for lane in list(pool._lanes):
                try:
                    for zygote in children(lane.worker.pid):
                        if any(children(zygote)):
                            os.kill(zygote, signal.SIGKILL)
                except (OSError, ValueError):
                    continue

    hunter = threading.Thread(target=hunt)
    with pool:
        hunter.start()
        try:
            with pytest.raises(SandboxBroken):
                pool.run(slots(4), 4, rows.__setitem__)
        finally:
            over.set()
            hunter.join()
    assert (("default",),) not in rows.values(), "a failure of ours must never look like a guest's"


def test_closing_leaves_nothing() -> None:
    before, mounted = own_state(), mounts()
    for _ in range(3):
        with make_pool() as pool:
            pool.run(slots(3, "quick"), 3, lambda index, rows: None)
            assert own_state() != before
    assert own_state() == before
    assert mounts() == mounted


def test_an_error_in_the_middle_leaves_nothing_and_the_pool_can_be_used_again() -> None:
    def failing() -> Iterator[Slot]:
        yield from slots(3)
        raise OSError("the disk is gone")

    before = own_state()
    pool = make_pool()
    with pytest.raises(OSError, match="disk is gone"):
        pool.run(failing(), 9, lambda index, rows: None)
    assert own_state() == before

    def refuse(index: int, rows: object) -> None:
        raise RuntimeError("cannot keep the rows")

    with pytest.raises(RuntimeError, match="cannot keep"):
        pool.run(slots(3), 3, refuse)
    assert own_state() == before
    rows: dict[int, tuple[wire.Row, ...]] = {}
    with pool:
        pool.run(slots(2), 2, rows.__setitem__)
    assert len(rows) == 2
    assert own_state() == before


def test_too_few_slots_are_an_error_and_not_a_wait() -> None:
    with make_pool() as pool, pytest.raises(ValueError, match="3 slots were announced, 2 came"):
        pool.run(slots(2), 3, lambda index, rows: None)


def test_frames_must_be_sealed_and_of_the_right_size() -> None:
    n, h, w, c = SHAPE
    unsealed = frames(1)
    os.close(unsealed.fd)
    unsealed.fd = os.memfd_create("frames", os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed.fd, n * h * w * c)
    for memory, count, message in ((unsealed, n, "not sealed"), (frames(1), n + 1, "wrong size")):
        slot = Slot(0, memory, count, h, w, c, tuple(range(count)), 0, 1, "quick", "", 4.0)
        with make_pool() as pool, pytest.raises(ValueError, match=message):
            pool.run(iter([slot]), 1, lambda index, rows: None)


def test_a_chunk_without_frames_still_runs() -> None:
    rows: dict[int, tuple[wire.Row, ...]] = {}
    with make_pool() as pool:
        pool.run(iter([Slot(0, None, 0, 48, 64, 3, (), 0, 1, "quick", "", 4.0)]), 1, rows.__setitem__)
    assert rows == {0: (("quick",),)}


def test_frames_are_read_ahead_only_so_far() -> None:
    alive, most = set[int](), 0

    def counted() -> Iterator[Slot]:
        nonlocal most
        for slot in slots(40):
            alive.add(slot.index)
            most = max(most, len(alive))
            yield slot

    spec = ExecutableSpec("0" * 64, SOURCE, SPEC, 500_000, libraries=())
    with LocalPool(spec, "open", (min(os.sched_getaffinity(0)),), lookahead_slots=5) as pool:
        pool.run(counted(), 40, lambda index, rows: alive.discard(index))
    assert not alive
    assert most <= 5 + 2 + 2, "five wait, one runs, one is prepared, one is being pulled"


def test_a_library_that_cannot_be_loaded_is_a_clear_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.host import profile

    libraries = {**profile.LIBRARIES, "none": profile.Library(("no_such_module",), ())}
    monkeypatch.setattr(profile, "LIBRARIES", libraries)
    before = own_state()
    pool = LocalPool(ExecutableSpec("0" * 64, SOURCE, SPEC, 500_000, libraries=("none",)), "open", (0,))
    with pytest.raises(SandboxUnavailable, match="KeyError"):  # the worker itself has the real table
        pool.start()
    assert own_state() == before


def test_a_worker_can_be_closed_while_it_starts() -> None:
    before = own_state()
    pool = make_pool()
    pool._lanes = [pool._lane(0)]
    started = time.monotonic()
    pool.close()
    assert time.monotonic() - started < 10
    assert own_state() == before


def test_the_root_can_be_built_from_any_place() -> None:
    assert len(list(rootfs.files(()))) > 500


def test_slots_of_a_large_output_come_through() -> None:
    source = b'def process(chunk):\n    for i in range(3000):\n        yield {"verdict": "x" * 256}\n'
    spec = ExecutableSpec("0" * 64, source, wire.TableSpec(SPEC.columns, 3000), 2_000_000, libraries=())
    rows: dict[int, tuple[wire.Row, ...]] = {}
    with LocalPool(spec, "open", (min(os.sched_getaffinity(0)),)) as pool:
        started = time.monotonic()
        pool.run(slots(2, "quick"), 2, rows.__setitem__)
        assert time.monotonic() - started < 10
    assert [len(found) for found in rows.values()] == [3000, 3000]
