"""The walls around one guest: what a forked child does to itself before it may be told to start.

The order matters and each step says what it needs. After `confine` the process has no way back: no capability, no
descriptor but the fixed ones, no namespace of the host's but the time and the clock.
"""

import fcntl
import os
import resource
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from workers.host import landlock, namespaces, profile, seccomp
from workers.host.seccomp import Rule

ROWS_FD = 3
GO_FD = 4
LINE_FD = 5
"""To the guest's model, if it has one."""
_FD_LIMIT = 1 << 20

OWN_NAMESPACES = (
    namespaces.CLONE_NEWUSER
    | namespaces.CLONE_NEWNS
    | namespaces.CLONE_NEWNET
    | namespaces.CLONE_NEWIPC
    | namespaces.CLONE_NEWUTS
    | namespaces.CLONE_NEWCGROUP
)
"""What every guest leaves for its own; the pid namespace comes with the fork."""


@dataclass(frozen=True, slots=True)
class Walls:
    """What the zygote prepares once for all its guests."""

    proc_fd: int
    null_fd: int
    ruleset_fd: int | None
    seccomp_program: bytes | None
    rlimits: Mapping[int, int]


def prepare(
    chosen: profile.Profile,
    proc_fd: int,
    null_fd: int,
    memory: Mapping[int, int],
    rules: tuple[Rule, ...] = profile.RULES,
) -> Walls:
    """The walls of a profile; `memory` are the limits that depend on the zygote's size.

    Raises OSError if this kernel cannot give what the profile asks for.
    """
    abi = landlock.version()
    return Walls(
        proc_fd=proc_fd,
        null_fd=null_fd,
        ruleset_fd=landlock.read_only_ruleset("/", abi) if chosen.landlock and abi else None,
        seccomp_program=seccomp.program(rules, profile.X86_64) if chosen.seccomp else None,
        rlimits={**profile.RLIMITS, **memory},
    )


def read_proc(proc_fd: int, name: str) -> str:
    """A file about this process, from a /proc that it still has."""
    fd = os.open(f"self/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)
    with os.fdopen(fd) as file:
        return file.read()


def _fix_descriptors(rows_fd: int, go_fd: int, log_fd: int, null_fd: int, line_fd: int | None) -> None:
    wanted = [(null_fd, 0), (log_fd, 1), (log_fd, 2), (rows_fd, ROWS_FD), (go_fd, GO_FD)]
    if line_fd is not None:
        wanted.append((line_fd, LINE_FD))
    # First out of the way, so that no target number is still somebody's source.
    spare = [(fcntl.fcntl(fd, fcntl.F_DUPFD, 64), target) for fd, target in wanted]
    for fd, target in spare:
        os.dup2(fd, target)
    os.closerange(len(wanted), _FD_LIMIT)


def confine(walls: Walls, rows_fd: int, go_fd: int, log_fd: int | None = None, line_fd: int | None = None) -> None:
    """Give up everything. Runs in the child, before a single byte of the analyst's is looked at. Raises OSError.

    `log_fd` is where standard output and error go: nowhere, except in try-outs. `line_fd` leads to the guest's model.
    """
    os.setsid()  # or kill(0, ...) reaches the process group of our own processes
    uid, gid = os.geteuid(), os.getegid()
    namespaces.unshare(OWN_NAMESPACES)
    namespaces.map_user(walls.proc_fd, profile.INSIDE_ID, uid, gid)
    score = os.open("self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC, dir_fd=walls.proc_fd)
    os.write(score, b"1000")  # memory pressure kills the guest, never the zygote
    namespaces.prctl(namespaces.PR_SET_NO_NEW_PRIVS, 1)
    if walls.ruleset_fd is not None:
        landlock.restrict(walls.ruleset_fd)
    _fix_descriptors(rows_fd, go_fd, walls.null_fd if log_fd is None else log_fd, walls.null_fd, line_fd)
    for limit, value in walls.rlimits.items():
        resource.setrlimit(limit, (value, value))
    namespaces.drop_capabilities()
    # After the last change of credentials, which would clear it.
    namespaces.prctl(namespaces.PR_SET_PDEATHSIG, signal.SIGKILL)
    namespaces.prctl(namespaces.PR_SET_DUMPABLE, 0)
    if walls.seccomp_program is not None:
        seccomp.install(walls.seccomp_program)
