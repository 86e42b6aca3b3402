"""Sample clips: an owner shows one, the analysts of that camera see it and try executables on it."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from privid.client import CallFailed, Client, OwnerClient, Target
from privid.domain.files import write_whole
from privid.server import samples
from privid.testing.services import running_server
from privid.testing.video import write_clip
from privid.video import bitmaps

PROGRAMS = Path(sys.executable).parent
EXECUTABLE = "def process(chunk):\n    yield {'frames': chunk.frame_count}\n"
QUERY = """SPLIT plaza BEGIN 2026-12-01T08:00:00Z END 2026-12-01T09:00:00Z BY TIME 2 sec INTO c;
PROCESS c USING 'count.py' TIMEOUT 500 ms PRODUCING 1 ROWS WITH SCHEMA (frames:NUMBER=0) INTO t;
SELECT COUNT(*) FROM t;
"""

POLICY = "\n".join(
    f"""[camera.{name}]
epsilon = 1.0
rho = "30s"
K = 1
width = 160
height = 96
masks.west = {{ rho = "9s", polygons = [[[0, 0], [{right}, 0], [{right}, 96], [0, 96]]] }}
"""
    for name, right in (("plaza", 120), ("bridge", 80))
)


@pytest.fixture
def server(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    with running_server(home) as running:
        yield running


@pytest.fixture
def folder(tmp_path):
    write_clip(tmp_path / "staged.mp4", 50)
    (tmp_path / "count.py").write_text(EXECUTABLE)
    (tmp_path / "count.sql").write_text(QUERY)
    return tmp_path


@pytest.fixture
def owner(server):
    with OwnerClient(Target(server.addresses.owners, server.owner_token)) as client:
        client.add_camera("plaza", "UTC")
        client.add_camera("bridge", "UTC")
        yield client


@pytest.fixture
def analyst(server, owner):
    with Client(Target(server.addresses.analysts, owner.add_analyst("transport", ["plaza"])[1])) as client:
        yield client


@pytest.fixture
def run(server, owner, folder):
    others = {name: value for name, value in os.environ.items() if not name.startswith("PRIVID_")}
    environment = {
        **others,
        "COLUMNS": "160",
        "PRIVID_SERVER": server.addresses.analysts,
        "PRIVID_TOKEN": owner.add_analyst("planner", ["plaza"])[1],
        "PRIVID_ADMIN_SERVER": server.addresses.owners,
        "PRIVID_OWNER_TOKEN": server.owner_token,
    }

    def call(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = [PROGRAMS / arguments[0], *arguments[1:]]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call


def refused(code):
    return pytest.raises(CallFailed, check=lambda error: error.code == code)


def files(server) -> list[str]:
    return sorted(path.name for path in server.home.samples.iterdir())


def test_a_sample_is_shown_to_the_analysts_of_its_camera_alone(server, owner, analyst, folder):
    content = (folder / "staged.mp4").read_bytes()
    with refused("no_sample"):
        analyst.sample("plaza")
    sample = owner.publish_sample("plaza", content)
    owner.publish_sample("bridge", content)
    assert sample.length_us == 5_000_000
    assert analyst.sample("plaza") == content
    assert [camera.sample for camera in analyst.cameras()] == [sample]
    with refused("unknown_camera"):
        analyst.sample("bridge")
    assert files(server) == [sample.sha256]
    entries = [entry for entry, _ in owner.audit() if entry.event.startswith("sample.")]
    assert [json.loads(entry.document)["camera"] for entry in entries] == ["plaza", "bridge"]


def test_a_later_sample_takes_the_place_and_a_withdrawn_one_is_gone(server, owner, analyst, folder):
    owner.publish_sample("plaza", (folder / "staged.mp4").read_bytes())
    write_clip(folder / "other.mp4", 20)
    sample = owner.publish_sample("plaza", (folder / "other.mp4").read_bytes())
    assert files(server) == [sample.sha256]
    owner.withdraw_sample("plaza")
    assert files(server) == []
    assert [camera.sample for camera in analyst.cameras()] == [None]
    with refused("no_sample"):
        analyst.sample("plaza")
    with refused("no_sample"):
        owner.withdraw_sample("plaza")


def test_what_is_no_video_or_of_no_camera_is_refused_and_nothing_is_kept(server, owner, folder):
    with refused("invalid_request"):
        owner.publish_sample("plaza", b"not a video")
    with refused("unknown_camera"):
        owner.publish_sample("nowhere", (folder / "staged.mp4").read_bytes())
    assert files(server) == []


def test_what_a_mask_hides_is_told_with_the_policy_to_the_analysts_of_the_camera_alone(
    server, owner, analyst, folder, run
):
    (folder / "policy.toml").write_text(POLICY)
    run("privid-admin", "policy", "apply", "policy.toml", "--yes")
    policies, _ = owner.policies()
    mask, bridge = policies["plaza"].masks["west"], policies["bridge"].masks["west"]
    picture = analyst.picture("plaza", mask.picture)
    assert bitmaps.digest(picture) == mask.picture
    for camera, name in (("plaza", bridge.picture), ("plaza", "../owner.token"), ("plaza", "")):
        with refused("invalid_request"):
            analyst.picture(camera, name)
    with refused("unknown_camera"):
        analyst.picture("bridge", bridge.picture)

    owner.publish_sample("plaza", (folder / "staged.mp4").read_bytes())
    (folder / "count.py").write_text("def process(chunk):\n    yield {'frames': int(chunk.frames[:, :, :100].max())}\n")
    (folder / "count.sql").write_text(QUERY.replace("INTO c;", "WITH MASK west INTO c;"))
    done = run("privid", "try", ".", "--sample", "plaza", "--json")
    (table,) = json.loads(done.stdout)["tables"]
    assert [chunk["rows"] for chunk in table["chunks"]] == [[{"frames": 0}]] * 2
    (folder / "count.sql").write_text(QUERY.replace("COUNT(*)", "SUM(RANGE(frames, 0, 9))"))
    found = json.loads(run("privid", "tune", ".", "--sample", "plaza", "--chunks", "2", "--json").stdout)
    assert found["best"]["noise_scale"] > 0  # by the policy that the server tells


def test_nobody_discards_a_sample_that_is_being_published(server, owner, analyst, folder, monkeypatch):
    owner.publish_sample("bridge", (folder / "staged.mp4").read_bytes())
    withdrawing = threading.Thread(target=owner.withdraw_sample, args=("bridge",))

    def write_and_be_overtaken(path, content):
        write_whole(path, content)
        withdrawing.start()
        withdrawing.join(2)  # it would be done by then, if it did not wait for this one

    monkeypatch.setattr(samples, "write_whole", write_and_be_overtaken)
    write_clip(folder / "other.mp4", 20)
    owner.publish_sample("plaza", (folder / "other.mp4").read_bytes())
    withdrawing.join()
    assert analyst.sample("plaza") == (folder / "other.mp4").read_bytes()


def test_the_programs(run, folder):
    owners = ("privid-admin", "camera", "sample", "plaza")
    assert "confirmation" in run(*owners, "staged.mp4", status=2).stderr
    assert "give a video" in run(*owners, status=2).stderr
    assert "cannot read" in run(*owners, "none.mp4", "--yes", status=2).stderr
    assert "has no sample" in run("privid", "try", ".", "--sample", "plaza", status=2).stderr
    assert "privid try FOLDER --sample plaza" in run(*owners, "staged.mp4", "--yes").stdout

    (camera,) = json.loads(run("privid", "cameras", "--json").stdout)["cameras"]
    assert camera["sample"]["length_s"] == 5
    assert "SAMPLE" in run("privid", "cameras").stdout
    for command in ("try", "run-local"):
        (table,) = json.loads(run("privid", command, ".", "--sample", "plaza", "--json").stdout)["tables"]
        assert [chunk["rows"] for chunk in table["chunks"]] == [[{"frames": 20}]] * 2
    for videos in ((), ("--video", "staged.mp4", "--sample", "plaza")):
        assert "one video is needed" in run("privid", "try", ".", *videos, status=2).stderr
    assert "shows no sample now" in run(*owners, "--withdraw", "--yes").stdout
