"""Slots that are read ahead: each has one owner at any time, and the end of them is always heard of."""

import os
import select
from collections.abc import Iterator

import pytest

from workers import wire
from workers.host import pool as pools
from workers.host.feeder import Feeder, Slot
from workers.host.pool import ExecutableSpec, LocalPool


class Frames:
    """Memory that counts how often it is closed."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("frames")  # not sealed, and empty
        self.closed = 0

    def reuse(self) -> None:
        raise AssertionError

    def close(self) -> None:
        self.closed += 1
        os.close(self.fd)


def empty_slot(index: int) -> Slot:
    return Slot(index, None, 0, 48, 64, 3, (), 0, 1, "c", "", 4.0)


def ended(feeder: Feeder) -> None:
    feeder.start()
    while not feeder.ended:
        assert select.select([feeder], [], [], 60)[0]
        feeder.acknowledge()


def test_a_slot_that_is_refused_is_closed_once() -> None:
    frames = Frames()
    bad = Slot(1, frames, 1, 48, 64, 3, (0,), 0, 1, "c", "", 4.0)
    feeder = Feeder(iter([empty_slot(0), bad]), 1 << 20, 8, frozenset())
    ended(feeder)
    feeder.stop()
    assert isinstance(feeder.error, ValueError)
    assert frames.closed == 1


def test_what_fails_when_the_slots_are_given_up_is_heard_of() -> None:
    """Or a run would wait for slots that never come."""

    class Slots:
        def __iter__(self) -> Iterator[Slot]:
            return self

        def __next__(self) -> Slot:
            raise StopIteration

        def close(self) -> None:
            raise OSError("the decoder does not end")

    feeder = Feeder(Slots(), 1 << 20, 8, frozenset())
    ended(feeder)
    feeder.stop()
    assert isinstance(feeder.error, OSError)


def test_workers_are_ended_when_one_of_them_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Part:
        def __init__(self, *_: object) -> None:
            if len(made) == 2:
                raise OSError("no more processes")
            made.append(self)

        def close(self) -> None:
            closed.append("worker")

    class Group:
        @classmethod
        def create(cls, *_: object) -> "Group":
            return cls()

        def remove(self) -> None:
            closed.append("group")

    made: list[Part] = []
    monkeypatch.setattr(pools, "Worker", Part)
    monkeypatch.setattr("workers.host.pool.cgroups.Group", Group)
    table = wire.TableSpec((wire.ColumnSpec("n", "NUMBER", 0),), 1)
    spec = ExecutableSpec("", b"def process(chunk): pass", table, 1_000_000, ())
    pool = LocalPool(spec, "open", (0, 0, 0))
    with pytest.raises(OSError, match="no more processes"):
        pool.start()
    assert sorted(closed) == ["group", "group", "group", "worker", "worker"]
