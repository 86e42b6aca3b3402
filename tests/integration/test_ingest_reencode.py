"""A camera whose video is coded again: every picture with its own timestamp, key frames where they were asked for."""

import errno
import itertools
import re
import threading
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from privid.database.connect import open_database
from privid.domain.units import SECOND
from privid.ingest.clock import WallClock
from privid.ingest.errors import SourceFailure
from privid.ingest.groups import groups
from privid.ingest.live import Encoding, LiveStream, Source
from privid.ingest.recorder import Recorder, Recording
from privid.ingest.reencode import Reencoded
from privid.ingest.state import CameraState
from privid.testing.video import read_number, write_clip
from privid.video.catalog import Catalog
from privid.video.decode import SegmentDecoder
from privid.video.store import SegmentStore

IRREGULAR_MS = np.cumsum(np.random.default_rng(5).integers(20, 90, 60)).tolist()
CLIPS = {
    "one group": ("a.mp4", {"gop": 1000}),
    "B-frames": ("a.mp4", {"b_frames": 3, "gop": 30}),
    "open groups": ("a.mp4", {"b_frames": 3, "gop": 10, "options": {"x264-params": "open-gop=1"}}),
    "variable rate": ("a.mkv", {"times_ms": IRREGULAR_MS, "gop": 1000}),
    "transport stream": ("a.ts", {"b_frames": 2, "gop": 1000}),
    "H.265": ("a.mp4", {"codec": "libx265", "b_frames": 3, "options": {"x265-params": "log-level=none"}}),
    "motion JPEG": ("a.mkv", {"codec": "mjpeg"}),
    "MPEG-2, which is not copied": ("a.mkv", {"codec": "mpeg2video", "fps": Fraction(25), "b_frames": 2}),
}


def reencoded(path, encoding, kind=LiveStream):
    """The groups of a clip that is coded again, why it ended, and the pictures in them."""
    source = Source("rtsp", "rtsp://host/1", encoding=encoding)
    found = []
    with kind(source, av.open(str(path))) as live, Reencoded(live, encoding) as stream:
        *found, failure = groups(stream, WallClock(), lambda *_: None)
        assert isinstance(failure, SourceFailure)
        decoder = av.CodecContext.create("h264", "r")
        decoder.extradata = stream.stream.codec_context.extradata
        packets = [packet for group in found for packet in group.packets]
        frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return found, failure, frames


def shown(path):
    """The pictures of a clip, and when each is shown, in microseconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return frames, [int(frame.pts * frame.time_base * SECOND) for frame in frames]


@pytest.mark.parametrize("clip", CLIPS)
def test_every_picture_is_there_once_with_its_own_time(tmp_path, clip):
    name, options = CLIPS[clip]
    path = write_clip(tmp_path / name, 60, **{"fps": Fraction(30), **options})
    wanted, times = shown(path)
    found, failure, frames = reencoded(path, Encoding(SECOND // 2, 10))
    assert failure.reason == "ended"
    assert [media for group in found for media in group.media_us] == times
    assert [read_number(frame.to_ndarray(format="rgb24")) for frame in frames] == list(range(60))
    # The same range and matrix: what was dark and what was bright still is.
    for one, other in zip(wanted[::20], frames[::20], strict=True):
        difference = one.to_ndarray(format="bgr24").astype(int) - other.to_ndarray(format="bgr24")
        assert np.abs(difference).mean() < 3
        assert abs(difference.mean()) < 1


def test_key_frames_come_as_often_as_asked_for_by_the_cameras_clock(tmp_path):
    path = write_clip(tmp_path / "a.mkv", 60, times_ms=IRREGULAR_MS, gop=1000)
    found, _, _ = reencoded(path, Encoding(SECOND, 23))
    keys = [
        media
        for group in found
        for packet, media in zip(group.packets, group.media_us, strict=True)
        if packet.is_keyframe
    ]
    assert len(keys) == len(found) >= 3
    assert all(SECOND - 45_000 <= after - before <= SECOND + 90_000 for before, after in pairwise(keys))
    assert all(group.is_closed for group in found)


def test_what_was_before_a_key_frame_changes_nothing_behind_it(tmp_path):
    """Trap: with a rate to keep to, pictures after an event would be coded by how hard it was to code."""

    def write(name, first):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("libx264", rate=30, options={"qp": "0", "preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = 160, 96, "yuv420p", 1
            for number in range(60):
                random = np.random.default_rng(first + number if number < 30 else number)
                picture = random.integers(0, 256, (96, 160), dtype=np.uint8) // (1 if number >= 30 or first else 8)
                frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 30)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        found, _, _ = reencoded(tmp_path / name, Encoding(SECOND, 28))
        return [[bytes(packet) for packet in group.packets] for group in found]

    (one, one_after), (other, other_after) = write("a.mp4", 0), write("b.mp4", 1000)
    assert one != other
    assert one_after == other_after


class Sliced(LiveStream):
    """Sends every unit of a picture by itself."""

    def packets(self):
        for packet in super().packets():
            for unit in re.split(b"\0?\0\0\1", bytes(packet))[1:]:
                piece = av.Packet(b"\0\0\0\1" + unit)
                piece.pts, piece.time_base, piece.stream = packet.pts, packet.time_base, self.stream
                yield piece


def test_packets_with_a_slice_each_are_one_picture(tmp_path):
    path = write_clip(tmp_path / "a.ts", 30, options={"x264-params": "slices=3"})
    _, times = shown(path)
    with Sliced(Source("rtsp", "rtsp://host/1"), av.open(str(path))) as live:
        assert len(list(itertools.islice(live.packets(), 90))) == 90  # of 30 pictures
    found, _, frames = reencoded(path, Encoding(quantiser=10), Sliced)
    assert [media for group in found for media in group.media_us] == times
    assert [read_number(frame.to_ndarray(format="rgb24")) for frame in frames] == list(range(30))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": (161, 97), "codec": "mjpeg"}, "odd size"),
        ({"codec": "mpeg2video", "fps": Fraction(25), "options": {"flags": "+ilme+ildct"}}, "interlaced"),
    ],
)
def test_what_the_encoder_cannot_keep_is_said(tmp_path, options, says):
    path = write_clip(tmp_path / "a.mkv", 10, **options)
    with pytest.raises(SourceFailure, match=says) as failure:
        raise reencoded(path, Encoding())[1]
    assert failure.value.reason == "unsupported"


def test_a_new_size_ends_the_run_and_nothing_before_it_is_lost(tmp_path):
    clips = [write_clip(tmp_path / f"{width}.ts", 20, size=(width, 96), b_frames=2) for width in (160, 192)]

    class Changing(LiveStream):
        def packets(self):
            for clip in clips:
                with av.open(str(clip)) as container:
                    yield from (packet for packet in container.demux(video=0) if packet.size)

    found, failure, frames = reencoded(clips[0], Encoding(quantiser=10), Changing)
    assert failure.reason == "picture changed"
    assert [read_number(frame.to_ndarray(format="rgb24")) for frame in frames] == list(range(20))
    assert sum(len(group.packets) for group in found) == 20


def test_what_can_never_be_decoded_is_a_failure(tmp_path):
    class Garbage(LiveStream):
        def packets(self):
            random = np.random.default_rng(2)
            while True:
                packet = av.Packet(b"\0\0\0\1\x65\x88" + random.bytes(200))
                packet.pts, packet.time_base = 0, Fraction(1, 90_000)
                yield packet

    clip = write_clip(tmp_path / "a.ts", 5)
    with (
        Garbage(Source("rtsp", "rtsp://host/1"), av.open(str(clip))) as live,
        Reencoded(live, Encoding()) as stream,
        pytest.raises(SourceFailure, match="garbage"),
    ):
        next(stream.packets())


def test_a_recorder_stores_it(tmp_path, monkeypatch):
    """One group, which copied could not be cut, becomes segments; and the times are those of the source."""
    monkeypatch.setattr("privid.ingest.backoff.Backoff.wait_us", lambda _self: SECOND // 20)
    path = write_clip(tmp_path / "a.mp4", 90, fps=Fraction(30), gop=1000, b_frames=2)
    catalog, store = Catalog(open_database(tmp_path / "privid.sqlite3")), SegmentStore(tmp_path / "video")
    catalog.add_camera("plaza", created_us=1)
    done, asked = threading.Event(), []

    def connect(name, **options):
        asked.append(name)
        if len(asked) > 1:
            done.set()
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused", name)
        return av.open(name, **options)

    state = CameraState("plaza", "file")
    source = Source("file", str(path), encoding=Encoding(SECOND // 2))
    recording = Recording(catalog, store, WallClock(), segment_us=SECOND, open_container=connect)
    recorder = Recorder(recording, source, state)
    thread = threading.Thread(target=recorder.run)
    thread.start()
    assert done.wait(60)
    recorder.stop()
    thread.join(60)
    segments = catalog.segments("plaza", 0, 1 << 61)
    assert len(segments) >= 2
    assert {segment.codec for segment in segments} == {"h264"}
    numbers = []
    for segment in segments:
        decoder = SegmentDecoder(store.path(segment.path), segment.index())
        frames = decoder.read(range(segment.frame_count))
        numbers += [read_number(frame.to_ndarray(format="rgb24")) for _, frame in frames]
        decoder.close()
    assert numbers == list(range(90))
    times = np.concatenate([segment.index().times_us for segment in segments])
    assert (np.diff(times) > 0).all()
    assert abs(int(times[-1] - times[0]) - 89 * SECOND // 30) < SECOND // 20
