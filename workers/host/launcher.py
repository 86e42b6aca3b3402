"""The host's end of one warden: starts the process, hands it tasks, takes its messages."""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.host import cgroups, channel, profile, warden

_IMPORT_ROOT = Path(__file__).resolve().parents[2]
_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from workers.host.warden import main; main()"
_CLOSE_SECONDS = 20
_PASSED_ON = ("LD_LIBRARY_PATH",)
"""Without it the interpreter may not start where it is installed in an unusual place."""


_CAP_SETGID, _CAP_SETUID, _CAP_SYS_ADMIN = 6, 7, 21
_serial = itertools.count()


def _is_privileged() -> bool:
    """Whether this process is root with the rights of root (in a container it may be root without)."""
    status = Path("/proc/self/status").read_text()
    effective = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff")), 16)
    return os.geteuid() == 0 and all(effective >> bit & 1 for bit in (_CAP_SETGID, _CAP_SETUID, _CAP_SYS_ADMIN))


def unprivileged_id() -> int | None:
    """Who the guests of one worker are to the host: a user of their own if this process is root, else the same user.

    A user of their own for each worker, because the kernel counts some things (pipes, pending signals) by user.
    """
    if not _is_privileged():
        return None
    wanted = profile.UNPRIVILEGED_ID + os.getpid() % 1_000_000 * 100 + next(_serial) % 100
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = (int(part) for part in line.split())
        if first <= wanted < first + count:
            return wanted
    return profile.INSIDE_ID


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one task: `status` as in `workers.host.warden`; `data` is a guest's output or a reason.

    `log` is what it printed, in try-outs.
    """

    number: int
    status: int
    started_ns: int
    ended_ns: int
    data: bytes
    log: bytes


class Worker:
    """One warden process. `start` returns at once; `poll` says when it is ready, broken, or has an outcome."""

    def __init__(self, config: dict[str, Any], source: bytes, model: bytes, group: cgroups.Group) -> None:
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        command = [sys.executable, "-I", "-c", _BOOT, str(_IMPORT_ROOT), str(theirs.fileno())]
        self._process = subprocess.Popen(
            command,
            env={**profile.ENVIRONMENT, **{name: os.environ[name] for name in _PASSED_ON if name in os.environ}},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None,
            pass_fds=(theirs.fileno(),),
            cwd="/",
            start_new_session=True,  # an interrupt from the terminal is the host's to deal with
        )
        theirs.close()
        self.ready = False
        group.enter(self._process.pid)  # before it forks: it waits for its configuration
        with contextlib.suppress(channel.ClosedError):  # told by the first receive
            channel.send(self._sock, warden.CONFIG, config)
            channel.send(self._sock, warden.SOURCE, source)
            if config["model"]:
                channel.send(self._sock, warden.MODEL, model)

    @property
    def pid(self) -> int:
        """The warden's process id."""
        return self._process.pid

    def fileno(self) -> int:
        """For select."""
        return self._sock.fileno()

    def send(
        self, number: int, go_ns: int, kill_ns: int, timeout_ns: int, facts: bytes, frames: tuple[int, int]
    ) -> None:
        """Hand over one task; `frames` is a descriptor (-1: none) and its size. Raises channel.ClosedError."""
        facts_fd = os.memfd_create("facts", os.MFD_CLOEXEC)
        try:
            os.write(facts_fd, facts)
            frames_fd, size = frames
            fields: dict[str, object] = {
                "number": number,
                "go_ns": go_ns,
                "kill_ns": kill_ns,
                "timeout_ns": timeout_ns,
                "frames_bytes": size,
            }
            channel.send(self._sock, warden.TASK, fields, (facts_fd, *((frames_fd,) if size else ())))
        finally:
            os.close(facts_fd)

    def receive(self) -> Outcome | None:
        """One message: an outcome, or None once for 'ready'. Raises BrokenError if the worker cannot go on."""
        try:
            message = channel.receive(self._sock)
        except channel.ClosedError:
            raise BrokenError("the warden ended unexpectedly") from None
        if message.kind == warden.REFUSED:
            raise RefusedError(message.payload.decode(errors="replace"))
        if message.kind == warden.BROKEN:
            raise BrokenError(message.payload.decode(errors="replace"))
        if message.kind == warden.READY:
            self.ready = True
            return None
        number, status, started, ended, log_bytes = warden.RESULT_HEADER.unpack_from(message.payload)
        rest = message.payload[warden.RESULT_HEADER.size :]
        return Outcome(number, status, started, ended, rest[log_bytes:], rest[:log_bytes])

    def close(self) -> None:
        """End the warden, its zygote and every guest, and wait until they are gone."""
        self._sock.close()
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class BrokenError(Exception):
    """This worker cannot go on; the text says why."""


class RefusedError(BrokenError):
    """No worker can load this executable; the text says why."""
