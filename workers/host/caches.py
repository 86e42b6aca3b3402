"""The processor's caches between two slots: read past, so that nothing of a slot is left in them for the next.

Guests have pages in common, of libraries and of the root's files. Reading what the slot before has read takes less
time, and so a slot could pass a bit on. Before each slot the warden reads memory of its own on the slot's core, several
times as much as the largest cache holds; then all such pages are equally far away (docs/explanation/timing.md, and
docs/results/timing.md for what was measured).
"""

import contextlib
import mmap
import os
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


def largest_bytes(core: int, system: Path = _SYSTEM) -> int:
    """The size of the largest cache that this processor uses; a usual one where the system does not say."""
    sizes = []
    for path in system.glob(f"cpu{core}/cache/index*/size"):
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            text = path.read_text().strip()
            sizes.append(int(text[:-1]) * _UNITS[text[-1]])
    return max(sizes, default=_UNKNOWN_BYTES)


def sweep_bytes(cache_bytes: int, turn_ns: int) -> int:
    """How much to read before each slot: what it takes, or what can be read in a part of a very short turn."""
    return min(_TIMES * cache_bytes, _MOST_BYTES, turn_ns // _TURN_SHARE * _BYTES_PER_NS)


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
