"""Landlock: a second, independent barrier in front of the file system and local sockets.

The guest may read files and list directories below its own root, and nothing else: no write, no execute, no
device, no TCP, no abstract UNIX socket or signal to anything outside the sandbox.
"""

import ctypes
import os
import platform

from workers.host import namespaces

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
EXECUTE, READ_FILE, READ_DIR = 1 << 0, 1 << 2, 1 << 3

# The rights that each ABI version knows: all are handled, hence denied unless a rule grants them.
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_NET_SINCE, _SCOPE_SINCE = 4, 6


class _Ruleset(ctypes.Structure):
    _fields_ = [("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("access", ctypes.c_uint64), ("fd", ctypes.c_int32)]


def version() -> int:
    """The kernel's Landlock ABI version, 0 if it has none."""
    if platform.machine() not in ("x86_64", "aarch64"):
        return 0
    try:
        return namespaces.syscall(_CREATE, 0, 0, _VERSION_FLAG, what="landlock")
    except OSError:
        return 0


def read_only_ruleset(root: str, abi: int, program: str | None = None) -> int:
    """A ruleset that grants reading below `root`, running `program` if there is one, and nothing else.

    A descriptor to be given to `restrict`.
    """
    ruleset = _Ruleset(
        fs=(1 << _FS_RIGHTS[min(abi, max(_FS_RIGHTS))]) - 1,
        net=0b11 if abi >= _NET_SINCE else 0,
        scoped=0b11 if abi >= _SCOPE_SINCE else 0,
    )
    size = 24 if abi >= _SCOPE_SINCE else 16 if abi >= _NET_SINCE else 8
    fd = namespaces.syscall(_CREATE, ctypes.byref(ruleset), size, 0, what="landlock_create_ruleset")
    _grant(fd, root, READ_FILE | READ_DIR)
    if program is not None:
        _grant(fd, program, READ_FILE | EXECUTE)
    return fd


def _grant(ruleset: int, path: str, rights: int) -> None:
    path_fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _Beneath(rights, path_fd)
        namespaces.syscall(_ADD, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0, what="landlock_add_rule")
    finally:
        os.close(path_fd)


def restrict(ruleset: int) -> None:
    """Enforce the ruleset on this thread and its descendants. Needs no-new-privs."""
    namespaces.syscall(_RESTRICT, ruleset, 0, what="landlock_restrict_self")
