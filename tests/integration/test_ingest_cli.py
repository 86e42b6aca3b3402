"""`privid-ingest` as its users run it: one line and an exit status, never a traceback."""

import json
import os
import subprocess
import sys

import pytest

from privid.database.connect import open_database
from privid.testing.video import write_clip
from privid.video.catalog import Catalog

RUN = "from privid.cli.ingest import run; run()"


@pytest.fixture
def ingest(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    Catalog(open_database(home / "privid.sqlite3")).add_camera("plaza", created_us=1, timezone="Europe/Lisbon")

    def call(*arguments, **environment):
        done = subprocess.run(
            [sys.executable, "-c", RUN, *map(str, arguments)],
            env={**os.environ, "PRIVID_HOME": str(home), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done

    return call


def test_import_and_status(ingest, tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 30)
    done = ingest("import", clip, "--camera", "plaza", "--start", "2026-07-01 08:00", "--repeat", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "plaza: 6 s of video, 10 fps, 160x96 h264, 2026-07-01T07:00:00Z to 2026-07-01T07:00:06Z",
        f"2 times a.mp4: 60 frames in 2 segments, {done.stdout.split(', ')[-1].strip()}",
    ]
    done = ingest("import", clip, "--camera", "plaza", "--start", "2026-07-01T10:00:00+02:00", "--json")
    report = json.loads(done.stdout)
    assert (report["frames"], report["begin_us"], report["width"]) == (30, 1_782_892_800_000_000, 160)

    shown = ingest("status").stdout
    assert "plaza" in shown
    assert "9 s" in shown
    (camera,) = json.loads(ingest("status", "--json").stdout)["cameras"]
    assert camera["camera"] == "plaza"
    assert camera["holes"] == 1
    assert camera["recorded"]["frames"] == 90


def test_timeline(ingest, tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 30)
    for start in ("2026-07-01T10:00:00Z", "2026-07-01T10:00:09Z"):
        assert ingest("import", clip, "--camera", "plaza", "--start", start).returncode == 0
    picture = tmp_path / "plaza.png"
    done = ingest("timeline", "plaza", "--png", picture, "--json")
    assert [(s["state"], s["to_us"] - s["from_us"]) for s in json.loads(done.stdout)["spans"]] == [
        ("covered", 3_000_000),
        ("unknown", 6_000_000),
        ("covered", 3_000_000),
    ]
    assert picture.read_bytes().startswith(b"\x89PNG")
    shown = ingest("timeline", "plaza", "--from", "2026-07-01T10:00:00Z", "--to", "2026-07-01T10:00:06Z").stdout
    assert "2026-07-01T10:00:00Z" in shown
    assert "recorded" in shown
    done = ingest("timeline", "plaza", "--from", "2026-07-02", "--to", "2026-07-01")
    assert (done.returncode, "--from must be before --to" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--camera", "plazza", "--start", "2026-07-01"], "unknown camera 'plazza': did you mean 'plaza'"),
        (["--camera", "plaza", "--start", "today"], "--start: 'today' is not a moment: write 2026-12-01T08:00:00Z"),
        (["--camera", "plaza", "--start", "2026-03-29 01:30"], "does not exist in Europe/Lisbon"),
        (["--camera", "plaza", "--start", "2026-07-01", "--repeat", "0"], "--repeat"),
        (["--camera", "plaza"], "--start"),
        (["--start", "2026-07-01"], "--camera"),
    ],
)
def test_bad_arguments(ingest, tmp_path, arguments, message):
    done = ingest("import", write_clip(tmp_path / "a.mp4", 5), *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_a_bad_file_is_one_line(ingest, tmp_path):
    done = ingest("import", tmp_path / "nothing.mp4", "--camera", "plaza", "--start", "2026-07-01")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"error {tmp_path}/nothing.mp4 does not exist",
        "  see privid-ingest import --help",
    ]


def test_the_same_import_again_is_bad_input(ingest, tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 5)
    arguments = ("import", clip, "--camera", "plaza", "--start", "2026-07-01")
    assert ingest(*arguments).returncode == 0
    done = ingest(*arguments)
    assert done.returncode == 2
    assert "plaza has video from" in done.stderr


def test_failures_of_the_system(ingest, tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 5)
    arguments = ("import", clip, "--camera", "plaza", "--start", "2026-07-01")
    done = ingest(*arguments, PRIVID_DATABASE_URL="sqlite:////nowhere/at/all")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot open" in done.stderr
    (tmp_path / "file").write_text("")
    done = ingest(*arguments, PRIVID_HOME=str(tmp_path / "file" / "home"))
    assert done.returncode == 1
    assert "Not a directory" in done.stderr


def test_without_cameras(ingest, tmp_path):
    done = ingest("status", PRIVID_HOME=str(tmp_path / "new"))
    assert (done.returncode, done.stdout) == (0, "no cameras yet: privid-admin camera add NAME makes one\n")


@pytest.mark.parametrize("arguments", [["--help"], ["import", "--help"], ["status", "--help"]])
def test_help_has_an_example(ingest, arguments):
    done = ingest(*arguments)
    assert done.returncode == 0
    assert "$ privid-ingest" in done.stdout or arguments == ["--help"]
