"""The recorder's other sources and its disk: a watched folder, and a small device that fills."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from privid.domain.units import SECOND
from privid.testing.video import write_clip
from tests.support.rtsp import Recorder, wait_for

START = 1_796_112_000 * SECOND
"""2026-12-01T08:00:00Z."""


@pytest.fixture
def started():
    found = []
    yield found
    for recorder in found:
        recorder.stop(9)


def test_files_that_are_put_into_a_folder(tmp_path, started):
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    recorder = Recorder(tmp_path, {"gate": str(incoming)}, '[cameras.gate]\nsettled = "1s"\n').start()
    started.append(recorder)
    wait_for(lambda: recorder.camera("gate").get("phase") == "recording", "watching")
    write_clip(incoming / "gate_2026-12-01_08-00-00.mp4", 30)
    write_clip(incoming / "gate_2026-12-01_08-00-03.mkv", 30, first_number=30)
    write_clip(incoming / "nameless.mp4", 30)
    (incoming / "gate_2026-12-01_09-00-00.mp4").write_bytes(b"no video")
    (incoming / "notes.txt").write_text("not touched")
    wait_for(lambda: recorder.camera("gate").get("frames") == 60, "both files")
    wait_for(lambda: recorder.camera("gate").get("failures") == {"file refused": 2}, "what is refused")
    assert recorder.stop() == 0
    assert sorted(p.name for p in (incoming / "imported").iterdir()) == [
        "gate_2026-12-01_08-00-00.mp4",
        "gate_2026-12-01_08-00-03.mkv",
    ]
    assert sorted(p.name for p in (incoming / "refused").iterdir()) == ["gate_2026-12-01_09-00-00.mp4", "nameless.mp4"]
    assert (incoming / "notes.txt").exists()
    frames, _ = recorder.frames("gate")
    assert frames == [(number, START + number * SECOND // 10) for number in range(60)]


def noise(path, seconds=6, fps=20):
    """Some 5 MB a second of pictures that nothing can compress."""
    draw = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=fps, options={"qmin": "2", "qmax": "2"})
        stream.width, stream.height, stream.pix_fmt = 480, 360, "yuvj420p"
        for _ in range(seconds * fps):
            picture = draw.integers(0, 256, (360, 480, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def small_disk(tmp_path):
    """A device of 30 MB where the store is."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small device needs root")
    folder = tmp_path / "home" / "video"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m,mode=0700", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def status(recorder):
    found = recorder.get("/status")
    return json.loads(found) if found else {}


@pytest.mark.timeout(240)
def test_retention_keeps_recording_going_on_a_full_device(tmp_path, small_disk, started):
    clip = noise(tmp_path / "noise.mp4")
    config = 'segment = "1s"\nmin_free = "12 MB"\n'
    recorder = Recorder(tmp_path, {"gate": str(clip)}, config).start()
    started.append(recorder)
    wait_for(lambda: status(recorder).get("retention", {}).get("removed_segments", 0) >= 4, "retention", 120)
    received = recorder.camera("gate")["received_bytes"]
    wait_for(lambda: recorder.camera("gate")["received_bytes"] > received + 10_000_000, "recording that goes on", 120)
    assert recorder.stop() == 0
    recorder.check_files()
    recorded = recorder.catalog.recorded("gate")
    assert recorded.size_bytes < 30 * 2**20
    gaps = recorder.catalog.gaps("gate", 0, 1 << 61)
    assert gaps[0].reason == "expired"
    (first, *_) = recorder.catalog.segments("gate", 0, 1 << 61)
    assert first.begin_us >= gaps[0].end_us


@pytest.mark.timeout(240)
def test_a_full_device_without_retention_is_loud_and_recovers(tmp_path, small_disk, started):
    clip = noise(tmp_path / "noise.mp4")
    ballast = small_disk / ".ballast"
    ballast.write_bytes(bytes(8 * 2**20))
    # What is wanted to be free cannot be made free: nothing is recorded that could be removed.
    recorder = Recorder(tmp_path, {"gate": str(clip)}, 'segment = "1s"\nmin_free = "100 MB"\n').start()
    started.append(recorder)
    wait_for(lambda: recorder.camera("gate").get("reason") == "disk full", "a full disk")
    assert status(recorder)["disk_full"]
    assert not status(recorder)["healthy"]
    assert recorder.get("/healthz") == "not recorded: gate\n"
    assert "the disk is full and nothing more can be removed" in recorder.log.read_text()
    said = subprocess.run(
        [str(Path(sys.executable).with_name("privid-ingest")), "status", "--listen", f"127.0.0.1:{recorder.port}"],
        env={**os.environ, "PRIVID_HOME": str(recorder.home.root), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "waiting: disk full" in said
    assert "THE DISK IS FULL" in said
    ballast.unlink()
    time.sleep(0.1)
    wait_for(lambda: recorder.camera("gate").get("phase") == "recording", "recovery", 120)
    assert recorder.stop() == 0
    assert "disk full" in {gap.reason for gap in recorder.catalog.gaps("gate", 0, 1 << 61)}
