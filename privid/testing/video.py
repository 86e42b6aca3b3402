"""Synthetic clips whose frames carry their own number in their pixels, so that a reader can be checked exactly."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

_BITS = 16
_CELL = 16

Picture = npt.NDArray[np.uint8]


def picture(number: int, width: int = 160, height: int = 96) -> Picture:
    """A frame (height, width, 3), RGB: a moving bar on a gradient, and `number` in 16 black or white cells.

    Width must be at least 128 and height at least 96, for the cells; numbers go up to 65535.
    """
    frame = np.empty((height, width, 3), dtype=np.uint8)
    frame[..., 0] = np.linspace(40, 200, width, dtype=np.uint8)[None, :]
    frame[..., 1] = np.linspace(200, 40, height, dtype=np.uint8)[:, None]
    frame[..., 2] = 90
    left = (5 * number) % (width - 16)
    frame[height - 32 :, left : left + 16] = (230, 60, 60)
    for bit in range(_BITS):
        row, column = divmod(bit, _BITS // 2)
        cell = frame[row * _CELL : (row + 1) * _CELL, column * _CELL : (column + 1) * _CELL]
        cell[:] = 255 if number >> bit & 1 else 0
    return frame


def read_number(frame: Picture) -> int:
    """The number in a decoded frame (height, width, 3), at its original size; survives lossy coding."""
    number = 0
    for bit in range(_BITS):
        row, column = divmod(bit, _BITS // 2)
        middle = frame[row * _CELL + 4 : (row + 1) * _CELL - 4, column * _CELL + 4 : (column + 1) * _CELL - 4]
        number |= int(middle.mean() > 127) << bit
    return number


def write_clip(
    path: Path,
    frames: int = 50,
    *,
    fps: Fraction = Fraction(10),
    size: tuple[int, int] = (160, 96),
    codec: str = "libx264",
    gop: int = 12,
    b_frames: int = 0,
    times_ms: Sequence[int] | None = None,
    first_number: int = 0,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
) -> Path:
    """Encode a clip; the format follows from the name. Frame i shows the number first_number + i.

    `size` is (width, height). With `times_ms`, one for each frame, the rate is variable.
    """
    with av.open(str(path), "w", options=dict(container_options or {})) as container:
        stream = container.add_stream(codec, rate=fps, options=dict(options or {}))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = gop
        stream.max_b_frames = b_frames
        stream.codec_context.time_base = Fraction(1, 1000) if times_ms is not None else 1 / fps
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(first_number + i, *size), format="rgb24")
            frame.pts = i if times_ms is None else times_ms[i]
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
