"""The warden of one slot core: starts guests at their time, ends them at their time, and reads what they wrote.

A process of its own, so that no other thread of the server holds it up (see the theory of operation in `zygote`). It
keeps at most one guest running and one prepared. What a guest writes stays in its pipe until it has ended, because how
soon a reader makes room tells how busy the machine is; only tables too large for a pipe are read while they are
written. It is handed to the host as bytes, never looked into, once the next guest has been told to start, and as fast
as the host takes it: how much one wrote must not move another.

Slotted: a guest is killed `lead_ns` before the next grid time, and its output is passed on at that moment, however
early it ended. In what is left of the turn the processor's caches are swept and the next guest is told to start, and
itself waits for the exact moment, so that a warden that gets its processor late moves nothing. A guest that is not
ready in time, or whose predecessor is not gone, does not start: it is *late*, and the host gives it another time.
A guest is made at a public moment as well, though its frames may have been there long before or just in time: it can
learn when it was made (its pipe has times, the kernel of `oci` counts from its own start).
With a model, a guest also waits for the process that will answer it, and its turn ends with that process's as well.
Open: a guest starts as soon as the core is free.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from workers.guest import start
from workers.host import backends, caches, channel, namespaces, prewarmed, rootfs, zygote
from workers.host.models import ModelProcesses

CONFIG, SOURCE, MODEL, TASK, RESULT = b"C", b"P", b"M", b"T", b"D"
READY, BROKEN, REFUSED = start.READY, start.BROKEN, zygote.REFUSED

RESULT_HEADER = struct.Struct("<IBqqI")
"""Task number, status, when the guest started, when it ended or was killed (CLOCK_MONOTONIC, nanoseconds), and the
length of its log, which follows."""
DONE, LATE, FAILED, KILLED = 0, 1, 2, 3
"""Status: the guest had its run (the rest of the message is its output); it did not get its time (rerun it); the
sandbox itself failed (the rest of the message says how); it had its run up to the last moment, and gave no output."""

_READ_BYTES = _SEND_BYTES = 1 << 20
_PIPE_BYTES = 1 << 16
_MAKE_SHARE = 8
"""A guest is made after this part of the turn before its own: by then, what the last guest wrote has been packed."""
_GREETING_BYTES = 1 + start.START_TIME.size


@dataclass
class Guest:
    """A forked child, from the request to fork it until it is gone."""

    number: int
    go_ns: int
    kill_ns: int
    timeout_ns: int
    rows_fd: int
    go_fd: int
    log_fd: int
    read_while_running: bool
    place: prewarmed.Place | None = None
    pidfd: int = -1
    pid: int = 0
    ready: bool = False
    running: bool = False
    abandoned: bool = False
    killed: bool = False
    dead: bool = False
    at_end: bool = False
    overflow: bool = False
    ended_ns: int = 0
    output: bytearray = field(default_factory=bytearray)
    log: bytearray = field(default_factory=bytearray)

    @property
    def open_timing(self) -> bool:
        """Whether it may start at once."""
        return self.go_ns == 0

    @property
    def startable(self) -> bool:
        """Whether it waits for its go. It can say so before the zygote, short of a processor, has said who it is."""
        return self.ready and self.pidfd >= 0 and (self.place is None or self.place.ready)

    @property
    def gone(self) -> bool:
        """Whether the process and its model's have ended, and its pipes are drained."""
        return self.dead and self.at_end and self.log_fd < 0 and (self.place is None or self.place.gone)

    def kill(self) -> None:
        """End it and everything in its pid namespace, and its model's process."""
        self.killed = True
        if self.place is not None:
            self.place.end()
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close_go(self) -> None:
        """Make sure that it never starts: the end of its go pipe ends it."""
        if self.go_fd >= 0:
            os.close(self.go_fd)
            self.go_fd = -1

    def read_log(self, limit: int) -> None:
        """Take what it printed; all of it, so that it never waits for us, but keep no more than `limit` bytes."""
        data = os.read(self.log_fd, _READ_BYTES)
        if not data:
            os.close(self.log_fd)
            self.log_fd = -1
        self.log += data[: limit - len(self.log)]

    def close(self) -> None:
        """Let go of its descriptors."""
        for fd in (self.rows_fd, self.go_fd, self.log_fd, self.pidfd):
            if fd >= 0:
                os.close(fd)
        self.rows_fd = self.go_fd = self.log_fd = self.pidfd = -1
        if self.place is not None:
            self.place.close()


def _pipe_size(wanted: int) -> int:
    """The size of a pipe for this much output: a power of two that the system allows."""
    largest = int(Path("/proc/sys/fs/pipe-max-size").read_text())
    size = _PIPE_BYTES
    while size < wanted and 2 * size <= largest:
        size *= 2
    return size


def _pid_of(pidfd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    return 0


def make_at(go_ns: int, turn_ns: int, margin_ns: int, now: int) -> int:
    """When to make the guest of a task that has come now: early in the turn before its own, or at the last moment.

    `margin_ns`: so long before its turn the host hands over no more tasks. At once if there is no time to keep (open).
    """
    if go_ns == 0:
        return now
    early_ns = go_ns - turn_ns + turn_ns // _MAKE_SHARE
    return early_ns if now <= early_ns else go_ns - margin_ns


_PF_EXITING = 0x4


def _is_ending(pid: int) -> bool:
    """Whether a process is about to end or has ended; it must not have been waited for."""
    flags = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6]
    return bool(int(flags) & _PF_EXITING)


def _tasks_of(pid: int) -> set[int]:
    """Every thread of a process and of all that came from it."""
    found: set[int] = set()
    with contextlib.suppress(OSError):  # it may end at any moment
        for task in Path(f"/proc/{pid}/task").iterdir():
            found.add(int(task.name))
            for child in (task / "children").read_text().split():
                found |= _tasks_of(int(child))
    return found


def _pin_all(pid: int, cores: set[int]) -> None:
    """Put a process and all that came from it on these cores, those included that are made in the meantime."""
    pinned: set[int] = set()
    while new := _tasks_of(pid) - pinned:
        for task in new:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(task, cores)
        pinned |= new


def _hurry(pid: int) -> None:
    """Let what has been killed die before ordinary processes run, where that is allowed: the next one waits for it."""
    for task in _tasks_of(pid):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(task, os.SCHED_RR, os.sched_param(1))


class Warden:
    """The event loop between the host's socket and the zygote's; `bench` has the processes of the model, if any."""

    def __init__(
        self,
        host: socket.socket,
        to_zygote: socket.socket,
        zygote_pid: int,
        bench: prewarmed.Bench | None,
        config: dict[str, Any],
    ) -> None:
        self._host = host
        self._zygote = to_zygote
        self._zygote_pid = zygote_pid
        self._bench = bench
        self._core: int | None = config["core"]
        self._pin = os.sched_setaffinity if config["backend"] == "fork" else _pin_all
        self._output_limit: int = config["output_limit"]
        self._log_bytes: int = config["log_bytes"]
        self._lead_ns: int = config["lead_ns"]
        self._margin_ns: int = config["margin_ns"]
        swept: int = config["sweep_bytes"]
        self._sweeper = caches.Sweeper(config["core"], swept) if swept else None
        self._pipe_bytes = _pipe_size(self._output_limit + _GREETING_BYTES)
        self._outgoing: deque[memoryview] = deque()
        self._tasks: deque[tuple[int, channel.Message]] = deque()
        self._forking: deque[Guest] = deque()
        self._prepared: Guest | None = None
        self._running: Guest | None = None

    def run(self) -> None:
        """Until the host closes its end. Raises _ZygoteError, or ClosedError if the zygote is gone."""
        try:
            self._loop()
        finally:  # whatever is said after this begins where a message ends
            self._send_all()

    def _loop(self) -> None:
        while True:
            now = time.monotonic_ns()
            self._advance(now)
            readable = self._wait(now)
            self._send_some()
            if self._host in readable:
                try:
                    self._take(channel.receive(self._host))
                except channel.ClosedError:
                    self._outgoing.clear()
                    return
            if self._zygote in readable:
                self._forked(channel.receive(self._zygote))
            if self._bench is not None:
                self._bench.hear(readable)
            for guest in (self._running, self._prepared):
                if guest is not None:
                    self._hear(guest, readable)

    # ------------------------------------------------------------------------------------------------- waiting

    def _wait(self, now: int) -> set[object]:
        watched: list[socket.socket | int] = [self._host, self._zygote, *(self._bench.watched() if self._bench else ())]
        for guest in (self._running, self._prepared):
            if guest is not None:
                if not guest.at_end and (guest.dead or not guest.running or guest.read_while_running):
                    watched.append(guest.rows_fd)
                if guest.pidfd >= 0 and not guest.dead:
                    watched.append(guest.pidfd)
                if guest.log_fd >= 0:
                    watched.append(guest.log_fd)
        deadline = self._next_deadline(now)
        timeout = None if deadline is None else max(0.0, (deadline - now) / 1e9)
        readable, _, _ = select.select(watched, [self._host] if self._outgoing else [], [], timeout)
        return set(readable)

    def _next_deadline(self, now: int) -> int | None:
        deadlines = []
        running, prepared = self._running, self._prepared
        if running is not None and now < running.kill_ns:  # the end of its turn, also if it has been killed before
            deadlines.append(running.kill_ns)
        if prepared is not None and not prepared.open_timing:
            waits_for_core = prepared.startable and running is None
            deadlines.append(prepared.go_ns - self._lead_ns if waits_for_core else prepared.go_ns)
        elif prepared is None and self._tasks:
            deadlines.append(self._tasks[0][0])
        if self._bench is not None and (warm_ns := self._bench.deadline_ns) is not None:
            deadlines.append(warm_ns)
        return min(deadlines) if deadlines else None

    def _hear(self, guest: Guest, readable: set[object]) -> None:
        if guest.rows_fd in readable:
            room = self._output_limit + _GREETING_BYTES + 2 - len(guest.output)
            data = os.read(guest.rows_fd, max(1, min(_READ_BYTES, room)))
            if not data:
                guest.at_end = True
            elif room <= 0:
                guest.overflow = True
                guest.kill()
                del guest.output[_GREETING_BYTES:]
            elif not guest.overflow:
                guest.output += data
            if not guest.ready and guest.output.startswith(READY):
                guest.ready = True
                del guest.output[:1]
        if guest.log_fd in readable:
            guest.read_log(self._log_bytes)
        if guest.pidfd in readable:
            guest.dead = True
            guest.ended_ns = time.monotonic_ns()
            if guest.place is not None:
                guest.place.end()

    # ------------------------------------------------------------------------------------------------ progress

    def _advance(self, now: int) -> None:
        finished = self._finish(now)
        self._start(now)
        if finished is not None:
            self._report_run(finished)
        if self._prepared is None and self._tasks and now >= self._tasks[0][0]:
            self._prepare(self._tasks.popleft()[1])

    def _finish(self, now: int) -> Guest | None:
        """The guest whose turn is over, once it is gone."""
        guest = self._running
        if guest is None:
            return None
        if now >= guest.kill_ns and not guest.dead and not guest.killed:
            guest.kill()
            _hurry(guest.pid)
        if not guest.gone or (now < guest.kill_ns and not guest.open_timing):
            return None
        self._running = None
        return guest

    def _start(self, now: int) -> None:
        guest = self._prepared
        if guest is None:
            return
        if guest.place is not None:
            guest.place.advance()
        if guest.at_end:
            self._report(
                guest, FAILED, bytes(guest.output.removeprefix(BROKEN)) or b"a guest died before it was told to start"
            )
            self._drop(guest)
            return
        due = guest.open_timing or now >= guest.go_ns - self._lead_ns
        can_start = guest.startable and self._running is None
        if due and can_start and self._sweeper is not None:
            self._sweeper.sweep()
            now = time.monotonic_ns()
        if due and can_start and (guest.open_timing or now < guest.go_ns):
            self._go(guest, now)
        elif not guest.open_timing and now >= guest.go_ns:
            self._report(guest, LATE)
            self._drop(guest)

    def _go(self, guest: Guest, now: int) -> None:
        if self._core is not None:
            with contextlib.suppress(ProcessLookupError):
                self._pin(guest.pid, {self._core})
        if guest.place is not None:
            guest.place.start()
        start_ns = now if guest.open_timing else guest.go_ns
        if guest.open_timing:
            guest.kill_ns = now + guest.timeout_ns
        with contextlib.suppress(BrokenPipeError):
            os.write(guest.go_fd, start.START_TIME.pack(start_ns, time.monotonic_ns()))
        guest.running = True
        self._running, self._prepared = guest, None

    def _drop(self, guest: Guest) -> None:
        guest.kill()
        if guest in self._forking:
            guest.abandoned = True
        guest.close()
        self._prepared = None

    def _report_run(self, guest: Guest) -> None:
        if not guest.killed and _is_ending(self._zygote_pid):
            # The zygote took its guests with it, and is not heard to be gone while one of them is still starting.
            raise channel.ClosedError
        if not guest.output.startswith(start.STARTED) or len(guest.output) < _GREETING_BYTES:
            # Our own code in the guest says when it hands over; before that nothing of the analyst's has run.
            self._report(guest, FAILED, b"a guest died before the executable was started")
        else:
            started, _ = start.START_TIME.unpack_from(guest.output, 1)
            status = KILLED if guest.killed and not guest.overflow else DONE
            output = b"" if guest.killed else bytes(memoryview(guest.output)[_GREETING_BYTES:])
            self._report(guest, status, output, started)
        guest.close()

    def _report(self, guest: Guest, status: int, data: bytes = b"", started_ns: int = 0) -> None:
        header = RESULT_HEADER.pack(guest.number, status, started_ns, guest.ended_ns, len(guest.log))
        self._outgoing.append(memoryview(channel.packed(RESULT, header + guest.log + data)))
        self._send_some()

    def _send_some(self) -> None:
        """Some of what is to be said, if the host has room for it."""
        if self._outgoing:
            with contextlib.suppress(BlockingIOError):
                self._send(socket.MSG_DONTWAIT)

    def _send_all(self) -> None:
        while self._outgoing:
            self._send(0)

    def _send(self, flags: int) -> None:
        first = self._outgoing[0]
        try:
            sent = self._host.send(first[:_SEND_BYTES], flags)
        except (BrokenPipeError, ConnectionResetError):
            self._outgoing.clear()
            raise channel.ClosedError from None
        if sent < len(first):
            self._outgoing[0] = first[sent:]
        else:
            self._outgoing.popleft()

    # ------------------------------------------------------------------------------------------------- forking

    def _take(self, task: channel.Message) -> None:
        go_ns, turn_ns = (task.fields[name] for name in ("go_ns", "timeout_ns"))
        self._tasks.append((make_at(go_ns, turn_ns, self._margin_ns, time.monotonic_ns()), task))

    def _prepare(self, task: channel.Message) -> None:
        fields = task.fields
        rows_read, rows_write = os.pipe2(os.O_CLOEXEC)
        with contextlib.suppress(PermissionError):  # this user has many pipes already
            fcntl.fcntl(rows_write, fcntl.F_SETPIPE_SZ, self._pipe_bytes)
        room = fcntl.fcntl(rows_write, fcntl.F_GETPIPE_SZ)
        go_read, go_write = os.pipe2(os.O_CLOEXEC)
        log_read, log_write = os.pipe2(os.O_CLOEXEC) if self._log_bytes else (-1, -1)
        guest = Guest(
            number=fields["number"],
            go_ns=fields["go_ns"],
            kill_ns=fields["kill_ns"],
            timeout_ns=fields["timeout_ns"],
            rows_fd=rows_read,
            go_fd=go_write,
            log_fd=log_read,
            read_while_running=room < self._output_limit + _GREETING_BYTES,
            place=None if self._bench is None else self._bench.place(),
        )
        size = str(fields["frames_bytes"]).encode()
        place = () if guest.place is None else guest.place.for_guest
        given = (rows_write, go_read, *((log_write,) if self._log_bytes else ()), *task.fds)
        channel.send(self._zygote, TASK, size, (*given[:2], *place, *given[2:]))
        if guest.place is not None:
            guest.place.handed_over()
        for fd in given:
            os.close(fd)
        self._forking.append(guest)
        self._prepared = guest

    def _forked(self, reply: channel.Message) -> None:
        if reply.kind == BROKEN:
            raise _ZygoteError(reply.payload)
        guest = self._forking.popleft()
        if not reply.fds:  # it is gone already, and says why on its pipe
            guest.dead = True
            if not guest.abandoned:
                guest.close_go()
            return
        (guest.pidfd,) = reply.fds
        if guest.abandoned:
            guest.kill()
            guest.close()
        else:
            guest.pid = _pid_of(guest.pidfd)


def _be_prompt() -> None:
    """Run before ordinary processes, where that is allowed; what is forked from here is ordinary again."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def _serve(host: socket.socket) -> None:
    config = channel.receive(host).fields
    source = channel.receive(host).payload
    model = channel.receive(host).payload if config["model"] else b""
    if config["housekeeping"]:
        os.sched_setaffinity(0, config["housekeeping"])
    _be_prompt()
    namespaces.prctl(namespaces.PR_SET_CHILD_SUBREAPER, 1)
    with contextlib.ExitStack() as ends:  # a zygote ends with its socket, and every guest with it
        try:
            guests = ends.enter_context(
                _zygote(
                    host,
                    backends.BACKENDS[config["backend"]].guests(config, source),
                    config["uid"],
                    weights=config["weights_bytes"] > 0,
                )
            )
            zygote_pid, bench = _only_child(), None
            if config["model"]:
                models = _zygote(host, ModelProcesses(config, model), config["model"]["uid"], guests)
                bench = prewarmed.Bench(ends.enter_context(models), config, _pid_of, _pin_all)
                _warm_up(host, bench)
            channel.send(host, READY)
            Warden(host, guests, zygote_pid, bench, config).run()
        except _RefusedError as error:
            channel.send(host, REFUSED, error.args[0])
        except _ZygoteError as error:
            channel.send(host, BROKEN, error.args[0])
        except prewarmed.ModelBroken as error:
            channel.send(host, BROKEN, f"the model cannot be run: {error}".encode())
        except channel.ClosedError:
            channel.send(host, BROKEN, b"the zygote ended unexpectedly")
        except _HostGoneError:
            return


def _zygote(
    host: socket.socket, guests: zygote.Guests, uid: int | None, *others: socket.socket, weights: bool = False
) -> socket.socket:
    """Make a zygote, which has nothing of the `others` and may load `weights`; its socket.

    Raises _ZygoteError, _RefusedError, channel.ClosedError, _HostGoneError.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    builder = os.fork()
    if builder == 0:
        namespaces.prctl(namespaces.PR_SET_PDEATHSIG, signal.SIGKILL)
        for end in (ours, host, *others):
            end.close()
        zygote.build(theirs, guests, uid)
    theirs.close()
    try:
        first = _building(host, ours)
        if first.kind == zygote.FILES:
            rootfs.hold(json.loads(first.payload))
            first = _zygote_built(host, ours, weights=weights)
    except BaseException:
        os.kill(builder, signal.SIGKILL)  # it may be in the middle of a long import
        ours.close()
        raise
    os.waitpid(builder, 0)  # it has forked the zygote, or failed
    if first.kind != READY:
        ours.close()
        raise (_RefusedError if first.kind == REFUSED else _ZygoteError)(first.payload)
    return ours


def _zygote_built(host: socket.socket, ours: socket.socket, *, weights: bool) -> channel.Message:
    """What the zygote says once it has loaded everything. If it dies of that, what it loaded was to blame."""
    try:
        return _building(host, ours)
    except channel.ClosedError:
        if not weights:
            raise
        reason = b"the weights cannot be loaded: what loads them crashed, or took too long or too much memory"
        return channel.Message(REFUSED, reason, ())


def _warm_up(host: socket.socket, bench: prewarmed.Bench) -> None:
    """Wait for the first process of the model. Raises ModelBroken, ClosedError, _HostGoneError."""
    while bench.signature is None:
        readable, _, _ = select.select([host, *bench.watched()], [], [], 1.0)
        if host in readable:
            raise _HostGoneError
        bench.hear(set(readable))


class _RefusedError(Exception):
    """The executable's weights cannot be loaded; why, in bytes."""


class _ZygoteError(Exception):
    """The zygote cannot go on; its own words, in bytes."""


class _HostGoneError(Exception):
    """The host closed its end before the zygote was there."""


def _building(host: socket.socket, ours: socket.socket) -> channel.Message:
    """The next message of the builder. The host says nothing before the worker is ready."""
    readable, _, _ = select.select([host, ours], [], [])
    if host in readable:
        raise _HostGoneError
    return channel.receive(ours)


def _only_child() -> int:
    """The zygote, once the builder has been waited for."""
    (child,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return int(child)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def main() -> NoReturn:
    """The process's entry: the descriptor of the host's socket is the only argument."""
    host = socket.socket(fileno=int(sys.argv[1]))
    with contextlib.suppress(channel.ClosedError):
        _serve(host)
    host.close()
    _reap()
    sys.exit(0)
