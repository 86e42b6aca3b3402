"""The sandbox of the backend `exec`: bubblewrap makes the namespaces and the root, and loads the first filter.

One program more than the zygote's own walls, and one that many other systems rely on. The guest is pid 1 of a pid
namespace of its own, below the one that bubblewrap itself is pid 1 of.
"""

import fcntl
import os
from collections.abc import Mapping
from typing import NoReturn

from workers.guest import start
from workers.host import channel, profile
from workers.host.fresh import Prepared, found

PACKAGE = "bubblewrap"
_FIRST_SPARE_FD = 64
_WALLS = (
    "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup",
    "--uid", str(profile.INSIDE_ID), "--gid", str(profile.INSIDE_ID), "--hostname", profile.HOSTNAME.decode(),
    "--cap-drop", "ALL", "--new-session", "--die-with-parent", "--as-pid-1", "--chdir", "/",
)  # fmt: skip


def trial(program: str) -> list[str]:
    """A command that ends well if bubblewrap can do here what the backend asks of it."""
    return [program, *_WALLS, "--ro-bind", "/", "/", "--", "/bin/true"]


class Bubblewrap:
    """One bubblewrap around each guest (`workers.host.fresh.Sandbox`)."""

    def __init__(self) -> None:
        self.limits: Mapping[int, int] = profile.RLIMITS
        self.program = found("bwrap") or "bwrap"

    def address_room(self, memory_bytes: int) -> int:
        """As for a fork."""
        return profile.address_room(memory_bytes)

    def become(self, guest: Prepared, request: channel.Message, *, logs: bool) -> NoReturn:
        """Hand the descriptors over and become bubblewrap."""
        rows, go, *rest = request.fds
        model = [rest.pop(0), rest.pop(0)] if guest.has_model else [guest.null_fd, guest.null_fd]
        log = rest.pop(0) if logs else guest.null_fd
        facts, *frames = rest
        wanted = [
            guest.null_fd,
            log,
            rows,
            rows,
            go,
            facts,
            guest.proc_fd,
            guest.rules_fd,
            *(frames or [guest.null_fd]),
            *model,
        ]
        filtered = []
        if guest.starting_filter_fd >= 0:
            os.lseek(guest.starting_filter_fd, 0, os.SEEK_SET)
            wanted.append(guest.starting_filter_fd)
            filtered = ["--seccomp", str(len(wanted) - 1)]
        spare = [fcntl.fcntl(fd, fcntl.F_DUPFD, _FIRST_SPARE_FD) for fd in wanted]
        for target, fd in enumerate(spare):
            os.dup2(fd, target)
        os.closerange(len(wanted), 1 << 20)
        command = [*guest.command, start.BY_DESCRIPTORS]
        arguments = [self.program, *_WALLS, *filtered, "--ro-bind", str(guest.root), "/", "--", *command]
        os.execve(self.program, arguments, dict(os.environ))  # noqa: S606
