"""A memory and a pids cgroup for each worker, where they can be had.

They are a second net: RLIMIT_DATA and RLIMIT_NPROC of each guest come first. A worker (warden, zygote and its guests)
enters its group once, so no chunk pays for it: making, entering and removing a group costs more than the fork.
Works with version 1 hierarchies, with version 2 if the server's own group is delegated, and without any.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_V1_LIMITS = {"memory": "memory.limit_in_bytes", "pids": "pids.max"}
_V2_LIMITS = {"memory": "memory.max", "pids": "pids.max"}
_REMOVE_TRIES = 50
_PREFIX = "privid-"


@dataclass(frozen=True, slots=True)
class Parent:
    """A group under which this process may make others: its folder, version, and the controllers it can limit."""

    folder: Path
    version: int
    controllers: tuple[str, ...]


def _own_groups(proc: Path) -> Iterator[tuple[tuple[str, ...], str]]:
    with contextlib.suppress(OSError):
        for line in (proc / "self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            yield tuple(controllers.split(",")) if controllers else (), path


def _mounts(proc: Path) -> Iterator[tuple[str, Path, str, tuple[str, ...]]]:
    """Kind, folder, root within the hierarchy and options of each cgroup mount."""
    with contextlib.suppress(OSError):
        for line in (proc / "self/mountinfo").read_text().splitlines():
            left, _, right = line.partition(" - ")
            kind, _, options = right.split(" ", 2)
            if kind in ("cgroup", "cgroup2"):
                fields = left.split()
                yield kind, Path(fields[4]), fields[3], tuple(options.split(","))


def parents(proc: Path = Path("/proc")) -> list[Parent]:
    """Where groups can be made on this host; empty if nowhere."""
    own = dict(_own_groups(proc))
    found: dict[str, Parent] = {}
    for kind, mount, root, options in _mounts(proc):
        if kind == "cgroup2":
            folder = _inside(mount, root, own.get(()))
            if folder and (available := _delegated(folder)):
                found["v2"] = Parent(folder, 2, available)
            continue
        for controllers, path in own.items():
            wanted = tuple(name for name in controllers if name in _V1_LIMITS and name in options)
            folder = _inside(mount, root, path)
            if wanted and folder and os.access(folder, os.W_OK):
                found[wanted[0]] = Parent(folder, 1, wanted)
    return list(found.values())


def _inside(mount: Path, root: str, path: str | None) -> Path | None:
    if path is None:
        return None
    relative = os.path.relpath(path, root)
    folder = mount if relative.startswith("..") else mount / relative
    return folder if folder.is_dir() else None


def _delegated(folder: Path) -> tuple[str, ...]:
    """The controllers that groups below this version 2 group would have."""
    with contextlib.suppress(OSError):
        offered = set((folder / "cgroup.controllers").read_text().split()) & set(_V2_LIMITS)
        active = (folder / "cgroup.subtree_control").read_text().split()
        for name in offered - set(active):
            # Refused while the group has processes of its own: the server needs a leaf (systemd: DelegateSubgroup).
            (folder / "cgroup.subtree_control").write_text(f"+{name}")
        return tuple(sorted(offered))
    return ()


def remove_stale(parent: Parent, proc: Path = Path("/proc")) -> None:
    """Delete the groups of servers that were killed. Groups with processes cannot be deleted, so this harms nobody."""
    for folder in parent.folder.glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdecimal() and not (proc / pid).exists():
            with contextlib.suppress(OSError):
                folder.rmdir()


def group_name(serial: int) -> str:
    """The name of one worker's groups: whose they are can be told from it."""
    return f"{_PREFIX}{os.getpid()}-{serial}"


@dataclass(slots=True)
class Group:
    """The groups of one worker. `enter` before it makes children, `remove` after it is gone."""

    folders: list[Path] = field(default_factory=list)

    @classmethod
    def create(cls, name: str, memory_bytes: int, tasks: int, parents_: list[Parent] | None = None) -> "Group":
        """Make groups called `name` wherever possible; what cannot be made is left out."""
        group = cls()
        values = {"memory": memory_bytes, "pids": tasks}
        for parent in parents() if parents_ is None else parents_:
            remove_stale(parent)
            names = _V1_LIMITS if parent.version == 1 else _V2_LIMITS
            folder = parent.folder / name
            try:
                folder.mkdir()
                group.folders.append(folder)
                for controller in parent.controllers:
                    (folder / names[controller]).write_text(str(values[controller]))
            except OSError:
                continue
        return group

    def enter(self, pid: int) -> None:
        """Move a process, and whatever it will fork, into the groups."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                (folder / "cgroup.procs").write_text(str(pid))

    def remove(self) -> None:
        """Delete the groups. A dead process can linger in one for a moment."""
        for folder in self.folders:
            for _ in range(_REMOVE_TRIES):
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.02)
                else:
                    break
        self.folders.clear()
