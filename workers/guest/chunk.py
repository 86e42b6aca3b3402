"""What a Python executable is given: one chunk of one camera."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Colour = Literal["bgr", "rgb", "yuv"]
"""What the three bytes of a pixel are, in their order."""

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Chunk:
    """The input of `process(chunk)`: the frames of one chunk and public facts about it.

    `start_us`, `end_us` are the chunk's bounds in microseconds UTC, half-open. `width` and `height` are the size of
    every frame, `fps` the rate at which frames were chosen, `colour` what the bundle's manifest asks for. There may be
    no frames at all.
    """

    camera: str
    region: str
    start_us: int
    end_us: int
    fps: float
    width: int
    height: int
    channels: int
    frame_count: int
    _frames: memoryview
    _times: bytes
    colour: Colour = field(default="bgr", kw_only=True)

    @cached_property
    def frames(self) -> "NDArray[np.uint8]":
        """All frames: shape (n, height, width, channels), uint8, in `colour`, read-only, not copied."""
        import numpy as np

        shape = (self.frame_count, self.height, self.width, self.channels)
        return np.frombuffer(self._frames, dtype=np.uint8).reshape(shape)

    @cached_property
    def times_us(self) -> "NDArray[np.int64]":
        """When each frame was taken: shape (n,), int64, microseconds UTC."""
        import numpy as np

        return np.frombuffer(self._times, dtype="<i8")


def pack(fields: Mapping[str, object], times_us: tuple[int, ...]) -> bytes:
    """A chunk's public facts as the host hands them over; `fields` are those of Chunk without the frames."""
    header = json.dumps(fields).encode()
    return _LENGTH.pack(len(header)) + header + struct.pack(f"<{len(times_us)}q", *times_us)


def unpack(data: bytes, frames: memoryview) -> Chunk:
    """The chunk from what `pack` wrote and the mapped frames."""
    (length,) = _LENGTH.unpack_from(data)
    fields: dict[str, Any] = json.loads(data[_LENGTH.size : _LENGTH.size + length])
    return Chunk(**fields, _frames=frames, _times=data[_LENGTH.size + length :])
