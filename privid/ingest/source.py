"""A video file as it comes: checked for everything that would make its frames or their times doubtful.

Nothing is decoded here: see `privid.ingest.segments` for the proof that every frame can be.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av import VideoStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition

from privid.ingest.errors import BadVideoFile

Integers = npt.NDArray[np.int64]

_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf"
"""Containers that hold video and nothing but references to themselves: no playlists, no pictures, no text."""
_CODECS = frozenset({"h264", "hevc", "mpeg4", "mjpeg", "mpeg1video", "mpeg2video", "vp8", "vp9", "av1"})
_MAX_REORDERING = 64
"""Frames are decoded at most some 16 places before or after they are shown; more is another clock."""
REMUX = "rewrite its time stamps with ffmpeg -fflags +genpts -i {name} -c copy out.mp4, and import that"


@dataclass(frozen=True, slots=True)
class Packets:
    """The packets of a video stream in decoding order, without their data.

    `ticks` presentation timestamps in units of `time_base` seconds, all different; `shown` is False for packets that
    an edit list hides. `keys` is True for key frames from which everything that is shown later can be decoded; `clean`
    for those where the stream can be cut, since everything behind is shown later. `skipped` packets of the file come
    before the first key frame and are left out. `frame_ticks` is how long one frame is shown, nominally.
    """

    ticks: Integers
    shown: npt.NDArray[np.bool_]
    keys: npt.NDArray[np.bool_]
    clean: npt.NDArray[np.bool_]
    skipped: int
    time_base: Fraction
    frame_ticks: Fraction
    codec: str

    def __len__(self) -> int:
        return len(self.ticks)


@contextmanager
def open_source(path: Path) -> Iterator[InputContainer]:
    """Open a file for reading its video. Raises BadVideoFile."""
    if path.is_dir():
        raise BadVideoFile(f"{path} is a folder: name one video file")
    if not path.exists():
        raise BadVideoFile(f"{path} does not exist")
    if not path.is_file():
        raise BadVideoFile(f"{path} is not a regular file")
    if path.stat().st_size == 0:
        raise BadVideoFile(f"{path} is empty")
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
    try:
        # The prefix keeps names such as `a:b.mp4` from being read as an address.
        container = av.open(f"file:{path}", options=options)
    except PermissionError:
        raise BadVideoFile(f"{path} cannot be read: permission denied") from None
    except (OSError, FFmpegError, ValueError):
        raise BadVideoFile(
            f"{path} is not a video file that can be read (or its end is missing): "
            "give a complete MP4, MOV, MKV, WebM, AVI, MPEG-TS or FLV file"
        ) from None
    try:
        yield container
    finally:
        container.close()


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The stream to import: the first one that is no cover picture. Raises BadVideoFile."""
    streams = [s for s in container.streams.video if not Disposition.attached_pic & s.disposition]
    if not streams:
        raise BadVideoFile(f"{path} has no video in it")
    stream = streams[0]
    codec = stream.codec_context.name if stream.codec_context is not None else "unknown"
    name = _codec_name(codec)
    if name not in _CODECS:
        raise BadVideoFile(
            f"{path} is coded as {codec}, which is not supported: "
            f"convert it with ffmpeg -i {path.name} -c:v libx264 out.mp4, and import that"
        )
    return stream


def read_packets(path: Path) -> Packets:
    """Read through a file. Raises BadVideoFile."""
    remux = REMUX.format(name=path.name)
    with open_source(path) as container:
        stream = video_stream(container, path)
        time_base = stream.time_base
        if time_base is None or time_base <= 0:
            raise BadVideoFile(f"{path} has no time base: {remux}")
        scanned = [_entry(packet, stream, path) for packet in demux(container, stream, path)]
        if not any(shown for _, _, shown, _ in scanned):
            raise BadVideoFile(f"{path} has no frames in it")
        if len(scanned) < stream.frames:
            raise BadVideoFile(f"{path} is truncated: it ends after {len(scanned)} of {stream.frames} frames")
        rate = stream.average_rate or stream.guessed_rate
        frame_ticks = 1 / (rate * time_base) if rate else Fraction(scanned[-1][3])
        codec = _codec_name(stream.codec_context.name)
    if frame_ticks <= 0:
        raise BadVideoFile(f"{path} does not tell its frame rate: {remux}")
    ticks = np.array([tick for tick, _, _, _ in scanned], dtype=np.int64)
    keys = np.array([key for _, key, _, _ in scanned])
    _require_one_clock(ticks, time_base, path)
    if not keys.any():
        raise BadVideoFile(f"{path} has no key frame, so nothing of it can be decoded")
    skipped = int(np.argmax(keys))
    ticks, keys = ticks[skipped:], keys[skipped:]
    # Frames shown before the first key frame depend on others that the file does not have.
    shown = np.array([is_shown for _, _, is_shown, _ in scanned[skipped:]]) & (ticks >= ticks[0])
    if not shown.any():
        raise BadVideoFile(f"{path} has no frames that can be decoded")
    # A key frame that is shown before one decoded earlier would leave a frame behind it that needs that one.
    keys &= ticks == np.maximum.accumulate(ticks)
    clean = keys & (ticks == np.minimum.accumulate(ticks[::-1])[::-1])
    return Packets(ticks, shown, keys, clean, skipped, time_base, frame_ticks, codec)


def _entry(packet: "av.Packet[VideoStream]", stream: VideoStream, path: Path) -> tuple[int, bool, bool, int]:
    """Presentation timestamp of a packet, whether it is a key frame, whether it is shown, and for how long."""
    tick = packet.pts
    if tick is None and not stream.codec_context.has_b_frames:
        tick = packet.dts  # frames are shown in the order of decoding
    if tick is None:
        raise BadVideoFile(f"{path} does not say when each frame is shown: {REMUX.format(name=path.name)}")
    if packet.is_corrupt:
        at = _seconds(tick - (stream.start_time or 0), packet.time_base)
        raise BadVideoFile(f"{path} is damaged, cut short or joined from parts, {at}: give a complete one")
    return tick, packet.is_keyframe, not packet.is_discard, packet.duration or 0


def demux(container: InputContainer, stream: VideoStream, path: Path) -> Iterator["av.Packet[av.VideoStream]"]:
    """The packets of a stream that carry data, in order. Raises BadVideoFile."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except FFmpegError as error:
        raise BadVideoFile(f"{path} cannot be read to its end: {error.strerror or error}") from None


def _require_one_clock(ticks: Integers, time_base: Fraction, path: Path) -> None:
    """All times must differ, and go back only as far as frames are reordered for coding."""
    order = np.argsort(ticks, kind="stable")
    ordered = ticks[order]
    same = np.flatnonzero(np.diff(ordered) == 0)
    if len(same):
        at = _seconds(int(ordered[same[0]] - ordered[0]), time_base)
        raise BadVideoFile(f"{path}: two frames have the same time, {at}: {REMUX.format(name=path.name)}")
    moved = np.flatnonzero(np.abs(order - np.arange(len(order))) > _MAX_REORDERING)
    if len(moved):
        at = _seconds(int(ordered[moved[0]] - ordered[0]), time_base)
        raise BadVideoFile(f"{path}: time goes backwards near {at}: import the parts before and after one by one")


def _codec_name(decoder: str) -> str:
    return {"libdav1d": "av1", "libvpx-vp9": "vp9", "libvpx": "vp8"}.get(decoder, decoder)


def _seconds(ticks: int, time_base: Fraction) -> str:
    return f"{float(ticks * time_base):.3f} s from its beginning"
