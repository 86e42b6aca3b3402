"""An executable that attacks its own sandbox: the fastest checks of the hostile suite, for `doctor`.

Each attempt is a raw system call or a path. One row each that got through; no row means that everything was stopped.
Runs as an ordinary guest: `process(chunk)`.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.guest.chunk import Chunk

_READ_PATHS = ("/proc", "/sys", "/dev", "/etc/passwd", "/etc/shadow", "/home", "/var", "/tmp")  # noqa: S108
_WRITE_FOLDERS = ("/", "/tmp", "/dev/shm", "/var/tmp", "/run")  # noqa: S108
_SIGKILL, _AT_FDCWD = 9, -100

# Name, x86-64 number, arguments. "buffer" stands for some writable memory.
_CALLS: tuple[tuple[str, int, tuple[int | str, ...]], ...] = (
    ("an IPv4 socket", 41, (2, 1, 0)),
    ("an IPv6 socket", 41, (10, 1, 0)),
    ("a UNIX socket", 41, (1, 1, 0)),
    ("a netlink socket", 41, (16, 3, 0)),
    ("a VSOCK socket", 41, (40, 1, 0)),
    ("a kernel crypto socket", 41, (38, 5, 0)),
    ("a socket pair", 53, (1, 1, 0, "buffer")),
    ("killing everything", 62, (-1, 0)),
    ("ptrace", 101, (16, 2, 0, 0)),
    ("reading another process", 310, (1, "buffer", 1, "buffer", 1, 0)),
    ("a pidfd", 434, (1, 0)),
    ("running a program", 59, ("buffer", 0, 0)),
    ("SysV shared memory", 29, (0x5052, 4096, 0o1666)),
    ("a message queue", 240, ("buffer", 0o102, 0o600, 0)),
    ("a memfd", 319, ("buffer", 0)),
    ("shared anonymous memory", 9, (0, 4096, 3, 0x21, -1, 0)),
    ("io_uring", 425, (8, "buffer")),
    ("userfaultfd", 323, (1,)),
    ("a keyring", 250, (1, 0)),
    ("perf events", 298, ("buffer", 0, -1, -1, 0)),
    ("bpf", 321, (0, "buffer", 128)),
    ("a mount", 165, ("buffer", "buffer", "buffer", 0, 0)),
    ("a user namespace", 272, (0x10000000,)),
    ("becoming root", 105, (0,)),
    ("setting the clock", 227, (0, "buffer")),
    ("becoming dumpable", 157, (4, 1)),
    ("inotify", 253, ()),
    ("a file handle", 303, (_AT_FDCWD, "buffer", "buffer", "buffer", 0)),
    ("merging pages", 28, (0, 0, 12)),
    ("paging out", 28, (0, 0, 21)),
    ("the machine's load and memory", 99, ("buffer",)),
    ("another core", 203, (0, 8, "buffer")),
    ("a pipe", 22, ("buffer",)),
)


def _attempts() -> Iterator[str]:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    for name, number, arguments in _CALLS:
        buffer = ctypes.create_string_buffer(b"\xff", 512)
        words = [buffer if argument == "buffer" else ctypes.c_long(int(argument)) for argument in arguments]
        if libc.syscall(ctypes.c_long(number), *words) != -1:
            yield name
    for path in _READ_PATHS:
        if _is_seen(path):
            yield f"seeing {path}"
    for folder in _WRITE_FOLDERS:
        try:
            os.close(os.open(f"{folder}/left", os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError:
            continue
        yield f"writing to {folder}"
    try:
        if os.fork() == 0:
            os._exit(0)
    except OSError:
        pass
    else:
        yield "a process"


def _is_seen(path: str) -> bool:
    """Whether there is more at a path than the way to what guests import, which may be installed below it."""
    own = {place[len(path) + 1 :].partition("/")[0] for place in sys.path if place.startswith(f"{path}/")}
    try:
        found = set(os.listdir(path))  # noqa: PTH208  the guest's own look
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return not own or not found <= own


def process(chunk: "Chunk") -> Iterator[dict[str, str]]:  # noqa: ARG001  the interface of executables
    """One row for each attempt that got through, and a last one that says that all were made."""
    for name in _attempts():
        yield {"got": name}
    yield {"got": "end"}
