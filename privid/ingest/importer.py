"""Importing a video file as what a camera recorded at a given time, without re-encoding.

The time of a frame is the start plus its own timestamp in the file relative to the first frame's, rounded to the
nearest microsecond: nothing is counted in frames, so a variable rate stays what it was.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from privid.domain.units import SECOND
from privid.ingest.errors import BadVideoFile
from privid.ingest.segments import copy_segments
from privid.ingest.source import Packets, read_packets
from privid.video.catalog import Catalog, NewSegment
from privid.video.frame_index import FrameIndex, Integers
from privid.video.store import SegmentStore, segment_path

MAX_REPEAT = 10_000
_LAST_MOMENT_US = 7_258_118_400 * SECOND
"""2200, far from the limits of 64-bit integers: the language reads no moment behind it either."""

Progress = Callable[[int, int], None]
"""Called with the number of frames checked and their total."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import has added: frames and segments of all repetitions in [begin_us, end_us)."""

    camera: str
    begin_us: int
    end_us: int
    frames: int
    segments: int
    repetitions: int
    size_bytes: int
    width: int
    height: int
    codec: str


def import_file(
    catalog: Catalog,
    store: SegmentStore,
    path: Path,
    camera: str,
    start_us: int,
    repeat: int = 1,
    progress: Progress = lambda _done, _total: None,
) -> Imported:
    """Record a file `repeat` times in a row, from `start_us` on, all or nothing.

    Each repetition begins one nominal frame after the last frame of the one before; they share the bytes on disk.
    Leftovers of imports that were killed are removed first. `size_bytes` counts shared bytes once.
    Raises UnknownCamera, TimeConflict, BadVideoFile, StoreFailure, OSError.
    """
    camera = catalog.camera(camera).name
    if not 1 <= repeat <= MAX_REPEAT:
        raise BadVideoFile(f"a file can be repeated 1 to {MAX_REPEAT} times, not {repeat}")
    store.sweep(catalog.known_paths)
    packets = read_packets(path)
    clock = _Clock.of(packets, start_us)
    begin_us, end_us = start_us, clock.repetition_us(repeat)
    if end_us >= _LAST_MOMENT_US:
        raise BadVideoFile(f"{path} would last until after 2199: import it fewer times")
    catalog.require_free(camera, begin_us, end_us)
    checked = 0

    def advance(frames: int) -> None:
        nonlocal checked
        checked += frames
        progress(checked, len(packets))

    with store.staging() as staging:
        written = copy_segments(path, packets, staging.new_file, advance)
        prepared = [staging.prepare(camera, part.file) for part in written]
        files: dict[str, Path] = {}
        segments: list[NewSegment] = []
        for repetition in range(repeat):
            for part, stored, follower in zip(written, prepared, [*written[1:], None], strict=True):
                times = clock.times(part.source_ticks, repetition)
                if len(times) > 1 and np.diff(times).min() <= 0:
                    raise BadVideoFile(f"{path}: frames are less than a microsecond apart")
                name = segment_path(camera, int(times[0]), part.file.suffix)
                files[name] = stored.file
                segments.append(
                    NewSegment(
                        path=name,
                        end_us=clock.repetition_us(repetition + 1)
                        if follower is None
                        else int(clock.times(follower.source_ticks[:1], repetition)[0]),
                        index=FrameIndex(times, part.ticks, part.entries, part.entry_ticks),
                        width=part.width,
                        height=part.height,
                        codec=packets.codec,
                        size_bytes=stored.size_bytes,
                        end_reason="end of file" if follower is None else "cut",
                        seal=stored.seal,
                    )
                )
        size_bytes = sum(stored.size_bytes for stored in prepared)
        staging.publish(files, lambda: catalog.add_segments(camera, segments), catalog.known_paths)
    return Imported(
        camera=camera,
        begin_us=begin_us,
        end_us=end_us,
        frames=sum(len(segment.index) for segment in segments),
        segments=len(segments),
        repetitions=repeat,
        size_bytes=size_bytes,
        width=written[0].width,
        height=written[0].height,
        codec=packets.codec,
    )


@dataclass(frozen=True, slots=True)
class _Clock:
    """Timestamps of a file to wall-clock times; exact until the last rounding."""

    start_us: int
    first_tick: int
    tick_us: Fraction
    length_ticks: Fraction

    @classmethod
    def of(cls, packets: Packets, start_us: int) -> "_Clock":
        shown = packets.ticks[packets.shown]
        first, last = int(shown.min()), int(shown.max())
        return cls(start_us, first, packets.time_base * SECOND, last - first + packets.frame_ticks)

    def times(self, ticks: Integers, repetition: int) -> Integers:
        offset = repetition * self.length_ticks - self.first_tick
        return np.array([self._moment(tick + offset) for tick in ticks.tolist()], dtype=np.int64)

    def repetition_us(self, repetition: int) -> int:
        """When a repetition begins, and the one before ends."""
        return self._moment(repetition * self.length_ticks)

    def _moment(self, ticks: Fraction) -> int:
        return self.start_us + int(ticks * self.tick_us + Fraction(1, 2))
