"""The processor's caches between two slots: read past, so that nothing of a slot is left in them for the next.

Guests have pages in common, of libraries and of the root's files. Reading what the slot before has read takes less
time, and so a slot could pass a bit on. Before each slot the warden reads memory of its own on the slot's core, several
times as much as the largest cache holds; then all such pages are equally far away (docs/explanation/timing.md, and
docs/results/timing.md for what was measured).
"""

import contextlib
import mmap
import os
from collections.abc import Collection
from pathlib import Path

_SYSTEM = Path("/sys/devices/system/cpu")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
_UNKNOWN_BYTES = 32 * 2**20
_TIMES = 4
"""So many times the largest cache: after twice as much, a core's own cache still had some of what was in it."""
_MOST_BYTES = 512 * 2**20
_BYTES_PER_NS = 5
"""What one core reads at the least, on a machine that is not overloaded."""
_TURN_SHARE = 8


def share_bytes(core: int, slot_cores: Collection[int], system: Path = _SYSTEM) -> int:
    """The largest part of a cache that one of these slot cores has to sweep; of a usual one if the system says nothing.

    Slot cores that share a cache sweep at the same moments, each its part: all of it from every core would take as
    many times the memory's bandwidth.
    """
    shares = []
    for cache in system.glob(f"cpu{core}/cache/index*"):
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            size, users = ((cache / name).read_text().strip() for name in ("size", "shared_cpu_list"))
            sharing = len(_processors(users) & {*slot_cores})
            shares.append(int(size[:-1]) * _UNITS[size[-1]] // max(1, sharing))
    return max(shares, default=_UNKNOWN_BYTES)


def _processors(text: str) -> set[int]:
    """Those of a list such as 0-3,8."""
    ranges = [part.partition("-") for part in text.split(",")]
    return {i for first, _, last in ranges for i in range(int(first), int(last or first) + 1)}


def sweep_bytes(share: int, turn_ns: int) -> int:
    """How much to read before each slot: what it takes, or what can be read in a part of a very short turn."""
    return min(_TIMES * share, _MOST_BYTES, turn_ns // _TURN_SHARE * _BYTES_PER_NS)


def allowed_ns(size: int) -> int:
    """The time in which a sweep of this size is over. Public: it follows from the machine and the turn alone."""
    return size // _BYTES_PER_NS


class Sweeper:
    """Memory to read, and how. To be made after everything has been forked that is not to have it."""

    def __init__(self, core: int, size: int) -> None:
        self._core = core
        self._memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError):  # a kernel without huge pages
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        for page in range(0, size, mmap.PAGESIZE):
            self._memory[page] = 0  # a page that nobody has written to is the one page of zeros, again and again

    def sweep(self) -> None:
        """Read all of it on the slot's core."""
        own = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self._core})
        self._memory.find(b"\x01")  # is not there
        os.sched_setaffinity(0, own)
