"""A recorder against a real RTSP server while one of the two is killed, frozen, or talks nonsense."""

import json
import secrets
import signal
import socket
import time
from itertools import groupby, pairwise

import av
import numpy as np
import pytest

from privid.domain.units import SECOND
from tests.support.coded import hashes
from tests.support.cut import Cut, whole_pictures
from tests.support.rtsp import (
    FPS,
    GOP,
    Garbage,
    LiveCamera,
    Recorder,
    Server,
    connects,
    free_port,
    killed_in_the_end,
    wait_for,
    write_source,
)

FRAME_US = SECOND // FPS


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    write_source(folder)
    return folder


@pytest.fixture
def started():
    """What a test has started, for the end."""
    with killed_in_the_end() as found:
        yield found


def runs_of(frames):
    """Cut where the numbers do not go on: each connection plays from the beginning."""
    runs = []
    for number, at in frames:
        if not runs or number != runs[-1][-1][0] + 1:
            runs.append([])
        runs[-1].append((number, at))
    return runs


def check_gaps(recorder, name, runs):
    """What is not covered is a gap, exactly from one run's last frame to the next one's first."""
    segments = recorder.catalog.segments(name, 0, 1 << 61)
    spans = recorder.catalog.coverage(name, segments[0].begin_us, segments[-1].end_us)
    assert [span.state for span in spans] == ["covered", "gap"] * (len(runs) - 1) + ["covered"]
    for gap, run, following in zip(spans[1::2], runs, runs[1:], strict=False):
        assert abs(gap.from_us - run[-1][1] - FRAME_US) < FRAME_US
        assert gap.to_us == following[0][1]


def killed_at_random(tmp_path, source, started, kills):
    """Kill a recorder while it starts, repairs, connects, hears its first packets, or has recorded for a while."""
    server = Server(source).start()
    started.append(server)
    recorder = Recorder(tmp_path, {"gate": server.url()})
    started.append(recorder)
    lives = []
    for _ in range(kills):
        born = time.time_ns() // 1000
        recorder.start()
        packets = secrets.randbelow(5 * GOP)
        if packets:
            wait_for(lambda packets=packets: recorder.camera("gate").get("packets", 0) >= packets, "packets")
        else:
            time.sleep(secrets.randbelow(1500) / 1000)
        arrived = recorder.camera("gate").get("packets", 0)
        recorder.stop(signal.SIGKILL)
        lives.append((born, time.time_ns() // 1000, arrived))
    recorder.start()
    wait_for(lambda: recorder.camera("gate").get("packets", 0) > 2 * GOP, "recording")
    assert recorder.stop() == 0

    recorder.check_files()
    frames, segments = recorder.frames("gate")
    times = [at for _, at in frames]
    assert times == sorted(set(times))
    # Nothing is lost or doubled inside a run, from its first frame on, and only its last group may be missing.
    runs = runs_of(frames)
    assert {run[0][0] for run in runs} == {0}
    for born, died, arrived in lives:
        mine = [run for run in runs if born < run[0][1] <= died]
        assert len(mine) <= 1
        recorded = len(mine[0]) if mine else 0
        assert recorded >= (arrived - 1) // GOP * GOP
        assert recorded % GOP == 0
    check_gaps(recorder, "gate", runs)
    gaps = recorder.catalog.gaps("gate", segments[0].begin_us, segments[-1].end_us)
    assert {gap.reason for gap in gaps} == {"recorder stopped"}


@pytest.mark.timeout(400)
def test_a_recorder_killed_at_random_loses_at_most_a_group(tmp_path, source, started):
    killed_at_random(tmp_path, source, started, kills=4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_recorder_killed_a_hundred_times(tmp_path, source, started):
    killed_at_random(tmp_path, source, started, kills=100)


@pytest.mark.timeout(400)
def test_one_cameras_trouble_is_its_own(tmp_path, source, started):
    """Servers that are killed, frozen, refuse, or send garbage, and beside them one that works."""
    good, killed, frozen = (Server(source).start() for _ in range(3))
    garbage = Garbage()
    started += [good, killed, frozen, garbage]
    secret = "hunter2"
    recorder = Recorder(
        tmp_path,
        {
            "good": good.url(),
            "killed": killed.url(),
            "frozen": frozen.url(),
            "refusing": f"rtsp://admin:{secret}@127.0.0.1:{free_port()}/camera.mp4",
            "garbage": f"rtsp://127.0.0.1:{garbage.port}/camera.mp4",
            "missing": good.url("nothing.mp4"),
        },
        'segment = "2s"\n[cameras.frozen]\ntimeout = "2s"\n[cameras.garbage]\ntimeout = "2s"\n',
    ).start()
    started.append(recorder)
    for name in ("good", "killed", "frozen"):
        wait_for(lambda name=name: recorder.camera(name).get("phase") == "recording", name)
    time.sleep(1.5)
    killed.kill()
    frozen.freeze()
    wait_for(lambda: recorder.camera("killed").get("failures"), "the killed server")
    wait_for(lambda: recorder.camera("frozen").get("failures"), "the frozen server")
    assert "killed" in recorder.get("/healthz")
    killed.start()
    frozen.thaw()
    for name in ("killed", "frozen"):
        wait_for(lambda name=name: recorder.camera(name).get("phase") == "recording", f"{name} again")
    for name in ("refusing", "garbage", "missing"):
        wait_for(lambda name=name: recorder.camera(name).get("failures"), name)
    states = {name: recorder.camera(name) for name in ("good", "killed", "frozen", "refusing", "garbage", "missing")}
    said = recorder.get("/status") + recorder.get("/metrics") + recorder.get("/healthz")
    assert recorder.stop() == 0
    said += recorder.log.read_text()
    assert secret not in said
    assert "rtsp://" not in said
    assert "Traceback" not in said

    assert states["good"]["failures"] == {}
    assert states["refusing"]["failures"].keys() == {"refused"}
    assert states["frozen"]["failures"].keys() >= {"timed out"}
    assert states["garbage"]["failures"].keys() <= {"garbage", "timed out", "failed", "ended"}
    assert states["missing"]["connections"] == 0
    recorder.check_files()
    frames, segments = recorder.frames("good")
    assert len(frames) >= states["good"]["packets"]
    assert [number for number, _ in frames] == list(range(len(frames)))
    assert len(segments) > 1
    assert {span.state for span in recorder.catalog.coverage("good", segments[0].begin_us, segments[-1].end_us)} == {
        "covered"
    }
    for name, reason in (("killed", "ended"), ("frozen", "timed out")):
        frames, segments = recorder.frames(name)
        assert len(frames) >= states[name]["packets"] - 1, name  # a last one may have been cut off
        runs = runs_of(frames)
        assert len(runs) >= 2, name
        assert {run[0][0] for run in runs} == {0}, name
        check_gaps(recorder, name, runs)
        assert recorder.catalog.gaps(name, segments[0].begin_us, segments[-1].end_us)[0].reason == reason
    for name in ("refusing", "garbage", "missing"):
        assert recorder.catalog.segments(name, 0, 1 << 61) == ()
        assert {gap.reason for gap in recorder.catalog.gaps(name, 0, 1 << 61)} <= states[name]["failures"].keys()


def write_noise(path, frames):
    """Pictures of 10 kB and more: each comes in many pieces."""
    draw = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        options = {"tune": "zerolatency", "preset": "ultrafast", "qp": "28"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 160, 128, "yuv420p", GOP
        for _ in range(frames):
            picture = av.VideoFrame.from_ndarray(draw.integers(0, 256, (128, 160, 3), dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def cut_anywhere(tmp_path, started, connections):
    """Connections that end, or fall silent, in the middle of a picture: what is stored is what has arrived whole."""
    folder = tmp_path / "noise"
    folder.mkdir()
    write_noise(folder / "camera.mp4", 200)
    server = Server(folder).start()
    cut = Cut(server.port, (20_000 + secrets.randbelow(500_000) for _ in range(connections)))
    started += [server, cut]
    url = f"rtsp://127.0.0.1:{cut.port}/camera.mp4"
    recorder = Recorder(tmp_path, {"gate": url}, 'segment = "1s"\n[cameras.gate]\ntimeout = "2s"\n').start()
    started.append(recorder)
    wait_for(lambda: sum(recorder.camera("gate").get("failures", {}).values()) >= connections, "the cuts", 1200)
    assert recorder.stop() == 0
    recorder.check_files()
    expected = hashes(folder / "camera.mp4")
    segments = recorder.catalog.segments("gate", 0, 1 << 61)
    runs = []
    for segment in segments:
        for digest in hashes(recorder.store.path(segment.path)):
            if digest == expected[0]:
                runs.append([])
            runs[-1].append(digest)
    arrived = [count for passed in cut.passed if (count := whole_pictures(passed))]
    assert [len(run) for run in runs] == arrived
    assert all(run == expected[: len(run)] for run in runs)
    times = iter(recorder.catalog.frame_times("gate", 0, 1 << 61).tolist())
    check_gaps(recorder, "gate", [[(digest, next(times)) for digest in run] for run in runs])


@pytest.mark.timeout(400)
def test_connections_cut_off_anywhere(tmp_path, started):
    cut_anywhere(tmp_path, started, connections=3)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_connections_cut_off_anywhere(tmp_path, started):
    cut_anywhere(tmp_path, started, connections=100)


def recorded_live(tmp_path, started, *clips, until):
    """A camera over UDP that plays these clips, recorded until a condition on its state holds."""
    camera = LiveCamera(*clips)
    started.append(camera)
    recorder = Recorder(tmp_path, {"gate": camera.url()}, 'segment = "1s"\n[cameras.gate]\ntransport = "udp"\n').start()
    started.append(recorder)
    wait_for(lambda: until(recorder.camera("gate")), "the recording")
    state = recorder.camera("gate")
    assert recorder.stop() == 0
    recorder.check_files()
    return recorder, state


@pytest.mark.timeout(400)
def test_a_camera_over_udp(tmp_path, started):
    clip = write_source(tmp_path, name="camera.h264")
    recorder, state = recorded_live(tmp_path, started, str(clip), until=lambda c: c.get("frames", 0) >= 60)
    assert (state["connections"], state["failures"]) == (1, {})
    frames, segments = recorder.frames("gate")
    first = frames[0][0]
    assert first % GOP == 0
    assert [number for number, _ in frames] == list(range(first, first + len(frames)))
    assert {b[1] - a[1] for a, b in pairwise(frames)} <= set(range(FRAME_US - 50, FRAME_US + 51))
    (span,) = recorder.catalog.coverage("gate", segments[0].begin_us, segments[-1].end_us)
    assert span.state == "covered"


@pytest.mark.timeout(400)
def test_a_camera_that_changes_its_resolution(tmp_path, started):
    """The camera is set to larger pictures while it is recorded, and back."""
    small = write_source(tmp_path, name="small.h264", frames=200)
    large = write_source(tmp_path, name="large.h264", frames=200, size=(320, 192), first_number=1000)
    recorder, state = recorded_live(
        tmp_path,
        started,
        f"{small}:70",
        f"{large}:70",
        f"{small}:200",
        until=lambda c: c.get("failures", {}).get("picture changed", 0) == 2 and c["frames"] >= 120,
    )
    assert state["failures"] == {"picture changed": 2}
    frames, segments = recorder.frames("gate")
    widths = [width for width, _ in groupby(segment.width for segment in segments)]
    assert widths == [160, 320, 160]
    runs = runs_of(frames)
    assert [run[0][0] // 1000 for run in runs] == [0, 1, 0]
    # All of the old picture is there, to its last frame, and the new one from its next key frame on.
    assert [run[-1][0] for run in runs[:2]] == [69, 1069]
    assert all(run[0][0] % GOP == 0 for run in runs)
    gaps = recorder.catalog.gaps("gate", segments[0].begin_us, segments[-1].end_us)
    assert [gap.reason for gap in gaps] == ["picture changed"] * 2
    check_gaps(recorder, "gate", runs)


def test_reload_leaves_the_others_alone(tmp_path, source, started):
    server = Server(source).start()
    started.append(server)
    recorder = Recorder(tmp_path, {"gate": server.url(), "door": "", "yard": server.url()}).start()
    started.append(recorder)
    wait_for(lambda: recorder.camera("gate").get("phase") == "recording", "gate")
    assert recorder.camera("door") == {}
    recorder.config.write_text(f'segment = "1s"\n[cameras.door]\nurl = "{server.url()}"\n')
    recorder.process.send_signal(signal.SIGHUP)
    wait_for(lambda: recorder.camera("door").get("phase") == "recording", "door")
    recorder.config.write_text("this is not TOML")
    recorder.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "stays as it was" in recorder.log.read_text(), "the refusal of a bad file")
    packets = recorder.camera("gate")["packets"]
    wait_for(lambda: recorder.camera("gate")["packets"] > packets + 4 * FPS, "four seconds of it")
    assert recorder.camera("gate")["connections"] == 1
    assert recorder.camera("door")["phase"] == "recording"
    arrived = {name: recorder.camera(name)["packets"] for name in ("gate", "yard")}
    assert recorder.stop() == 0
    for name in ("gate", "yard"):
        frames, _ = recorder.frames(name)
        assert len(frames) >= arrived[name]  # of the last group, too, what there was of it
        assert [number for number, _ in frames] == list(range(len(frames)))
    # Who goes on undisturbed follows the length of files all the same.
    lengths = [segment.end_us - segment.begin_us for segment in recorder.catalog.segments("gate", 0, 1 << 61)]
    assert min(lengths[:-1]) < 1.5 * SECOND
    assert "no video" not in [json.loads(line)["event"] for line in recorder.log.read_text().splitlines()[1:]]


def test_a_service_manager_is_told_and_nothing_listens_afterwards(tmp_path, monkeypatch):
    address = f"@privid-test-{secrets.token_hex(8)}"
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:])
        manager.settimeout(150)
        recorder = Recorder(tmp_path, {}).start()
        assert manager.recv(100) == b"READY=1"
        assert recorder.get("/healthz") == "ok\n"
        assert recorder.stop(signal.SIGINT) == 0
        assert manager.recv(100) == b"STOPPING=1"
    assert not connects(recorder.port)
