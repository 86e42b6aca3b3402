"""Eight cameras for ten minutes: no frame is lost or doubled (compared by the coded data of every frame)."""

import hashlib
import time

import av
import pytest

from privid.domain.units import SECOND
from tests.support.rtsp import FPS, Recorder, Server, wait_for, write_source

CAMERAS = 8
A_SERVER = 4
"""The server has a thread for each camera, out of as many as the machine has cores and four more."""


def hashes(path):
    """Of the slices of each frame: a server repeats the parameter sets where it likes."""
    with av.open(str(path)) as container:
        return [hashlib.sha256(slices(bytes(p))).digest() for p in container.demux(video=0) if p.size]


def slices(packet):
    found, at = b"", 0
    while at < len(packet):
        end = at + 4 + int.from_bytes(packet[at : at + 4])
        found += packet[at:end] if 1 <= packet[at + 4] & 0x1F <= 5 else b""
        at = end
    assert found
    return found


def record_and_compare(tmp_path, seconds):
    source = write_source(tmp_path, frames=(seconds + 60) * FPS)
    servers = [Server(tmp_path).start() for _ in range(CAMERAS // A_SERVER)]
    names = [f"camera{number}" for number in range(CAMERAS)]
    urls = {name: servers[number // A_SERVER].url() for number, name in enumerate(names)}
    recorder = Recorder(tmp_path, urls, 'segment = "10s"\n').start()
    try:
        for name in names:
            wait_for(lambda name=name: recorder.camera(name).get("phase") == "recording", name)
        time.sleep(seconds)
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


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_eight_cameras_for_ten_minutes(tmp_path):
    record_and_compare(tmp_path, 600)


@pytest.mark.timeout(240)
def test_eight_cameras_for_a_moment(tmp_path):
    record_and_compare(tmp_path, 5)
