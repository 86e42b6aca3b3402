"""The zygote: makes one confined guest for each chunk; by default a fork of itself, with the libraries loaded.

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
    guest    pid 1 of its own namespaces below Z. What becomes of the fork is the backend's (`backends`):
               fork  confines itself (`forked`), says 'R' on its rows pipe, waits on its go pipe, says 'S', and only
                     then compiles and runs the analyst's module (`workers.guest.main`);
               exec  becomes bubblewrap, which starts a fresh process within (`fresh`, `workers.guest.start`);
               oci   becomes runsc, which starts a kernel of its own and a fresh process in it.

Pipes of a guest: rows (guest -> warden, descriptor 3) and go (warden -> guest, descriptor 4); 0, 1, 2 are /dev/null,
except in try-outs, where 1 and 2 are a third pipe.
The frames are a sealed memfd, mapped read-only before the confinement and closed.

What must never happen here: the zygote's memory is copied into every later guest, so the zygote never reads anything
that a guest wrote, never learns how long one ran or how it ended (children are reaped unseen, with SIGCHLD ignored),
and never asks for the time. That is why rows and clocks are the warden's.

If the zygote dies, its pid namespace dies with it, guests included. If the warden dies, the zygote reads the end of
socket Z and exits. If the host dies, the warden reads the end of socket H and exits.
"""

import contextlib
import gc
import json
import os
import signal
import socket
from typing import NoReturn, Protocol

from workers.guest.start import BROKEN, READY
from workers.guest.weights import WeightsError
from workers.host import channel, namespaces, profile

FILES = b"F"
"""What the builder tells the warden before the zygote exists: the parts of files that must stay in memory."""
REFUSED = b"W"
"""What the zygote says in place of READY if the executable's weights cannot be loaded, and why."""
_OUTER_ONLY = namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNS
_ZYGOTE_NAMESPACES = (
    namespaces.CLONE_NEWPID
    | namespaces.CLONE_NEWNET
    | namespaces.CLONE_NEWIPC
    | namespaces.CLONE_NEWUTS
    | namespaces.CLONE_NEWCGROUP
)


class Guests(Protocol):
    """What a backend does in the builder, in the zygote and in each of its forks."""

    def load(self) -> list[tuple[str, int, int]]:
        """First, in the builder: import what is needed. The parts of files that the warden must hold in memory."""

    def enter_root(self) -> None:
        """In a mount namespace of the builder's own, with the right to mount: build the root of guests."""

    def prepare(self, proc_fd: int, null_fd: int) -> None:
        """In the zygote, before the first guest. `proc_fd` is the host's /proc, `null_fd` the null device."""

    def become(self, request: channel.Message) -> NoReturn:
        """In a fork: be the guest. The request's descriptors: rows, go, log if there is one, facts, frames if any."""


def _become(uid: int) -> None:
    """From root to a user that owns nothing."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def enter_namespaces(guests: Guests, uid: int | None, proc_fd: int) -> None:
    """Move this process into the zygote's namespaces and root. `uid`: who to become, None to stay who one is.

    As root the root file system is built before the uid is given up (Python may live where only root can read); an
    ordinary user gets the right to mount from its user namespace.
    """
    if uid is None:
        own_uid, own_gid = os.geteuid(), os.getegid()
        namespaces.unshare(_OUTER_ONLY)
        namespaces.map_user(proc_fd, 0, own_uid, own_gid)
        guests.enter_root()
        namespaces.unshare(_ZYGOTE_NAMESPACES)
    else:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        guests.enter_root()
        _become(uid)
        namespaces.unshare(_OUTER_ONLY | _ZYGOTE_NAMESPACES)
        namespaces.map_user(proc_fd, 0, uid, uid)
    namespaces.sethostname(profile.HOSTNAME)


def build(sock: socket.socket, guests: Guests, uid: int | None) -> NoReturn:
    """The builder: make everything that is made once, fork the zygote, exit. Reports failures on `sock`."""
    try:
        channel.send(sock, FILES, json.dumps(guests.load()).encode())
        proc_fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        null_fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        _check_one_thread(proc_fd)
        enter_namespaces(guests, uid, proc_fd)
        if os.fork() == 0:
            Zygote(sock, guests, proc_fd, null_fd).run()
        os._exit(0)
    except WeightsError as error:
        channel.send(sock, REFUSED, str(error).encode())
        os._exit(1)
    except Exception as error:  # noqa: BLE001  whatever it is, the host must hear of it
        channel.send(sock, BROKEN, f"{type(error).__name__}: {error}".encode())
        os._exit(1)


def _check_one_thread(proc_fd: int) -> None:
    task = os.open("self/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc_fd)
    threads = len(os.listdir(task))  # noqa: PTH208  pathlib takes no descriptor
    os.close(task)
    if threads != 1:
        raise RuntimeError(f"a library started {threads - 1} threads in the zygote; they would not survive a fork")


class Zygote:
    """Forks guests on request. Everything it holds is public and the same for all chunks."""

    def __init__(self, sock: socket.socket, guests: Guests, proc_fd: int, null_fd: int) -> None:
        self._sock = sock
        self._guests = guests
        self._proc_fd = proc_fd
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        self._own_pid_namespace = os.open("self/ns/pid", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)
        guests.prepare(proc_fd, null_fd)

    def run(self) -> NoReturn:
        """Serve until the warden closes its end."""
        try:
            _check_one_thread(self._proc_fd)
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
            _guest(self._guests, request)
        request.close()
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:  # it could not confine itself, and has told the warden why
            channel.send(self._sock, READY)
            return
        channel.send(self._sock, READY, fds=(pidfd,))
        os.close(pidfd)


def _guest(guests: Guests, request: channel.Message) -> NoReturn:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        guests.become(request)
    except Exception as error:  # noqa: BLE001  the sandbox broke, not the guest; say so while it can be told apart
        with contextlib.suppress(OSError):  # the descriptors may be others by now
            os.write(request.fds[0], BROKEN + f"{type(error).__name__}: {error}".encode()[:1000])
        os._exit(1)
