"""Helpers for executables: `from workers.guest.sdk import ...`. May use NumPy, nothing of the host.

They are plain functions: an executable that uses them runs unchanged outside the sandbox.
"""

from typing import TYPE_CHECKING

from workers.guest.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Chunk", "sample", "seconds"]


def sample(chunk: Chunk, count: int) -> "NDArray[np.intp]":
    """Indices of at most `count` frames spread evenly over the chunk, without repetition; shape (k,)."""
    import numpy as np

    if chunk.frame_count <= count:
        return np.arange(chunk.frame_count)
    return np.linspace(0, chunk.frame_count - 1, count).round().astype(np.intp)


def seconds(chunk: Chunk) -> "NDArray[np.float64]":
    """When each frame was taken, in seconds after the chunk's start; shape (n,)."""
    return (chunk.times_us - chunk.start_us) / 1e6
