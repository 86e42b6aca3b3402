"""Reads slots ahead of their time, in a thread of its own, within a limit of memory."""

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from workers import limits
from workers.guest import chunk
from workers.host.waiting import Announcing

_F_SEAL_FUTURE_WRITE = 0x10  # linux/fcntl.h; not among fcntl's constants before Python 3.13
FRAME_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | _F_SEAL_FUTURE_WRITE


class FrameMemory(Protocol):
    """Frames in a memfd that guests cannot change; whoever decodes them says what becomes of it afterwards."""

    @property
    def fd(self) -> int:
        """The memfd, exactly as long as the frames. Sealed against resizing, and against writing by others."""

    def reuse(self) -> None:
        """No process maps the frames any more: other frames may take their place."""

    def close(self) -> None:
        """Give the memory back to the system."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One run to be made: public facts and the frames of one chunk (and region).

    `frames` has exactly `frame_count * height * width * channels` bytes, or is None without frames. The pool owns it
    from the moment it takes the slot: it closes it or, if the one guest that had it is gone, gives it back.
    """

    index: int
    frames: FrameMemory | None
    frame_count: int
    height: int
    width: int
    channels: int
    times_us: tuple[int, ...]
    start_us: int
    end_us: int
    camera: str
    region: str
    fps: float
    colour: chunk.Colour = "bgr"

    @property
    def frames_bytes(self) -> int:
        """Size of the frames."""
        return self.frame_count * self.height * self.width * self.channels

    @property
    def facts(self) -> bytes:
        """The public facts as the guest gets them."""
        fields = {
            "camera": self.camera,
            "region": self.region,
            "start_us": self.start_us,
            "end_us": self.end_us,
            "fps": self.fps,
            "width": self.width,
            "height": self.height,
            "channels": self.channels,
            "frame_count": self.frame_count,
            "colour": self.colour,
        }
        return chunk.pack(fields, self.times_us)

    def check(self) -> None:
        """Raise ValueError unless the frames are what the facts say, and sealed."""
        if len(self.times_us) != self.frame_count:
            raise ValueError(f"slot {self.index}: {self.frame_count} frames but {len(self.times_us)} times")
        if (self.frames is None) != (self.frames_bytes == 0):
            raise ValueError(f"slot {self.index}: frames without memory, or memory without frames")
        if self.frames is None:
            return
        if self.frames_bytes > limits.MAX_SLOT_FRAMES_BYTES:
            raise ValueError(f"slot {self.index}: {self.frames_bytes} bytes of frames; shorten the chunk or RESIZE")
        if os.fstat(self.frames.fd).st_size != self.frames_bytes:
            raise ValueError(f"slot {self.index}: the frames' memory has the wrong size")
        if fcntl.fcntl(self.frames.fd, fcntl.F_GET_SEALS) & FRAME_SEALS != FRAME_SEALS:
            raise ValueError(f"slot {self.index}: the frames' memory is not sealed")

    def close(self) -> None:
        """Give the frames' memory back. Not twice."""
        if self.frames is not None:
            self.frames.close()


class Feeder(Announcing):
    """Pulls slots from an iterator as long as what waits stays under `limit_bytes`; at least one always fits.

    The iterator runs in this thread only, its end included, pinned to `cores` (decoding must not disturb slots).
    Positions count from 0 in the iterator's order.
    """

    def __init__(self, slots: Iterator[Slot], limit_bytes: int, limit_slots: int, cores: frozenset[int]) -> None:
        super().__init__("privid-feeder", cores)
        self._slots = slots
        self._limit_bytes = limit_bytes
        self._limit_slots = limit_slots
        self._changed = threading.Condition()
        self._waiting: dict[int, Slot] = {}
        self._bytes = 0
        self._stopped = False
        self.pulled = 0
        self.ended = False

    def run(self) -> None:
        """The thread: pull until the iterator ends, fails, or the feeder is stopped."""
        try:
            self.pin()
            with contextlib.ExitStack() as at_end:
                if close := getattr(self._slots, "close", None):
                    at_end.callback(close)
                self._pull()
        except BaseException as error:  # noqa: BLE001  handed over to the thread that runs the pool
            self.error = error
        finally:
            self.ended = True
            self.announce()

    def _pull(self) -> None:
        for slot in self._slots:
            taken = False
            try:
                slot.check()
                taken = self._put(slot)
            finally:
                if not taken:
                    slot.close()
            if not taken:
                break

    def _put(self, slot: Slot) -> bool:
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._stopped
                    or not self._waiting
                    or (self._bytes + slot.frames_bytes <= self._limit_bytes and len(self._waiting) < self._limit_slots)
                )
            )
            if self._stopped:
                return False
            self._waiting[self.pulled] = slot
            self._bytes += slot.frames_bytes
            self.pulled += 1
        self.announce()
        return True

    def full(self) -> bool:
        """Whether nothing more will come before something is taken."""
        with self._changed:
            return self.ended or len(self._waiting) >= self._limit_slots or 2 * self._bytes > self._limit_bytes

    def take(self, position: int) -> Slot | None:
        """The slot at this position if it is ready; the caller owns it then."""
        with self._changed:
            slot = self._waiting.pop(position, None)
            if slot is not None:
                self._bytes -= slot.frames_bytes
                self._changed.notify_all()
            return slot

    def stop(self) -> None:
        """End the thread (after the pull it is in) and give back what waits."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self.end()
        for slot in self._waiting.values():
            slot.close()
        self._waiting.clear()
