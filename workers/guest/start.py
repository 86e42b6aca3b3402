"""What runs last before the analyst's code: trusted code inside the sandbox, in a guest of any backend.

A forked guest only waits for its go here (`wait_for_go`). A guest that is a fresh process begins here (`main`): the
process was confined from outside, with a filter that still lets it start. It imports what executables may use, maps
its frames, gives up what starting needed, says that it is ready, waits for its go, and hands over: a Python executable
to `workers.guest.main`, a program to the kernel. See docs/reference/programs.md for what a program is given.
"""

import contextlib
import ctypes
import importlib
import json
import mmap
import os
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from workers import bundle, wire
from workers.guest import chunk as guest_chunk
from workers.guest import main as guest_main
from workers.guest import model as guest_model
from workers.guest import weights as guest_weights
from workers.guest.modules import Sources

READY, STARTED, BROKEN = b"R", b"S", b"X"
"""What trusted code in a guest says on the rows pipe before the analyst's code runs. STARTED comes with the time."""
START_TIME = struct.Struct("<qq")
"""The go: when to start, and when that was said; STARTED: when it was, and a zero. CLOCK_MONOTONIC, nanoseconds."""

SETUP, EXECUTABLE, BUNDLE = "/setup.json", "/executable", "/bundle"
"""Files in the root of a fresh process: what it is to do (public facts), the executable (Python: all of it; a program:
its entry), and the folder with the files of a program's bundle."""
SETTINGS, ULTRALYTICS_SETTINGS = "/settings", "Ultralytics/settings.json"
"""A folder in the root of a fresh process that has ultralytics, and the file in it."""
_FOLDERS_FOR_FILES = ("YOLO_CONFIG_DIR", "TORCHINDUCTOR_CACHE_DIR")
NULL_FD, LOG_FD, ERROR_FD, ROWS_FD, GO_FD, FACTS_FD, PROC_FD, RULES_FD, FRAMES_FD, LINE_FD, TENSORS_FD = range(11)
"""The descriptors with which a fresh process starts where they can be handed over. ERROR_FD is the rows pipe, so that
what goes wrong before `main` is heard; RULES_FD, FRAMES_FD, LINE_FD and TENSORS_FD (the line to the guest's model and
the memory shared with it) are the null device if there are none."""
CHUNK, GUEST = Path("/chunk"), Path("/guest")
"""Where descriptors cannot be handed over: a folder with `facts` and `frames`, and the root without anything else, into
which the guest moves. Go, rows and log are then 0, 1 and 2."""
BY_DESCRIPTORS, BY_FILES = "descriptors", "files"

ENTRY = (
    "import sys; sys.path[:] = sys.argv.pop(1).split(':'); from workers.guest.start import main; main(sys.argv.pop(1))"
)
"""The Python program of a fresh process; its arguments are the import path and how its chunk comes."""

_FD_LIMIT = 1 << 16
_PR_SET_DUMPABLE, _CAPSET, _SECCOMP, _LANDLOCK_RESTRICT = 4, 126, 317, 446
_CAPABILITY_VERSION = 0x20080522
_ALL_SEALS = 0xF


def load(modules: Collection[str]) -> None:
    """Import what guests may use, one thread each. Raises ImportError."""
    with contextlib.ExitStack() as until_loaded:
        if "ultralytics" in modules:  # it writes its settings when it is imported, unless they are there
            there = Path(SETTINGS, ULTRALYTICS_SETTINGS).exists()
            folder = SETTINGS if there else until_loaded.enter_context(tempfile.TemporaryDirectory())
            os.environ |= dict.fromkeys(_FOLDERS_FOR_FILES, folder)
        for name in modules:
            importlib.import_module(name)
        for name in _FOLDERS_FOR_FILES:
            os.environ.pop(name, None)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)
    if "torch" in sys.modules:
        torch: Any = sys.modules["torch"]
        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
        torch.nn.functional.conv2d(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 3, 3))  # builds its tables before forks


def use_threads(count: int) -> None:
    """Let the libraries use so many threads in this process: in the guest, as none survives a fork."""
    if count == 1:
        return
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def process_sizes(status: str) -> dict[str, int]:
    """The sizes in a process's /proc/PID/status, in bytes."""
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in status.splitlines() if line.endswith(" kB")}


def memory_limits(status: str, memory_bytes: int, address_room: int) -> dict[int, int]:
    """Limits for `memory_bytes` beyond what a process has by now; `status` is its /proc/PID/status.

    Addresses are limited as well, `address_room` beyond that memory, since page tables of huge empty mappings are
    memory that RLIMIT_DATA does not count.
    """
    sizes = process_sizes(status)
    return {
        resource.RLIMIT_DATA: sizes["VmData"] + memory_bytes,
        resource.RLIMIT_AS: sizes["VmSize"] + memory_bytes + address_room,
    }


def wait_for_go(rows_fd: int, go_fd: int, *, own_clock: bool = False) -> None:
    """Say that this guest is confined, wait for its time, say when that was. Ends the process if it is not needed.

    `own_clock`: the kernel here counts from another moment than the host's.
    """
    os.write(rows_fd, READY)
    go = os.read(go_fd, START_TIME.size)
    if len(go) != START_TIME.size:
        os._exit(0)
    start_ns, said_ns = START_TIME.unpack(go)
    ahead_ns = said_ns - time.monotonic_ns() if own_clock else 0
    # The go comes a little early: the last stretch is waited here, on the slot's own core, where nobody is in the way.
    while (left := start_ns - ahead_ns - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)
    os.write(rows_fd, STARTED + START_TIME.pack(time.monotonic_ns() + ahead_ns, 0))
    os.close(go_fd)


def read_all(fd: int) -> bytes:
    """A whole file from its start, without moving its position."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


# -------------------------------------------------------------------------------------------------- a fresh process


class _Outputs(NamedTuple):
    """Where a fresh process writes."""

    null: int
    rows: int
    log: int


def _silence(how: str) -> _Outputs:
    """Let libraries print into the null device while they are imported, and not where rows or the log go."""
    null, rows, log = NULL_FD, ROWS_FD, LOG_FD
    if how == BY_FILES:
        null, rows, log = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), 1, 2
    kept = _Outputs(null, os.dup(rows), os.dup(log))
    for fd in (1, 2):
        os.dup2(null, fd)
    return kept


class _Chunk:
    """What a fresh process is handed, wherever it comes from."""

    def __init__(self, how: str, outputs: "_Outputs", *, logs: bool) -> None:
        self.null, self.rows = outputs.null, outputs.rows
        self.log = outputs.log if logs else self.null
        if how == BY_FILES:
            flags = os.O_RDONLY | os.O_CLOEXEC
            self.go = 0
            facts, self.frames = (os.open(CHUNK / name, flags) for name in ("facts", "frames"))
            self.proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        else:
            self.go, facts, self.frames, self.proc = GO_FD, FACTS_FD, FRAMES_FD, PROC_FD
        self.facts = read_all(facts)
        self.frames_bytes = os.fstat(self.frames).st_size

    def mapped(self) -> memoryview:
        if not self.frames_bytes:
            return memoryview(b"")
        return memoryview(mmap.mmap(self.frames, self.frames_bytes, mmap.MAP_SHARED, mmap.PROT_READ))


def _call(number: int, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    if libc.syscall(ctypes.c_long(number), *words) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"system call {number}: {os.strerror(code)}")


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_char_p)]


def _fix_descriptors(wanted: tuple[int, ...]) -> None:
    """Make descriptor i what `wanted[i]` is, and close all others."""
    import fcntl

    spare = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in wanted]
    for target, fd in enumerate(spare):
        os.dup2(fd, target)
    os.closerange(len(wanted), _FD_LIMIT)


def _sealed(name: str, data: bytes | memoryview) -> int:
    """Memory of this guest alone that a program can map: nobody else has had its inode, position or times."""
    import fcntl

    fd = os.memfd_create(name, os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _ALL_SEALS)
    return fd


def _give_up(setup: Mapping[str, Any], status: str) -> None:
    """The rest of what starting needed and the analyst's code must not have. The order is that of `confine`."""
    memory = memory_limits(status, setup["memory_bytes"], setup["address_room"])
    for limit, value in {**{int(name): value for name, value in setup["rlimits"].items()}, **memory}.items():
        resource.setrlimit(limit, (value, value))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _put_on_filter(setup: Mapping[str, Any]) -> None:
    """The last wall."""
    if setup["filter"]:
        code = bytes.fromhex(setup["filter"])
        _call(_SECCOMP, 1, 0, ctypes.byref(_Filter(len(code) // 8, code)))


def _move_root() -> None:
    """Into the root without the container's own folders, and give up the right to it."""
    os.chroot(GUEST)
    os.chdir("/")
    header, none = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    _call(_CAPSET, ctypes.byref(header), ctypes.byref(none))


def _status(proc: int) -> str:
    fd = os.open("self/status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    with os.fdopen(fd) as file:
        return file.read()


def facts_json(facts: bytes) -> bytes:
    """A chunk's public facts as a program reads them: one JSON object, on one line."""
    chunk = guest_chunk.unpack(facts, memoryview(b""))
    times = struct.unpack(f"<{chunk.frame_count}q", facts[len(facts) - 8 * chunk.frame_count :])
    fields = {name: value for name, value in vars(chunk).items() if not name.startswith("_")}
    return json.dumps({**fields, "times_us": times}).encode() + b"\n"


def main(how: str) -> NoReturn:
    """The entry of a fresh process; `how` its chunk comes: BY_DESCRIPTORS or BY_FILES."""
    rows = 1 if how == BY_FILES else ROWS_FD
    try:
        outputs = _silence(how)
        rows = outputs.rows
        for name in ("PWD", "HOME"):  # the sandbox's programs set them
            os.environ.pop(name, None)
        setup = json.loads(Path(SETUP).read_text())
        tempfile.tempdir = "/"  # some libraries ask for its name when they are imported; nothing can be written there
        load(setup["modules"])
        if not setup["program"]:
            executable = bundle.read(Path(EXECUTABLE).read_bytes())
            guest_weights.load(executable)
            use_threads(executable.manifest.threads)
        given = _Chunk(how, outputs, logs=setup["logs"])
        status = _status(given.proc)
        if how == BY_FILES:
            _move_root()
        if setup["program"]:
            facts, frames = _sealed("facts", facts_json(given.facts)), _sealed("frames", given.mapped())
            wanted: tuple[int, ...] = (facts, given.rows, given.log, frames, given.go)
        else:
            sources = Sources(executable.sources, executable.manifest.entry)
            chunk = guest_chunk.unpack(given.facts, given.mapped())
            table = wire.TableSpec(
                tuple(wire.ColumnSpec(*column) for column in setup["columns"]), setup["max_rows"], setup["exact"]
            )
            wanted = (given.null, given.log, given.log, given.rows, given.go)
            if setup["model"]:
                memory = memoryview(mmap.mmap(TENSORS_FD, 0))
                guest_model.attach(guest_model.Line(len(wanted), memory))
                wanted += (LINE_FD,)
        if setup["landlock"] and how == BY_DESCRIPTORS:
            _call(_LANDLOCK_RESTRICT, RULES_FD, 0)
        rows, go = wanted.index(given.rows), wanted.index(given.go)
        _fix_descriptors(wanted)
        _give_up(setup, status)
        if not setup["program"]:
            _put_on_filter(setup)
    except Exception as error:  # noqa: BLE001  the sandbox broke, not the guest; say so while it can be told apart
        os.write(rows, BROKEN + f"{type(error).__name__}: {error}".encode()[:1000])
        os._exit(1)
    wait_for_go(rows, go, own_clock=how == BY_FILES)
    if setup["program"]:
        for fd in (wanted.index(facts), wanted.index(frames)):
            os.utime(fd, ns=(0, 0))  # when it was made tells how long this start took; now it was changed last
        _put_on_filter(setup)
        os.execve(EXECUTABLE, [EXECUTABLE], os.environ)  # noqa: S606  a program is what the sandbox is for
    guest_main.run(sources, chunk, table, rows)
