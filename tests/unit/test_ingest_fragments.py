"""Segment files of a recording: what is written can be read exactly, and so can what a killed recorder left."""

from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
import pytest

from privid.domain.units import SECOND
from privid.ingest.clock import WallClock
from privid.ingest.errors import SourceFailure
from privid.ingest.fragments import SegmentWriter, salvage
from privid.ingest.groups import Group, groups, is_continued, picture_parameters
from privid.ingest.live import LiveStream, Source
from privid.testing.video import read_number, write_clip
from privid.video.decode import SegmentDecoder

BEGIN = 1_800_000_000 * SECOND
FRAMES = 60


def gather(clip, *, before=lambda packets: packets):
    """The groups of a clip, as if it came from a camera all at once."""
    stream = LiveStream(Source("rtsp", "rtsp://camera/"), av.open(str(clip)))
    packets = stream.packets
    stream.packets = lambda: before(packets())
    *found, failure = groups(stream, WallClock(), lambda _media, _arrival, _size: None)
    assert isinstance(failure, SourceFailure)
    return stream, found, failure


def write(folder, stream, found):
    times = [group.times - min(found[0].media_us) + BEGIN for group in found]
    writer = SegmentWriter(folder, stream, BEGIN, max(group.delay_us for group in found))
    for group, at in zip(found, times, strict=True):
        writer.append(group, at)
    return writer, np.concatenate(times)


def numbers(finished):
    decoder = SegmentDecoder(finished.file, finished.index)
    shown = {
        position: read_number(frame.to_ndarray(format="rgb24"))
        for position, frame in decoder.read(range(len(finished.index)))
    }
    # From every entry, and in the middle of a group.
    for position in [*finished.index.entries.tolist(), len(finished.index) - 2]:
        single = SegmentDecoder(finished.file, finished.index)
        ((_, frame),) = single.read([position])
        assert read_number(frame.to_ndarray(format="rgb24")) == shown[position]
        single.close()
    decoder.close()
    return shown


@pytest.mark.parametrize(
    ("codec", "b_frames", "options"),
    [
        ("libx264", 0, {}),
        ("libx264", 2, {}),
        ("libx265", 2, {"x265-params": "log-level=none:open-gop=0"}),
        ("mjpeg", 0, {}),
        ("mpeg4", 0, {}),
    ],
)
def test_every_frame_comes_back_with_its_time(tmp_path, codec, b_frames, options):
    clip = write_clip(tmp_path / "a.mp4", FRAMES, codec=codec, gop=12, b_frames=b_frames, options=options)
    stream, found, failure = gather(clip)
    assert failure.reason == "ended"
    writer, times = write(tmp_path, stream, found)
    finished = writer.finish(int(times[-1]) + 100_000, "cut", 7)
    assert finished.index.times_us.tolist() == [BEGIN + i * 100_000 for i in range(FRAMES)]
    assert finished.file.stem == str(BEGIN)
    assert numbers(finished) == {i: i for i in range(FRAMES)}
    if codec != "mjpeg":
        assert finished.index.entries.tolist() == [0, 12, 24, 36, 48]
    again = salvage(finished.file)
    for column in ("times_us", "ticks", "entries", "entry_ticks"):
        assert getattr(again.index, column).tolist() == getattr(finished.index, column).tolist()
    assert (again.width, again.height, again.codec, again.end_us) == (160, 96, finished.codec, finished.end_us)


def test_a_file_that_moves_in_time(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", FRAMES, gop=12)
    stream, found, _ = gather(clip)
    writer, times = write(tmp_path, stream, found[:3])
    writer.move(-300_000)
    later = found[3].times - min(found[0].media_us) + BEGIN - 300_000
    writer.append(found[3], later)
    finished = writer.finish(int(later[-1]) + 100_000, "cut", None)
    assert finished.index.times_us.tolist() == [*(times - 300_000).tolist(), *later.tolist()]
    assert [file.name for file in tmp_path.glob("1*.mp4")] == [f"{BEGIN - 300_000}.mp4"]
    assert numbers(finished) == {i: i for i in range(48)}
    assert salvage(finished.file).index.times_us.tolist() == finished.index.times_us.tolist()


def test_a_file_cut_anywhere_keeps_its_complete_groups(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", FRAMES, gop=10)
    stream, found, _ = gather(clip)
    writer, _ = write(tmp_path, stream, found[:1])
    ends = [writer.file.stat().st_size]
    for group in found[1:]:
        writer.append(group, group.times - min(found[0].media_us) + BEGIN)
        ends.append(writer.file.stat().st_size)
    whole = writer.file.read_bytes()
    for length in [*range(0, len(whole), 97), *ends, *(end - 1 for end in ends)]:
        writer.file.write_bytes(whole[:length])
        kept = salvage(writer.file)
        complete = sum(end <= length for end in ends)
        assert (kept is None) == (complete == 0), length
        if kept is not None:
            assert len(kept.index) == 10 * complete, length
            assert writer.file.stat().st_size == ends[complete - 1]


def test_a_first_packet_without_a_time_is_kept(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", FRAMES, gop=12)

    def forget(packets):
        for number, packet in enumerate(packets):
            if number == 0:
                packet.pts = packet.dts = None
            yield packet

    _, found, _ = gather(clip, before=forget)
    assert sum(len(group.packets) for group in found) == FRAMES
    assert np.diff(found[0].times).tolist() == [100_000] * 11


def test_a_packet_that_comes_twice_is_one_frame(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", FRAMES, gop=12)

    def repeat(packets):
        for number, packet in enumerate(packets):
            if number == 0:
                packet.pts = packet.dts = None
            yield packet
            if number in (0, 7, 24):
                again = av.Packet(bytes(packet))
                again.pts, again.dts, again.time_base = packet.pts, packet.dts, packet.time_base
                again.is_keyframe = packet.is_keyframe
                yield again

    _, found, _ = gather(clip, before=repeat)
    assert [len(group.packets) for group in found] == [12] * 5


@pytest.mark.parametrize(("codec", "header"), [("libx264", 7), ("libx265", 33 << 1)])
def test_parameters_without_their_picture_are_no_frame(tmp_path, codec, header):
    """What a source leaves that stops between the two."""
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    clip = write_clip(tmp_path / "a.mp4", FRAMES, codec=codec, gop=12, options=options)

    def stop_short(packets):
        for packet in packets:
            last = packet
            yield packet
        rest = av.Packet((4).to_bytes(4) + bytes([header, 1, 2, 3]))
        rest.pts, rest.dts, rest.time_base, rest.is_keyframe = last.pts + 1, last.dts + 1, last.time_base, True
        yield rest
        raise SourceFailure("timed out")

    _, found, _ = gather(clip, before=lambda packets: stop_short(whole(packets)))
    assert sum(len(group.packets) for group in found) == FRAMES


@pytest.mark.parametrize(
    ("codec", "name", "if_whole"),
    [
        ("libx264", "a.ts", FRAMES),
        ("libx264", "a.mp4", FRAMES),
        ("mpeg4", "a.ts", FRAMES),
        ("mjpeg", "a.mkv", FRAMES),
        ("libx265", "a.mp4", FRAMES),
        ("libx265", "a.ts", FRAMES - 1),
    ],
)
@pytest.mark.parametrize("gop", [12, FRAMES - 1])
def test_a_last_picture_that_was_cut_off_is_no_frame(tmp_path, codec, name, if_whole, gop):
    """In the middle of a group, and as the first of one; where it cannot be known, a whole one is not either."""
    options = {"libx265": {"x265-params": "log-level=none:bframes=0"}, "libx264": {"tune": "zerolatency"}}
    clip = write_clip(tmp_path / name, FRAMES, codec=codec, gop=gop, options=options.get(codec, {}))

    def cut_off(packets):
        held = None
        for packet in whole(packets):
            if held is not None:
                yield held
            held = packet
        half = av.Packet(bytes(held)[:-10])
        half.pts, half.dts, half.time_base, half.is_keyframe = held.pts, held.dts, held.time_base, held.is_keyframe
        yield half
        raise SourceFailure("timed out")

    _, found, _ = gather(clip)
    assert sum(len(group.packets) for group in found) == if_whole
    _, found, failure = gather(clip, before=cut_off)
    # Formats that keep pictures apart themselves give none that is not whole.
    cut = FRAMES if name == "a.mp4" else FRAMES - 1
    assert sum(len(group.packets) for group in found) == cut
    assert failure.reason == "timed out"


def whole(packets):
    """Packets without the failure at their end."""
    with suppress(SourceFailure):
        yield from packets


def test_what_comes_before_the_first_key_frame_is_left_out(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", FRAMES, gop=12)
    _, found, _ = gather(clip, before=lambda packets: (p for n, p in enumerate(packets) if n >= 5))
    assert sum(len(group.packets) for group in found) == FRAMES - 12
    assert found[0].packets[0].is_keyframe


@pytest.mark.parametrize(("shift", "reason"), [(-20 * SECOND, "time jumped"), (20 * SECOND, "time jumped")])
def test_timestamps_that_leap_end_the_run(tmp_path, shift, reason):
    clip = write_clip(tmp_path / "a.mp4", FRAMES, gop=12)

    def leap(packets):
        for number, packet in enumerate(packets):
            if number >= 30:
                packet.pts += int(shift * Fraction(1, SECOND) / packet.time_base)
            yield packet

    _, found, failure = gather(clip, before=leap)
    assert failure.reason == reason
    assert sum(len(group.packets) for group in found) == 30


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mjpeg"])
def test_another_picture_size_is_noticed(tmp_path, codec):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    seen = set()
    for name, size in (("a", (160, 96)), ("b", (192, 96)), ("c", (160, 96))):
        suffix = "mp4" if codec == "mjpeg" else "ts"
        clip = write_clip(tmp_path / f"{name}.{suffix}", 3, codec=codec, size=size, options=options)
        with av.open(str(clip)) as container:
            packet = next(p for p in container.demux(video=0) if p.is_keyframe)
            seen.add(picture_parameters({"libx264": "h264", "libx265": "hevc"}.get(codec, codec), bytes(packet), False))
    assert len(seen) == 2
    assert b"" not in seen


def test_memory_is_bounded_where_no_key_frame_comes(tmp_path, monkeypatch):
    monkeypatch.setattr("privid.ingest.groups._MOST_PACKETS", 20)
    clip = write_clip(tmp_path / "a.mp4", FRAMES, gop=250)
    _, found, failure = gather(clip)
    assert (found, failure.reason) == ([], "no key frame")


def test_an_open_group_is_cut_to_what_can_be_decoded_alone():
    group = Group(packets=["I", "P", "b", "b"], media_us=[30, 60, 10, 20])
    assert not group.is_closed
    group.close()
    assert group.is_closed
    assert (group.packets, group.media_us) == (["I", "P"], [30, 60])


def test_a_disk_that_is_full_leaves_complete_groups(tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "a.mp4", FRAMES, gop=12)
    stream, found, _ = gather(clip)
    writer, _ = write(tmp_path, stream, found[:2])

    def full(descriptor, data):
        real(descriptor, bytes(data[: len(data) // 2]))
        raise OSError(28, "No space left on device")

    real = __import__("os").write
    with monkeypatch.context() as patch:
        patch.setattr("os.write", full)
        with pytest.raises(OSError, match="No space"):
            writer.append(found[2], found[2].times - min(found[0].media_us) + BEGIN)
    writer.append(found[2], found[2].times - min(found[0].media_us) + BEGIN)
    finished = writer.finish(writer.last_us + 1, "cut", None)
    assert numbers(finished) == {i: i for i in range(36)}


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_slices_that_come_one_by_one_are_one_frame(tmp_path, codec):
    options = {"slices": "4"} if codec == "libx264" else {"x265-params": "log-level=none:slices=4:open-gop=0:bframes=0"}
    clip = write_clip(tmp_path / "a.ts", FRAMES, codec=codec, gop=12, size=(320, 288), options=options)

    def split(packets):
        """As RTSP delivers it: every slice a packet of its own, at the time of the first."""
        for packet in packets:
            units = [b"\0\0\1" + unit for unit in bytes(packet).split(b"\0\0\1")[1:]]
            first = next(
                i for i, unit in enumerate(units) if is_continued(packet.stream.codec_context.name, unit, False)
            )
            for part in (b"".join(units[:first]), *units[first:]):
                single = av.Packet(part)
                single.pts, single.dts, single.time_base = packet.pts, packet.dts, packet.time_base
                single.is_keyframe = packet.is_keyframe
                yield single

    stream, found, _ = gather(clip, before=split)
    kept = FRAMES - (codec == "libx265")  # nobody knows whether its last picture was whole
    assert sum(len(group.packets) for group in found) == kept
    writer, times = write(tmp_path, stream, found)
    finished = writer.finish(int(times[-1]) + 1, "cut", None)
    assert numbers(finished) == {i: i for i in range(kept)}
