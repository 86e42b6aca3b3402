"""`privid-admin persistence` on recorded video: estimates, pictures, going on where it was, and errors in words."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from privid.cli.admin import run
from privid.database.connect import open_database
from privid.domain.home import Home
from privid.ingest.importer import import_file
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


def _run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from privid.cli.admin import run; run()", "persistence", *arguments]
    return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=240, check=False)


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
