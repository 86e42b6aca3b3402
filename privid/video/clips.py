"""A clip in memory: whether it is video, how large, how long."""

import io
from dataclasses import dataclass

import av

from privid.domain.units import SECOND


@dataclass(frozen=True, slots=True)
class Clip:
    """What a clip is. `length_us` is from its first frame to the end of its last."""

    width: int
    height: int
    length_us: int


def describe(content: bytes) -> Clip:
    """Read a clip through, without decoding more than its first frame. Raises ValueError with the reason."""
    try:
        with av.open(io.BytesIO(content), "r") as container:
            if not container.streams.video:
                raise ValueError("there is no video in it")
            stream = container.streams.video[0]
            first = next(container.decode(stream), None)
            container.seek(0)
            ends = [(packet.pts, packet.duration or 0) for packet in container.demux(stream) if packet.pts is not None]
            if first is None or not ends or stream.time_base is None:
                raise ValueError("it has no frames")
            begin, end = min(pts for pts, _ in ends), max(pts + duration for pts, duration in ends)
            return Clip(first.width, first.height, round((end - begin) * stream.time_base * SECOND))
    except (av.FFmpegError, EOFError):
        raise ValueError("it is not a video file that can be read") from None
