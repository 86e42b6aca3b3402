"""Segment files of a recording: fragmented MP4, one fragment for each group, each complete once it is written.

Presentation timestamps are microseconds, and the file's name is the time of its first frame: so a file that a killed
recorder left tells the times of all its frames by itself. Each fragment is made in memory and written in one go; what
is there of a last one that was cut off is dropped (ISO/IEC 14496-12: a fragment is a `moof` box and its `mdat`).
"""

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError

from privid.ingest.errors import SourceFailure
from privid.ingest.groups import Group
from privid.ingest.live import VideoSource
from privid.video.decode import READ_OPTIONS
from privid.video.frame_index import FrameIndex

Integers = npt.NDArray[np.int64]

SUFFIX = ".mp4"
_MICROSECOND = Fraction(1, 1_000_000)
_MUXER = {
    "movflags": "frag_custom+empty_moov+default_base_moof+frag_discont+skip_trailer",
    "video_track_timescale": "1000000",
    "use_editlist": "0",
    "avoid_negative_ts": "disabled",  # a fragment begins where it begins, not at 0
}
_HEADER = (b"ftyp", b"moov")


@dataclass(frozen=True, slots=True)
class Finished:
    """A complete file and what the catalog has to know of it; the last frame is shown until `end_us`."""

    file: Path
    index: FrameIndex
    end_us: int
    width: int
    height: int
    codec: str
    end_reason: str
    offset_us: int | None

    @property
    def last_frame_us(self) -> int:
        """How long the last frame is shown."""
        return self.end_us - int(self.index.times_us[-1])

    def ending_at(self, end_us: int) -> "Finished":
        """The same, with its last frame shown until then."""
        return replace(self, end_us=end_us)


class SegmentWriter:
    """One segment file while it grows. Raises OSError; then the file is as it was before the call."""

    def __init__(self, folder: Path, stream: VideoSource, begin_us: int, delay_us: int) -> None:
        self.begin_us = begin_us
        self.delay_us = delay_us
        self.file = folder / f"{begin_us}{SUFFIX}"
        self._stream = stream
        self._times: list[Integers] = []
        self._entries: list[int] = []
        self._size = 0
        self._descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    @property
    def last_us(self) -> int:
        """The time of the last frame."""
        return int(self._times[-1][-1])

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been written."""
        return not self._times

    def move(self, shift_us: int) -> None:
        """All its frames were taken so much later: its name says when. Raises OSError."""
        target = self.file.with_name(f"{self.begin_us + shift_us}{SUFFIX}")
        self.file.rename(target)
        self.file = target
        self.begin_us += shift_us
        self._times = [times + shift_us for times in self._times]
        self._entries = [entry + shift_us for entry in self._entries]

    def append(self, group: Group, times_us: Integers) -> None:
        """Write a group whose frames, in the order in which they are shown, were taken at these times."""
        times = dict(zip(group.times.tolist(), times_us.tolist(), strict=True))
        data = _mux(group, [times[media] - self.begin_us for media in group.media_us], self._stream, self.delay_us)
        if self._size:
            data = data[_header_length(data) :]
        try:
            _write_all(self._descriptor, data)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
                os.lseek(self._descriptor, self._size, os.SEEK_SET)
            raise
        self._size += len(data)
        self._times.append(times_us)
        self._entries += [times[media] for media in group.entries()]

    def finish(self, end_us: int, reason: str, offset_us: int | None) -> Finished:
        """Close the file, which is not empty."""
        os.close(self._descriptor)
        times = np.concatenate(self._times)
        index = _index(self.begin_us, times, times - self.begin_us + self.delay_us, self._entries, self.delay_us)
        return Finished(
            self.file,
            index,
            end_us,
            self._stream.width,
            self._stream.height,
            self._stream.codec,
            reason,
            offset_us,
        )

    def discard(self) -> None:
        """Close the file and remove it."""
        os.close(self._descriptor)
        self.file.unlink(missing_ok=True)


def salvage(file: Path) -> Finished | None:
    """What a killed recorder left of a segment, cut after its last complete fragment; None if there is none.

    The last frame ends where the one after would have begun, at the pace of the frames before. Raises OSError.
    """
    with file.open("r+b") as handle:
        complete = _complete_length(handle)
        handle.truncate(complete)
    if not complete:
        return None
    ticks: list[int] = []
    keys: list[int] = []
    try:
        with av.open(f"file:{file}", options=READ_OPTIONS) as container:
            stream = container.streams.video[0]
            for packet in container.demux(stream):
                if packet.size and packet.pts is not None:
                    if packet.is_keyframe and (not ticks or packet.pts > max(ticks)):
                        keys.append(packet.pts)
                    ticks.append(packet.pts)
            width, height, codec = stream.codec_context.width, stream.codec_context.height, stream.codec_context.name
    except (FFmpegError, IndexError):
        return None
    if not ticks or not keys:
        return None
    begin = int(file.stem)
    delay = min(ticks)
    ordered = np.array(sorted(set(ticks)), dtype=np.int64)
    times = ordered - delay + begin
    pace = int(np.median(np.diff(times))) if len(times) > 1 else 1
    index = _index(begin, times, ordered, [key - delay + begin for key in keys], delay)
    name = {"libdav1d": "av1", "libvpx-vp9": "vp9"}.get(codec, codec)
    return Finished(file, index, int(times[-1]) + pace, width, height, name, "killed", None)


def _index(begin_us: int, times: Integers, ticks: Integers, entries_us: list[int], delay_us: int) -> FrameIndex:
    positions = np.searchsorted(times, entries_us)
    entry_ticks = np.array(entries_us, dtype=np.int64) - begin_us + delay_us
    return FrameIndex(times, ticks, positions.astype(np.int64), entry_ticks)


def _mux(group: Group, shown_us: list[int], stream: VideoSource, delay_us: int) -> bytes:
    """A group as a file of its own: a header and one fragment."""
    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format="mp4", options=_MUXER) as target:
            copy = target.add_stream_from_template(stream.stream, opaque=True)
            for packet, shown, decoded in zip(group.packets, shown_us, sorted(shown_us), strict=True):
                packet.stream = copy
                packet.time_base = _MICROSECOND
                packet.pts, packet.dts = shown + delay_us, decoded
                target.mux(packet)
    except (FFmpegError, ValueError) as error:
        raise SourceFailure("garbage", getattr(error, "strerror", None) or "") from None
    return buffer.getvalue()


def _header_length(data: bytes) -> int:
    length = 0
    for kind, end in _boxes(io.BytesIO(data)):
        if kind not in _HEADER:
            break
        length = end
    return length


def _complete_length(handle: io.BufferedRandom) -> int:
    """The length of a file up to the end of its last complete fragment; 0 if there is none."""
    size = os.fstat(handle.fileno()).st_size
    complete = 0
    for kind, end in _boxes(handle):
        if end > size:
            break
        if kind == b"mdat":
            complete = end
    return complete


def _boxes(handle: io.BytesIO | io.BufferedRandom) -> Iterator[tuple[bytes, int]]:
    """Kind and end of each box of a file, whether or not the file reaches so far."""
    at = 0
    while True:
        handle.seek(at)
        head = handle.read(16)
        if len(head) < 8:
            return
        length = int.from_bytes(head[:4])
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:])
        if length < 8:
            return
        at += length
        yield head[4:8], at


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
