"""The zygote: a process that has loaded the libraries, and forks one confined guest for each chunk.

Theory of operation
-------------------
Five kinds of process, outermost first. All but the last run our code only.

    host     the server. Any uid. Holds the video, the rows, the database. One thread of `pool` drives the wardens.
      |        stream socket H: tasks (+ memfds) down, checked-size outputs up
    warden   one for each slot core, started afresh with exec (no memory of the host's). Same uid as the host.
      |        Keeps the time: it tells a guest to start, kills it, and reads what it wrote. Bare Python, one thread.
      |        stream socket Z: 'fork one' (+ descriptors) down, a pidfd up
    builder  forked by the warden. Imports the libraries, builds the root (`rootfs`), and, if the host is root, drops
      |        to a uid that owns nothing. Makes the user, mount, pid, net, ipc, uts and cgroup namespaces Z, forks
      |        the zygote as pid 1 of them, and exits; the warden becomes the zygote's parent (subreaper).
    zygote   waits on socket Z. For each chunk: a new pid namespace, a fork, the pidfd to the warden.
      |
    guest    pid 1 of its own namespaces below Z. Confines itself (`confine`), says 'R' on its rows pipe, waits on
               its go pipe, says 'S', and only then compiles and runs the analyst's module (`workers.guest.main`).

Pipes of a guest: rows (guest -> warden, descriptor 3) and go (warden -> guest, descriptor 4); 0, 1, 2 are /dev/null,
except in try-outs, where 1 and 2 are a third pipe.
The frames are a sealed memfd, mapped read-only before the confinement and closed.

What must never happen here: the zygote's memory is copied into every later guest, so the zygote never reads anything
that a guest wrote, never learns how long one ran or how it ended (children are reaped unseen, with SIGCHLD ignored),
and never asks for the time. That is why rows and clocks are the warden's.

If the zygote dies, its pid namespace dies with it, guests included. If the warden dies, the zygote reads the end of
socket Z and exits. If the host dies, the warden reads the end of socket H and exits.
"""

import gc
import importlib
import json
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from workers import limits, wire
from workers.guest import chunk as guest_chunk
from workers.guest import main as guest_main
from workers.host import channel, confine, namespaces, profile, rootfs

READY, STARTED, BROKEN = b"R", b"S", b"X"
"""What trusted code in a guest says on the rows pipe before the analyst's code runs. STARTED comes with the time."""
FILES = b"F"
"""What the builder tells the warden before the zygote exists: the parts of files that guests will have mapped."""
START_TIME = struct.Struct("<q")
_OUTER_ONLY = namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNS
_ZYGOTE_NAMESPACES = (
    namespaces.CLONE_NEWPID
    | namespaces.CLONE_NEWNET
    | namespaces.CLONE_NEWIPC
    | namespaces.CLONE_NEWUTS
    | namespaces.CLONE_NEWCGROUP
)


def load(libraries: Sequence[str]) -> None:
    """Import what guests may use, one thread each. Raises ImportError."""
    for name in profile.STDLIB_MODULES:
        importlib.import_module(name)
    for library in libraries:
        for name in profile.LIBRARIES[library].modules:
            importlib.import_module(name)
    if "cv2" in libraries:
        sys.modules["cv2"].setNumThreads(0)
    if "torch" in libraries:
        torch: Any = sys.modules["torch"]
        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
        torch.nn.functional.conv2d(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 3, 3))  # builds its tables before forks


def _become(uid: int) -> None:
    """From root to a user that owns nothing."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def enter_namespaces(libraries: Sequence[str], uid: int | None, proc_fd: int) -> None:
    """Move this process into the zygote's namespaces and root. `uid`: who to become, None to stay who one is.

    As root the root file system is built before the uid is given up (Python may live where only root can read); an
    ordinary user gets the right to mount from its user namespace.
    """
    if uid is None:
        own_uid, own_gid = os.geteuid(), os.getegid()
        namespaces.unshare(_OUTER_ONLY)
        namespaces.map_user(proc_fd, 0, own_uid, own_gid)
        rootfs.enter(libraries)
        namespaces.unshare(_ZYGOTE_NAMESPACES)
    else:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        rootfs.enter(libraries)
        _become(uid)
        namespaces.unshare(_OUTER_ONLY | _ZYGOTE_NAMESPACES)
        namespaces.map_user(proc_fd, 0, uid, uid)
    namespaces.sethostname(profile.HOSTNAME)


def build(sock: socket.socket, config: Mapping[str, Any], source: bytes) -> NoReturn:
    """The builder: make everything that is made once, fork the zygote, exit. Reports failures on `sock`."""
    try:
        libraries: list[str] = config["libraries"]
        load(libraries)
        parts = rootfs.mapped_files(Path("/proc/self/maps").read_text())
        channel.send(sock, FILES, json.dumps(parts).encode())
        proc_fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        null_fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        _check_one_thread(proc_fd)
        enter_namespaces(libraries, config["uid"], proc_fd)
        if os.fork() == 0:
            Zygote(sock, config, source, proc_fd, null_fd).run()
        os._exit(0)
    except Exception as error:  # noqa: BLE001  whatever it is, the host must hear of it
        channel.send(sock, BROKEN, f"{type(error).__name__}: {error}".encode())
        os._exit(1)


def _read_proc(proc_fd: int, name: str) -> str:
    fd = os.open(f"self/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)
    with os.fdopen(fd) as file:
        return file.read()


def _check_one_thread(proc_fd: int) -> None:
    task = os.open("self/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc_fd)
    threads = len(os.listdir(task))  # noqa: PTH208  pathlib takes no descriptor
    os.close(task)
    if threads != 1:
        raise RuntimeError(f"a library started {threads - 1} threads in the zygote; they would not survive a fork")


def _memory_limits(status: str, memory_bytes: int) -> dict[int, int]:
    """What a guest may have beyond what it inherits: `memory_bytes` of its own, and room for addresses.

    Addresses are limited as well, since page tables of huge empty mappings are memory that RLIMIT_DATA does not count.
    """
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in status.splitlines() if line.endswith(" kB")}
    room = limits.MAX_SLOT_FRAMES_BYTES + 2 * memory_bytes + profile.ADDRESS_ROOM_BYTES
    return {
        resource.RLIMIT_DATA: sizes["VmData"] + memory_bytes,
        resource.RLIMIT_AS: sizes["VmSize"] + room,
    }


class Zygote:
    """Forks guests on request. Everything it holds is public and the same for all chunks."""

    def __init__(
        self,
        sock: socket.socket,
        config: Mapping[str, Any],
        source: bytes,
        proc_fd: int,
        null_fd: int,
    ) -> None:
        self._sock = sock
        self._source = source
        self._logs: bool = config["log_bytes"] > 0
        self._table = wire.TableSpec(
            tuple(wire.ColumnSpec(*column) for column in config["columns"]), config["max_rows"], config["exact"]
        )
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        self._own_pid_namespace = os.open("self/ns/pid", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)
        self._walls = confine.prepare(
            profile.Profile(**config["profile"]),
            proc_fd,
            null_fd,
            _memory_limits(_read_proc(proc_fd, "status"), config["memory_bytes"]),
        )

    def run(self) -> NoReturn:
        """Serve until the warden closes its end."""
        try:
            _check_one_thread(self._walls.proc_fd)
            gc.collect()
            gc.freeze()  # or the collector writes to every object in every guest, and copies their pages
            channel.send(self._sock, READY)
            while True:
                self._serve(channel.receive(self._sock))
        except channel.ClosedError:
            os._exit(0)
        except Exception as error:  # noqa: BLE001
            channel.send(self._sock, BROKEN, f"{type(error).__name__}: {error}".encode())
            os._exit(1)

    def _serve(self, request: channel.Message) -> None:
        # A process forks into the pid namespace that it unshared last; going back to its own lets it unshare again.
        namespaces.setns(self._own_pid_namespace, namespaces.CLONE_NEWPID)
        namespaces.unshare(namespaces.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            _guest(self._walls, self._source, self._table, self._logs, request)
        request.close()
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:  # it could not confine itself, and has told the warden why
            channel.send(self._sock, READY)
            return
        channel.send(self._sock, READY, fds=(pidfd,))
        os.close(pidfd)


def _guest(
    walls: confine.Walls, source: bytes, table: wire.TableSpec, logs: bool, request: channel.Message
) -> NoReturn:
    """The child: confine, wait for the go, hand over to the analyst's code."""
    rows_fd, go_fd, *rest = request.fds
    log_fd = rest.pop(0) if logs else None
    facts_fd, *rest = rest
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        frames = memoryview(b"")
        if rest:
            frames = memoryview(mmap.mmap(rest[0], int(request.payload), mmap.MAP_SHARED, mmap.PROT_READ))
        chunk = guest_chunk.unpack(os.pread(facts_fd, os.fstat(facts_fd).st_size, 0), frames)
        confine.confine(walls, rows_fd, go_fd, log_fd)
    except Exception as error:  # noqa: BLE001  the sandbox broke, not the guest; say so while it can be told apart
        os.write(rows_fd, BROKEN + f"{type(error).__name__}: {error}".encode()[:1000])
        os._exit(1)
    os.write(confine.ROWS_FD, READY)
    go = os.read(confine.GO_FD, START_TIME.size)
    if len(go) != START_TIME.size:
        os._exit(0)  # not needed after all
    (start_ns,) = START_TIME.unpack(go)
    # The go comes a little early: the last stretch is waited here, on the slot's own core, where nobody is in the way.
    while (left := start_ns - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)
    os.write(confine.ROWS_FD, STARTED + START_TIME.pack(time.monotonic_ns()))
    os.close(confine.GO_FD)
    guest_main.run(source, chunk, table, confine.ROWS_FD)
