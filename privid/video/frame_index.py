"""The compact index of a segment's frames: when each was taken, and where in the file it is."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

_VERSION = 1
_HEADER = struct.Struct("<BII")


@dataclass(frozen=True, slots=True, eq=False)
class FrameIndex:
    """Frames of one segment in the order in which they are shown.

    `times_us` (n,) wall-clock microseconds and `ticks` (n,) presentation timestamps in the file, both strictly
    increasing. Decoding that starts at the key frame with timestamp `entry_ticks[j]` gives every frame from position
    `entries[j]` on, exactly as decoding the whole file does; the first entry is at position 0.
    Raises ValueError for anything else.
    """

    times_us: Integers
    ticks: Integers
    entries: Integers
    entry_ticks: Integers

    def __post_init__(self) -> None:
        if not len(self.times_us) or len(self.times_us) != len(self.ticks):
            raise ValueError("an index has one time and one tick for each of its frames, and at least one frame")
        if not len(self.entries) or len(self.entries) != len(self.entry_ticks) or self.entries[0] != 0:
            raise ValueError("an index has an entry at its first frame")
        for ascending in (self.times_us, self.ticks, self.entries, self.entry_ticks):
            if (np.diff(ascending) <= 0).any():
                raise ValueError("times, ticks and entries of an index strictly increase")

    def __len__(self) -> int:
        return len(self.times_us)

    def within(self, begin_us: int, end_us: int) -> slice:
        """Positions of the frames taken in [begin_us, end_us)."""
        first, last = np.searchsorted(self.times_us, [begin_us, end_us])
        return slice(int(first), int(last))

    def entry_before(self, position: int) -> int:
        """The number of the last entry at or before a frame."""
        return int(np.searchsorted(self.entries, position, side="right")) - 1


def encode(index: FrameIndex) -> bytes:
    """The index as bytes, independent of when the segment begins: of frames at a steady rate, a few dozen bytes."""
    columns = (index.times_us - index.times_us[0], index.ticks, index.entries, index.entry_ticks)
    packed = b"".join(_second_differences(column) for column in columns)
    return _HEADER.pack(_VERSION, len(index), len(index.entries)) + zlib.compress(packed)


def decode(data: bytes, begin_us: int) -> FrameIndex:
    """What `encode` was given, for a segment whose first frame was taken at `begin_us`.

    Raises ValueError if the bytes are not an index.
    """
    try:
        version, frames, entries = _HEADER.unpack_from(data)
        column = np.frombuffer(zlib.decompress(data[_HEADER.size :]), dtype="<i8")
    except (struct.error, zlib.error, ValueError):
        raise ValueError("not an index of frames") from None
    if version != _VERSION or len(column) != 2 * frames + 2 * entries:
        raise ValueError("not an index of frames that this version can read")
    times, ticks, positions, entry_ticks = (
        np.cumsum(np.cumsum(part)) for part in np.split(column, [frames, 2 * frames, 2 * frames + entries])
    )
    return FrameIndex(times + begin_us, ticks, positions, entry_ticks)


def _second_differences(values: Integers) -> bytes:
    # Zero wherever frames come at a steady rate, which is what makes the compression effective.
    return np.diff(np.diff(values, prepend=0), prepend=0).astype("<i8").tobytes()
