"""The sandbox of the backend `oci`: runsc (gVisor) runs each guest as a container with a kernel of its own.

The guest's system calls are answered by that kernel, a program of one chunk that has few calls of the machine's kernel
left to itself. runsc passes no descriptors but the first three, so go, rows and log are those, and the chunk comes as
files in a tmpfs of its own. The guest starts in a root with the container's /proc, /sys and /dev, and leaves it
for a second view of the same files without them (`workers.guest.start`).
"""

import fcntl
import json
import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from workers.guest import start
from workers.host import channel, namespaces, profile
from workers.host.fresh import Prepared, found

PACKAGE = "runsc"
PLATFORM = "ptrace"
"""It works wherever processes may be traced; hardware virtualisation (kvm) hangs on hosts that only pretend to it."""
_OPTIONS = (
    "--rootless", f"--platform={PLATFORM}", "--network=none", "--ignore-cgroups", "--file-access=exclusive",
    "--file-access-mounts=exclusive",
)  # fmt: skip
_CHROOT = ["CAP_SYS_CHROOT"]
_CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
_KNOWN_LIMITS = {
    resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_MEMLOCK, resource.RLIMIT_NOFILE,
    resource.RLIMIT_NPROC, resource.RLIMIT_STACK,
}  # fmt: skip
"""What the others count (message queues, signals, priorities) is in the guest's own kernel, and ends with it."""
_ADDRESS_ROOM_BYTES = 128 * 2**20
_TMPFS_OPTIONS = "mode=0755,size=3g,nr_inodes=1k"
_FIRST_SPARE_FD = 64


def trial(program: str) -> list[str]:
    """A command that ends well if runsc can run a container here."""
    options = [option for option in _OPTIONS if not option.startswith("--file")]
    return [program, *options, "do", "/bin/true"]


def bundle(root: Path, chunk: Path, command: tuple[str, ...]) -> dict[str, Any]:
    """The container of one chunk, as the OCI runtime specification has it (version 1.0.2, config.md)."""
    read_only = ["ro", "nosuid", "nodev"]
    return {
        "ociVersion": "1.0.2",
        "hostname": profile.HOSTNAME.decode(),
        "root": {"path": str(root), "readonly": True},
        "process": {
            "user": {"uid": profile.INSIDE_ID, "gid": profile.INSIDE_ID},
            "args": list(command),
            "env": [f"{name}={value}" for name, value in os.environ.items()],
            "cwd": "/",
            "noNewPrivileges": True,
            "capabilities": dict.fromkeys(_CAPABILITY_SETS, _CHROOT),
        },
        "mounts": [
            {"destination": str(start.GUEST), "type": "bind", "source": str(root), "options": read_only},
            {"destination": str(start.CHUNK), "type": "bind", "source": str(chunk), "options": read_only},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
    }


class Gvisor:
    """One runsc around each guest (`workers.host.fresh.Sandbox`)."""

    def __init__(self) -> None:
        self.limits: Mapping[int, int] = {
            limit: value for limit, value in profile.RLIMITS.items() if limit in _KNOWN_LIMITS
        }
        self.program = found("runsc") or "runsc"

    def address_room(self, memory_bytes: int) -> int:  # noqa: ARG002  the same for all
        """Little: this kernel does not count mappings as data (RLIMIT_DATA), so addresses are the limit of memory."""
        return _ADDRESS_ROOM_BYTES

    def become(self, guest: Prepared, request: channel.Message, *, logs: bool) -> NoReturn:
        """Put the chunk where the container finds it, and become runsc."""
        rows, go, *rest = request.fds
        log = rest.pop(0) if logs else guest.null_fd
        facts, *frames = rest
        namespaces.unshare(namespaces.CLONE_NEWNS | namespaces.CLONE_NEWNET)  # runsc has a socket for control
        namespaces.mount("proc", "/proc", "proc")  # of this pid namespace
        work = guest.spare
        namespaces.mount("chunk", str(work), "tmpfs", 0, _TMPFS_OPTIONS)
        chunk = work / "chunk"
        chunk.mkdir()
        (work / "state").mkdir()
        _copy(facts, chunk / "facts")
        if frames:
            _copy(frames[0], chunk / "frames")
        else:
            (chunk / "frames").touch()
        command = (*guest.command, start.BY_FILES)
        (work / "config.json").write_text(json.dumps(bundle(guest.root, chunk, command)))
        spare = [fcntl.fcntl(fd, fcntl.F_DUPFD, _FIRST_SPARE_FD) for fd in (go, rows, log)]
        for target, fd in enumerate(spare):
            os.dup2(fd, target)
        os.closerange(len(spare), 1 << 20)
        arguments = [self.program, *_OPTIONS, "--root", str(work / "state"), "run", "--bundle", str(work), "chunk"]
        os.execve(self.program, arguments, dict(os.environ))  # noqa: S606


def _copy(source: int, target: Path) -> None:
    with target.open("wb") as file:
        size, done = os.fstat(source).st_size, 0
        while done < size:
            done += os.sendfile(file.fileno(), source, done, size - done)
    target.chmod(0o444)
