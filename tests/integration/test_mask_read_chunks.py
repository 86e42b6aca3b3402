"""Masks and regions from the file to the sandbox's memory: decoded once, black where hidden, whatever the codec."""

import gc
import mmap
from collections import Counter
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from privid.database.connect import open_database
from privid.ingest.importer import import_file
from privid.testing.video import write_clip
from privid.video import frames as video_frames
from privid.video.catalog import Catalog
from privid.video.chunking import Chunk, chunks
from privid.video.decode import SegmentDecoder
from privid.video.frames import read_chunks
from privid.video.store import SegmentStore
from privid.video.views import views

START = 1_800_000_000_000_000
SIZE = (162, 98)
MASK = np.zeros((1, 98, 162), bool)
MASK[0, 11:40, 21:77] = True
REGIONS = np.ones((2, 98, 162), bool)
REGIONS[0, :, :80] = False
REGIONS[1, 30:61, 101:] = False


@pytest.fixture
def place(tmp_path):
    catalog = Catalog(open_database(tmp_path / "privid.sqlite3"))
    for camera in ("plaza", "twin"):
        catalog.add_camera(camera, created_us=START)
    return catalog, SegmentStore(tmp_path / "video")


def take(chunk):
    """The frames of a chunk as an array; gives its memory back."""
    with mmap.mmap(chunk.memory.fd, 0, prot=mmap.PROT_READ) as view:
        frames = np.frombuffer(view[:], np.uint8).reshape(len(chunk.times_us), chunk.height, chunk.width, 3)
    chunk.memory.reuse()
    return frames


def write_lossless(path, planes):
    """A lossless clip of frames given as planes Y, U, V."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(10), options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.gop_size = 5
        for i, values in enumerate(planes):
            frame = av.VideoFrame(*SIZE, "yuv420p")
            for plane, value in zip(frame.planes, values, strict=True):
                rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
                rows[:, : plane.width] = value
            frame.pts, frame.time_base = i, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("resize", [None, (80, 48), (301, 77)])
def test_two_videos_that_differ_in_hidden_pixels_only_are_delivered_alike(place, tmp_path, resize):
    rng = np.random.default_rng(7)
    width, height = SIZE
    hidden = [MASK[0] | REGIONS[0], MASK[0] | REGIONS[1]]
    nowhere = hidden[0] & hidden[1]  # hidden in both views
    blocks = nowhere.reshape(height // 2, 2, width // 2, 2).all(axis=(1, 3))
    first, second = [], []
    for _ in range(12):
        y, u, v = (rng.integers(0, 256, (h, w)) for h, w in ((height, width), *[(height // 2, width // 2)] * 2))
        first.append((y, u, v))
        second.append(
            (
                np.where(nowhere, (y + rng.integers(1, 256, y.shape)) % 256, y),
                *(np.where(blocks, (c + rng.integers(1, 256, c.shape)) % 256, c) for c in (u, v)),
            )
        )
    import_file(*place, write_lossless(tmp_path / "a.mp4", first), "plaza", START)
    import_file(*place, write_lossless(tmp_path / "b.mp4", second), "twin", START)
    shown = views([MASK], REGIONS)
    grid = chunks(START, START + 1_200_000, 400_000, 400_000)

    def read(camera, views):
        found = read_chunks(*place, camera, grid, views=views, resize=resize)
        return [(chunk.index, chunk.view, take(chunk)) for chunk in found]

    one, two = read("plaza", shown), read("twin", shown)
    assert [key[:2] for key in one] == [(i, j) for i in range(3) for j in range(2)]
    assert all(np.array_equal(a[2], b[2]) for a, b in zip(one, two, strict=True))
    # The two videos are not alike: unmasked they differ.
    assert not all(
        np.array_equal(a[2], b[2]) for a, b in zip(read("plaza", (None,)), read("twin", (None,)), strict=True)
    )


def test_a_chunk_is_decoded_once_for_all_regions(place, tmp_path, monkeypatch):
    import_file(*place, write_clip(tmp_path / "a.mp4", 20, size=SIZE), "plaza", START)
    asked = []
    real = SegmentDecoder.read

    def counted(self, positions):
        asked.extend(positions)
        return real(self, positions)

    monkeypatch.setattr(SegmentDecoder, "read", counted)
    grid = chunks(START, START + 2_000_000, 1_000_000, 1_000_000)
    found = list(read_chunks(*place, "plaza", grid, views=views([], REGIONS)))
    assert len(found) == 4
    assert Counter(asked) == Counter(range(20))
    assert [(chunk.index, chunk.view, chunk.width, chunk.height) for chunk in found] == [
        (0, 0, 80, 98),
        (0, 1, 62, 32),
        (1, 0, 80, 98),
        (1, 1, 62, 32),
    ]
    for chunk in found:
        assert take(chunk).any()


def test_regions_show_what_the_whole_picture_shows_there(place, tmp_path):
    import_file(*place, write_clip(tmp_path / "a.mp4", 10, size=SIZE), "plaza", START)
    window = [Chunk(0, START, START + 1_000_000)]
    (whole,) = read_chunks(*place, "plaza", window)
    west, east = read_chunks(*place, "plaza", window, views=views([], REGIONS))
    pixels = take(whole)
    # Swscale may round differently at another width.
    assert np.abs(take(west).astype(int) - pixels[:, :, :80]).max() <= 2
    shown = take(east)
    assert not shown[:, :, 0].any()  # column 100, whose colour column 101 has a part in
    assert not shown[:, :, 1].any()
    assert np.abs(shown[:, 0:30, 2:].astype(int) - pixels[:, 30:60, 102:]).max() <= 2
    assert not shown[:, 30:].any()


def test_segments_of_another_size_are_black_under_a_mask(place, tmp_path):
    import_file(*place, write_clip(tmp_path / "a.mp4", 10, size=SIZE), "plaza", START)
    import_file(*place, write_clip(tmp_path / "b.mp4", 10, size=(320, 192)), "plaza", START + 1_000_000)
    window = [Chunk(0, START, START + 2_000_000)]
    for resize in (None, (64, 48)):
        (chunk,) = read_chunks(*place, "plaza", window, views=views([MASK], None), resize=resize)
        frames = take(chunk)
        assert len(frames) == 20
        assert frames[:10].any(axis=(1, 2, 3)).all()
        assert not frames[10:].any()


@pytest.mark.parametrize(("codec", "name"), [("mjpeg", "a.mkv"), ("libx265", "a.mp4"), ("libvpx-vp9", "a.webm")])
def test_whatever_the_codec_the_mask_is_black_and_the_rest_is_there(place, tmp_path, codec, name):
    import_file(*place, write_clip(tmp_path / name, 10, size=SIZE, codec=codec), "plaza", START)
    (chunk,) = read_chunks(*place, "plaza", [Chunk(0, START, START + 1_000_000)], views=views([MASK], None))
    frames = take(chunk)
    assert not frames[:, MASK[0]].any()
    assert frames[:, 60:].any(axis=(2, 3)).all()


@pytest.mark.parametrize(("options", "rows"), [({}, [40, 41]), ({"x264-params": "tff=1"}, [40, 41, 42, 43])])
def test_interlaced_frames_share_colour_between_every_other_row(place, tmp_path, options, rows):
    """Trap: there the colour of row 42 is that of row 40 as well, and rows 40 and 41 are no block of their own."""
    clip = write_clip(tmp_path / "a.mp4", 10, options=options)
    with av.open(str(clip)) as container:
        assert next(container.decode(video=0)).interlaced_frame == bool(options)
    import_file(*place, clip, "plaza", START)
    mask = np.zeros((1, 96, 160), bool)
    mask[0, 40, 100] = True
    (chunk,) = read_chunks(*place, "plaza", [Chunk(0, START, START + 1_000_000)], views=views([mask], None))
    hidden = np.zeros((96, 160), bool)
    hidden[rows, 100:102] = True
    frames = take(chunk)
    assert not frames[:, hidden].any()
    assert frames[:, 36:48, 96:106][:, ~hidden[36:48, 96:106]].any(axis=-1).all()


def test_memory_that_is_used_again_keeps_nothing_of_another_view(place, tmp_path):
    """Trap: two regions of one size, one of them black in a chunk, must not show what the other one showed."""
    import_file(*place, write_clip(tmp_path / "a.mp4", 20, size=SIZE), "plaza", START)
    import_file(*place, write_clip(tmp_path / "b.mp4", 10, size=(320, 192)), "plaza", START + 2_000_000)
    halves = np.ones((2, 98, 162), bool)
    halves[0, :, :80] = halves[1, :, 80:160] = False
    grid = chunks(START, START + 3_000_000, 1_000_000, 1_000_000)
    for chunk in read_chunks(*place, "plaza", grid, views=views([], halves)):
        assert take(chunk).any() == (chunk.index < 2)


def open_memory():
    gc.collect()
    names = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of the listing itself
            names.append(str(descriptor.readlink()))
    return sum("memfd" in name for name in names)


def test_no_memory_is_left_however_reading_ends(place, tmp_path, monkeypatch):
    import_file(*place, write_clip(tmp_path / "a.mp4", 20, size=SIZE), "plaza", START)
    grid = chunks(START, START + 2_000_000, 1_000_000, 1_000_000)
    before = open_memory()
    reading = read_chunks(*place, "plaza", grid, views=views([], REGIONS))
    take(next(reading))  # the second region's memory waits in the reader
    reading.close()
    assert open_memory() == before

    made = []
    real = video_frames.FramePool.take

    def runs_out(self, count, height, width):
        if made:
            raise OSError("no memory left")
        made.append(real(self, count, height, width))
        return made[0]

    monkeypatch.setattr(video_frames.FramePool, "take", runs_out)
    with pytest.raises(OSError, match="no memory"):
        next(read_chunks(*place, "plaza", grid, views=views([], REGIONS)))
    assert open_memory() == before
    assert made[0].fd < 0  # that of the first region
