"""Masks and regions through the real programs: what the owner hides is zero for every guest, and the rest is there."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from privid.owner.drawings import write_png
from privid.testing.system import LocalSystem, wait_until
from privid.testing.video import picture
from tests.support.minute import PLENTY

QUERY = """SPLIT plaza BEGIN 2026-09-01T13:00:00Z END 2026-09-01T13:00:20Z BY TIME 2sec {clauses} INTO chunks;
PROCESS chunks USING 'sums.py' TIMEOUT 300ms PRODUCING EXACTLY 1 ROWS
  WITH SCHEMA (west:NUMBER=-1, east:NUMBER=-1, high:NUMBER=-1, wide:NUMBER=-1, named:NUMBER=-1) INTO t;
{select}
"""
SUMS = b"""
def process(chunk):
    frames = chunk.frames
    half = 80 if chunk.width >= 160 else chunk.width
    yield {
        'west': float(frames[:, :, :half].sum(dtype='int64')) / frames[:, :, :half].size,
        'east': float(frames[:, :, half:].sum(dtype='int64')) / max(1, frames[:, :, half:].size),
        'high': chunk.height,
        'wide': chunk.width,
        'named': {'': 0, 'west': 1, 'east': 2}[chunk.region],
    }
"""
WHOLE = "SELECT AVG(RANGE(west, -1, 255)) AS l, AVG(RANGE(east, -1, 255)) AS r FROM t CONSUMING {e};"
BY_REGION = """SELECT region, AVG(RANGE(west, -1, 255)) AS l FROM t GROUP BY region CONSUMING {e};
SELECT region, AVG(RANGE(high, -1, 100)) AS h, AVG(RANGE(wide, -1, 200)) AS w, AVG(RANGE(named, 0, 2)) AS n
  FROM t GROUP BY region CONSUMING {e};
"""


@pytest.fixture(scope="module")
def system(module_install: Callable[..., LocalSystem]) -> LocalSystem:
    """With an epsilon so large that the noise is below one step of brightness."""
    return module_install(epsilon=100 * PLENTY, timing="open")


@pytest.fixture(scope="module")
def token(system: LocalSystem) -> str:
    token = system.add_analyst("alice", "plaza")
    with system.client(token) as client:
        client.upload("sums.py", SUMS)
    return token


def truth(columns: slice) -> float:
    """The sum of the pixels of some columns by their number, in the first 20 s as they were drawn."""
    return float(np.mean([picture(number)[:, columns].mean() for number in range(200)]))


def answers(system: LocalSystem, token: str, clauses: str, select: str) -> list[list[list[object]]]:
    with system.client(token) as client:
        text = QUERY.format(clauses=clauses, select=select.format(e=PLENTY / 2))
        submitted = client.submit(text).query
        *_, last = client.watch(submitted.id)
        assert last.query.state == "released", system.log.read_text()[-3000:]
        tables = client.result(submitted.id).tables
    return [[[getattr(cell, "value", cell) for cell in row] for row in table.rows] for table in tables]


def test_what_a_mask_hides_is_zero_and_the_rest_is_there(system: LocalSystem, token: str, tmp_path: Path) -> None:
    hidden = np.zeros((96, 160), bool)
    hidden[:, :80] = True
    write_png(hidden, tmp_path / "west.png")
    said = system.run("privid-admin", "policy", "set", "plaza", "--mask", tmp_path / "west.png:2s", "--yes")
    assert "mask west hides 50 % of the picture" in said.stdout
    system.run(
        *("privid-admin", "mask", "add", "plaza", "corner", "--rho", "3s", "--segments", "2", "--yes"),
        *("--polygon", "120,0 160,0 160,96 120,96", "--polygon", "0,0 10,0 10,10"),
    )
    (((left, right),),) = answers(system, token, "WITH MASK west", WHOLE)
    assert left == pytest.approx(0, abs=3)
    assert right == pytest.approx(truth(slice(80, 160)), abs=3)
    (((left, right),),) = answers(system, token, "WITH MASK west, corner", WHOLE)
    assert left == pytest.approx(0, abs=3)
    assert right == pytest.approx(truth(slice(80, 120)) / 2, abs=3)
    (((left, right),),) = answers(system, token, "", WHOLE)
    assert left == pytest.approx(truth(slice(0, 80)), abs=3)
    assert right == pytest.approx(truth(slice(80, 160)), abs=3)
    # The order of masks makes no other question; another mask does.
    with system.client(token) as client:
        asked = {
            clauses: client.submit(QUERY.format(clauses=clauses, select=WHOLE.format(e=PLENTY / 2)))
            for clauses in ("WITH MASK corner, west", "WITH MASK corner")
        }
    assert [submitted.shared for submitted in asked.values()] == [True, False]
    explained = system.json("privid", "explain", _file(tmp_path, "WITH MASK corner, west"), token=token)
    (used,) = explained["releases"][0]["sources"]
    assert (used["mask"], used["touched_per_segment"], used["segments"]) == ("west", 2, 1)


def test_regions_are_slots_of_their_own(system: LocalSystem, token: str, tmp_path: Path) -> None:
    polygons = {"west": [[0, 0], [80, 0], [80, 40], [0, 40]], "east": [[80, 0], [160, 0], [160, 96], [80, 96]]}
    (tmp_path / "halves.json").write_text(json.dumps(polygons))
    system.run(
        *("privid-admin", "region", "add", "plaza", "halves", "--boundary", "hard", "--yes"),
        *("--polygons", tmp_path / "halves.json"),
    )
    sums, facts = answers(system, token, "BY REGION halves", BY_REGION)
    west = float(np.mean([picture(number)[:40, :80].mean() for number in range(200)]))
    assert [row[0] for row in sums] == ["west", "east"]
    assert [row[1] for row in sums] == [pytest.approx(west, abs=3), pytest.approx(truth(slice(80, 160)), abs=3)]
    assert [row[0] for row in facts] == ["west", "east"]
    assert [row[1:] for row in facts] == [pytest.approx([40, 80, 1], abs=3), pytest.approx([96, 80, 2], abs=3)]
    explained = system.json("privid", "explain", _file(tmp_path, "BY REGION halves"), token=token)
    assert (explained["chunks"], explained["slots"]) == (10, 20)
    assert explained["releases"][0]["sources"][0]["touched_per_segment"] == 3  # hard: one region of each chunk


def test_a_picture_never_changes_under_its_name(system: LocalSystem, tmp_path: Path) -> None:
    add = ("privid-admin", "mask", "add", "plaza", "benches", "--rho", "2s", "--yes", "--polygon")
    system.run(*add, "0,0 80,0 80,96 0,96")
    again = system.run(*add, "0,0 80,0 80,96 0,96")
    assert "nothing changes" in again.stdout
    refused = system.run(*add, "0,0 82,0 82,96 0,96", check=False)
    assert refused.returncode == 2
    assert "never changes under its name" in refused.stderr
    assert "benches_2" in refused.stderr
    # Deleted by a policy file that does not name it, and back with its picture as soon as one does.
    exported = tmp_path / "policy.toml"
    system.run("privid-admin", "policy", "export", "--output", exported, "--pictures", tmp_path / "pictures")
    whole = exported.read_text()
    exported.write_text(whole[: whole.index("[camera.plaza.masks")])
    system.run("privid-admin", "policy", "apply", exported, "--yes")
    assert system.json("privid-admin", "mask", "list", "plaza")["masks"] == []
    assert system.run(*add, "0,0 82,0 82,96 0,96", check=False).returncode == 2
    without_picture = "\n".join(line for line in whole.splitlines() if not line.startswith("picture"))
    exported.write_text(without_picture)
    system.run("privid-admin", "policy", "apply", exported, "--yes")
    masks = {mask["name"]: mask for mask in system.json("privid-admin", "mask", "list", "plaza")["masks"]}
    exported.write_text(whole)
    assert "nothing changes" in system.run("privid-admin", "policy", "apply", exported, "--yes").stdout
    assert (system.home.pictures / masks["benches"]["picture"]).is_file()


def test_what_owners_may_not_draw(system: LocalSystem, tmp_path: Path) -> None:
    before = set(system.home.pictures.iterdir())
    write_png(np.eye(95, 160, dtype=bool), tmp_path / "small.png")
    write_png(np.zeros((96, 160), bool), tmp_path / "nothing.png")
    (tmp_path / "text.png").write_text("not a picture")
    mask = ("privid-admin", "policy", "set", "plaza", "--yes", "--mask")
    region = ("privid-admin", "region", "add", "plaza", "lanes", "--yes", "--boundary", "hard")
    for arguments, says in (
        ((*mask, tmp_path / "small.png:2s"), "drawn for 160x95 pixels, and the recording has 160x96"),
        ((*mask, tmp_path / "nothing.png:2s"), "hides nothing"),
        ((*mask, tmp_path / "text.png:2s"), "not a PNG picture"),
        ((*mask, tmp_path / "missing.png:2s"), "cannot read"),
        ((*mask, "unheard:2s"), "has no picture"),
        ((*region, "--polygon", "a=0,0 9,0 9,9", "--polygon", "b=0,0 9,0 9,9"), "share 45 pixels"),
        ((*region, "--polygon", "a=0,0 9,0 9,0"), "region a is empty"),
        ((*region, "--polygon", "a=0,0 161,0 9,9"), "outside the picture of 160x96"),
        ((*region, "--polygon", "a=0,0 9,0 9,9", "--boundary", "hardish"), "hard, soft, none"),
        ((*region,), "which regions?"),
    ):
        done = system.run(*arguments, check=False)
        assert done.returncode == 2, done.stdout + done.stderr
        assert says in done.stderr
        assert "Traceback" not in done.stderr
    assert set(system.home.pictures.iterdir()) == before


def test_a_mask_of_another_camera_is_unknown(system: LocalSystem, token: str, tmp_path: Path) -> None:
    polygon = ("--polygon", "0,0 80,0 80,96 0,96", "--rho", "2s", "--yes")
    system.run("privid-admin", "mask", "add", "plaza", "beaches", *polygon)
    refused = system.run("privid", "submit", _file(tmp_path, "WITH MASK beach"), token=token, check=False)
    assert refused.returncode == 2
    assert "unknown mask 'beach'" in refused.stderr
    assert "Did you mean beaches?" in refused.stderr


def test_a_killed_server_goes_on_with_the_slots_that_are_left(system: LocalSystem, token: str) -> None:
    polygons = ("--polygon", "a=0,0 80,0 80,96 0,96", "--polygon", "b=80,0 160,0 160,96 80,96")
    system.run("privid-admin", "region", "add", "plaza", "sides", *polygons, "--yes")
    slow = b"import time\ndef process(chunk):\n    time.sleep(0.15)\n    yield {'west': 1 + (chunk.region == 'b')}\n"
    text = QUERY.format(
        clauses="BY REGION sides",
        select="SELECT region, SUM(RANGE(west, 0, 2)) AS n FROM t GROUP BY region CONSUMING 900;",
    )
    with system.client(token) as client:
        client.upload("sums.py", slow)
        submitted = client.submit(text).query
    wait_until(lambda: len([e for e in system.logged("slot finished") if e["query"] == submitted.id]) >= 5)
    system.kill()
    system.start()
    with system.client(token) as client:
        *_, last = client.watch(submitted.id)
        assert last.query.state == "released"
        rows = client.result(submitted.id).tables[0].rows
        client.upload("sums.py", SUMS)
    assert [(row[0], round(row[1].value)) for row in rows] == [("a", 10), ("b", 20)]
    ran = Counter(entry["slot"] for entry in system.logged("slot finished") if entry["query"] == submitted.id)
    assert ran == dict.fromkeys(range(20), 1)


def test_a_damaged_picture_stops_a_query_before_it_is_charged(system: LocalSystem, token: str, tmp_path: Path) -> None:
    polygon = ("--polygon", "1,0 80,0 80,96 0,96", "--rho", "2s", "--yes")
    system.run("privid-admin", "mask", "add", "plaza", "shade", *polygon)
    budget = system.json("privid-admin", "budget", "show", "plaza")
    named = {mask["name"]: mask["picture"] for mask in system.json("privid-admin", "mask", "list", "plaza")["masks"]}
    picture_file = system.home.pictures / named["shade"]
    picture_file.write_bytes(picture_file.read_bytes()[:-1] + b"\x01")
    done = system.run("privid", "submit", _file(tmp_path, "WITH MASK shade"), token=token, check=False)
    assert done.returncode == 1
    assert "incident" in done.stderr
    assert system.json("privid-admin", "budget", "show", "plaza") == budget


def _file(folder: Path, clauses: str) -> Path:
    path = folder / "query.sql"
    path.write_text(QUERY.format(clauses=clauses, select=WHOLE.format(e=1)))
    return path
