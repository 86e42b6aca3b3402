"""Segment files from a video file: packets copied as they are, then decoded once as proof that they can be read."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from privid.ingest.errors import BadVideoFile
from privid.ingest.source import REMUX, Integers, Packets, demux, open_source, video_stream
from privid.video.decode import READ_OPTIONS

SEGMENT_US = 60_000_000
"""A segment is cut at the first clean key frame after so long."""

# A file that is cut off keeps every fragment that is complete; the index at its front makes seeking exact.
_MP4_OPTIONS = {"movflags": "frag_keyframe+empty_moov+default_base_moof+global_sidx"}
_MP4_CODECS = frozenset({"h264", "hevc", "mpeg4", "mjpeg", "vp9", "av1"})

NewFile = Callable[[str], Path]
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Written:
    """A segment file whose frames have all been decoded once.

    `source_ticks` of its frames in the imported file, and what a FrameIndex needs to know of the written one.
    """

    file: Path
    source_ticks: Integers
    ticks: Integers
    entries: Integers
    entry_ticks: Integers
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """Packets [first, last) of a source, and the timestamps that they get in a file of their own."""

    packets: Packets
    first: int
    last: int

    @property
    def ticks(self) -> Integers:
        return self.packets.ticks[self.first : self.last]

    @property
    def decode_ticks(self) -> Integers:
        """Decoding times, from 0: the presentation times in ascending order, as early as they can be."""
        ordered: Integers = np.sort(self.ticks)
        shifted: Integers = ordered - ordered[0]
        return shifted

    @property
    def presentation_ticks(self) -> Integers:
        """Presentation times, none before its packet's decoding time."""
        delay = int(np.max(np.sort(self.ticks) - self.ticks))
        shifted: Integers = self.ticks - np.min(self.ticks) + delay
        return shifted


def copy_segments(path: Path, packets: Packets, new_file: NewFile, advance: Advance) -> list[Written]:
    """Copy a file's packets into segment files and check each. `advance` is told of every frame that is checked.

    Raises BadVideoFile, OSError.
    """
    plans = [_Plan(packets, first, last) for first, last in pairwise((*_cuts(packets), len(packets)))]
    files = _copy(path, plans, new_file)
    return [_check(path, file, plan, advance) for file, plan in zip(files, plans, strict=True)]


def _cuts(packets: Packets) -> list[int]:
    """Positions of the packets that begin a segment."""
    length = SEGMENT_US / (packets.time_base * 1_000_000)
    cuts = [0]
    for position in np.flatnonzero(packets.clean).tolist():
        if packets.ticks[position] - packets.ticks[cuts[-1]] >= length:
            cuts.append(position)
    return cuts


def _copy(path: Path, plans: list[_Plan], new_file: NewFile) -> list[Path]:
    files: list[Path] = []
    with open_source(path) as source:
        stream = video_stream(source, path)
        packets = demux(source, stream, path)
        for _ in range(plans[0].packets.skipped):
            next(packets)
        for plan in plans:
            mp4 = plan.packets.codec in _MP4_CODECS
            file = new_file(".mp4" if mp4 else ".mkv")
            files.append(file)
            try:
                with av.open(str(file), "w", options=_MP4_OPTIONS if mp4 else {}) as target:
                    copy = target.add_stream_from_template(stream, opaque=True)
                    for decode_tick, tick in zip(plan.decode_ticks, plan.presentation_ticks, strict=True):
                        packet = next(packets)
                        packet.stream = copy
                        packet.time_base = plan.packets.time_base
                        packet.dts, packet.pts = int(decode_tick), int(tick)
                        target.mux(packet)
            except StopIteration:
                raise BadVideoFile(f"{path} changed while it was read: import it when it is complete") from None
            except (FFmpegError, ValueError) as error:
                if isinstance(error, OSError) and error.errno and error.errno < 200:
                    raise OSError(error.errno, error.strerror or "cannot write", str(file)) from None
                raise BadVideoFile(f"{path} cannot be copied into segments: {error}") from None
    return files


def _check(path: Path, file: Path, plan: _Plan, advance: Advance) -> Written:
    """Decode a segment file from its beginning and index it."""
    decoded: dict[int, bool] = {}  # timestamp in the file -> whether decoding can start there
    sizes: set[tuple[int, int]] = set()
    try:
        with av.open(f"file:{file}", options=READ_OPTIONS) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            time_base = stream.time_base
            assert time_base is not None
            for frame in container.decode(stream):
                if frame.pts is not None:
                    decoded[frame.pts] = bool(frame.key_frame) and frame.pict_type == av.video.frame.PictureType.I
                sizes.add((frame.width, frame.height))
                advance(1)
    except FFmpegError as error:
        raise BadVideoFile(f"{path} cannot be decoded: {error.strerror or error}") from None
    if any(later <= earlier for earlier, later in pairwise(decoded)):
        raise BadVideoFile(f"{path}: frames do not come in the order of their times: {REMUX.format(name=path.name)}")
    ratio = plan.packets.time_base / time_base
    ticks = np.array([_rescale(tick, ratio) for tick in plan.presentation_ticks.tolist()], dtype=np.int64)
    shown = plan.packets.shown[plan.first : plan.last]
    missing = [i for i, tick in enumerate(ticks.tolist()) if shown[i] and tick not in decoded]
    if missing:
        at = float((plan.ticks[missing[0]] - np.min(plan.packets.ticks)) * plan.packets.time_base)
        raise BadVideoFile(
            f"{path}: {len(missing)} frames cannot be decoded, the first {at:.3f} s from the beginning; the file is "
            "damaged or uses a feature that is not supported: convert it with ffmpeg -i "
            f"{path.name} -c:v libx264 out.mp4, and import that"
        )
    if len(sizes) != 1:
        different = " and ".join(f"{width}x{height}" for width, height in sorted(sizes))
        raise BadVideoFile(f"{path} changes its picture size ({different}): cut it there and import the parts")
    ordered = np.sort(ticks[shown])
    keys = plan.packets.keys[plan.first : plan.last] & shown
    entry_ticks = [tick for tick in ticks[keys].tolist() if decoded[tick]]
    # Decoding always starts at the first packet, even if an edit list hides it.
    entries = {0: int(ticks[0])}
    for tick in entry_ticks:
        entries.setdefault(bisect_right(ordered, tick) - 1, tick)
    width, height = sizes.pop()
    return Written(
        file,
        np.sort(plan.ticks[shown]),
        ordered,
        np.array(list(entries), dtype=np.int64),
        np.array(list(entries.values()), dtype=np.int64),
        width,
        height,
    )


def _rescale(tick: int, ratio: Fraction) -> int:
    """As libav rounds when it changes a time base: to the nearest, halves up."""
    return (2 * tick * ratio.numerator + ratio.denominator) // (2 * ratio.denominator)
