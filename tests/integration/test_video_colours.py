"""Frames in the colour that a bundle's manifest asks for: the decoder's own conversion, and black where hidden."""

import io
import json
import mmap
import subprocess
import sys
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Interpolation

from privid.database.connect import open_database
from privid.ingest.importer import import_file
from privid.testing.video import write_clip
from privid.video.catalog import Catalog
from privid.video.chunking import Chunk, chunks
from privid.video.convert import BLACK
from privid.video.frames import read_chunks
from privid.video.store import SegmentStore
from privid.video.views import views
from workers import wire
from workers.host.feeder import Slot
from workers.host.pool import ExecutableSpec, LocalPool

START = 1_800_000_000_000_000
WIDTH, HEIGHT = 160, 96
COLOURS = tuple(BLACK)
MASK = np.zeros((1, HEIGHT, WIDTH), bool)
MASK[0, 11:70, 21:77] = True
CLIPS = {
    "H.264": ("a.mp4", {"b_frames": 3}),
    "H.264, BT.709": ("a.mp4", {"options": {"colorspace": "bt709", "color_range": "tv"}}),
    "H.264, full range": ("a.mp4", {"options": {"colorspace": "smpte170m", "color_range": "pc"}}),
    "H.265": ("a.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none"}}),
    "motion JPEG": ("a.mkv", {"codec": "mjpeg"}),
}
SUMS = """
def process(chunk):
    hidden = chunk.frames[:, 20:60, 30:70].reshape(-1, 3)
    first, second, third = (int(value) for value in hidden.sum(axis=0))
    return {"colour": chunk.colour, "first": first, "second": second, "third": third, "whole": int(chunk.frames.sum())}
"""
TABLE = wire.TableSpec(
    (
        wire.ColumnSpec("colour", "STRING", "-"),
        *(wire.ColumnSpec(name, "NUMBER", -1) for name in ("first", "second", "third", "whole")),
    ),
    1,
)


@pytest.fixture
def place(tmp_path):
    catalog = Catalog(open_database(tmp_path / "privid.sqlite3"))
    catalog.add_camera("plaza", created_us=START)
    return catalog, SegmentStore(tmp_path / "video")


def take(chunk):
    """The frames of a chunk as an array; closes its memory."""
    with mmap.mmap(chunk.memory.fd, 0, prot=mmap.PROT_READ) as view:
        frames = np.frombuffer(view[:], np.uint8).reshape(len(chunk.times_us), chunk.height, chunk.width, 3)
    chunk.memory.close()
    return frames


def converted(path, colour, size=(WIDTH, HEIGHT)):
    """Every frame as PyAV converts it by itself."""
    scaling = {"width": size[0], "height": size[1], "interpolation": Interpolation.BILINEAR}
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    if colour != "yuv":
        return np.stack([frame.reformat(format=f"{colour}24", **scaling).to_ndarray() for frame in frames])
    scaling["dst_color_range"] = ColorRange.JPEG
    planes = [frame.reformat(format="yuv444p", **scaling).to_ndarray() for frame in frames]  # (3, height, width)
    return np.stack(planes).transpose(0, 2, 3, 1)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("clip", CLIPS)
def test_every_pixel_is_that_of_the_decoders_own_conversion(place, tmp_path, clip, colour):
    name, options = CLIPS[clip]
    path = write_clip(tmp_path / name, 24, **options)
    import_file(*place, path, "plaza", START)
    window = [Chunk(0, START, START + 2_400_000)]
    (chunk,) = read_chunks(*place, "plaza", window, colour=colour)
    assert np.array_equal(take(chunk), converted(path, colour))
    (small,) = read_chunks(*place, "plaza", window, resize=(75, 41), colour=colour)
    assert np.array_equal(take(small), converted(path, colour, (75, 41)))


def test_the_colours_show_the_same_picture(place, tmp_path):
    import_file(*place, write_clip(tmp_path / "a.mp4", 5), "plaza", START)
    window = [Chunk(0, START, START + 500_000)]
    bgr, rgb, yuv = (take(next(read_chunks(*place, "plaza", window, colour=colour))).astype(int) for colour in COLOURS)
    assert np.array_equal(bgr[..., ::-1], rgb)
    red, green, blue = np.moveaxis(rgb, -1, 0)
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue
    inside = (rgb > 0).all(axis=-1) & (rgb < 255).all(axis=-1)  # where RGB could hold what the camera recorded
    assert inside.mean() > 0.5
    # BGR takes the colour of the block that a pixel lies in, YUV one between the blocks.
    assert np.abs(yuv[..., 0] - brightness)[inside].mean() < 2
    assert np.abs(yuv[..., 1] - (128 + 0.564 * (blue - brightness)))[inside].mean() < 3
    assert np.abs(yuv[..., 2] - (128 + 0.713 * (red - brightness)))[inside].mean() < 3


@pytest.mark.parametrize("colour", COLOURS)
def test_frames_that_cannot_be_decoded_or_shown_are_black(place, tmp_path, colour):
    imported = import_file(*place, write_clip(tmp_path / "a.mp4", 40, gop=10), "plaza", START)
    (segment,) = place[0].segments("plaza", START, imported.end_us)
    path = place[1].path(segment.path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    window = [Chunk(0, START, imported.end_us)]
    frames = take(next(read_chunks(*place, "plaza", window, colour=colour)))
    assert (frames[-1] == BLACK[colour]).all()
    assert (frames[0] != BLACK[colour]).any()
    other_size = views([np.zeros((1, HEIGHT + 2, WIDTH), bool)], None)
    assert (take(next(read_chunks(*place, "plaza", window, views=other_size, colour=colour))) == BLACK[colour]).all()


def bundle_in(colour: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("privid.toml", f'entry = "main.py"\ncolour = "{colour}"\n')
        archive.writestr("main.py", SUMS)
    return content.getvalue()


@pytest.mark.parametrize("colour", COLOURS)
def test_a_guest_that_sums_sees_constants_under_a_mask(place, tmp_path, colour):
    path = write_clip(tmp_path / "a.mp4", 20)
    import_file(*place, path, "plaza", START)
    spec = ExecutableSpec("", bundle_in(colour), TABLE, 20_000_000)
    assert spec.colour == colour
    shown = views([MASK], None)
    rows: dict[int, tuple[wire.Row, ...]] = {}
    total: dict[int, int] = {}

    def slots():
        grid = chunks(START, START + 2_000_000, 500_000, 500_000)
        for chunk in read_chunks(*place, "plaza", grid, views=shown, colour=spec.colour):
            with mmap.mmap(chunk.memory.fd, 0, prot=mmap.PROT_READ) as view:
                total[chunk.index] = int(np.frombuffer(view[:], np.uint8).sum())
            times = chunk.times_us
            shape = (len(times), chunk.height, chunk.width, 3)
            yield Slot(chunk.index, chunk.memory, *shape, times, chunk.begin_us, chunk.end_us, "c", "", 10.0, colour)

    with LocalPool(spec, "open", (0,)) as pool:
        pool.run(slots(), 4, lambda index, got: rows.update({index: got}))
    pixels = 5 * 40 * 40
    constants = tuple(float(pixels * value) for value in BLACK[colour])
    assert {row[:4] for (row,) in rows.values()} == {(colour, *constants)}
    assert {index: row[4] for index, (row,) in rows.items()} == total
    assert len(set(total.values())) == 4


@pytest.mark.parametrize("command", ["try", "run-local"])
def test_trying_gives_the_frames_that_the_manifest_asks_for(tmp_path, command):
    clip = write_clip(tmp_path / "street.mp4", 20)
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums" / "privid.toml").write_text('entry = "main.py"\ncolour = "yuv"\n')
    (tmp_path / "sums" / "main.py").write_text(SUMS)
    (tmp_path / "sums.sql").write_text(
        "SPLIT street BEGIN 2026-09-01T13:00:00Z END 2026-09-01T14:00:00Z BY TIME 2 sec INTO c;"
        "PROCESS c USING 'sums' TIMEOUT 5 sec PRODUCING 1 ROWS WITH SCHEMA"
        ' (colour:STRING="-", first:NUMBER=-1, whole:NUMBER=-1) INTO t; SELECT COUNT(*) FROM t;'
    )
    cli = Path(sys.executable).with_name("privid")
    arguments = [str(cli), command, "sums.sql", "--video", str(clip), "--json"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ((chunk,),) = (table["chunks"] for table in json.loads(done.stdout)["tables"])
    (row,) = chunk["rows"]
    pixels = converted(clip, "yuv")
    assert (row["colour"], row["whole"]) == ("yuv", int(pixels.sum()))
    assert row["first"] == int(pixels[:, 20:60, 30:70, 0].sum())
