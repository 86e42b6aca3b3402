"""Trying an executable on video of one's own: the programs as an analyst runs them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from privid.cli import main
from privid.testing.system import descendants
from privid.testing.video import write_clip
from tests.support.rtsp import wait_for

CLI = (str(Path(sys.executable).with_name("privid")),)
QUERY = """SPLIT street BEGIN 2026-09-01T13:00:00Z END 2026-09-01T14:00:00Z BY TIME 2 sec WITH MASK trees INTO c;
PROCESS c USING 'looks.py' TIMEOUT 500 ms PRODUCING 3 ROWS WITH SCHEMA (sum:NUMBER=-1, moment:STRING="never") INTO t;
SELECT COUNT(*) FROM t;
"""
DETECTOR = """
import time
def process(chunk):
    second = (chunk.start_us - 1788267600000000) // 1000000
    print("second", second)
    if second == 2:
        raise ValueError("not this one")
    if second == 4:
        time.sleep(60)
    for frame in chunk.frames[:2]:
        yield {"sum": int(frame.sum()), "moment": str(chunk.times_us[0])}
"""


def privid(folder: Path, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*CLI, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert status == 0 or "Traceback" not in done.stderr
    return done


@pytest.fixture
def folder(tmp_path):
    write_clip(tmp_path / "street.mp4", 90)  # 9 s: four chunks and half a one
    (tmp_path / "looks.sql").write_text(QUERY)
    (tmp_path / "looks.py").write_text(DETECTOR)
    return tmp_path


def chunks(done: subprocess.CompletedProcess[str]) -> list[dict]:
    (table,) = json.loads(done.stdout)["tables"]
    assert (table["table"], table["executable"]) == ("t", "looks.py")
    return table["chunks"]


def test_the_sandbox_shows_rows_times_faults_and_logs(folder):
    found = chunks(privid(folder, "try", "looks.sql", "--video", "street.mp4", "--json"))
    assert [chunk["index"] for chunk in found] == [0, 1, 2, 3]
    assert [chunk["fault"] for chunk in found] == [None, "crashed", "timed out", None]
    assert [chunk["frames"] for chunk in found] == [20] * 4
    assert found[1]["rows"] == found[2]["rows"] == [{"sum": -1, "moment": "never"}]
    assert [row["moment"] for row in found[3]["rows"]] == ["1788267606000000"] * 2
    assert found[0]["log"] == "second 0\n"
    assert 'raise ValueError("not this one")' in found[1]["log"]
    assert "workers" not in found[1]["log"]
    assert found[2]["log"] == "second 4\n"
    assert found[2]["took_ms"] > 400

    shown = privid(folder, "try", ".", "--video", "street.mp4").stdout
    assert "crashed: default row" in shown
    assert "4 chunks" in shown
    assert "2 failed" in shown
    assert "ValueError: not this one" in shown
    (folder / "looks.py").write_text("def process(chunk):\n    print('again')\n    return {'total': 1}\n")
    shown = privid(folder, "try", ".", "--video", "street.mp4").stdout
    assert "chunks 0, 1, 2, 3 printed:\n  again\n  privid: WITH SCHEMA has no such column" in shown
    assert "not of its type: total\n4 chunks" in shown


def test_ended_in_the_middle_it_leaves_nothing(folder):
    (folder / "looks.sql").write_text(QUERY.replace("500 ms", "300 sec"))
    (folder / "looks.py").write_text("import time\ndef process(chunk):\n    time.sleep(250)\n")
    temporary = folder / "temporary"
    temporary.mkdir()
    with subprocess.Popen(
        [*CLI, "try", ".", "--video", "street.mp4"],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        end = time.monotonic() + 100
        while not (tree := descendants(running.pid)) or not list(temporary.glob("privid-trial-*")):
            assert time.monotonic() < end, "it did not begin"
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in said
    assert list(temporary.glob("privid-trial-*")) == []
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in tree), "the end of its workers", 60)


def test_without_the_sandbox_the_rows_are_the_same(folder):
    (folder / "looks.py").write_text(DETECTOR.replace("time.sleep(60)", "pass"))
    inside = chunks(privid(folder, "try", ".", "--video", "street.mp4", "--json"))
    done = privid(folder, "run-local", ".", "--video", "street.mp4", "--json")
    # What the executable prints comes first: a debugger's user wants to see it as it happens.
    assert done.stdout.startswith("second 0\n")
    outside = json.loads(done.stdout[done.stdout.index("{") :])["tables"][0]["chunks"]
    assert "ValueError: not this one" in done.stderr
    assert [(c["rows"], c["fault"]) for c in outside] == [(c["rows"], c["fault"]) for c in inside]
    assert [c["fault"] for c in outside] == [None, "crashed", None, None]


def test_what_init_makes_works_as_it_is(folder):
    privid(folder, "init", "passers-by", "--camera", "street")
    made = folder / "passers-by"
    assert sorted(path.name for path in made.iterdir()) == [
        "main.py",
        "passers_by.sql",
        "privid.toml",
        "test_passers_by.py",
    ]
    write_clip(folder / "wide.mp4", 60, size=(384, 288))
    shown = privid(folder, "try", "passers-by", "--video", "wide.mp4").stdout
    assert "none failed" in shown
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(made)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "3 passed" in tested.stdout, tested.stdout
    assert "already there" in privid(folder, "init", "passers-by", status=2).stderr
    assert "cannot be the name" in privid(folder, "init", "7", status=2).stderr


def test_tune_names_the_best_setting(folder):
    (folder / "count.sql").write_text(
        QUERY.replace(" WITH MASK trees", "").replace("COUNT(*)", "AVG(RANGE(sum, 0, 1000))").replace("looks", "count")
    )
    (folder / "count.py").write_text("def process(chunk):\n    return {'sum': 100 + len(chunk.frames)}\n")
    (folder / "policy.toml").write_text('[camera.street]\nepsilon = 1\nrho = "10s"\nK = 1\nfps = 10\n')
    arguments = ("count.sql", "--video", "street.mp4", "--policy", "policy.toml", "--chunks", "1,2,4")
    document = json.loads(privid(folder, "tune", *arguments, "--json", "--plot", "tune.png").stdout)
    assert document["truth"] == 140
    assert (folder / "tune.png").read_bytes().startswith(b"\x89PNG")
    assert {setting["chunk_s"]: setting["answer"] for setting in document["settings"]} == {1: 110, 2: 120, 4: 140}
    errors = [setting["expected_error"] for setting in document["settings"]]
    assert document["best"] == document["settings"][0]
    assert errors == sorted(errors)
    assert "best: BY TIME" in privid(folder, "tune", *arguments).stdout
    grouped = (folder / "count.sql").read_text().replace("FROM t;", "FROM t GROUP BY hour(chunk);")
    (folder / "count.sql").write_text(grouped)
    assert "one SELECT without GROUP BY" in privid(folder, "tune", *arguments, status=2).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("looks.sql", "--video", "none.mp4"), "none.mp4 does not exist"),
        (("looks.sql", "--video", "looks.py"), "not a video file"),
        (("none.sql", "--video", "street.mp4"), "cannot read the query none.sql"),
        (("looks.sql", "--video", "street.mp4", "--executable", "looks.py=none.py"), "cannot read none.py"),
        (("two", "--video", "street.mp4"), "has 0 queries"),
        (("wrong.sql", "--video", "street.mp4"), "wrong.sql:1:"),
        (("long.sql", "--video", "street.mp4"), "shorter than one chunk"),
    ],
)
def test_bad_input(folder, arguments, message):
    (folder / "two").mkdir()
    (folder / "wrong.sql").write_text("SPLAT street;")
    (folder / "long.sql").write_text(QUERY.replace("2 sec", "1 min"))
    assert message in privid(folder, "try", *arguments, status=2).stderr


SIDES = """SPLIT street BEGIN 2026-09-01T13:00:00Z END 2026-09-01T14:00:00Z BY TIME 4 sec {clauses} INTO c;
PROCESS c USING 'sees.py' TIMEOUT 500 ms PRODUCING EXACTLY 1 ROWS
  WITH SCHEMA (wide:NUMBER=0, brightest:NUMBER=-1, side:STRING="") INTO t;
SELECT {select} FROM t;
"""
SEES = """
def process(chunk):
    yield {"wide": chunk.width, "brightest": int(chunk.frames[:, :, :60].max()), "side": chunk.region}
"""
STREET = """[camera.street]
epsilon = 1.0
rho = "30s"
K = 1
width = 160
height = 96
masks.trees = { rho = "10s", polygons = [[[0, 0], [80, 0], [80, 96], [0, 96]]] }
masks.sky = { rho = "10s" }
masks.lost = { rho = "10s", picture = "nowhere.png" }
regions.bare = { names = ["left", "right"] }
[camera.street.regions.sides]
names = ["left", "right"]
polygons.left = [[0, 0], [90, 0], [90, 96], [0, 96]]
polygons.right = [[90, 0], [160, 0], [160, 96], [90, 96]]
"""


@pytest.fixture
def street(folder, monkeypatch, capsys):
    """Runs one command on it, in this process unless it is `try`: its standard output and error."""
    (folder / "looks.sql").unlink()
    (folder / "sees.py").write_text(SEES)
    (folder / "street.toml").write_text(STREET)
    monkeypatch.chdir(folder)

    def attempt(command, clauses, *, policy="street.toml", video="street.mp4", status=0, select="COUNT(*)"):
        (folder / "sees.sql").write_text(SIDES.format(clauses=clauses, select=select))
        arguments = [command, "sees.sql", "--video", video, "--json", *(("--policy", policy) if policy else ())]
        arguments += ["--chunks", "4"] if command == "tune" else []
        if command == "try":
            done = privid(folder, *arguments, status=status)
            return done.stdout, done.stderr
        monkeypatch.setattr(sys, "argv", ["privid", *arguments])
        with pytest.raises(SystemExit) as left:
            main.run()
        assert left.value.code == status
        return capsys.readouterr()

    return attempt


def rows(said):
    return [tuple(chunk["rows"][0].values()) for chunk in json.loads(said[0])["tables"][0]["chunks"]]


def error(said):
    return json.loads(said[0])["error"]


@pytest.mark.parametrize("command", ["try", "run-local"])
def test_masks_and_regions_of_the_policy_file_are_seen_as_a_query_would_see_them(street, command):
    said = street(command, "WITH MASK trees BY REGION sides")
    assert [chunk["region"] for chunk in json.loads(said[0])["tables"][0]["chunks"]] == ["left", "right"] * 2
    left, right, *_ = rows(said)
    assert left == (90, 0, "left")
    assert right[::2] == (70, "right")
    assert right[1] > 100


def test_what_nobody_published_is_said(street, folder):
    ((wide, seen, _), _) = rows(street("run-local", ""))
    assert wide == 160
    assert seen > 100
    assert rows(street("run-local", "WITH MASK trees")) == [(160, 0, "")] * 2
    alone = street("run-local", "WITH MASK trees", policy=None)
    assert "nothing says what is hidden: MASK trees" in alone[1]
    assert rows(alone)[0][1] > 100
    assert "cannot read nowhere.png" in error(street("run-local", "WITH MASK LOST", status=2))["message"]
    refused = error(street("run-local", "BY REGION bare", status=2))
    assert "region scheme 'bare' of camera street has no picture" in refused["message"]
    assert "--sample" in refused["hint"]
    assert "MASK sky (" in street("run-local", "WITH MASK sky, trees")[1]
    refused = error(street("run-local", "BY REGION sides", policy=None, status=2))
    assert "sides" in refused["message"]
    assert "--policy" in refused["hint"]
    assert "trees" in error(street("run-local", "WITH MASK tree", status=2))["hint"]
    write_clip(folder / "small.mp4", 50, size=(80, 48))
    refused = error(street("run-local", "WITH MASK trees", video="small.mp4", status=2))
    assert "small.mp4 has pictures of 80x48" in refused["message"]
    assert rows(street("run-local", "", video="small.mp4"))[0][0] == 80


def test_tune_sees_masks_too_and_needs_a_policy(street):
    found = json.loads(street("tune", "WITH MASK trees", select="AVG(RANGE(brightest, -1, 255))")[0])
    assert found["truth"] == 0
    assert "noise follows from a policy" in error(street("tune", "", policy=None, status=2))["message"]
