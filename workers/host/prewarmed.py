"""Processes that are warm before their chunk comes, take it, and end: the warden's side of `workers.host.models`.

A bench holds them: as many are warming or warm as it takes to have one for every turn. They are started on the cores of
the rest of the system, like the fresh processes of guests (decision 0020), and moved to the slot's core with the
guest when it is told to start. Each gets the memory and the line of one guest before that, and ends with it: the
guest's turn is over when both are gone.

A process is heard only before its guest has started; what it says later could depend on pixels.
"""

import contextlib
import json
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from workers import tensors
from workers.host import channel, models
from workers.inference.service import START

WARM_SECONDS = 90.0
"""A graph that is not warm by then never will be."""
_MOST_WAITING = 4
MOST = _MOST_WAITING + 2
"""Processes of a bench: those that wait, one at work and one at the next guest."""
_FAILURES = 3
_MOST_SAID_BYTES = 65_536
_PERIOD_SHARE, _PERIOD_NS = 2, 2_000_000
"""A call's time is so many times that of the slowest one measured, and so much more, in whole steps of this length."""


class ModelBroken(Exception):
    """No process of this model gets warm; the text says why."""


@dataclass(eq=False)
class Warm:
    """One process of a model, from the request to fork it until it is gone."""

    control: socket.socket
    asked_ns: int
    measures: bool
    pidfd: int = -1
    pid: int = 0
    said: bytearray = field(default_factory=bytearray)
    warm: bool = False
    attached: bool = False
    taken: bool = False
    heard: bool = True
    dead: bool = False

    def attach(self, line: int, memory: int, period_ns: int) -> None:
        """Hand over a guest's line and memory."""
        self.taken = True
        with contextlib.suppress(OSError):  # it has died; that is noticed elsewhere
            socket.send_fds(self.control, [START.pack(period_ns)], [line, memory])

    def kill(self) -> None:
        """End it."""
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Let go of its descriptors."""
        self.control.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)


class Bench:
    """The processes of one worker's model. `pid_of` and `pin` as in the warden; `core` is the slots' own.

    Raises ModelBroken wherever it listens.
    """

    def __init__(
        self,
        zygote: socket.socket,
        config: dict[str, Any],
        pid_of: Callable[[int], int],
        pin: Callable[[int, set[int]], None],
    ) -> None:
        self._zygote = zygote
        self._core: int = config["core"]
        self._period_ns: int | None = config["model"]["period_ns"]
        self._turn_ns: int = config["model"]["turn_ns"]
        self._pid_of = pid_of
        self._pin = pin
        self._forking: deque[Warm] = deque()
        self._processes: list[Warm] = []
        self._waiting = 1
        self._failures = 0
        self.signature: tensors.Signature | None = None
        self._ask(models.MEASURE)

    def _ask(self, payload: bytes = b"") -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        channel.send(self._zygote, b"T", payload, (theirs.fileno(),))
        theirs.close()
        process = Warm(ours, time.monotonic_ns(), payload == models.MEASURE)
        self._forking.append(process)
        self._processes.append(process)

    @property
    def deadline_ns(self) -> int | None:
        """When to look again whether one takes too long."""
        asked = [process.asked_ns for process in self._processes if not process.warm]
        return min(asked) + int(WARM_SECONDS * 1e9) if asked else None

    def watched(self) -> Iterable[socket.socket | int]:
        """What to wait for."""
        yield self._zygote
        for process in self._processes:
            if process.heard and not process.attached:
                yield process.control
            if process.pidfd >= 0 and not process.dead:
                yield process.pidfd

    def hear(self, readable: set[object]) -> None:
        """Take what is there of what was watched, and see that enough are waiting."""
        if self._zygote in readable:
            self._forked(channel.receive(self._zygote))
        for process in list(self._processes):
            if process.control in readable:
                self._listen(process)
            if process.pidfd in readable:
                process.dead = True
            if process.dead and process.measures and process.warm:
                self._forget(process)
            elif process.dead and not process.taken:
                self._lost(process, "it died while it got warm")
        if (deadline := self.deadline_ns) is not None and time.monotonic_ns() >= deadline:
            raise ModelBroken(f"the model was not ready within {WARM_SECONDS:g} s")
        if self.signature is not None:
            while sum(not process.taken for process in self._processes) < self._waiting:
                self._ask()

    def _forked(self, reply: channel.Message) -> None:
        process = self._forking.popleft()
        if not reply.fds:  # it is gone already, and may have said why
            process.dead = True
            return
        (process.pidfd,) = reply.fds
        if process not in self._processes:  # it has been given up in the meantime
            process.kill()
            process.close()
            return
        process.pid = self._pid_of(process.pidfd)
        if self.signature is None:  # measured where it will run, before the first slot does
            self._pin(process.pid, {self._core})

    def _listen(self, process: Warm) -> None:
        try:
            data = process.control.recv(_MOST_SAID_BYTES)
        except OSError:
            data = b""
        process.said += data
        process.heard = bool(data) and len(process.said) <= _MOST_SAID_BYTES
        *lines, rest = process.said.split(b"\n")
        process.said = rest
        for line in lines:
            self._understand(process, bytes(line))
        if not data and process.said:  # no line: it could not even confine itself
            self._lost(process, process.said.decode("utf-8", "replace")[1:])

    def _understand(self, process: Warm, line: bytes) -> None:
        try:
            fields = json.loads(line)
            if "broken" in fields:
                raise ModelBroken(str(fields["broken"]))
            if "warm" in fields and not process.warm:
                self._warm(process, tensors.Signature.from_json(fields["warm"]), int(fields["warm"]["slowest_ns"]))
            if "attached" in fields:
                process.attached = True
                self._failures = 0
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ModelBroken("the model's process said what makes no sense") from None

    def _warm(self, process: Warm, signature: tensors.Signature, slowest_ns: int) -> None:
        process.warm = True
        if self.signature is None:
            process.taken = True
            self.signature = signature
            if self._period_ns is None:
                steps = _PERIOD_SHARE * slowest_ns // _PERIOD_NS + 2
                self._period_ns = steps * _PERIOD_NS
            took_ns = time.monotonic_ns() - process.asked_ns
            self._waiting = min(_MOST_WAITING, 2 + took_ns // self._turn_ns)
        elif signature != self.signature:
            raise ModelBroken("the model has another signature than before")

    def _lost(self, process: Warm, reason: str) -> None:
        self._forget(process)
        self._failures += 1
        if self._failures > _FAILURES:
            raise ModelBroken(reason)
        if self.signature is None:
            self._ask(models.MEASURE)

    def _forget(self, process: Warm) -> None:
        if process in self._processes:
            self._processes.remove(process)
            process.kill()
            process.close()

    def take(self) -> Warm | None:
        """A warm process that nobody has."""
        return next((p for p in self._processes if p.warm and not p.taken and not p.dead), None)

    def place(self) -> "Place":
        """Memory and a line for the next guest."""
        assert self.signature is not None and self._period_ns is not None  # noqa: PT018  both come with the first
        return Place(self, self.signature, self._period_ns)

    def let_go(self, process: Warm) -> None:
        """Its guest has no more use for it. That it died before it held anything counts as a failure."""
        if process.dead and not process.attached:
            self._lost(process, "it died when it was given its memory")
        else:
            self._forget(process)

    def start(self, process: Warm) -> None:
        """Its guest is told to start: to the same core."""
        process.heard = False
        self._pin(process.pid, {self._core})


class Place:
    """One guest's side of a bench: fresh memory, a line, and the process at its other end."""

    def __init__(self, bench: Bench, signature: tensors.Signature, period_ns: int) -> None:
        self._bench = bench
        self._period_ns = period_ns
        self._process: Warm | None = None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._line, self._guest_line = ours.detach(), theirs.detach()
        self._memory = models.shared_memory(signature.size_bytes, tensors.write_header(signature, period_ns))

    @property
    def for_guest(self) -> tuple[int, int]:
        """The guest's end of the line, and the memory. To be closed with `handed_over`."""
        return self._guest_line, self._memory

    def handed_over(self) -> None:
        """The guest has its end."""
        os.close(self._guest_line)
        self._guest_line = -1

    def advance(self) -> None:
        """Before the guest starts: have a process at the other end, another one if it died."""
        if self._process is not None and self._process.dead:
            self._bench.let_go(self._process)
            self._process = None
        if self._process is None and (process := self._bench.take()) is not None:
            self._process = process
            process.attach(self._line, self._memory, self._period_ns)

    @property
    def ready(self) -> bool:
        """Whether a process holds the line and the memory."""
        return self._process is not None and self._process.attached and not self._process.dead

    @property
    def gone(self) -> bool:
        """Whether there is no process at it, any more or yet."""
        return self._process is None or self._process.dead

    def start(self) -> None:
        """The guest is told to start."""
        assert self._process is not None
        self._bench.start(self._process)
        self._close_line()

    def end(self) -> None:
        """The guest is gone, or must go: the process has nothing more to do."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Give everything back. What is still at the other end is killed."""
        self._close_line()
        if self._process is not None:
            self._bench.let_go(self._process)
            self._process = None

    def _close_line(self) -> None:
        for fd in (self._line, self._guest_line, self._memory):
            if fd >= 0:
                os.close(fd)
        self._line = self._guest_line = self._memory = -1
