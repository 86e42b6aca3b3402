"""What a guest is allowed, as data: syscalls, limits, libraries and the files it sees.

Nothing here does anything; `confine`, `rootfs` and `seccomp` carry it out. A rule for a syscall says which leak it
stops (or, for a call that is simply allowed, what it is needed for). What is not listed fails with EPERM.

The rules assume a guest that runs machine code of its own choice: Python's ctypes is within its reach.
"""

import errno
import resource
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import workers
from workers import limits
from workers.host.seccomp import Check, Rule, equals, is_null, only_bits

# ---------------------------------------------------------------------------------------------------- system calls

_PROT_WRITE = 0x2
_MAP_TYPE, _MAP_SHARED, _MAP_PRIVATE, _MAP_SHARED_VALIDATE = 0x0F, 0x01, 0x02, 0x03
_MAP_ANONYMOUS, _MAP_HUGETLB = 0x20, 0x40000
_O_READ_ONLY = 0o2000000 | 0o200000 | 0o400000 | 0o100000 | 0o4000 | 0o400
"""CLOEXEC, DIRECTORY, NOFOLLOW, LARGEFILE, NONBLOCK, NOCTTY on top of O_RDONLY."""
_THREAD = 0x3D0F00
"""The flags with which glibc makes a thread: everything shared, no namespace."""
_FUTEX_PRIVATE = 128
_CLOCKS = (0, 1, 4, 5, 6, 7, 11)
"""REALTIME, MONOTONIC and their variants, BOOTTIME, TAI."""
_PRIVATE_MAPPING = (Check(3, _MAP_TYPE | _MAP_HUGETLB, _MAP_PRIVATE),)


def _shared_read_only(kind: int) -> tuple[Check, ...]:
    return (Check(3, _MAP_TYPE | _MAP_HUGETLB | _MAP_ANONYMOUS, kind), Check(2, _PROT_WRITE, 0))


def _one_of(argument: int, values: tuple[int, ...]) -> tuple[tuple[Check, ...], ...]:
    return tuple((equals(argument, value),) for value in values)


RULES: tuple[Rule, ...] = (
    Rule(("read", "readv", "pread64", "lseek", "close", "close_range"), "needed: files of the root"),
    Rule(("write", "writev"), "needed: rows; nothing but the rows pipe and /dev/null is open for writing"),
    Rule(("dup", "dup2", "dup3"), "needed: Python's io"),
    Rule(("poll", "ppoll", "select", "pselect6"), "needed: time.sleep and waiting in libraries"),
    Rule(("fstat", "stat", "lstat", "newfstatat"), "needed: imports"),
    Rule(("access", "faccessat", "faccessat2", "readlink", "readlinkat", "getcwd", "getdents64"), "needed: imports"),
    Rule(
        ("openat",),
        "stops writing, creating, O_TMPFILE, O_PATH and O_APPEND, on top of the read-only root",
        ((only_bits(2, _O_READ_ONLY),),),
    ),
    Rule(("open",), "as openat", ((only_bits(1, _O_READ_ONLY),),)),
    Rule(
        ("openat2", "clone3", "statx"),
        "their arguments are in memory, where a filter cannot look; statx tells mount ids, a counter of all sandboxes. "
        "C libraries fall back to openat, clone, fstat",
        (),
        errno.ENOSYS,
    ),
    Rule(
        ("fcntl",),
        "stops locks and leases (seen by other slots on the same file), F_SETFL (flags of a description shared with "
        "the next child), pipe sizes (a counter per user), seals, write hints, signals",
        _one_of(1, (0, 1, 2, 3, 1030, 1034)),
    ),
    Rule(
        ("ioctl",),
        "stops TIOCSTI and every device's or file system's own calls; only 'is it a terminal' and close-on-exec",
        _one_of(1, (0x5401, 0x5413, 0x5450, 0x5451)),
        errno.ENOTTY,
    ),
    Rule(
        ("mmap",),
        "stops shared memory that outlives or leaves the process (MAP_SHARED with ANONYMOUS or PROT_WRITE), and huge "
        "pages, a pool that all slots share",
        (_PRIVATE_MAPPING, _shared_read_only(_MAP_SHARED), _shared_read_only(_MAP_SHARED_VALIDATE)),
    ),
    Rule(("munmap", "mremap", "mprotect", "brk"), "needed: memory"),
    Rule(
        ("madvise",),
        "stops PAGEOUT, COLD, WILLNEED, POPULATE (page cache as a message), MERGEABLE (deduplication timing), REMOVE",
        _one_of(2, (0, 1, 2, 4, 8, 14, 15)),
    ),
    Rule(
        ("futex",),
        "stops a shared futex on a page of a common read-only file, a signal between slots that run side by side. "
        "EAGAIN makes pthread_join spin, which is correct",
        ((Check(1, _FUTEX_PRIVATE, _FUTEX_PRIVATE),),),
        errno.EAGAIN,
    ),
    Rule(
        ("clone",),
        "stops processes and new namespaces; a thread exactly as the C library makes one is allowed",
        ((equals(0, _THREAD),),),
    ),
    Rule(("set_robust_list", "set_tid_address", "rseq", "sched_yield", "gettid"), "needed: threads"),
    Rule(("exit", "exit_group", "restart_syscall"), "needed: the end"),
    Rule(("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack"), "needed: Python's signal handling"),
    Rule(("tgkill",), "needed: abort(); stops signals to anything but the guest itself, pid 1", ((equals(0, 1),),)),
    Rule(
        ("prctl",),
        "stops undoing of dumpable, pdeathsig, securebits, timer slack, speculation control; thread names only",
        _one_of(0, (15, 16)),
    ),
    Rule(("arch_prctl",), "needed: permission for AMX registers", _one_of(0, (0x1021, 0x1022, 0x1023))),
    Rule(("prlimit64",), "stops raising limits and other processes' limits", ((equals(0, 0), *is_null(2)),)),
    Rule(("getrlimit", "uname", "sched_getaffinity", "getcpu"), "needed: libraries; own facts"),
    Rule(("getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getgroups"), "needed: constants in here"),
    Rule(("getrandom",), "needed: hash seeds, random module"),
    Rule(("gettimeofday", "time", "nanosleep"), "needed: clocks, which tell only public times (timing: slotted)"),
    Rule(
        ("clock_gettime", "clock_getres", "clock_nanosleep"),
        "needed: clocks; stops those of processor time, of other processes (negative ids) and its own, which tell how "
        "long the guest's own start took: it was made ready while the slot before it ran, and beside the decoder, "
        "whose work depends on pixels",
        _one_of(0, _CLOCKS),
        errno.EINVAL,
    ),
)
"""Not listed, hence refused, among others: every socket call (AF_VSOCK is in no namespace), pipes and epoll (counters
per user), memfd, SysV and POSIX IPC, keyctl (keyrings outlive processes), io_uring, userfaultfd, perf, bpf, ptrace,
process_vm, pidfd, kill, fork, vfork, exec, mount, unshare, setns, set*id, scheduling (a guest keeps its core), clocks'
setting, timers, inotify, fanotify, name_to_handle, mincore, cachestat, fadvise, readahead, sysinfo, statfs, getrusage
and times (as for the clocks of processor time)."""


def _instead(rules: tuple[Rule, ...], *others: Rule) -> tuple[Rule, ...]:
    """These rules with others in place of what they say about the same calls."""
    names = {name for rule in others for name in rule.names}
    return (*(replace(rule, names=tuple(n for n in rule.names if n not in names)) for rule in rules), *others)


PROGRAM_RULES: tuple[Rule, ...] = _instead(
    RULES,
    Rule(
        ("execve", "arch_prctl"),
        "needed: a program of the analyst's starts under them; what it starts in its place is as confined as it is",
    ),
)
STARTING_RULES: tuple[Rule, ...] = _instead(
    RULES,
    Rule(
        (
            "execve", "arch_prctl", "prctl", "prlimit64", "setrlimit", "fcntl", "memfd_create", "ftruncate", "seccomp",
            "landlock_restrict_self", "mmap", "utimensat",
        ),
        "needed: a fresh process of ours starts, maps what it shares with its model, and confines itself further; "
        "nothing of an analyst's runs under these",
    ),
)  # fmt: skip
_SHARED_MEMORY = (Check(3, _MAP_TYPE | _MAP_HUGETLB | _MAP_ANONYMOUS, _MAP_SHARED),)
MODEL_RULES: tuple[Rule, ...] = _instead(
    RULES,
    Rule(
        ("mmap",),
        "as for a guest, and needed: memory that a model shares with its guest, of which it gets one descriptor",
        (_PRIVATE_MAPPING, _SHARED_MEMORY),
    ),
    Rule(("recvmsg",), "needed: that descriptor; there is one socket, to the warden"),
)
"""Of a model's process on the processor: our code and ONNX Runtime, over a graph and inputs of an analyst's."""
DEVICE_RULES: tuple[Rule, ...] = _instead(
    MODEL_RULES,
    Rule(
        (
            "ioctl", "mmap", "fcntl", "openat", "eventfd2", "pipe2", "memfd_create", "ftruncate", "sched_setaffinity",
            "sysinfo", "socketpair", "madvise", "mlock", "futex", "prctl", "get_mempolicy", "epoll_create1",
            "epoll_ctl", "epoll_wait", "clock_gettime", "clock_getres", "getrusage", "times",
        ),
        "needed: the drivers of GPUs, which are trusted; no analyst's code runs under these, only its graph. No GPU "
        "has run under them yet",
    ),
)  # fmt: skip

X86_64: Mapping[str, int] = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8, "mmap": 9,
    "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16,
    "pread64": 17, "readv": 19, "writev": 20, "access": 21, "select": 23, "sched_yield": 24, "mremap": 25,
    "madvise": 28, "dup": 32, "dup2": 33, "nanosleep": 35, "getpid": 39, "recvmsg": 47, "socketpair": 53, "clone": 56,
    "execve": 59, "exit": 60, "uname": 63, "fcntl": 72, "ftruncate": 77, "getcwd": 79, "readlink": 89,
    "gettimeofday": 96, "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "times": 100, "getuid": 102, "getgid": 104,
    "geteuid": 107, "getegid": 108, "getppid": 110, "getgroups": 115, "sigaltstack": 131, "mlock": 149, "prctl": 157,
    "arch_prctl": 158, "setrlimit": 160, "gettid": 186, "time": 201, "futex": 202, "sched_setaffinity": 203,
    "sched_getaffinity": 204, "getdents64": 217, "set_tid_address": 218, "restart_syscall": 219, "clock_gettime": 228,
    "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "epoll_wait": 232, "epoll_ctl": 233, "tgkill": 234,
    "get_mempolicy": 239, "openat": 257, "newfstatat": 262, "readlinkat": 267, "faccessat": 269, "pselect6": 270,
    "ppoll": 271, "set_robust_list": 273, "utimensat": 280, "eventfd2": 290, "epoll_create1": 291, "dup3": 292,
    "pipe2": 293, "prlimit64": 302, "getcpu": 309, "seccomp": 317, "getrandom": 318, "memfd_create": 319, "statx": 332,
    "rseq": 334, "clone3": 435, "close_range": 436, "openat2": 437, "faccessat2": 439, "landlock_restrict_self": 446,
}  # fmt: skip

# --------------------------------------------------------------------------------------------------------- limits

INSIDE_ID = 65534
"""User and group of a guest inside its user namespace."""

UNPRIVILEGED_ID = 2_000_000_000
"""First of the host's user and group ids that guests get when the workers run as root; one more for each slot core.
Far from any real account, and never given a file."""

HOSTNAME = b"sandbox"

RLIMITS: Mapping[int, int] = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_FSIZE: 0,
    resource.RLIMIT_MEMLOCK: 0,
    resource.RLIMIT_MSGQUEUE: 0,
    resource.RLIMIT_NICE: 0,
    resource.RLIMIT_RTPRIO: 0,
    resource.RLIMIT_SIGPENDING: 256,
    resource.RLIMIT_NOFILE: limits.GUEST_OPEN_FILES,
    resource.RLIMIT_NPROC: limits.GUEST_THREADS,
    resource.RLIMIT_STACK: limits.GUEST_STACK_BYTES,
}
"""Hard limits of a guest; those on memory depend on the zygote's size and are added when it is known."""

_STACKS_AND_ARENAS_BYTES = 512 * 2**20


def address_room(memory_bytes: int) -> int:
    """Addresses beyond a guest's memory: frames, and stacks and arenas of threads, which are mostly never used."""
    return limits.MAX_SLOT_FRAMES_BYTES + memory_bytes + _STACKS_AND_ARENAS_BYTES


ENVIRONMENT: Mapping[str, str] = {
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "OPENCV_LOG_LEVEL": "ERROR",
    "KMP_INIT_AT_FORK": "FALSE",
    **workers.SILENT,
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
}
"""The whole environment of warden, zygote and guest. One thread each: threads do not survive a fork. Freed memory stays
with the guest, whose end gives it back: by glibc's defaults an array of a frame's size goes back to the system at each
free, and the next one faults every page in again (8 % of the time of a detector of 15 ms a frame). 32 MiB is the
largest threshold that glibc takes."""

# ---------------------------------------------------------------------------------------------- libraries and files


@dataclass(frozen=True, slots=True)
class Library:
    """A library that executables may ask for: what the zygote imports, and the packages whose files guests see.

    `natives` are those of the packages whose shared libraries guests load themselves, because the zygote cannot.
    `distributions` are those whose version is asked for by an import. `slower`: how many times as long as with NumPy
    and OpenCV, some 0.2 s, a fresh process takes to start.
    """

    modules: tuple[str, ...]
    packages: tuple[str, ...]
    natives: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    slower: int = 1


_TORCH_PACKAGES = (
    "torch", "torchgen", "functorch", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "filelock", "fsspec",
    "typing_extensions.py",
)  # fmt: skip
LIBRARIES: Mapping[str, Library] = {
    "numpy": Library(
        (
            "numpy", "numpy.fft", "numpy.lib.stride_tricks", "numpy.linalg", "numpy.ma", "numpy.polynomial",
            "numpy.random",
        ),
        ("numpy",),
    ),
    "cv2": Library(("cv2",), ("cv2",)),
    "torch": Library(
        ("torch", "torch.nn.functional"), _TORCH_PACKAGES, slower=10,
    ),
    "ultralytics": Library(
        ("ultralytics", "ultralytics.models.yolo.detect.predict", "torchvision"),
        (*_TORCH_PACKAGES, "ultralytics", "torchvision", "triton", "PIL", "yaml", "tqdm", "defusedxml"),
        distributions=("torchvision",),
        slower=20,
    ),
    "safetensors": Library(("safetensors.numpy",), ("safetensors",)),
    # It starts a thread when it is imported, so no process that forks can have it: each chunk imports it.
    "onnxruntime": Library(("workers.guest.librt",), ("onnxruntime",), ("onnxruntime",)),
    "trackers": Library(
        ("trackers",),
        (
            "trackers", "supervision", "scipy", "deprecate", "requests", "urllib3", "certifi", "charset_normalizer",
            "idna", "rich", "PIL", "yaml", "tqdm", "defusedxml",
        ),
    ),
}  # fmt: skip
"""numpy comes with every executable, because `chunk.frames` is an array."""

STDLIB_MODULES = (
    "bisect", "collections.abc", "contextlib", "copy", "ctypes", "dataclasses", "datetime", "enum", "functools", "gc",
    "heapq", "io", "itertools", "json", "linecache", "math", "mmap", "operator", "random", "re", "select", "signal",
    "statistics", "string", "struct", "threading", "time", "traceback", "types", "typing", "warnings",
)  # fmt: skip
"""Imported by the zygote, so that a guest finds them loaded. The rest of the standard library is in the root; every
module more makes every fork a little slower."""


def modules(libraries: Iterable[str]) -> list[str]:
    """What a guest with these libraries finds imported."""
    return [*STDLIB_MODULES, *(name for library in libraries for name in LIBRARIES[library].modules)]


HIDDEN_STDLIB = frozenset(
    {"site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "distutils",
     "pydoc_data", "__pycache__"}
)  # fmt: skip
"""Folders of the standard library that are not in the root."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Which barriers are up. Production has all of them; `weakened` is for the tests of the tests."""

    seccomp: bool = True
    landlock: bool = True
    caches: bool = True

    @classmethod
    def weakened(cls, *, seccomp: bool = True, landlock: bool = True, caches: bool = True) -> "Profile":
        """A profile with barriers missing, so that the hostile suite can show that it notices."""
        return cls(seccomp=seccomp, landlock=landlock, caches=caches)
