"""Eight cameras for ten minutes: no frame is lost or doubled (compared by the coded data of every frame)."""

import os
import time
from fractions import Fraction
from pathlib import Path

import av
import pytest

from privid.domain.units import SECOND
from privid.testing.system import memory_mb
from tests.support.coded import hashes
from tests.support.rtsp import Recorder, Server, wait_for

CAMERAS = 8
A_SERVER = 4
"""The server has a thread for each camera, out of as many as the machine has cores and four more."""
FPS = 25
MOST_CORE_PERCENT, MOST_MB = 2.0, 60.0
"""Of the recorder's process, a camera."""


def camera_clip(plaza, target, seconds):
    """The plaza as cameras code it (25 frames and a key frame a second, none waits for a later one), over and over."""
    once = target.with_name("once.mp4")
    with av.open(str(plaza)) as source, av.open(str(once), "w") as container:
        pictures = source.streams.video[0]
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = pictures.width, pictures.height, "yuv420p"
        stream.gop_size = FPS
        for number, frame in enumerate(source.decode(pictures)):
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, FPS), 0
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    number = 0
    with av.open(str(target), "w") as container:
        copy = None
        while number < seconds * FPS:
            with av.open(str(once)) as source:
                copy = copy or container.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.stream, packet.time_base = copy, Fraction(1, FPS)
                        packet.pts = packet.dts = number
                        packet.duration = 1
                        container.mux(packet)
                        number += 1
    return target


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def record_and_compare(repository, tmp_path, seconds):
    """Gives the processor time (percent of a core) and memory (PSS, MB) of the recorder a camera."""
    source = camera_clip(repository / "examples" / "plaza.mp4", tmp_path / "camera.mp4", seconds + 60)
    servers = [Server(tmp_path).start() for _ in range(CAMERAS // A_SERVER)]
    names = [f"camera{number}" for number in range(CAMERAS)]
    urls = {name: servers[number // A_SERVER].url() for number, name in enumerate(names)}
    recorder = Recorder(tmp_path, urls, 'segment = "10s"\n').start()
    try:
        for name in names:
            wait_for(lambda name=name: recorder.camera(name).get("phase") == "recording", name)
        pid, begin = recorder.process.pid, time.monotonic()
        used = -cpu_seconds(pid)
        time.sleep(seconds)
        used += cpu_seconds(pid)
        core_percent = 100 * used / (time.monotonic() - begin) / CAMERAS
        megabytes = memory_mb(pid) / CAMERAS
        states = [recorder.camera(name) for name in names]
        assert recorder.stop() == 0
    finally:
        recorder.stop(9)
        for server in servers:
            server.kill()
    assert [state["failures"] for state in states] == [{}] * CAMERAS
    assert [state["connections"] for state in states] == [1] * CAMERAS
    recorder.check_files()
    expected = hashes(source)
    for name in names:
        segments = recorder.catalog.segments(name, 0, 1 << 61)
        recorded = [digest for segment in segments for digest in hashes(recorder.store.path(segment.path))]
        assert len(recorded) >= seconds * FPS
        assert recorded == expected[: len(recorded)], name
        frames = recorder.catalog.frame_times(name, 0, 1 << 61)
        assert len(frames) == len(recorded)
        assert all(b - a > 0 for a, b in zip(frames[:-1], frames[1:], strict=True))
        assert abs(int(frames[-1] - frames[0]) - (len(frames) - 1) * SECOND // FPS) < SECOND // 2
        (span,) = recorder.catalog.coverage(name, segments[0].begin_us, segments[-1].end_us)
        assert span.state == "covered"
    print(f"{len(recorded)} frames a camera, {core_percent:.2f} % of a core and {megabytes:.1f} MB a camera")
    return core_percent, megabytes


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_eight_cameras_for_ten_minutes(repository, tmp_path):
    core_percent, megabytes = record_and_compare(repository, tmp_path, 600)
    assert core_percent < MOST_CORE_PERCENT
    assert megabytes < MOST_MB


@pytest.mark.timeout(400)
def test_eight_cameras_for_half_a_minute(repository, tmp_path):
    _, megabytes = record_and_compare(repository, tmp_path, 30)
    assert megabytes < MOST_MB
