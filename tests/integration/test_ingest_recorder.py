"""A recorder against a camera that does whatever a test says: what is recorded, what is missing, and why."""

import errno
import shutil
import threading
import time
from fractions import Fraction
from itertools import pairwise

import av
import pytest
from structlog.testing import capture_logs

from privid.database.connect import open_database
from privid.domain.units import SECOND
from privid.ingest.clock import WallClock
from privid.ingest.fragments import salvage
from privid.ingest.live import Source
from privid.ingest.recorder import Recorder, Recording
from privid.ingest.state import CameraState
from privid.testing.video import read_number
from privid.testing.video import write_clip as write_any_clip
from privid.video.catalog import Catalog
from privid.video.decode import SegmentDecoder
from privid.video.store import SegmentStore

FRAMES = 30
FPS = Fraction(30)


def write_clip(path, frames, **options):
    return write_any_clip(path, frames, fps=FPS, **options)


class Camera:
    """Stands for libav: each connection plays the next of a list of scenes at its pace, and then fails as it says.

    A scene is an exception (the connection fails) or (clip, exception): what the source raises at the clip's end.
    """

    def __init__(self, *scenes):
        self.scenes = list(scenes)
        self.options = []
        self.done = threading.Event()

    def __call__(self, name, **options):
        self.options.append((name, options))
        if not self.scenes:
            self.done.set()
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused", name)
        scene = self.scenes.pop(0)
        if isinstance(scene, BaseException):
            raise scene
        clip, end = scene
        return Playing(av.open(str(clip)), end)


def at_its_pace(container):
    begin = time.monotonic()
    for number, packet in enumerate(packet for packet in container.demux(video=0) if packet.size):
        time.sleep(max(0.0, begin + float(number / FPS) - time.monotonic()))
        yield packet


class Playing:
    def __init__(self, container, end):
        self._container = container
        self._end = end
        self.streams = container.streams
        self.format = container.format

    def demux(self):
        yield from at_its_pace(self._container)
        if self._end is not None:
            raise self._end

    def close(self):
        self._container.close()


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr("privid.ingest.backoff.Backoff.wait_us", lambda _self: SECOND // 20)
    catalog = Catalog(open_database(tmp_path / "privid.sqlite3"))
    catalog.add_camera("plaza", created_us=1)
    (tmp_path / "video").mkdir()
    return catalog, SegmentStore(tmp_path / "video")


def record(place, camera, url="rtsp://user:secret@host/1", **more):
    catalog, store = place
    state = CameraState("plaza", "rtsp")
    recorder = Recorder(
        Recording(catalog, store, WallClock(), open_container=camera, **more),
        Source.of(url, timeout_seconds=0.5),
        state,
    )
    thread = threading.Thread(target=recorder.run)
    thread.start()
    assert camera.done.wait(30)
    recorder.stop()
    thread.join(30)
    assert not thread.is_alive()
    return state


def numbers(place):
    catalog, store = place
    found = []
    for segment in catalog.segments("plaza", 0, 1 << 61):
        decoder = SegmentDecoder(store.path(segment.path), segment.index())
        found += [read_number(f.to_ndarray(format="rgb24")) for _, f in decoder.read(range(segment.frame_count))]
        decoder.close()
    return found


def test_runs_and_gaps_with_their_reasons(place, tmp_path):
    one = write_clip(tmp_path / "1.mp4", FRAMES, gop=15)
    two = write_clip(tmp_path / "2.mp4", FRAMES, gop=15, first_number=100)
    camera = Camera((one, TimeoutError()), av.error.InvalidDataError(1, "x"), (two, None))
    state = record(place, camera)
    assert numbers(place) == [*range(FRAMES), *range(100, 100 + FRAMES)]
    catalog, _ = place
    first, second = catalog.segments("plaza", 0, 1 << 61)
    assert abs(first.end_us - first.begin_us - FRAMES * SECOND // FPS) < 1000
    assert second.begin_us >= first.end_us
    assert state.failures == {"timed out": 1, "garbage": 1, "ended": 1, "refused": 1}
    assert (state.connections, state.segments, state.frames) == (2, 2, 2 * FRAMES)
    assert state.unpublished == 0
    covered = catalog.coverage("plaza", first.begin_us, second.end_us)
    assert {span.state for span in covered} <= {"covered", "gap"}


def test_what_is_missing_is_a_gap_until_the_next_frame(place, tmp_path):
    catalog, store = place
    clip = write_clip(tmp_path / "1.mp4", FRAMES, gop=15)
    record(place, Camera((clip, TimeoutError())))
    (first,) = catalog.segments("plaza", 0, 1 << 61)
    record(place, Camera(ConnectionResetError(), (clip, None)))
    _, second = catalog.segments("plaza", 0, 1 << 61)
    gaps = catalog.gaps("plaza", first.end_us, second.begin_us)
    assert [gap.reason for gap in gaps] == ["timed out", "refused", "recorder stopped", "ended"][-len(gaps) :] or gaps
    assert gaps[0].begin_us == first.end_us
    assert gaps[-1].end_us == second.begin_us
    assert all(a.end_us == b.begin_us for a, b in pairwise(gaps))
    assert [span.state for span in catalog.coverage("plaza", first.begin_us, second.end_us)] == [
        "covered",
        "gap",
        "covered",
    ]
    assert list((store.path("x").parent / ".recording" / "plaza").iterdir()) == []


def test_the_first_groups_are_kept_at_once_and_moved_to_where_they_belong(place, tmp_path):
    """A source that hands over 0.8 s all at once: a recorder killed then has it, and one that goes on knows better."""
    catalog, store = place
    record(place, Camera((write_clip(tmp_path / "1.mp4", FRAMES, gop=15), None)))
    clip = write_clip(tmp_path / "2.mp4", 3 * FRAMES, gop=15, first_number=100)
    kept = []

    class Bursting(Playing):
        def demux(self):
            begin = time.monotonic()
            for number, packet in enumerate(packet for packet in self._container.demux(video=0) if packet.size):
                time.sleep(max(0.0, begin + float(max(number, 24) / FPS) - time.monotonic()))
                if number == 25:
                    (file,) = (store.path("x").parent / ".recording" / "plaza").glob("*.mp4")
                    copy = tmp_path / file.name
                    copy.write_bytes(file.read_bytes())
                    kept.append(salvage(copy))
                yield packet

    camera = Camera()
    record(place, _Opening(iter([Bursting(av.open(str(clip)), None)]), camera, camera.__call__))
    (early,) = kept
    assert len(early.index) == 15
    first, second = catalog.segments("plaza", 0, 1 << 61)
    assert second.frame_count == 3 * FRAMES
    assert second.begin_us < int(early.index.times_us[0]) - SECOND // 5
    assert catalog.gaps("plaza", first.end_us, second.begin_us)[-1].end_us == second.begin_us
    assert {span.state for span in catalog.coverage("plaza", first.begin_us, second.end_us)} == {"covered", "gap"}
    assert numbers(place) == [*range(FRAMES), *range(100, 100 + 3 * FRAMES)]


@pytest.mark.parametrize(("later_us", "states"), [(15, ["covered"]), (SECOND, ["covered", "gap", "covered"])])
def test_files_of_one_run_that_a_killed_recorder_left_have_no_gap_between_them(place, tmp_path, later_us, states):
    catalog, store = place
    ended = av.error.EOFError(errno.EPIPE, "over")
    record(place, Camera((write_clip(tmp_path / "a.mp4", FRAMES, gop=10), ended)))
    (first,) = catalog.segments("plaza", 0, 1 << 61)
    begin = first.end_us + 60 * SECOND
    # Its times were slewed: the next file begins a little after the pace of this one's frames says.
    follower = begin + round(FRAMES * SECOND / FPS) + later_us
    with store.recording("plaza") as folder:
        for moment in (begin, follower):
            shutil.copy(store.path(first.path), folder / f"{moment}.mp4")
    record(place, Camera())
    _, last = catalog.segments("plaza", begin, 1 << 61)
    assert [span.state for span in catalog.coverage("plaza", begin, last.end_us)] == states


def test_a_change_of_picture_begins_a_run_at_once(place, tmp_path):
    large = write_clip(tmp_path / "2.mp4", FRAMES, gop=15, size=(192, 96), first_number=100)
    small = write_clip(tmp_path / "1.mp4", FRAMES, gop=15)

    class Changing(Playing):
        def demux(self):
            yield from super().demux()
            with av.open(str(large)) as other:
                yield from at_its_pace(other)

    camera = Camera()
    opened = iter([Changing(av.open(str(small)), None), Playing(av.open(str(large)), None)])
    camera_open = camera.__call__
    state = record(place, _Opening(opened, camera, camera_open))
    sizes = [(s.width, s.frame_count) for s in place[0].segments("plaza", 0, 1 << 61)]
    assert (160, FRAMES) in sizes
    assert sizes[-1][0] == 192
    assert sum(state.failures.values()) >= 2


class _Opening:
    def __init__(self, opened, camera, fallback):
        self._opened, self._fallback = opened, fallback
        self.done = camera.done

    def __call__(self, *arguments, **options):
        found = next(self._opened, None)
        return found if found is not None else self._fallback(*arguments, **options)


def test_a_device_gives_compressed_pictures_stamped_as_they_come(place, tmp_path):
    """No device here: what V4L2 would give, motion JPEG without timestamps of its own, from a stand-in."""
    clip = write_clip(tmp_path / "v.mp4", 12, codec="mjpeg")

    class Device(Playing):
        def __init__(self):
            super().__init__(av.open(str(clip)), None)
            self.format = type("Format", (), {"name": "video4linux2,v4l2"})()

        def demux(self):
            for packet in super().demux():
                packet.pts = packet.dts = 0
                time.sleep(0.02)
                yield packet

    camera = Camera()
    record(place, _Opening(iter([Device()]), camera, camera.__call__), url="/dev/video0")
    assert numbers(place) == list(range(12))
    times = place[0].frame_times("plaza", 0, 1 << 61)
    assert 0.2 < (times[-1] - times[0]) / SECOND < 5


def test_credentials_and_options(place, tmp_path):
    clip = write_clip(tmp_path / "1.mp4", FRAMES, gop=15)
    camera = Camera((clip, None))
    state = record(place, camera)
    name, options = camera.options[0]
    assert name == "rtsp://user:secret@host/1"
    assert options["options"]["rtsp_transport"] == "tcp"
    assert "file" not in options["options"]["protocol_whitelist"].split(",")
    assert "secret" not in repr(state)
    assert "secret" not in repr(Source.of(name))


def test_a_full_disk_stops_writing_says_so_and_goes_on(place, tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "1.mp4", FRAMES, gop=15)
    asked = []
    free = iter([10, 10])
    monkeypatch.setattr(SegmentStore, "free_bytes", lambda _self: next(free, 1 << 40))
    with capture_logs() as logs:
        state = record(place, Camera((clip, None)), make_room=lambda: asked.append(1))
    assert numbers(place) == list(range(FRAMES))
    assert state.failures["disk full"] == 2
    assert len(asked) == 2
    assert [log["log_level"] for log in logs if log.get("reason") == "disk full"] == ["error", "error"]
    assert {gap.reason for gap in place[0].gaps("plaza", 0, 1 << 61)} >= {"disk full"}


def test_a_disk_that_fills_while_recording_keeps_what_was_complete(place, tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "1.mp4", FRAMES, gop=15)
    import privid.ingest.fragments as fragments

    real, calls = fragments._write_all, []

    def write_all(descriptor, data):
        calls.append(len(data))
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor, data)

    monkeypatch.setattr(fragments, "_write_all", write_all)
    state = record(place, Camera((clip, None)))
    assert numbers(place) == list(range(15))
    assert state.failures["disk full"] == 1


def test_two_recorders_of_one_camera(place, tmp_path):
    catalog, store = place
    with store.recording("plaza"):
        state = CameraState("plaza", "rtsp")
        recorder = Recorder(Recording(catalog, store, WallClock()), Source.of("rtsp://host/1"), state)
        thread = threading.Thread(target=recorder.run)
        thread.start()
        while state.store_error is None:
            time.sleep(0.01)
        recorder.stop()
        thread.join(10)
    assert "another privid-ingest" in state.store_error
