"""Slots on the public grid: what one slot or our own decoder does moves no other (privacy-model.md, section 7)."""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from tests.hostile.arena import DEFAULT, make_slot
from workers import wire
from workers.host.errors import SlotsLate, Stopped
from workers.host.feeder import Slot
from workers.host.pool import ExecutableSpec, LocalPool, Run, Timing

TURN_US = 200_000
SPEC = wire.TableSpec((wire.ColumnSpec("verdict", "STRING", "default"),), 1)
MISSED = (("default",),)
SOURCE = b"""
import time
def process(chunk):
    if chunk.camera == "dawdle":
        time.sleep(60)
    if chunk.camera == "work":
        time.sleep(0.05)
    yield {"verdict": chunk.camera}
"""


class Recorded:
    """A pool and what it did."""

    def __init__(self, timing: Timing = "slotted", cores: int = 1, timeout_us: int = TURN_US) -> None:
        self.runs: dict[int, Run] = {}
        self.rows: dict[int, tuple[wire.Row, ...]] = {}
        self.pool = LocalPool(
            ExecutableSpec("0" * 64, SOURCE, SPEC, timeout_us, libraries=()),
            timing,
            tuple(sorted(os.sched_getaffinity(0)))[-cores:],
            on_run=lambda run: self.runs.__setitem__(run.index, run),
        )

    def on_rows(self, index: int, rows: tuple[wire.Row, ...]) -> None:
        assert index not in self.rows, "rows of one slot came twice"
        self.rows[index] = rows

    def turns(self) -> dict[int, int]:
        """In which turn, counted from the first, each slot was planned."""
        first = min(run.planned_ns for run in self.runs.values())
        return {index: round((run.planned_ns - first) / 1000 / TURN_US) for index, run in self.runs.items()}

    def check_grid(self) -> None:
        """Planned exactly on the grid; started then, give or take a busy machine; over before the next turn."""
        first = min(run.planned_ns for run in self.runs.values())
        for run in self.runs.values():
            assert (run.planned_ns - first) % (TURN_US * 1000) == 0
            assert 0 <= run.started_ns - run.planned_ns < TURN_US * 1000
            assert run.ended_ns < run.planned_ns + TURN_US * 1000 * 3 // 2


def slots(*cameras: str) -> Iterator[Slot]:
    return (make_slot(index, camera) for index, camera in enumerate(cameras))


def test_slots_start_on_the_grid_whatever_the_others_do() -> None:
    cameras = ("quick", "dawdle", "work", "dawdle", "quick", "work")
    recorded = Recorded()
    with recorded.pool as pool:
        pool.run(slots(*cameras), len(cameras), recorded.on_rows)
    assert recorded.turns() == {index: index for index in range(len(cameras))}
    recorded.check_grid()
    for index, camera in enumerate(cameras):
        assert recorded.rows[index] == (MISSED if camera == "dawdle" else ((camera,),))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_slots_side_by_side_share_turns_and_keep_their_cores() -> None:
    recorded = Recorded(cores=2)
    with recorded.pool as pool:
        pool.run(slots(*["work"] * 7), 7, recorded.on_rows)
    assert recorded.turns() == {index: index // 2 for index in range(7)}
    assert len({run.core for run in recorded.runs.values() if run.index % 2}) == 1
    assert {run.core for run in recorded.runs.values()} == set(sorted(os.sched_getaffinity(0))[-2:])
    recorded.check_grid()


def test_a_late_slot_runs_in_the_reserve_and_moves_no_other() -> None:
    def slowly() -> Iterator[Slot]:
        for slot in slots(*["quick"] * 5):
            if slot.index == 2:
                time.sleep(3 * TURN_US / 1e6)
            yield slot

    recorded = Recorded()
    with recorded.pool as pool:
        # The slow slot holds up the ones behind it in the decoder, too: they are late as well, in their order.
        pool.run(slowly(), 5, recorded.on_rows, reserve_turns=4, start_ns=time.monotonic_ns() + 200_000_000)
    turns = recorded.turns()
    assert (turns[0], turns[1]) == (0, 1)
    late = [turns[index] for index in (2, 3, 4) if turns[index] != index]
    assert turns[2] >= 5
    assert late == sorted(late)
    assert all(turn >= 5 for turn in late)
    recorded.check_grid()
    assert all(rows == (("quick",),) for rows in recorded.rows.values())


def test_a_slot_without_time_is_reported_and_never_given_default_rows() -> None:
    def too_late() -> Iterator[Slot]:
        yield make_slot(10, "quick")
        time.sleep(6 * TURN_US / 1e6)
        yield make_slot(11, "quick")

    recorded = Recorded()
    with recorded.pool as pool, pytest.raises(SlotsLate) as caught:
        pool.run(too_late(), 2, recorded.on_rows, reserve_turns=1, start_ns=time.monotonic_ns() + 200_000_000)
    assert caught.value.count == 1
    assert recorded.rows == {10: (("quick",),)}


def test_open_slots_do_not_wait_for_each_other() -> None:
    recorded = Recorded("open", timeout_us=2_000_000)
    with recorded.pool as pool:
        started = time.monotonic()
        pool.run(slots(*["quick"] * 20), 20, recorded.on_rows)
        assert time.monotonic() - started < 5
    assert len(recorded.rows) == 20


def test_open_slots_are_killed_after_their_timeout() -> None:
    recorded = Recorded("open")
    with recorded.pool as pool:
        pool.run(slots("dawdle", "quick"), 2, recorded.on_rows)
    assert recorded.rows == {0: MISSED, 1: (("quick",),)}
    assert recorded.runs[0].ended_ns - recorded.runs[0].started_ns >= TURN_US * 1000


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
    assert all(end < start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))


def test_a_part_of_the_slots_can_be_run_on_its_own() -> None:
    recorded = Recorded()
    with recorded.pool as pool:
        pool.run((make_slot(index, "quick") for index in (3, 17, 40)), 3, recorded.on_rows)
        pool.run((make_slot(index, "quick") for index in (2, 5)), 2, recorded.on_rows)
    assert sorted(recorded.rows) == [2, 3, 5, 17, 40]


def test_stopping_ends_a_run_at_once() -> None:
    stop = threading.Event()
    recorded = Recorded()
    with recorded.pool as pool:
        threading.Timer(0.5, stop.set).start()
        started = time.monotonic()
        with pytest.raises(Stopped):
            pool.run(slots(*["quick"] * 500), 500, recorded.on_rows, stop=stop)
        assert time.monotonic() - started < 5
    assert 0 < len(recorded.rows) < 100
    assert DEFAULT not in recorded.rows.values()
