"""Frames in memory that nobody can change any more: a sealed memfd for each chunk (sandbox.md, "Frames")."""

import fcntl
import os

import numpy as np
import numpy.typing as npt

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class FrameBuffer:
    """Room for `count` frames of `height` x `width` x 3 bytes, one after the other; black until written.

    Frames are written with `pwrite` rather than through a mapping: that allocates each page without clearing it and
    without a page fault, and running out of memory is an error here rather than a SIGBUS anywhere.
    """

    def __init__(self, count: int, height: int, width: int) -> None:
        self._frame_bytes = height * width * 3
        self._row_bytes = width * 3
        self._fd = os.memfd_create("privid-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._fd, count * self._frame_bytes)
        except BaseException:
            self.close()
            raise

    def write(self, slot: int, plane: npt.NDArray[np.uint8]) -> None:
        """Fill one slot from an array (height, at least width * 3) whose rows may be padded. Raises OSError."""
        rows = plane if plane.shape[1] == self._row_bytes else np.ascontiguousarray(plane[:, : self._row_bytes])
        left = rows.data.cast("B")
        at = slot * self._frame_bytes
        while left:
            written = os.pwrite(self._fd, left, at)
            left, at = left[written:], at + written

    def seal(self) -> int:
        """Make the memory unchangeable for ever and hand over its file descriptor, which the caller closes."""
        fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, _SEALS)
        fd, self._fd = self._fd, -1
        return fd

    def close(self) -> None:
        """Give the memory back, unless it has been handed over."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
