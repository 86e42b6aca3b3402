"""A camera's recorded video to tracks: detected block by block, each kept on disk, so that a study can be stopped and
go on, and a longer one begins with what an earlier one found.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privid.domain.units import SECOND
from privid.persistence.cache import load_detections, save_detections
from privid.persistence.detect import Detections, Detector, detect, new_tracker
from privid.persistence.returns import BINS, PARTS, Appearance
from privid.persistence.tracks import Tracks
from privid.video.catalog import Catalog
from privid.video.chunking import Chunk, chunks
from privid.video.frames import read_chunks
from privid.video.store import SegmentStore

BLOCK_US = 600 * SECOND
"""A block begins on a multiple of it, so that studies of overlapping times share blocks."""
HEIGHT = 360
"""Frames are reduced to at most this height."""
_CHUNK_US = 10 * SECOND
_SAMPLES = 31
"""Pictures from which a background is taken, over the block and half a block on either side."""
_FORGET_US = 10 * SECOND
"""After a gap in the video of this length tracks begin anew."""

Frame = npt.NDArray[np.uint8]
Report = Callable[[int, int], None]
"""Called with how many of how many blocks are done."""


class NothingRecorded(Exception):
    """No video in that time."""


def study(
    catalog: Catalog,
    store: SegmentStore,
    camera: str,
    begin_us: int,
    end_us: int,
    detector: Detector,
    fps: Fraction,
    folder: Path,
    report: Report,
) -> tuple[Tracks, Appearance]:
    """Tracks of [begin_us, end_us), and what each looks like; blocks are kept in `folder`.

    Raises NothingRecorded, UnknownCamera, StoreFailure, OSError.
    """
    size = catalog.frame_size(camera)
    covered = [span for span in catalog.coverage(camera, begin_us, end_us) if span.state == "covered"]
    if size is None or not covered:
        raise NothingRecorded(f"no video of {camera} in that time")
    reader = _Reader(catalog, store, camera, _reduced(size))
    blocks = [
        (at, at + BLOCK_US)
        for at in range(begin_us // BLOCK_US * BLOCK_US, end_us, BLOCK_US)
        if any(span.from_us < at + BLOCK_US and at < span.to_us for span in covered)
    ]
    found = []
    for done, block in enumerate(blocks):
        report(done, len(blocks))
        found.append(_block(reader, detector, fps, block, folder))
    report(len(blocks), len(blocks))
    return track(found, (begin_us, end_us), _reduced(size), size, fps)


class _Reader:
    """A camera's frames at one size."""

    def __init__(self, catalog: Catalog, store: SegmentStore, camera: str, size: tuple[int, int]) -> None:
        self.size = size
        self._catalog, self._store, self._camera = catalog, store, camera

    def key(self, begin_us: int, end_us: int) -> list[tuple[int, int, int]]:
        """What the frames of an interval depend on."""
        found = self._catalog.segments(self._camera, begin_us, end_us)
        return [(segment.id, segment.begin_us, segment.end_us) for segment in found]

    def frames(self, wanted: tuple[Chunk, ...], fps: Fraction) -> Iterator[tuple[int, Frame]]:
        """Frames of chunks with their times."""
        for chunk in read_chunks(self._catalog, self._store, self._camera, wanted, fps=fps, resize=self.size):
            if chunk.memory is None:
                continue
            size = chunk.height * chunk.width * 3
            try:
                for number, time_us in enumerate(chunk.times_us):
                    content = np.frombuffer(os.pread(chunk.memory.fd, size, number * size), np.uint8)
                    yield time_us, content.reshape(chunk.height, chunk.width, 3)
            finally:
                chunk.memory.close()


def _reduced(size: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    return (width, height) if height <= HEIGHT else (max(2, width * HEIGHT // height // 2 * 2), HEIGHT)


def _block(reader: _Reader, detector: Detector, fps: Fraction, block: tuple[int, int], folder: Path) -> Detections:
    begin, end = block
    around = (begin - BLOCK_US // 2, end + BLOCK_US // 2)
    key = json.dumps([detector.name, str(fps), reader.size, block, reader.key(*around)])
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()}.npz"
    kept = load_detections(path)
    if kept is not None:
        return kept
    step = (around[1] - around[0]) // _SAMPLES
    spread = tuple(Chunk(i, around[0] + i * step, around[0] + i * step + SECOND) for i in range(_SAMPLES))
    detector.begin([frame for _, frame in reader.frames(spread, Fraction(1))])
    found = detect(detector, reader.frames(chunks(begin, end, _CHUNK_US, _CHUNK_US), fps))
    save_detections(found, path)
    return found


def track(
    found: Sequence[Detections],
    window: tuple[int, int],
    reduced: tuple[int, int],
    size: tuple[int, int],
    fps: Fraction,
) -> tuple[Tracks, Appearance]:
    """Detections, in the order of time, joined into tracks in pixels of `size`; and the looks of the tracks."""
    from supervision import Detections as Given

    tracker, last_us, base = new_tracker(float(fps)), window[0], 0
    numbers, rows = list[int](), list[int]()
    everything = np.concatenate([np.zeros(0, np.int64), *(block.time_us for block in found)])
    corners = np.concatenate([np.zeros((0, 4), np.float32), *(block.xyxy for block in found)])
    scores = np.concatenate([np.zeros(0, np.float32), *(block.confidence for block in found)])
    looks = np.concatenate([np.zeros((0, BINS), np.uint8), *(block.looks for block in found)])
    frames = np.concatenate([np.zeros(0, np.int64), *(block.frames_us for block in found)])
    frames = frames[(frames >= window[0]) & (frames < window[1])]
    for time_us in frames.tolist():
        if time_us - last_us > _FORGET_US:
            tracker, base = new_tracker(float(fps)), max(numbers, default=-1) + 1
        last_us = time_us
        first, stop = np.searchsorted(everything, [time_us, time_us + 1])
        given = Given(
            corners[first:stop], confidence=scores[first:stop], class_id=np.zeros(stop - first, int),
            data={"row": np.arange(first, stop)},
        )  # fmt: skip
        tracked = tracker.update(given, timestamp=(time_us - window[0]) / SECOND)
        if len(tracked):
            named = np.asarray(tracked.tracker_id) >= 0  # the others are not yet seen twice
            numbers.extend((np.asarray(tracked.tracker_id)[named] + base).tolist())
            rows.extend(np.asarray(tracked.data["row"])[named].tolist())
    row = np.array(rows, np.int64)
    x0, y0, x1, y1 = (corners[row] * (np.array([size[0] / reduced[0], size[1] / reduced[1]] * 2))).astype(np.float32).T
    step = round(SECOND / fps)
    number = np.array(numbers, np.int32)
    order = np.lexsort((everything[row], number))
    tracks = Tracks(number, everything[row], x0, y0, x1, y1, scores[row], *size, *window, step)
    return tracks, _parts(tracks, looks[row[order]])


def _parts(tracks: Tracks, looks: npt.NDArray[np.uint8]) -> Appearance:
    """Mean histograms of the parts of each track; `looks` in the order of the tracks' rows."""
    made = np.zeros((len(tracks.spans()[0]), PARTS, BINS), np.float32)
    for one, (_, rows) in enumerate(tracks.each()):
        ends = np.linspace(rows.start, rows.stop, PARTS + 1).astype(int)
        for part, (begin, end) in enumerate(pairwise(ends.tolist())):
            mean = looks[begin : max(end, begin + 1)].mean(axis=0)
            made[one, part] = mean / max(float(mean.sum()), 1.0)
    return made
