"""Slots on the public grid: what one slot or our own decoder does moves no other (privacy-model.md, section 7)."""

import itertools
import os
import threading
import time
from collections.abc import Iterator

import pytest

from tests.hostile.arena import make_slot, require
from workers import limits, wire
from workers.host.backends import Name
from workers.host.errors import SlotsLate, Stopped
from workers.host.feeder import Slot
from workers.host.pool import ExecutableSpec, LocalPool, Run, Timing

TURN_US = 200_000
SPEC = wire.TableSpec((wire.ColumnSpec("verdict", "STRING", "default"),), 1)
LONG = wire.TableSpec(SPEC.columns, limits.MAX_ROWS)
MISSED = (("default",),)
SOURCE = b"""
import os, time
LONG = b'{"verdict": "row"}\\n' * 10_000 + b"end\\n"
def process(chunk):
    if chunk.camera == "flood":
        os.write(3, b"x" * 100_000)
        os._exit(0)
    if chunk.camera == "long":
        left = memoryview(LONG)
        while left:
            left = left[os.write(3, left):]
        os._exit(0)
    if chunk.camera == "dawdle":
        time.sleep(60)
    if chunk.camera == "work":
        time.sleep(0.05)
    yield {"verdict": chunk.camera}
"""


class Recorded:
    """A pool and what it did."""

    def __init__(
        self,
        timing: Timing = "slotted",
        cores: int = 1,
        timeout_us: int = TURN_US,
        backend: Name = "fork",
        table: wire.TableSpec = SPEC,
    ) -> None:
        self.runs: dict[int, Run] = {}
        self.rows: dict[int, tuple[wire.Row, ...]] = {}
        self.start_ns = 0
        self.pool = LocalPool(
            ExecutableSpec("0" * 64, SOURCE, table, timeout_us, libraries=()),
            timing,
            tuple(sorted(os.sched_getaffinity(0)))[-cores:],
            backend=backend,
            on_run=lambda run: self.runs.__setitem__(run.index, run),
        )

    def on_rows(self, index: int, rows: tuple[wire.Row, ...]) -> None:
        assert index not in self.rows, "rows of one slot came twice"
        self.rows[index] = rows

    def soon(self) -> int:
        """A start that leaves a busy machine time to prepare the first slots."""
        self.start_ns = time.monotonic_ns() + 500_000_000
        return self.start_ns

    def turns(self) -> dict[int, int]:
        """In which turn each slot was planned; checks that it was exactly on the grid and that it started then."""
        for run in self.runs.values():
            assert (run.planned_ns - self.start_ns) % (TURN_US * 1000) == 0
            assert 0 <= run.started_ns - run.planned_ns < TURN_US * 1000
        return {run.index: (run.planned_ns - self.start_ns) // (TURN_US * 1000) for run in self.runs.values()}


def on_time(cameras: tuple[str, ...], cores: int = 1, table: wire.TableSpec = SPEC) -> Recorded:
    """Run these slots. None may run in another slot's turn; on a busy machine some may be late, then it runs again."""
    expected = {index: index // cores for index in range(len(cameras))}
    for _ in range(5):
        recorded = Recorded(cores=cores, table=table)
        with recorded.pool as pool:
            pool.run(slots(*cameras), len(cameras), recorded.on_rows, reserve_turns=8, start_ns=recorded.soon())
        turns = recorded.turns()
        first_reserve = -(-len(cameras) // cores)
        assert all(turn in (expected[index], *range(first_reserve, first_reserve + 8)) for index, turn in turns.items())
        if turns == expected:
            return recorded
    raise AssertionError("slots were late in each of five runs")


def slots(*cameras: str) -> Iterator[Slot]:
    return (make_slot(index, camera) for index, camera in enumerate(cameras))


def test_slots_start_on_the_grid_whatever_the_others_do() -> None:
    cameras = ("quick", "dawdle", "work", "flood", "quick", "dawdle", "work", "flood")
    recorded = on_time(cameras)
    for index, camera in enumerate(cameras):
        assert recorded.rows[index] == (MISSED if camera in ("dawdle", "flood") else ((camera,),))


def test_a_long_table_holds_up_no_slot_after_it() -> None:
    """It takes the host longer than a turn to read one, and what it has not read yet must not stop the warden."""
    recorded = on_time(("long", "long", "quick", "long", "quick", "quick"), table=LONG)
    assert [len(recorded.rows[index]) for index in range(6)] == [LONG.max_rows, LONG.max_rows, 1, LONG.max_rows, 1, 1]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_slots_side_by_side_share_turns_and_keep_their_cores() -> None:
    recorded = on_time(("work",) * 7, cores=2)
    cores = sorted(os.sched_getaffinity(0))[-2:]
    assert {index: run.core for index, run in recorded.runs.items()} == {i: cores[i % 2] for i in range(7)}


def test_a_late_slot_runs_in_the_reserve_and_moves_no_other() -> None:
    def slowly() -> Iterator[Slot]:
        for slot in slots(*["quick"] * 5):
            if slot.index == 2:
                time.sleep(0.5 + 3 * TURN_US / 1e6)
            yield slot

    recorded = Recorded()
    with recorded.pool as pool:
        # The slow slot holds up the ones behind it in the decoder, too: they are late as well, in their order.
        pool.run(slowly(), 5, recorded.on_rows, reserve_turns=12, start_ns=recorded.soon())
    turns = recorded.turns()
    assert turns[2] >= 5
    assert all(turn == index or turn >= 5 for index, turn in turns.items())
    assert all(rows == (("quick",),) for rows in recorded.rows.values())


def test_a_slot_without_time_is_reported_and_never_given_default_rows() -> None:
    def too_late() -> Iterator[Slot]:
        yield make_slot(10, "quick")
        time.sleep(0.5 + 6 * TURN_US / 1e6)
        yield make_slot(11, "quick")

    recorded = Recorded()
    with recorded.pool as pool, pytest.raises(SlotsLate) as caught:
        pool.run(too_late(), 2, recorded.on_rows, reserve_turns=1, start_ns=recorded.soon())
    assert caught.value.count == 1
    assert recorded.rows == {10: (("quick",),)}


@pytest.mark.parametrize(("backend", "timeout_us"), [("exec", 2_000_000), ("oci", 4_000_000)])
def test_fresh_processes_start_on_the_grid_too(backend: Name, timeout_us: int) -> None:
    require(backend)
    cameras = ("quick", "dawdle", "quick")
    recorded = Recorded(timeout_us=timeout_us, backend=backend)
    start_ns = time.monotonic_ns() + 4_000_000_000
    with recorded.pool as pool:
        pool.run(slots(*cameras), 3, recorded.on_rows, reserve_turns=6, start_ns=start_ns)
    for index, run in recorded.runs.items():
        turn, between = divmod(run.planned_ns - start_ns, timeout_us * 1000)
        assert between == 0
        assert turn == index or turn >= 3, "a late slot runs in the reserve and moves no other"
        assert 0 <= run.started_ns - run.planned_ns < timeout_us * 1000
        assert recorded.rows[index] == (MISSED if cameras[index] == "dawdle" else ((cameras[index],),))


def test_strict_and_open_work_wait_for_each_other() -> None:
    strict, free = Recorded("strict", timeout_us=100_000), Recorded("open", timeout_us=100_000)
    threads = [
        threading.Thread(target=lambda one=one: one.pool.run(slots(*["work"] * 4), 4, one.on_rows))
        for one in (free, strict)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in (strict, free):
        one.pool.close()
    ends = [(min(run.started_ns for run in one.runs.values()), max(run.ended_ns for run in one.runs.values()))
            for one in (strict, free)]  # fmt: skip
    first, second = sorted(ends)
    assert first[1] < second[0]


def test_open_slots_do_not_wait_for_each_other() -> None:
    recorded = Recorded("open", timeout_us=2_000_000)
    with recorded.pool as pool:
        started = time.monotonic()
        pool.run(slots(*["quick"] * 20), 20, recorded.on_rows)
        assert time.monotonic() - started < 5
    assert len(recorded.rows) == 20


def test_open_slots_are_killed_after_their_timeout() -> None:
    recorded = Recorded("open", timeout_us=1_000_000)
    with recorded.pool as pool:
        pool.run(slots("dawdle", "quick"), 2, recorded.on_rows)
    assert recorded.rows == {0: MISSED, 1: (("quick",),)}
    assert recorded.runs[0].ended_ns - recorded.runs[0].started_ns > 900_000_000


def test_strict_slots_of_two_pools_never_run_together() -> None:
    pair = [Recorded("strict", timeout_us=100_000) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda one=one: one.pool.run(slots(*["work"] * 4), 4, one.on_rows)) for one in pair
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in pair:
        one.pool.close()
    spans = sorted((run.started_ns, run.ended_ns) for one in pair for run in one.runs.values())
    assert len(spans) == 8
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(spans))


def test_a_part_of_the_slots_can_be_run_on_its_own() -> None:
    recorded = Recorded()
    with recorded.pool as pool:
        pool.run((make_slot(index, "quick") for index in (3, 17, 40)), 3, recorded.on_rows)
        pool.run((make_slot(index, "quick") for index in (2, 5)), 2, recorded.on_rows)
    assert sorted(recorded.rows) == [2, 3, 5, 17, 40]


def test_stopping_ends_a_run_at_once() -> None:
    stop = threading.Event()
    recorded = Recorded()

    def stop_after(index: int, rows: tuple[wire.Row, ...]) -> None:
        recorded.on_rows(index, rows)
        stop.set()

    with recorded.pool as pool, pytest.raises(Stopped):
        pool.run(slots(*["quick"] * 500), 500, stop_after, stop=stop)
    assert 0 < len(recorded.rows) < 10
