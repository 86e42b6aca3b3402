"""Outputs are read in the background, each once and in order; what goes wrong there is not lost."""

import fcntl
import os
import resource
import select
import threading

import pytest

from workers import wire
from workers.host import reader, waiting
from workers.host.reader import Reader

TABLE = wire.TableSpec((wire.ColumnSpec("n", "NUMBER", -1),), 2)


def output(n: int) -> bytes:
    return b'{"n": %d}\nend\n' % n


def wait(one: Reader, finished: int) -> None:
    while one.finished < finished and one.error is None:
        assert select.select([one], [], [], 60)[0]
        one.acknowledge()


def test_rows_come_in_the_order_of_the_outputs() -> None:
    rows: list[tuple[int, tuple[wire.Row, ...]]] = []
    one = Reader(TABLE, lambda index, found: rows.append((index, found)), frozenset())
    one.start()
    for index in range(50):
        one.put(index, output(index) if index != 7 else b"garbage")
    wait(one, 50)
    one.stop()
    assert rows == [(index, ((float(index) if index != 7 else -1.0,),)) for index in range(50)]


def test_whoever_brings_an_output_does_not_wait_until_it_is_read() -> None:
    go = threading.Event()
    one = Reader(TABLE, lambda index, found: None if go.wait(60) else pytest.fail("waited"), frozenset())
    one.start()
    for index in range(3):
        one.put(index, output(index))
    assert one.finished == 0
    go.set()
    wait(one, 3)
    one.stop()


def test_too_many_outputs_that_wait_hold_up_whoever_brings_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_BACKLOG_BYTES", len(output(0)))
    go = threading.Event()
    one = Reader(TABLE, lambda index, found: None if go.wait(60) else pytest.fail("waited"), frozenset())
    one.start()
    one.put(0, output(0))
    one.put(1, output(1))
    bringer = threading.Thread(target=one.put, args=(2, output(2)))
    bringer.start()
    assert bringer.is_alive()
    go.set()
    bringer.join(60)
    wait(one, 3)
    one.stop()


def test_an_error_is_kept_and_nobody_waits_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_BACKLOG_BYTES", 0)

    def refuse(index: int, rows: object) -> None:
        raise OSError("the disk is full")

    one = Reader(TABLE, refuse, frozenset())
    one.start()
    one.put(0, output(0))
    wait(one, 1)
    assert isinstance(one.error, OSError)
    one.put(1, output(1))
    one.stop()


def test_a_stopped_reader_ends_with_the_output_that_it_is_at() -> None:
    begun, go = threading.Event(), threading.Event()
    seen: list[int] = []

    def slowly(index: int, rows: object) -> None:
        seen.append(index)
        begun.set()
        go.wait(60)

    one = Reader(TABLE, slowly, frozenset())
    one.start()
    for index in range(3):
        one.put(index, output(index))
    assert begun.wait(60)
    stopper = threading.Thread(target=one.stop)
    stopper.start()
    while not one._stopped:
        pass
    go.set()
    stopper.join(60)
    assert seen == [0]


def test_descriptors_of_any_number_can_be_waited_for() -> None:
    """A server of many cameras has more than the 1,024 that select(2) knows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3000
    if soft < wanted + 10:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, wanted + 10) if hard >= 0 else wanted + 10, hard))
    read, write = os.pipe()
    high = fcntl.fcntl(read, fcntl.F_DUPFD, wanted)
    with os.fdopen(high, "rb") as pipe:
        assert waiting.readable([pipe], 0) == []
        os.write(write, b"x")
        assert waiting.readable([pipe], 60) == [pipe]
        os.close(write)
        os.close(read)
        pipe.read(1)
        assert waiting.readable([pipe], 60) == [pipe], "its other end is gone"
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
