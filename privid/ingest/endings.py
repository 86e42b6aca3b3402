"""Whether the last picture before a source failed has arrived as a whole.

Once a connection is lost, libav gives what its parser still holds: the picture after which nothing came. Mostly it was
cut off in its middle, and would be shown with whatever a decoder puts in place of the rest.
"""

from collections.abc import Sequence
from typing import Any, cast

import av
from av import VideoCodecContext
from av.error import FFmpegError

from privid.ingest.live import VideoSource

_LONGEST = 1000
"""Packets: longer groups are not decoded for the sake of one picture."""


def is_whole(stream: VideoSource, packets: Sequence[Any]) -> bool:
    """Whether the last of these packets, which begin with a key frame, certainly is. It may take a decoder to know."""
    last = packets[-1]
    if last.is_corrupt:
        return False
    if stream.codec == "mjpeg":
        return bytes(last).rstrip(b"\0").endswith(b"\xff\xd9")  # ITU-T T.81, B.2.1: the end of an image
    if stream.has_lengths or stream.codec not in ("h264", "hevc", "mpeg4"):
        return True  # such sources keep pictures apart themselves
    return not is_never_known(stream) and len(packets) <= _LONGEST and _is_sound(stream, packets)


def is_never_known(stream: VideoSource) -> bool:
    """Whether not even a decoder tells: that of H.265 takes a half of a picture that comes with start codes for one."""
    return stream.codec == "hevc" and not stream.has_lengths


def _is_sound(stream: VideoSource, packets: Sequence[Any]) -> bool:
    """Whether the last packet's picture can be decoded without a part being missing."""
    decoder = cast("VideoCodecContext", VideoCodecContext.create(stream.codec, "r"))
    decoder.extradata = stream.stream.codec_context.extradata
    decoder.thread_count = 1
    try:
        for number, packet in enumerate(packets):
            copy = av.Packet(bytes(packet))
            copy.pts = number
            frames = decoder.decode(copy)
        frames += decoder.decode(None)
    except FFmpegError:
        return False
    return any(frame.pts == len(packets) - 1 and not frame.is_corrupt for frame in frames)
