"""Frames in memory that only their decoder can change: a sealed memfd for each chunk (sandbox.md, "Frames")."""

import fcntl
import mmap
import os
import threading

import numpy as np
import numpy.typing as npt

_F_SEAL_FUTURE_WRITE = 0x10  # linux/fcntl.h; not among fcntl's constants before Python 3.13
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | _F_SEAL_FUTURE_WRITE


class FrameBuffer:
    """Room for `count` frames of `height` x `width` x 3 bytes, one after the other.

    `fd` is a memfd of exactly that size, which nobody but this object can write to, resize or unseal; every frame has
    to be written, by `write` or `fill`, before it is handed over. Memory is allocated here, so that running out of it
    is an OSError rather than a SIGBUS later.
    """

    def __init__(self, pool: "FramePool", count: int, height: int, width: int) -> None:
        self.shape = (count, height, width * 3)
        self._pool = pool
        self.fd = os.memfd_create("privid-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.posix_fallocate(self.fd, 0, count * height * width * 3)
            self._map = mmap.mmap(self.fd, count * height * width * 3, mmap.MAP_SHARED | mmap.MAP_POPULATE)
        except BaseException:
            os.close(self.fd)
            raise
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)

    def write(self, slot: int, plane: npt.NDArray[np.uint8]) -> None:
        """Fill one slot from an array (height, at least width * 3) whose rows may be padded."""
        self._pixels()[slot] = plane[:, : self.shape[2]]

    def fill(self, slot: int, pixel: tuple[int, int, int]) -> None:
        """Fill one slot with one pixel."""
        self._pixels()[slot] = np.tile(np.array(pixel, np.uint8), self.shape[2] // 3)

    def reuse(self) -> None:
        """Hand the buffer back to be overwritten. Only when no process that could look at it is left."""
        self._pool.give_back(self)

    def close(self) -> None:
        """Give the memory back to the system. Idempotent."""
        if self.fd >= 0:
            self._map.close()
            os.close(self.fd)
            self.fd = -1

    def _pixels(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self._map, np.uint8).reshape(self.shape)


class FramePool:
    """Buffers to be used again: a new page costs several times what overwriting one does (decision 0012).

    A buffer serves again only for frames of exactly the same shape, so that no byte of an earlier chunk can be left in
    it. Those of another shape are closed, so there are never more than were in use at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[FrameBuffer] = []
        self._closed = False

    def take(self, count: int, height: int, width: int) -> FrameBuffer:
        """A buffer with whatever was last in it. Raises OSError (out of memory)."""
        with self._lock:
            others = [free for free in self._free if free.shape != (count, height, width * 3)]
            self._free = [free for free in self._free if free.shape == (count, height, width * 3)]
            found = self._free.pop() if self._free else None
        for other in others:
            other.close()
        return found or FrameBuffer(self, count, height, width)

    def give_back(self, buffer: FrameBuffer) -> None:
        """Keep a buffer for `take`."""
        with self._lock:
            if not self._closed:
                self._free.append(buffer)
                return
        buffer.close()

    def close(self) -> None:
        """Close what is free, and what is given back from now on."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for buffer in free:
            buffer.close()
