"""The reader against a full decode of the same clip by plain PyAV: the same pixels, the same times."""

import gc
import mmap
import os
from collections import Counter
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from privid.database.connect import open_database
from privid.ingest import segments as ingest_segments
from privid.ingest.importer import import_file
from privid.testing.video import read_number, write_clip
from privid.video.catalog import Catalog
from privid.video.chunking import Chunk, chunks
from privid.video.errors import StoreFailure, UnknownCamera
from privid.video.frames import read_chunks
from privid.video.store import SegmentStore

START = 1_800_000_000_000_000
RNG = np.random.default_rng(20261201)
IRREGULAR_MS = np.cumsum(RNG.integers(3, 300, 80)).tolist()

ENCODINGS = {
    "h264, no B-frames": ("a.mp4", {}),
    "h264, B-frames, long GOP": ("a.mp4", {"b_frames": 3, "gop": 40}),
    "h264, one GOP": ("a.mkv", {"b_frames": 2, "gop": 1000}),
    "h264, open GOP": ("a.mp4", {"b_frames": 3, "gop": 10, "options": {"x264-params": "open-gop=1"}}),
    "h264, transport stream": ("a.ts", {"b_frames": 2}),
    "h264, fragmented": ("a.mp4", {"b_frames": 2, "container_options": {"movflags": "frag_keyframe+empty_moov"}}),
    "h264, 29.97": ("a.mov", {"fps": Fraction(30000, 1001), "b_frames": 2, "gop": 30}),
    "h264, variable rate": ("a.mp4", {"b_frames": 3, "times_ms": IRREGULAR_MS, "frames": 80}),
    "h264, variable rate, Matroska": ("a.mkv", {"b_frames": 2, "times_ms": IRREGULAR_MS, "frames": 80}),
    "h265, open GOP": ("a.mp4", {"codec": "libx265", "b_frames": 3, "options": {"x265-params": "log-level=none"}}),
    "mpeg4, B-frames": ("a.mp4", {"codec": "mpeg4", "b_frames": 2}),
    "mpeg4, AVI": ("a.avi", {"codec": "mpeg4"}),
    "mjpeg": ("a.mkv", {"codec": "mjpeg"}),
    "vp9": ("a.webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}),
    "mpeg2": ("a.mpg", {"codec": "mpeg2video", "fps": Fraction(25), "b_frames": 2}),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    # Short segments, so that windows cross from one to the next.
    monkeypatch.setattr(ingest_segments, "SEGMENT_US", 2_000_000)
    catalog = Catalog(open_database(tmp_path / "privid.sqlite3"))
    catalog.add_camera("plaza", created_us=START)
    return catalog, SegmentStore(tmp_path / "video")


def take(chunk):
    """The frames of a chunk as an array; gives its memory back."""
    shape = (len(chunk.times_us), chunk.height, chunk.width, 3)
    if chunk.memory is None:
        assert not chunk.times_us
        return np.empty(shape, np.uint8)
    try:
        with mmap.mmap(chunk.memory.fd, 0, prot=mmap.PROT_READ) as view:
            return np.frombuffer(view[:], np.uint8).reshape(shape)
    finally:
        chunk.memory.reuse()


def full_decode(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        times = [round((frame.pts - frames[0].pts) * stream.time_base * 1_000_000) for frame in frames]
        return np.stack([frame.to_ndarray(format="bgr24") for frame in frames]), np.array(times) + START


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_exact_frames_and_times_of_any_window(place, tmp_path, encoding):
    name, options = ENCODINGS[encoding]
    clip = write_clip(tmp_path / name, **{"frames": 60, **options})
    pixels, times = full_decode(clip)
    end = import_file(*place, clip, "plaza", START).end_us
    assert place[0].frame_times("plaza", 0, 2 * START).tolist() == times.tolist()

    grid = chunks(START - 1_400_000, end + 1_400_000, 700_000, 700_000)
    in_order = list(read_chunks(*place, "plaza", grid))
    seen = np.concatenate([take(chunk) for chunk in in_order])
    assert np.array_equal(seen, pixels)
    assert [t for chunk in in_order for t in chunk.times_us] == times.tolist()

    windows = [Chunk(i, int(b), int(b) + 900_000) for i, b in enumerate(RNG.integers(START - 500_000, end, 25))]
    for window, chunk in zip(windows, read_chunks(*place, "plaza", windows), strict=True):
        inside = (times >= window.begin_us) & (times < window.end_us)
        assert (chunk.index, chunk.begin_us, chunk.end_us) == (window.index, window.begin_us, window.end_us)
        assert chunk.times_us == tuple(times[inside].tolist())
        assert np.array_equal(take(chunk), pixels[inside])


def test_a_frame_belongs_to_the_chunk_that_begins_with_it(place, tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 10)
    import_file(*place, clip, "plaza", START)
    grid = [Chunk(0, START + 100_000, START + 200_000), Chunk(1, START + 200_000, START + 200_001)]
    found = []
    for chunk in read_chunks(*place, "plaza", grid):
        found.append(chunk.times_us)
        take(chunk)
    assert found == [(START + 100_000,), (START + 200_000,)]


def test_fewer_frames(place, tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 40, b_frames=2)
    import_file(*place, clip, "plaza", START)
    grid = chunks(START, START + 4_000_000, 1_000_000, 1_000_000)
    numbers = [
        [read_number(frame) for frame in take(chunk)]
        for chunk in read_chunks(*place, "plaza", grid, fps=Fraction(5, 2))
    ]
    assert numbers == [[0, 4, 8], [10, 14, 18], [20, 24, 28], [30, 34, 38]]


def test_smaller_frames(place, tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 10)
    pixels, _ = full_decode(clip)
    import_file(*place, clip, "plaza", START)
    (chunk,) = read_chunks(*place, "plaza", [Chunk(0, START, START + 1_000_000)], resize=(75, 41))
    small = take(chunk)
    assert small.shape == (10, 41, 75, 3)
    # An average, not a sample: each channel keeps its mean.
    assert np.abs(small.mean(axis=(1, 2)) - pixels.mean(axis=(1, 2))).max() < 2


def test_segments_of_different_sizes_come_in_one_size(place, tmp_path):
    import_file(*place, write_clip(tmp_path / "a.mp4", 10), "plaza", START)
    import_file(*place, write_clip(tmp_path / "b.mkv", 10, size=(320, 192), codec="mjpeg"), "plaza", START + 1_000_000)
    (chunk,) = read_chunks(*place, "plaza", [Chunk(0, START, START + 2_000_000)])
    frames = take(chunk)
    assert frames.shape == (20, 96, 160, 3)
    (large,) = read_chunks(*place, "plaza", [Chunk(0, START, START + 2_000_000)], resize=(320, 192))
    assert take(large).shape == (20, 192, 320, 3)


def test_a_chunk_without_frames_has_no_memory_but_a_size(place, tmp_path):
    import_file(*place, write_clip(tmp_path / "a.mp4", 10), "plaza", START)
    (chunk,) = read_chunks(*place, "plaza", [Chunk(7, 0, 1_000_000)])
    assert chunk.memory is None
    assert (chunk.index, chunk.times_us, chunk.height, chunk.width) == (7, (), 96, 160)


def test_a_camera_without_video(place):
    (chunk,) = read_chunks(*place, "plaza", [Chunk(0, 0, 1)], resize=(64, 32))
    assert (chunk.memory, chunk.times_us, chunk.height, chunk.width) == (None, (), 32, 64)
    with pytest.raises(UnknownCamera):
        next(read_chunks(*place, "bridge", [Chunk(0, 0, 1)]))


def open_files():
    gc.collect()
    names = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of the listing itself
            names.append(str(descriptor.readlink()))
    return names


def test_no_descriptor_is_left_however_reading_ends(place, tmp_path):
    end = import_file(*place, write_clip(tmp_path / "a.mp4", 60), "plaza", START, 2).end_us
    grid = chunks(START, end, 500_000, 500_000)

    others = Counter(open_files())

    def leftover():
        new = Counter(open_files()) - others
        return [name for name in new.elements() if "video" in name or "memfd" in name]

    for chunk in read_chunks(*place, "plaza", grid):
        take(chunk)
    assert leftover() == []
    reading = read_chunks(*place, "plaza", grid)
    for _ in range(7):
        take(next(reading))
    assert len(leftover()) >= 1
    reading.close()
    assert leftover() == []

    def broken():
        yield grid[0]
        raise RuntimeError("the schedule failed")

    reading = read_chunks(*place, "plaza", broken())
    take(next(reading))
    with pytest.raises(RuntimeError, match="schedule"):
        next(reading)
    assert leftover() == []


def test_frames_that_cannot_be_decoded_are_black_and_counted_all_the_same(place, tmp_path):
    clip = write_clip(tmp_path / "a.mkv", 60, codec="mjpeg")
    imported = import_file(*place, clip, "plaza", START)
    segment = place[0].segments("plaza", START, imported.end_us)[1]
    path = place[1].path(segment.path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = b"\0" * 20_000
    path.write_bytes(data)

    def read():
        return [
            (chunk.times_us, take(chunk))
            for chunk in read_chunks(*place, "plaza", chunks(START, imported.end_us, 1_000_000, 1_000_000))
        ]

    first, again = read(), read()
    assert [len(times) for times, _ in first] == [10] * 6
    black = [int((~frames.any(axis=(1, 2, 3))).sum()) for _, frames in first]
    assert sum(black) > 0
    assert black[:2] == [0, 0]
    assert black[4:] == [0, 0]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(first, again, strict=True))


def test_a_segment_cut_short_gives_black_frames(place, tmp_path):
    imported = import_file(*place, write_clip(tmp_path / "a.mp4", 40, gop=10), "plaza", START)
    last = place[0].segments("plaza", START, imported.end_us)[-1]
    path = place[1].path(last.path)
    os.truncate(path, path.stat().st_size * 2 // 3)
    found = list(read_chunks(*place, "plaza", [Chunk(0, START, imported.end_us)]))
    frames = take(found[0])
    assert len(frames) == 40
    assert not frames[-1].any()
    assert frames[:20].any(axis=(1, 2, 3)).all()


def test_a_segment_file_that_is_gone_is_a_failure_of_the_system(place, tmp_path):
    imported = import_file(*place, write_clip(tmp_path / "a.mp4", 10), "plaza", START)
    place[1].path(place[0].segments("plaza", START, imported.end_us)[0].path).unlink()
    before = open_files()
    with pytest.raises(StoreFailure, match="cannot open the segment"):
        list(read_chunks(*place, "plaza", [Chunk(0, START, imported.end_us)]))
    assert [name for name in open_files() if "memfd" in name and name not in before] == []
