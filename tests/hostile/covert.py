"""A pair of executables that tries to pass one bit from each slot to the next, and how well it succeeds.

Every slot first measures whatever the slot before it may have left on the machine, then sends a bit of its own (that
of its frames) by all means at once: it ends late or early, computes or does not, writes much or little, fills its
memory or does not, reads every file or drops it from the page cache, and tries to leave a file in memory and a process
that computes. The host, which knows the bits, learns on the first half of the slots what each measurement says, better
than any executable could, and counts on the second half how often that is right. Chance is one half.

A second pair has one means alone, because the others would drown it: the processor's caches. It goes through some files
for most of its turn, or fills the caches with something else, and measures how long going through those files takes.

`listen_without_walls` runs the first pair as plain processes: there every means is heard, so the pair is a good one.
The second is heard where slots start at once.
"""

import bisect
import contextlib
import itertools
import json
import math
import os
import random
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

import numpy as np

from tests.hostile.arena import make_slot
from workers import wire
from workers.host.errors import SlotsLate
from workers.host.pool import ExecutableSpec, LocalPool, Run, Timing
from workers.host.profile import Profile

PERIODS_MS = (100, 200, 400, 800)
"""Lengths of a slot to try: on a busy machine short ones hear nothing because they come to nothing."""
ENOUGH = 0.6
"""The share of slots that must have had their turn for a run to say something."""
CHANNELS: Mapping[str, str] = {
    "start": "when in its period the slot started (nanoseconds)",
    "spent": "processor time that its own start took (nanoseconds)",
    "speed": "rounds of a loop in 10 ms",
    "faults": "time to touch 4 MiB (nanoseconds)",
    "reads": "time to read 60 files (nanoseconds)",
    "copies": "time to copy 1 MiB again and again (nanoseconds)",
    "room": "MiB that can be mapped",
    "free": "MiB free in the shared memory file system",
}
"""What a slot measures. All of them together are one more channel."""
MEANS: Mapping[str, tuple[str, ...]] = {
    "duration": ("start",),
    "contention for the processor": ("speed", "spent", "copies"),
    "memory pressure": ("room", "free", "faults"),
    "page cache": ("reads",),
}
"""What a bit can be sent by, and the measurements of it."""
ALL = "all"
_PARTS = 8
"""Into so many equally likely parts the values of a measurement are cut, to learn what each says."""
LEVEL = 1e-4
_SEED = 20260901
_LONG_TABLE = 500
_SOURCE = """
import mmap, os, signal, time

PERIOD = {period_ns}
FOLDER = os.path.dirname(os.__file__)
FILES = sorted(name for name in os.listdir(FOLDER) if name.endswith(".py"))[:60]
LEFT = "/dev/shm/privid-covert-{host}"

def tried(function, *arguments):
    try:
        return function(*arguments)
    except (OSError, ValueError):
        return None

def read(size):
    for name in FILES:
        fd = os.open(FOLDER + "/" + name, os.O_RDONLY)
        while os.read(fd, size) and size > 4096:
            pass
        os.close(fd)

def drop():
    for name in FILES:
        fd = os.open(FOLDER + "/" + name, os.O_RDONLY)
        tried(os.posix_fadvise, fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)

def took(work):
    before = time.monotonic_ns()
    work()
    return time.monotonic_ns() - before

def room():
    blocks = []
    try:
        while True:
            blocks.append(mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    except (OSError, ValueError):
        return len(blocks)

def free():
    found = tried(os.statvfs, "/dev/shm")
    return -1 if found is None else found.f_bavail * found.f_frsize >> 20

def leave(path, size):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(fd, bytes(size))
    os.close(fd)

def clean():
    for pid in open(LEFT + ".pids").read().split():
        os.kill(int(pid), signal.SIGKILL)
    for name in (LEFT, LEFT + ".pids"):
        os.unlink(name)

def orphans():
    for _ in range({orphans}):
        if (pid := os.fork()) == 0:
            while True:
                pass
        with open(LEFT + ".pids", "a") as file:
            print(pid, file=file)

def process(chunk):
    now = time.monotonic_ns()
    row = {{"start": now % PERIOD, "speed": 0}}
    row["spent"] = tried(time.process_time_ns) or -1
    while time.monotonic_ns() < now + 10_000_000:
        row["speed"] += 1
    row["faults"] = took(lambda: bytearray(b"x") * (4 << 20))
    row["reads"] = took(lambda: read(4096))
    one, two = bytearray(1 << 20), bytearray(1 << 20)
    row["copies"] = took(lambda: [two.__setitem__(slice(None), one) for _ in range(5)])
    row["room"] = room()
    row["free"] = free()
    tried(clean)
    bit = chunk.frames[0, 0, 0, 0] & 1
    now = time.monotonic_ns()
    if bit:
        kept = bytearray(b"y") * (24 << 20)
        read(1 << 20)
        tried(leave, LEFT, 64 << 20)
        tried(orphans)
    else:
        drop()
    if {at_once}:
        end = now + ((PERIOD // 2 if bit else 0) - now) % PERIOD
    else:
        end = now - now % PERIOD + PERIOD // 2 if bit else now
    while time.monotonic_ns() < end:
        pass
    return [row] + [{{}}] * ({long_table} if bit else 0)
"""


_CACHES_SOURCE = """
import mmap, os, time
import numpy as np

PERIOD = {period_ns}
FOLDER = os.path.dirname(os.__file__)
FILES = [FOLDER + "/" + name for name in os.listdir(FOLDER) if name.endswith(".py")]
FILES = sorted(FILES, key=os.path.getsize)[-6:]

def mapped():
    found = []
    for name in FILES:
        fd = os.open(name, os.O_RDONLY)
        data = np.frombuffer(mmap.mmap(fd, 0, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ), np.uint8)
        os.close(fd)
        count = len(data) // 64
        found.append((data, np.arange(count) * 7919 % count * 64))
    return found

def look(files):
    for data, order in files:  # a byte of each line of the cache, in an order that no processor guesses
        data[order]

def process(chunk):
    files = mapped()
    before = time.monotonic_ns()
    look(files)
    took = time.monotonic_ns() - before
    now = time.monotonic_ns()
    end = now if {at_once} else now - now % PERIOD + PERIOD * 7 // 10
    bit = chunk.frames[0, 0, 0, 0] & 1
    other = None if bit else bytearray(b"z") * (48 << 20)
    rounds = 0
    while rounds < 4 or time.monotonic_ns() < end:
        look(files) if bit else other.find(b"y")
        rounds += 1
    return [{{"caches": took}}]
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """An executable in two roles, and what it measures."""

    source: str
    channels: Mapping[str, str]
    most_rows: int = 1


EVERY_MEANS = Pair(_SOURCE, CHANNELS, 1 + _LONG_TABLE)
BY_CACHES = Pair(_CACHES_SOURCE, {"caches": "time to go through six files in memory (nanoseconds)"})


@dataclass(frozen=True, slots=True)
class Heard:
    """What each slot measured and the bit that the slot before it had sent; and how late slots began (nanoseconds).

    Slots that were late, and what came after them, are left out.
    """

    measured: Mapping[str, Sequence[float]]
    sent: Sequence[int]
    late_ns: Sequence[int]

    def accuracy(self, channel: str) -> tuple[int, int]:
        """How many bits of the second half are right, by the rule that is best on the first half; of how many."""
        half = len(self.sent) // 2
        if channel == ALL:
            sums = _weigh(list(self.measured.values()), self.sent, half)
            right = sum((weight > 0) == bit for weight, bit in zip(sums, self.sent[half:], strict=True))
            return right, len(sums)
        values = self.measured[channel]
        limit, high = _best_rule(values[:half], self.sent[:half])
        right = sum(
            (value > limit) == (bit == high) for value, bit in zip(values[half:], self.sent[half:], strict=True)
        )
        return right, len(values) - half


def chance(right: int, count: int) -> float:
    """How likely so many of `count` bits are right, or more, if nothing is known of them."""
    return float(sum(math.comb(count, k) for k in range(right, count + 1)) / 2**count)


def _best_rule(values: Sequence[float], bits: Sequence[int]) -> tuple[float, int]:
    """The limit, and which bit is above it, with the fewest mistakes."""
    ordered = sorted(zip(values, bits, strict=True))
    ones = sum(bits)
    best = (max(ones, len(bits) - ones), -math.inf, int(ones * 2 >= len(bits)))
    below = 0  # of the ones
    for count, (value, bit) in enumerate(ordered, 1):
        below += bit
        if count < len(ordered) and ordered[count][0] == value:
            continue
        above_right = (ones - below) + (count - below)
        best = max(best, (above_right, value, 1), (len(bits) - above_right, value, 0))
    return best[1], best[2]


def _weigh(channels: Sequence[Sequence[float]], bits: Sequence[int], half: int) -> list[float]:
    """How much all measurements of each slot of the second half speak for a one, by what they said on the first half.

    The weight of a part of a measurement's values is the logarithm of how much more often it came with a one; those of
    all measurements are added, as if each knew nothing of the others.
    """
    sums = [0.0] * (len(bits) - half)
    for values in channels:
        ordered = sorted(values[:half])
        limits = [ordered[len(ordered) * i // _PARTS] for i in range(1, _PARTS)]
        counts = [[1, 1] for _ in range(_PARTS)]
        for value, bit in zip(values[:half], bits, strict=False):
            counts[bisect.bisect_right(limits, value)][bit] += 1
        for i, value in enumerate(values[half:]):
            zeros, ones = counts[bisect.bisect_right(limits, value)]
            sums[i] += math.log(ones / zeros)
    return sums


def listen(
    slots: int,
    timing: Timing = "slotted",
    *,
    core: int | None = None,
    pair: Pair = EVERY_MEANS,
    walls: Profile | None = None,
) -> Heard:
    """Run so many slots on one core. Raises RuntimeError if the machine is too busy even for long ones."""
    for period_ms in PERIODS_MS:
        heard = _listen(slots, timing, core, pair, walls, period_ms * 1_000_000)
        if len(heard.sent) > ENOUGH * slots:
            return heard
    raise RuntimeError("this machine is too busy: most slots came to nothing")


def _listen(slots: int, timing: Timing, core: int | None, pair: Pair, walls: Profile | None, period_ns: int) -> Heard:
    draw = random.Random(_SEED)  # bits to send, not noise
    bits = [draw.getrandbits(1) for _ in range(slots)]
    at_once = timing == "open"
    source = _source(pair, period_ns, at_once=at_once)
    table = wire.TableSpec(tuple(wire.ColumnSpec(name, "NUMBER", -1) for name in pair.channels), pair.most_rows)
    # Where slots start at once, a bit is when in its period one ends, which may be the next one.
    timeout_us = (3 * period_ns if at_once else period_ns) // 1000
    spec = ExecutableSpec("0" * 64, source, table, timeout_us, ("numpy",), 64 * 2**20)
    cores = (max(os.sched_getaffinity(0)) if core is None else core,)
    runs: list[Run] = []
    rows: dict[int, tuple[wire.Row, ...]] = {}
    given = (make_slot(i, "covert", value=bits[i]) for i in range(slots))
    with LocalPool(spec, timing, cores, walls=walls, on_run=runs.append) as pool:
        start_ns = -(-(time.monotonic_ns() + 500_000_000) // period_ns) * period_ns
        with contextlib.suppress(SlotsLate):  # too busy a machine for some; the others count
            pool.run(given, slots, rows.__setitem__, reserve_turns=slots // 4 + 4, start_ns=start_ns)
    runs.sort(key=lambda run: run.started_ns)
    pairs = [
        (before, after)
        for before, after in itertools.pairwise(runs)
        if before.fault is after.fault is None and after.planned_ns - before.planned_ns in (0, period_ns)
    ]
    measured = [rows[after.index][0] for _, after in pairs]
    return Heard(
        {name: [float(row[i]) for row in measured] for i, name in enumerate(pair.channels)},
        [bits[before.index] for before, _ in pairs],
        [run.started_ns - run.planned_ns for run in runs if run.planned_ns],
    )


def _source(pair: Pair, period_ns: int, *, at_once: bool, orphans: int = 1) -> bytes:
    source = pair.source.format(
        period_ns=period_ns, at_once=at_once, long_table=_LONG_TABLE, host=os.getpid(), orphans=orphans
    )
    return source.encode()


def listen_without_walls(slots: int, orphans: int) -> Heard:
    """The first pair as plain processes of this one, each of which starts when the one before it has ended.

    A one leaves so many processes that compute.
    """
    period_ns = 1_000_000  # that a slot can end late is shown elsewhere
    draw = random.Random(_SEED)  # bits to send, not noise
    bits = [draw.getrandbits(1) for _ in range(slots)]
    code = compile(_source(EVERY_MEANS, period_ns, at_once=True, orphans=orphans), "covert", "exec")
    core = {max(os.sched_getaffinity(0))}
    rows = [_plain(code, bit, core) for bit in [*bits, 0]]
    return Heard({name: [float(row[name]) for row in rows[1:]] for name in CHANNELS}, bits, ())


def _plain(code: CodeType, bit: int, core: set[int]) -> dict[str, float]:
    """The row of one slot that is a child of this process."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            os.sched_setaffinity(0, core)
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_CPU, (10, 10))  # of what it leaves, too
            resource.setrlimit(resource.RLIMIT_AS, (size + (256 << 20),) * 2)
            scope: dict[str, Any] = {}
            exec(code, scope)
            frames = np.full((1, 1, 1, 1), bit, np.uint8)
            row = scope["process"](SimpleNamespace(frames=frames))[0]
            os.write(write, json.dumps(row).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)  # what it left may hold the pipe
    with os.fdopen(read, "rb") as pipe:
        found: dict[str, float] = json.loads(os.read(pipe.fileno(), 1 << 16))
    return found
