"""A pair of executables that tries to pass one bit from each slot to the next, and how well it succeeds.

Every slot first measures whatever the slot before it may have left on the machine, then sends a bit of its own (that
of its frames) by all means at once: it ends late or early, computes or does not, fills its memory or does not, reads
every file or none. The host, which knows the bits, learns on the first half of the slots what each measurement says,
better than any executable could, and counts on the second half how often that is right. Chance is one half.
"""

import contextlib
import itertools
import math
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.hostile.arena import make_slot
from workers import wire
from workers.host.errors import SlotsLate
from workers.host.pool import ExecutableSpec, LocalPool, Run, Timing

PERIODS_MS = (100, 200, 400, 800)
"""Lengths of a slot to try: on a busy machine short ones hear nothing because they come to nothing."""
ENOUGH = 0.6
"""The share of slots that must have had their turn for a run to say something."""
CHANNELS = ("start", "speed", "faults", "reads", "room", "copies")
"""When the slot started in its period; rounds of a loop in 3 ms; nanoseconds to touch 4 MiB, to read 60 files, to copy
1 MiB again and again; how much memory can be had."""
LEVEL = 1e-4
_SEED = 20260901
_SOURCE = """
import mmap, os, time

PERIOD = {period_ns}
FOLDER = os.path.dirname(os.__file__)
FILES = sorted(name for name in os.listdir(FOLDER) if name.endswith(".py"))[:60]

def read(size):
    for name in FILES:
        fd = os.open(FOLDER + "/" + name, os.O_RDONLY)
        while os.read(fd, size) and size > 4096:
            pass
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

def process(chunk):
    now = time.monotonic_ns()
    row = {{"start": now % PERIOD, "speed": 0}}
    while time.monotonic_ns() < now + 3_000_000:
        row["speed"] += 1
    row["faults"] = took(lambda: bytearray(b"x") * (4 << 20))
    row["reads"] = took(lambda: read(4096))
    one, two = bytearray(1 << 20), bytearray(1 << 20)
    row["copies"] = took(lambda: [two.__setitem__(slice(None), one) for _ in range(5)])
    row["room"] = room()
    bit = chunk.frames[0, 0, 0, 0] & 1
    now = time.monotonic_ns()
    if bit:
        kept = bytearray(b"y") * (24 << 20)
        read(1 << 20)
    if {at_once}:
        end = now + ((PERIOD // 2 if bit else 0) - now) % PERIOD
    else:
        end = now - now % PERIOD + PERIOD // 2 if bit else now
    while time.monotonic_ns() < end:
        pass
    return row
"""


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
        values = self.measured[channel]
        half = len(values) // 2
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


def listen(slots: int, timing: Timing = "slotted", *, core: int | None = None) -> Heard:
    """Run so many slots on one core. Raises RuntimeError if the machine is too busy even for long ones."""
    for period_ms in PERIODS_MS:
        heard = _listen(slots, timing, core, period_ms * 1_000_000)
        if len(heard.sent) > ENOUGH * slots:
            return heard
    raise RuntimeError("this machine is too busy: most slots came to nothing")


def _listen(slots: int, timing: Timing, core: int | None, period_ns: int) -> Heard:
    draw = random.Random(_SEED)  # bits to send, not noise
    bits = [draw.getrandbits(1) for _ in range(slots)]
    at_once = timing == "open"
    source = _SOURCE.format(period_ns=period_ns, at_once=at_once).encode()
    table = wire.TableSpec(tuple(wire.ColumnSpec(name, "NUMBER", -1) for name in CHANNELS), 1)
    # Where slots start at once, a bit is when in its period one ends, which may be the next one.
    timeout_us = (3 * period_ns if at_once else period_ns) // 1000
    spec = ExecutableSpec("0" * 64, source, table, timeout_us, ("numpy",), 64 * 2**20)
    cores = (max(os.sched_getaffinity(0)) if core is None else core,)
    runs: list[Run] = []
    rows: dict[int, tuple[wire.Row, ...]] = {}
    given = (make_slot(i, "covert", value=bits[i]) for i in range(slots))
    with LocalPool(spec, timing, cores, on_run=runs.append) as pool:
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
        {name: [float(row[i]) for row in measured] for i, name in enumerate(CHANNELS)},
        [bits[before.index] for before, _ in pairs],
        [run.started_ns - run.planned_ns for run in runs if run.planned_ns],
    )
