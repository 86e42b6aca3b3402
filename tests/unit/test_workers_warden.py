"""The warden's decisions about one guest, without guests."""

import os
import select
import socket
from collections.abc import Iterator

import pytest

from workers.guest import start
from workers.host import channel, warden
from workers.host.warden import DONE, KILLED, RESULT_HEADER, Guest, Warden, make_at

OUTPUT = b'{"n": 1}\nend\n'


def make_guest(go_ns: int = 0, kill_ns: int = 0) -> Guest:
    read, write = os.pipe()
    return Guest(
        number=1,
        go_ns=go_ns,
        kill_ns=kill_ns,
        timeout_ns=1,
        rows_fd=read,
        go_fd=write,
        log_fd=-1,
        read_while_running=False,
    )


def finished_guest(*, kill_ns: int = 0, killed: bool = False, output: bytes = OUTPUT) -> Guest:
    guest = make_guest(go_ns=1, kill_ns=kill_ns)
    guest.dead = guest.at_end = guest.running = True
    guest.killed = killed
    guest.output += start.STARTED + start.START_TIME.pack(5, 0) + output
    return guest


class Zygote:
    """A process that waits, and ends when it is told to. Nobody waits for it before `close`."""

    def __init__(self) -> None:
        wait, self._go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._go)
            os.read(wait, 1)
            os._exit(0)
        os.close(wait)
        self._pidfd = os.pidfd_open(self.pid)

    def end(self) -> None:
        os.close(self._go)
        assert select.select([self._pidfd], [], [], 60)[0]

    def close(self) -> None:
        os.close(self._pidfd)
        os.waitpid(self.pid, 0)


class Stage:
    """A warden, and the host's end of its socket."""

    def __init__(self, zygote_pid: int = 0) -> None:
        self.host, host = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sockets = (self.host, host, *socket.socketpair())
        config = {"core": None, "backend": "fork", "output_limit": 1000, "log_bytes": 0, "sweep_bytes": 0}
        config |= {"lead_ns": 1, "margin_ns": 9}
        self.warden = Warden(host, self._sockets[2], zygote_pid, None, config)

    def outcome(self) -> tuple[int, bytes]:
        """Status and output of the next outcome."""
        message = channel.receive(self.host)
        assert message.kind == warden.RESULT
        return RESULT_HEADER.unpack_from(message.payload)[1], message.payload[RESULT_HEADER.size :]

    def is_quiet(self) -> bool:
        return not select.select([self.host], [], [], 0)[0]

    def close(self) -> None:
        for end in self._sockets:
            end.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage(os.getpid())
    yield one
    one.close()


def test_a_guest_is_not_started_before_it_is_known_who_it_is() -> None:
    """A guest can say that it waits before the zygote has sent its pidfd: it could be neither pinned nor killed."""
    guest = make_guest()
    guest.ready = True
    assert not guest.startable
    guest.pidfd = os.pidfd_open(os.getpid())
    assert guest.startable
    guest.close()


def test_it_is_gone_only_when_its_pipe_is_drained_too() -> None:
    guest = make_guest()
    guest.dead = True
    assert not guest.gone
    guest.at_end = True
    assert guest.gone
    guest.close()


def test_closing_twice_closes_nobody_elses_descriptor() -> None:
    guest = make_guest()
    guest.close()
    other = os.pipe()
    guest.close_go()
    guest.close()
    assert all(os.fstat(fd) for fd in other)
    for fd in other:
        os.close(fd)


def test_a_dead_guest_is_believed_only_while_its_zygote_lives() -> None:
    """When a zygote ends, its guests die of that, and what they had is given another turn."""
    zygote = Zygote()
    stage = Stage(zygote.pid)
    stage.warden._report_run(finished_guest())
    assert stage.outcome() == (DONE, OUTPUT)
    zygote.end()
    cut_short = finished_guest(output=b"")
    with pytest.raises(channel.ClosedError):
        stage.warden._report_run(cut_short)
    assert stage.is_quiet()
    cut_short.close()
    stage.warden._report_run(finished_guest(killed=True))
    assert stage.outcome() == (KILLED, b""), "its turn was over: that it died is the warden's own doing"
    stage.close()
    zygote.close()


def test_a_turn_ends_at_its_end_whoever_killed_its_guest(stage: Stage) -> None:
    """A guest that writes too much is killed at once. Nobody after it may feel that."""
    flood = finished_guest(kill_ns=1000, killed=True)
    stage.warden._running = flood
    assert stage.warden._next_deadline(400) == 1000
    stage.warden._advance(999)
    assert stage.warden._running is flood
    stage.warden._advance(1000)
    assert stage.warden._running is None
    assert stage.outcome() == (KILLED, b"")


def test_the_next_guest_is_told_to_start_before_anything_is_said_of_the_last(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(stage.warden, "_start", lambda now: done.append("start"))
    monkeypatch.setattr(stage.warden, "_report_run", lambda guest: done.append("report"))
    stage.warden._running = last = finished_guest()
    stage.warden._advance(1)
    last.close()
    assert done == ["start", "report"]


class Sweeper:
    """Takes `ns` of a clock that it moves."""

    def __init__(self, clock: list[int], ns: int) -> None:
        self.clock, self.ns = clock, ns
        self.count = 0

    def sweep(self) -> None:
        self.count += 1
        self.clock[0] += self.ns


@pytest.mark.parametrize(("takes_ns", "starts"), [(400, True), (600, False)])
def test_the_caches_are_swept_before_a_guest_is_told_to_start(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, takes_ns: int, *, starts: bool
) -> None:
    """And a guest whose time comes while that goes on is late: it must not start at another moment."""
    clock = [9_500]
    monkeypatch.setattr("workers.host.warden.time.monotonic_ns", lambda: clock[0])
    told: list[int] = []
    monkeypatch.setattr(stage.warden, "_go", lambda _guest, now: told.append(now))
    sweeper = Sweeper(clock, takes_ns)
    monkeypatch.setattr(stage.warden, "_sweeper", sweeper)
    monkeypatch.setattr(stage.warden, "_lead_ns", 500)
    guest = make_guest(go_ns=10_000)
    guest.ready = True
    guest.pidfd = os.pidfd_open(os.getpid())
    monkeypatch.setattr(guest, "kill", lambda: None)
    stage.warden._prepared = guest
    stage.warden._start(9_499)
    assert sweeper.count == 0
    stage.warden._start(9_500)
    assert sweeper.count == 1
    assert told == ([9_900] if starts else [])
    if not starts:
        assert stage.outcome()[0] == warden.LATE
    guest.close()


def test_guests_are_made_at_public_moments() -> None:
    """Whenever a task comes: early in the turn before its own, or at the last moment."""
    go, turn, margin = 10_000, 800, 60
    assert {make_at(go, turn, margin, now) for now in range(0, 9_301, 100)} == {9_300}
    assert {make_at(go, turn, margin, now) for now in range(9_301, 9_940)} == {9_940}
    assert make_at(0, turn, margin, 77) == 77, "in open timing at once"


def test_a_task_waits_for_its_moment(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[channel.Message] = []
    monkeypatch.setattr(stage.warden, "_prepare", made.append)
    monkeypatch.setattr("workers.host.warden.time.monotonic_ns", lambda: 100)
    task = channel.Message(warden.TASK, b'{"go_ns": 10000, "timeout_ns": 800}', ())
    stage.warden._take(task)
    assert stage.warden._next_deadline(100) == 9_300
    stage.warden._advance(9_299)
    assert not made
    stage.warden._advance(9_300)
    assert made == [task]


def test_a_host_that_takes_its_time_does_not_hold_up_the_warden(stage: Stage) -> None:
    long = os.urandom(1 << 20)
    for _ in range(2):
        stage.warden._report_run(finished_guest(output=long))
    assert stage.warden._outgoing
    received: list[bytes] = []
    while len(received) < 2:
        while stage.is_quiet():
            stage.warden._send_some()
        header = stage.host.recv(5, socket.MSG_WAITALL)
        left, parts = int.from_bytes(header[1:], "little"), b""
        while len(parts) < left:
            stage.warden._send_some()
            parts += stage.host.recv(left - len(parts))
        received.append(parts[RESULT_HEADER.size :])
    assert received == [long, long]
    assert not stage.warden._outgoing
