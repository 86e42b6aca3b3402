"""Thin wrappers of the Linux calls that the sandbox is made of. Each raises OSError with the call's name."""

import ctypes
import os
import platform

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 2
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOATIME = 0x10
_MOUNT_ATTR_ATIME = 0x70

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECUREBITS_LOCKED = 0xEF
"""noroot, no setuid fixup, no ambient raise, each locked; keep-caps locked off."""

MADV_POPULATE_READ = 22

_NUMBERS = {
    "x86_64": {"pivot_root": 155, "mount_setattr": 442, "capset": 126},
    "aarch64": {"pivot_root": 41, "mount_setattr": 442, "capset": 91},
}.get(platform.machine(), {})

# PyDLL keeps the GIL: none of these blocks, and the zygote must stay on the one thread it has.
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mmap.restype = ctypes.c_void_p
_libc.mlock.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def syscall(number: int, *arguments: object, what: str) -> int:
    """A raw system call. Integers are passed as unsigned 64 bit words."""
    words = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *words), what)


def unshare(flags: int) -> None:
    """Leave the given namespaces for new ones."""
    _check(_libc.unshare(ctypes.c_int(flags)), f"unshare({flags:#x})")


def setns(fd: int, kind: int) -> None:
    """Join the namespace that `fd` refers to."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), f"setns({kind:#x})")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    _check(
        _libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()),
        f"mount {kind} on {target}",
    )


def restrict_mount(target: str, attributes: int) -> None:
    """Add attributes (read-only, nosuid, ...) to a mount and everything below it."""
    cleared = _MOUNT_ATTR_ATIME if attributes & MOUNT_ATTR_NOATIME else 0  # the old policy must go to set a new one
    value = (ctypes.c_uint64 * 4)(attributes, cleared, 0, 0)
    at_recursive = 0x8000
    at_fdcwd = ctypes.c_long(-100)
    syscall(
        _NUMBERS["mount_setattr"],
        at_fdcwd,
        ctypes.c_char_p(target.encode()),
        at_recursive,
        ctypes.byref(value),
        ctypes.sizeof(value),
        what=f"mount_setattr {target}",
    )


def pivot_root(new_root: str) -> None:
    """Make `new_root` the root and let go of the old one."""
    os.chdir(new_root)
    here = ctypes.c_char_p(b".")
    syscall(_NUMBERS["pivot_root"], here, here, what="pivot_root")
    _check(_libc.umount2(here, ctypes.c_int(MNT_DETACH)), "umount of the old root")
    os.chdir("/")


def prctl(option: int, first: int = 0, second: int = 0) -> int:
    """prctl(2)."""
    return _check(_libc.prctl(option, first, second, 0, 0), f"prctl({option})")


def sethostname(name: bytes) -> None:
    """Name this UTS namespace."""
    _check(_libc.sethostname(ctypes.c_char_p(name), ctypes.c_size_t(len(name))), "sethostname")


def drop_capabilities() -> None:
    """Give up every capability, for good: no way to raise one is left (and with no-new-privs no exec gives any)."""
    prctl(PR_SET_SECUREBITS, SECUREBITS_LOCKED)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    syscall(_NUMBERS["capset"], ctypes.byref(header), ctypes.byref(sets), what="capset")


def map_user(proc_fd: int, inside: int, uid: int, gid: int) -> None:
    """In a new user namespace: be user and group `inside`, which are `uid` and `gid` in the parent namespace.

    `proc_fd` is an open directory of a /proc in which this process appears.
    """
    prctl(PR_SET_DUMPABLE, 1)  # or these files belong to root
    for name, text in (("setgroups", "deny"), ("uid_map", f"{inside} {uid} 1"), ("gid_map", f"{inside} {gid} 1")):
        fd = os.open(f"self/{name}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc_fd)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def populate(start: int, length: int) -> bool:
    """Read a mapping in. False if that failed."""
    return int(_libc.madvise(start, length, MADV_POPULATE_READ)) == 0


def map_read_only(fd: int, offset: int, length: int) -> int:
    """Map a part of a file for reading, for the life of this process; where it is."""
    prot_read, map_shared, failed = 1, 1, ctypes.c_void_p(-1).value
    address = _libc.mmap(None, length, prot_read, map_shared, fd, offset)
    if address == failed:
        raise OSError(ctypes.get_errno(), "mmap of a library")
    return int(address)


def lock(start: int, length: int) -> bool:
    """Read a mapping in and keep it in memory. False if that is not allowed."""
    return int(_libc.mlock(start, length)) == 0
