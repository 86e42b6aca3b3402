"""Importing files: exact times, all or nothing, and every file that is no good in one sentence."""

import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from privid.database.connect import open_database
from privid.ingest import importer
from privid.ingest import segments as ingest_segments
from privid.ingest.errors import BadVideoFile
from privid.ingest.importer import import_file
from privid.ingest.source import _require_one_clock
from privid.testing.video import picture, write_clip
from privid.video.catalog import Catalog
from privid.video.errors import TimeConflict, UnknownCamera
from privid.video.store import SegmentStore

START = 1_800_000_000_000_000


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(ingest_segments, "SEGMENT_US", 2_000_000)
    catalog = Catalog(open_database(tmp_path / "privid.sqlite3"))
    catalog.add_camera("plaza", created_us=START)
    return catalog, SegmentStore(tmp_path / "video")


def stored(tmp_path):
    return sorted(str(p.relative_to(tmp_path / "video")) for p in (tmp_path / "video").rglob("*") if p.is_file())


def paths(catalog):
    return sorted(s.path for s in catalog.segments("plaza", 0, 2 * START))


def test_repetitions_follow_one_nominal_frame_after_the_last_without_drift(place, tmp_path):
    fps = Fraction(30000, 1001)
    clip = write_clip(tmp_path / "a.mp4", 50, fps=fps, b_frames=2, gop=30)
    imported = import_file(*place, clip, "plaza", START, 200)
    times = place[0].frame_times("plaza", 0, 2 * START)
    assert len(times) == imported.frames == 10_000
    assert times.tolist() == [START + round(i * Fraction(1_000_000) / fps) for i in range(10_000)]
    assert imported.end_us == START + round(10_000 * Fraction(1_000_000) / fps)
    assert place[0].coverage("plaza", imported.begin_us, imported.end_us) == (
        (imported.begin_us, imported.end_us, "covered"),
    )
    assert imported.size_bytes < 2 * clip.stat().st_size, "repetitions share their bytes"


def test_the_catalog_and_the_files_agree_and_are_private(place, tmp_path):
    progress = []
    imported = import_file(
        *place,
        write_clip(tmp_path / "a.mp4", 60),
        "plaza",
        START,
        3,
        lambda done, total: progress.append((done, total)),
    )
    assert stored(tmp_path) == paths(place[0])
    assert imported.segments == len(paths(place[0])) == 9
    assert progress == [(i, 60) for i in range(1, 61)]
    for folder in (tmp_path / "video").rglob("*"):
        if folder.is_dir():
            assert folder.stat().st_mode & 0o777 == 0o700


def test_where_links_cannot_be_made_files_are_copied(place, tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    import_file(*place, write_clip(tmp_path / "a.mp4", 20), "plaza", START, 2)
    assert stored(tmp_path) == paths(place[0])


def test_the_same_import_again_is_refused_and_changes_nothing(place, tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 20)
    import_file(*place, clip, "plaza", START, 2)
    before = stored(tmp_path)
    with pytest.raises(TimeConflict, match=r"plaza has video from .* already, which overlaps .*: choose another time"):
        import_file(*place, clip, "plaza", START + 3_900_000)
    assert stored(tmp_path) == before
    import_file(*place, clip, "plaza", START + 4_000_000)


def test_only_what_overlaps_is_refused_when_two_imports_race(place, tmp_path, monkeypatch):
    """Another import may enter its segments between our first look and our own entry."""
    clip = write_clip(tmp_path / "a.mp4", 20)
    copy = importer.copy_segments

    def slow(*arguments):
        monkeypatch.setattr(importer, "copy_segments", copy)
        import_file(*place, clip, "plaza", START + 1_000_000)
        return copy(*arguments)

    monkeypatch.setattr(importer, "copy_segments", slow)
    with pytest.raises(TimeConflict):
        import_file(*place, clip, "plaza", START)
    assert stored(tmp_path) == paths(place[0])
    assert place[0].recorded("plaza").frames == 20


@pytest.mark.parametrize("failing", ["link", "fsync"])
def test_a_full_disk_leaves_nothing(place, tmp_path, monkeypatch, failing):
    clip = write_clip(tmp_path / "a.mp4", 60)
    real, calls = getattr(os, failing), []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        import_file(*place, clip, "plaza", START)
    monkeypatch.undo()
    assert stored(tmp_path) == []
    assert place[0].recorded("plaza") is None


KILLED = """
import os, signal, sys
from pathlib import Path
from privid.database.connect import open_database
from privid.ingest import importer, segments
from privid.video import store
from privid.video.catalog import Catalog
from privid.video.storage import local
root, clip, where = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
segments.SEGMENT_US = 2_000_000
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
catalog = Catalog(open_database(root / "privid.sqlite3"))
if where == "copying": segments._check = die
if where == "before names": store.Staging._write_journal = die
if where == "between names":
    link, done = local._link, []
    def some(*a):
        link(*a); done.append(a)
        if len(done) == 2: die()
    local._link = some
if where == "before rows": Catalog.add_segments = die
if where == "after rows":
    add = Catalog.add_segments
    def then(*a): add(*a); die()
    Catalog.add_segments = then
importer.import_file(catalog, store.SegmentStore(root / "video"), clip, "plaza", int(sys.argv[4]), 2)
"""


@pytest.mark.parametrize("where", ["copying", "before names", "between names", "before rows", "after rows"])
def test_killed_in_the_middle(place, tmp_path, where):
    clip = write_clip(tmp_path / "a.mp4", 60)
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path, clip, where, str(START)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    recorded = place[0].recorded("plaza")
    assert len(stored(tmp_path)) > 0, "the test has not tested anything"
    if where == "after rows":
        assert recorded.frames == 120
        with pytest.raises(TimeConflict):
            import_file(*place, clip, "plaza", START, 2)
    else:
        assert recorded is None
        import_file(*place, clip, "plaza", START, 2)
    assert stored(tmp_path) == paths(place[0])
    assert place[0].recorded("plaza").frames == 120
    for path in paths(place[0]):
        with av.open(str(tmp_path / "video" / path)) as container:
            assert next(container.decode(video=0)).width == 160


def test_an_import_that_is_alive_is_not_swept(place, tmp_path):
    with place[1].staging() as staging:
        file = staging.new_file(".mp4")
        file.write_bytes(b"half")
        assert SegmentStore(tmp_path / "video").sweep(place[0].known_paths) == 0
        assert file.exists()
    assert stored(tmp_path) == []


def test_a_signal_at_any_moment(place, tmp_path):
    """SIGKILL after random delays: the catalog and the files agree after the next import."""
    clip = write_clip(tmp_path / "a.mp4", 200)
    for attempt in range(4):
        start = str(START + attempt * 10**9)
        process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path, clip, "nowhere", start])
        time.sleep(0.5 + 0.15 * attempt)
        process.kill()
        process.wait()
    import_file(*place, clip, "plaza", START + 10**11)
    assert stored(tmp_path) == paths(place[0])
    assert place[0].recorded("plaza").frames % 200 == 0


# --- files that are no good -------------------------------------------------------------------------------------


def truncated(path):
    """Half of a clip whose index is at its front."""
    clip = write_clip(path.with_name("whole.mp4"), 60, container_options={"movflags": "faststart"})
    path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])


def without_index(path):
    clip = write_clip(path.with_name("whole.mp4"), 60)
    path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])


def sound_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def zero_frames(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        container.start_encoding()


def remux(path, change):
    """A clip with the time stamps of its packets changed."""
    clip = write_clip(path.with_name("whole.mp4"), 100)
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for i, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.pts = packet.dts = change(i) * 1024
                packet.stream = copy
                target.mux(packet)


def damaged(path):
    """A picture in the middle overwritten with zeros."""
    clip = write_clip(path, 30, codec="mjpeg")
    data = bytearray(clip.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 12_000] = bytes(12_000)
    path.write_bytes(data)


def two_sizes(path):
    """A camera that was switched to larger pictures while it recorded."""
    clips = [write_clip(path.with_name(f"{w}.mkv"), 15, size=(w, w), codec="mjpeg") for w in (160, 320)]
    with av.open(str(path), "w") as target:
        copy = None
        for number, clip in enumerate(clips):
            with av.open(str(clip)) as source:
                copy = copy or target.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts = packet.dts = packet.pts + 1500 * number
                        packet.stream = copy
                        target.mux(packet)


def joined(path):
    """Two recordings one behind the other in one file, the second with an earlier clock."""
    late = write_clip(path.with_name("late.ts"), 100, times_ms=range(50_000, 60_000, 100))
    early = write_clip(path.with_name("early.ts"), 100, times_ms=range(0, 10_000, 100))
    path.write_bytes(late.read_bytes() + early.read_bytes())


def still(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(1), format="rgb24")))
        container.mux(stream.encode(None))


BAD = {
    "missing": ("a.mp4", None, "does not exist"),
    "folder": ("a.mp4", Path.mkdir, "is a folder: name one video file"),
    "empty": ("a.mp4", Path.touch, "is empty"),
    "text": ("a.mp4", lambda p: p.write_text("hello " * 100), "is not a video file that can be read"),
    "playlist": ("a.m3u8", lambda p: p.write_text("#EXTM3U\n#EXTINF:9,\n/etc/passwd\n"), "is not a video file"),
    "list of files": (
        "a.ffconcat",
        lambda p: p.write_text("ffconcat version 1.0\nfile x.mp4\n"),
        "is not a video file",
    ),
    "picture": ("a.png", still, "is not a video file"),
    "pipe": ("a.mp4", os.mkfifo, "is not a regular file"),
    "truncated": ("a.mp4", truncated, "is damaged, cut short|is truncated"),
    "index missing": ("a.mp4", without_index, "or its end is missing"),
    "sound only": ("a.mp4", sound_only, "has no video in it"),
    "zero frames": ("a.mkv", zero_frames, "has no frames in it|has no video in it|is not a video file"),
    "unsupported codec": (
        "a.avi",
        lambda p: write_clip(p, 5, codec="msmpeg4"),
        "is coded as msmpeg4.*not supported.*ffmpeg -i a.avi -c:v libx264",
    ),
    "same time twice": ("a.mkv", lambda p: remux(p, lambda i: i - (i > 50)), "two frames have the same time, 5.0"),
    "joined": ("a.ts", joined, "is damaged, cut short or joined from parts, 9.800 s from its beginning"),
    "damaged": ("a.mkv", damaged, "cannot be decoded"),
    "size changes": ("a.mkv", two_sizes, r"changes its picture size \(160x160 and 320x320\)"),
    "no time stamps": ("a.h264", lambda p: write_clip(p, 10), "is not a video file"),
    "frames out of order": ("a.avi", lambda p: write_clip(p, 30, b_frames=2), "rewrite its time stamps with ffmpeg"),
    "intra refresh": (
        "a.mp4",
        lambda p: write_clip(p, 60, options={"x264-params": "intra-refresh=1"}),
        "frames cannot be decoded, the first .* s from the beginning",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_is_no_good(place, tmp_path, case):
    name, make, message = BAD[case]
    path = tmp_path / name
    if make is not None:
        make(path)
    with pytest.raises(BadVideoFile, match=message) as caught:
        import_file(*place, path, "plaza", START)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert stored(tmp_path) == []
    assert place[0].recorded("plaza") is None


def test_a_file_that_may_not_be_read(place, tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "a.mp4", 5)

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(av, "open", denied)
    with pytest.raises(BadVideoFile, match="cannot be read: permission denied"):
        import_file(*place, clip, "plaza", START)


def test_a_clock_that_goes_back():
    ticks = np.concatenate([np.arange(500, 600), np.arange(100)]) * 10
    with pytest.raises(BadVideoFile, match=r"time goes backwards near .* s from its beginning: import the"):
        _require_one_clock(ticks, Fraction(1, 100), Path("x.mkv"))


def test_colons_in_a_name_are_part_of_the_name(place, tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 5).rename(tmp_path / "http:clip.mp4")
    assert import_file(*place, clip, "plaza", START).frames == 5


def test_frames_that_an_edit_list_hides_are_not_imported(place, tmp_path):
    """A clip that was trimmed without re-encoding: the hidden frames stay in the file, and stay hidden."""
    clip = write_clip(tmp_path / "whole.mp4", 40, gop=40)
    trimmed = tmp_path / "trimmed.mp4"
    with av.open(str(clip)) as source, av.open(str(trimmed), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.pts -= 15 * 1024
                packet.dts -= 15 * 1024
                packet.stream = copy
                target.mux(packet)
    with av.open(str(trimmed)) as container:
        visible = sum(1 for _ in container.decode(video=0))
    assert import_file(*place, trimmed, "plaza", START).frames == visible
    assert place[0].frame_times("plaza", 0, 2 * START)[0] == START


def test_arguments_that_are_no_good(place, tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 5)
    with pytest.raises(UnknownCamera, match="did you mean 'plaza'"):
        import_file(*place, clip, "plazza", START)
    with pytest.raises(BadVideoFile, match="1 to 10000 times, not 0"):
        import_file(*place, clip, "plaza", START, 0)
    with pytest.raises(BadVideoFile, match="after 2199"):
        import_file(*place, clip, "plaza", 7_258_118_400_000_000 - 10)


@pytest.mark.real_data
def test_the_plaza_clip(place, test_data, monkeypatch):
    monkeypatch.setattr(ingest_segments, "SEGMENT_US", 60_000_000)
    imported = import_file(*place, test_data / "clips" / "plaza.mp4", "plaza", START, 30)
    assert (imported.frames, imported.segments, imported.width, imported.height) == (23_850, 60, 768, 576)
    assert imported.end_us - imported.begin_us == 2_385_000_000
    times = place[0].frame_times("plaza", 0, 2 * START)
    assert times.tolist() == [START + 100_000 * i for i in range(23_850)]
