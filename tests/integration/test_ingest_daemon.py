"""The recorder's other sources and its disk: a watched folder, and a small device that fills."""

import contextlib
import json
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
from privid.domain.budget import Charge, Grid, Loss
from privid.domain.units import SECOND
from privid.testing.video import write_clip
from tests.support.ledgers import PLAIN, World
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
    recorder = Recorder(tmp_path, {"gate": str(incoming)}, '[cameras.gate]\nsettled = "1 day"\n').start()
    started.append(recorder)
    wait_for(lambda: recorder.camera("gate").get("phase") == "recording", "watching")
    recorder.config.write_text('[cameras.gate]\nsettled = "1s"\n')  # followed at once by who is watching
    recorder.process.send_signal(signal.SIGHUP)
    write_clip(incoming / "gate_2026-12-01_08-00-00.mp4", 30)
    write_clip(incoming / "gate_2026-12-01_08-00-03.mkv", 30, first_number=30)
    write_clip(incoming / "nameless.mp4", 30)
    (incoming / "gate_2026-12-01_09-00-00.mp4").write_bytes(b"no video")
    (incoming / "notes.txt").write_text("not touched")
    wait_for(lambda: recorder.camera("gate").get("frames") == 60, "both files")
    wait_for(lambda: recorder.camera("gate").get("failures") == {"file refused": 2}, "what is refused")
    write_clip(incoming / "nameless.mp4", 30)
    wait_for(lambda: recorder.camera("gate").get("failures") == {"file refused": 3}, "another of the same name")
    assert recorder.stop() == 0
    assert sorted(p.name for p in (incoming / "imported").iterdir()) == [
        "gate_2026-12-01_08-00-00.mp4",
        "gate_2026-12-01_08-00-03.mkv",
    ]
    assert sorted(p.name for p in (incoming / "refused").iterdir()) == [
        "gate_2026-12-01_09-00-00.mp4",
        "nameless (2).mp4",
        "nameless.mp4",
    ]
    assert (incoming / "notes.txt").exists()
    frames, _ = recorder.frames("gate")
    assert frames == [(number, START + number * SECOND // 10) for number in range(60)]


def noise(path, seconds=6, fps=20):
    """Some 250 kB a frame of pictures that nothing can compress."""
    draw = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=fps, options={"qmin": "2", "qmax": "2"})
        stream.width, stream.height, stream.pix_fmt = 480, 360, "yuvj420p"
        pictures = []
        for _ in range(10):
            picture = draw.integers(0, 256, (360, 480, 3), dtype=np.uint8)
            pictures += [bytes(p) for p in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))]
        for number in range(seconds * fps):
            packet = av.Packet(pictures[number % len(pictures)])
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, fps), True
            packet.pts = packet.dts = number
            packet.duration = 1
            container.mux(packet)
    return path


@contextlib.contextmanager
def device(folder, megabytes):
    """A device of this size at an empty folder."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small device needs root")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def small_disk(tmp_path):
    """A device of 30 MB where the store is."""
    with device(tmp_path / "home" / "video", 30) as folder:
        yield folder


@pytest.fixture
def source_disk(tmp_path):
    """A large one for what is recorded, so that it does not outlive the test."""
    with device(tmp_path / "source", 400) as folder:
        yield folder


@pytest.fixture
def device_of_200_mb(tmp_path):
    """Where the store is."""
    with device(tmp_path / "home" / "video", 200) as folder:
        yield folder


def ingest_status(recorder):
    """What `privid-ingest status` prints."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("privid-ingest")), "status", "--listen", f"127.0.0.1:{recorder.port}"],
        env={**os.environ, "PRIVID_HOME": str(recorder.home.root), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def status(recorder):
    found = recorder.get("/status")
    return json.loads(found) if found else {}


@pytest.mark.timeout(400)
def test_a_device_of_200_mb_that_fills(tmp_path, device_of_200_mb, source_disk, started):
    """Retention keeps the recording going, what a query has reserved survives, and the status says so."""
    clip = noise(source_disk / "noise.mp4", seconds=15, fps=100)
    recorder = Recorder(tmp_path, {"gate": str(clip)}, 'segment = "1s"\nmin_free = "60 MB"\n').start()
    started.append(recorder)
    wait_for(lambda: len(recorder.catalog.segments("gate", 0, 1 << 61)) >= 4, "segments")
    reserved = recorder.catalog.segments("gate", 0, 1 << 61)[1:3]
    world = World(open_database(recorder.home.database))
    world.policies.put("gate", PLAIN, actor="owner:olga")
    grid = Grid(reserved[0].begin_us, SECOND, SECOND, round((reserved[1].end_us - reserved[0].begin_us) / SECOND))
    query = world.reserve(Charge("gate", (Loss("none", 1000, None, grid),)))

    wait_for(lambda: status(recorder)["retention"]["removed_bytes"] >= 100_000_000, "retention")
    wait_for(lambda: "should have been removed, but unfinished queries need them" in ingest_status(recorder), "status")
    found = status(recorder)
    assert found["retention"]["blocked_bytes"] >= sum(recorder.store.path(s.path).stat().st_size for s in reserved)
    assert not found["disk_full"]
    # The clip ends, and begins again a moment later; nothing else ever stopped the recording.
    wait_for(lambda: status(recorder)["healthy"], "the recording to go on")
    assert recorder.camera("gate")["failures"].keys() <= {"ended"}
    segments = recorder.catalog.segments("gate", 0, 1 << 61)
    assert [segment.id for segment in segments[:2]] == [segment.id for segment in reserved]
    gaps = recorder.catalog.gaps("gate", 0, 1 << 61)
    assert {"expired"} <= {gap.reason for gap in gaps} <= {"expired", "ended"}
    spans = recorder.catalog.coverage("gate", gaps[0].begin_us, segments[-1].end_us)
    assert {span.state for span in spans} == {"covered", "gap"}

    # As soon as the query is finished, its segments go as well.
    world.ledger.start(query.query_id)
    world.ledger.release(query.query_id, "{}")
    wait_for(lambda: not recorder.catalog.segments("gate", reserved[0].begin_us, reserved[1].end_us), "the last ones")
    assert recorder.stop() == 0
    recorder.check_files()
    frames = np.concatenate([segment.index().times_us for segment in recorder.catalog.segments("gate", 0, 1 << 61)])
    assert (np.diff(frames) > 0).all()


@pytest.mark.timeout(400)
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
    said = ingest_status(recorder)
    assert "waiting: disk full" in said
    assert "THE DISK IS FULL" in said
    ballast.unlink()
    time.sleep(0.1)
    wait_for(lambda: recorder.camera("gate").get("phase") == "recording", "recovery")
    assert recorder.stop() == 0
    assert "disk full" in {gap.reason for gap in recorder.catalog.gaps("gate", 0, 1 << 61)}
