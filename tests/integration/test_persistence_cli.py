"""`privid-admin persistence` on recorded video: estimates, pictures, going on where it was, and errors in words."""

import json
import os
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privid.cli.admin import run
from privid.database.connect import open_database
from privid.domain.home import Home
from privid.domain.units import SECOND
from privid.ingest.importer import import_file
from privid.persistence.tracks import load_tracks
from privid.testing.scenes import Scene, Thing, Visit, film
from privid.testing.system import wait_until
from privid.video.catalog import Catalog
from privid.video.store import SegmentStore

START_US = 1_788_260_400_000_000


def _recorded(root: Path, clip: Path) -> dict[str, str]:
    home = Home(root).create()
    engine = open_database(home.database)
    catalog = Catalog(engine)
    catalog.add_camera("plaza", created_us=0)
    catalog.add_camera("empty", created_us=0)
    import_file(catalog, SegmentStore(home.video), clip, "plaza", START_US)
    engine.dispose()
    return {**os.environ, "PRIVID_HOME": str(root)}


PROGRAM = (sys.executable, "-c", "from privid.cli.admin import run; run()", "persistence")


def _run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments], env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> dict[str, str]:
    return _recorded(tmp_path_factory.mktemp("home"), next(repository.glob("examples/**/plaza.mp4")))


def test_the_plaza_has_returns_and_says_that_tracks_undercount_them(recorded: dict[str, str]) -> None:
    first = _run(recorded, "plaza", "--json")
    assert first.returncode == 0, first.stdout + first.stderr
    found: dict[str, Any] = json.loads(first.stdout)
    assert found["K"]["at_least"] >= 2
    assert any("under-counts returns" in warning for warning in found["warnings"])
    assert found["recommended"]["K"] >= found["K"]["at_least"]
    assert found["recommended"]["rho_us"] >= found["rho"]["longest_us"] >= found["rho"]["longest_track_us"]
    assert all(Path(file).stat().st_size for file in found["files"])
    home = Path(recorded["PRIVID_HOME"])
    kept = {path.name: path.stat().st_mtime_ns for path in (home / "persistence" / "plaza" / "blocks").iterdir()}
    again = _run(recorded, "plaza", "--json")
    assert json.loads(again.stdout) == found
    assert kept == {p.name: p.stat().st_mtime_ns for p in (home / "persistence" / "plaza" / "blocks").iterdir()}


def _walks(minutes: int) -> Scene:
    """Somebody walks through a small picture every 40 s."""
    walks = []
    for number in range(1, minutes * 60 // 40):
        times = (np.array([0, 30]) + 40 * number) * SECOND
        way = Visit(times, np.array([-8.0, 168.0]), np.array([60.0, 90.0]))
        walks.append(Thing(number, "person", ((20, 20, 200), (200, 20, 20)), 40, (way,)))
    return Scene("walks", 160, 96, 0, minutes * 60 * SECOND, tuple(walks), far=1.0, day=False)


def test_killed_in_the_middle_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """The next run does what is missing of three blocks, and all is as if nothing had been."""
    environment = _recorded(tmp_path / "home", film(_walks(30), tmp_path / "walks.mp4", Fraction(1)))
    command = ("plaza", "--fps", "1", "--json")
    folder = tmp_path / "home" / "persistence" / "plaza"

    def done() -> dict[str, tuple[int, int]]:
        """The blocks that are kept, each with what changes if it is written again."""
        found = {path.name: path.stat() for path in folder.glob("blocks/*.npz")}
        return {name: (seen.st_ino, seen.st_mtime_ns) for name, seen in found.items()}

    killed = subprocess.Popen([*PROGRAM, *command], env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: done() or killed.poll() is not None, 180, step=0.005)
    finally:
        killed.kill()
    assert killed.wait() == -signal.SIGKILL
    before = done()
    assert 1 <= len(before) < 3
    assert not (folder / "estimate.json").exists()
    resumed = _run(environment, *command)
    assert resumed.returncode == 0, resumed.stderr
    assert len(done()) == 3
    assert {name: done()[name] for name in before} == before
    tracks = load_tracks(folder / "tracks.npz")
    assert len(tracks.spans()[0]) > 40
    shutil.rmtree(folder)
    whole = _run(environment, *command)
    assert json.loads(whole.stdout) == json.loads(resumed.stdout)
    again = load_tracks(folder / "tracks.npz")
    assert all(np.array_equal(getattr(tracks, name), getattr(again, name)) for name in tracks.__slots__)
    assert set(before) < set(done())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "nowhere"),
        (("empty",), "nothing is recorded"),
        (("plaza", "--from", "yesterday"), "--from"),
        (("plaza", "--last", "7d", "--from", "2026-09-01"), "--last"),
        (("plaza", "--detector", "magic"), "magic"),
        (("plaza", "--detector", "fastestdet"), "--weights"),
        (("plaza", "--detector", "fastestdet", "--weights", "/dev/null"), "no weights of FastestDet"),
        (("plaza", "--fps", "0"), "--fps"),
    ],
)
def test_errors_in_words(
    recorded: dict[str, str],
    arguments: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PRIVID_HOME", recorded["PRIVID_HOME"])
    monkeypatch.setattr(sys, "argv", ["privid-admin", "persistence", *arguments])
    with pytest.raises(SystemExit) as left:
        run()
    assert left.value.code == 2
    assert said in capsys.readouterr().err
