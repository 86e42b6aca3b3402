"""From tracks to a policy through the real programs: masks, the report in a real browser, the command that applies it.

The browser is Debian's Chromium. Without it the test fails where nothing may be skipped.
"""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from privid.owner.drawings import read_png
from privid.owner.rasterise import rasterise
from privid.persistence.tracks import Tracks, save_tracks
from privid.testing.system import LocalSystem
from tests.support.minute import PLENTY
from tests.support.trajectories import walks

CHROMIUM = shutil.which("chromium")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=20000")
BROWSER_SECONDS = 120
DUMP = """
import numpy

def process(chunk):
    bits = numpy.frombuffer(bytes.fromhex('{bits}'), numpy.uint8)
    hidden = numpy.unpackbits(bits)[:{size}].reshape({height}, {width}).astype(bool)
    frames = chunk.frames
    yield {{'hidden': frames[:, hidden].any() * 255.0, 'shown': frames[:, ~hidden].any() * 255.0}}
"""
QUERY = """SPLIT plaza BEGIN 2026-09-01T13:00:00Z END 2026-09-01T13:00:10Z BY TIME 1sec {clauses} INTO chunks;
PROCESS chunks USING 'dump.py' TIMEOUT 2sec PRODUCING EXACTLY 1 ROWS
  WITH SCHEMA (hidden:NUMBER=255, shown:NUMBER=0) INTO t;
SELECT SUM(RANGE(hidden, 0, 255)) AS h, SUM(RANGE(shown, 0, 255)) AS s FROM t CONSUMING {epsilon};
"""


@pytest.fixture(scope="module")
def system(module_install: Callable[..., LocalSystem]) -> LocalSystem:
    """With an epsilon so large that the noise is below one step of brightness."""
    return module_install(epsilon=100 * PLENTY, timing="open")


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tracks") / "plaza.npz"
    made: Tracks = walks(3, 20, width=160, height=96, size=(8, 16), seconds=30)
    save_tracks(made, path)
    return path


@pytest.fixture(scope="module")
def report(system: LocalSystem, tracks: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a report, and the command that it proposes."""
    folder = tmp_path_factory.mktemp("out") / "a report"
    told = system.run("privid-admin", "mask", "suggest", "plaza", "--tracks", tracks, "-o", folder, "--cell", "8")
    (command,) = [line.strip() for line in told.stdout.splitlines() if "privid-admin policy set" in line]
    return folder, command


def dumped(system: LocalSystem, token: str, hidden: np.ndarray, clauses: str) -> tuple[float, float]:
    """255 for each of 10 chunks, and region, whose guest saw any pixel that is not zero: in `hidden`, and elsewhere."""
    height, width = hidden.shape
    bits = np.packbits(hidden).tobytes().hex()
    source = DUMP.format(bits=bits, size=hidden.size, height=height, width=width)
    with system.client(token) as client:
        client.upload("dump.py", source.encode())
        submitted = client.submit(QUERY.format(clauses=clauses, epsilon=PLENTY)).query
        *_, last = client.watch(submitted.id)
        assert last.query.state == "released", system.log.read_text()[-3000:]
        ((row,),) = [table.rows for table in client.result(submitted.id).tables]
    return row[0].value, row[1].value


def test_the_report_is_one_file_that_a_browser_shows(report: tuple[Path, str], tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no chromium; apt-get install chromium")
    folder, command = report
    page = (folder / "report.html").read_text()
    assert not re.findall(r'(?:src|href)=(?!"data:)', page)
    assert "<script" not in page
    # Moved away from its pictures, and told to say which of them it could draw.
    copy = tmp_path / "moved.html"
    probe = "document.title = JSON.stringify([...document.images].map(i => [i.alt, i.complete && i.naturalWidth]))"
    copy.write_text(page + f"<script>onload = () => {{ {probe} }}</script>")
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", copy.as_uri()],
        capture_output=True,
        text=True,
        timeout=BROWSER_SECONDS,
        check=True,
    )
    images = dict(json.loads(re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[1]))
    masks = re.findall(r"([\w]+)\.png:", command)
    assert {"heatmap", "durations", "curve", *(f"preview-{name}" for name in masks)} == set(images)
    assert all(width > 100 for width in images.values())
    rows = re.findall(r"<tr>(.*?)</tr>", re.search(r'<table id="noise">(.*?)</table>', done.stdout, re.DOTALL)[1])
    assert len(rows) == 2 + len(masks)
    assert all(row.count("±") == 3 for row in rows[1:])
    for name in images:
        assert cv2.imread(str(folder / f"{name}.png")) is not None


def test_the_printed_command_works_and_what_it_hides_no_guest_sees(
    system: LocalSystem, report: tuple[Path, str]
) -> None:
    folder, command = report
    before = system.json("privid-admin", "policy", "show", "plaza")["policies"]["plaza"]
    program, *arguments = shlex.split(command)
    refused = system.run(program, *arguments, check=False)  # nobody to ask: nothing changes
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert system.json("privid-admin", "policy", "show", "plaza")["policies"]["plaza"] == before
    system.run(program, *arguments, "--yes")
    after = system.json("privid-admin", "policy", "show", "plaza")["policies"]["plaza"]
    promised = {Path(text.rsplit(":", 2)[0]).stem: text.rsplit(":", 2)[1:] for text in arguments if ".png:" in text}
    assert promised
    assert set(after["masks"]) == set(promised)
    for name, (rho, segments) in promised.items():
        assert (after["masks"][name]["rho"], after["masks"][name]["segments"]) == (rho, int(segments))
    name = max(promised, key=lambda name: read_png(folder / f"{name}.png").sum())
    hidden = read_png(folder / f"{name}.png")
    token = system.add_analyst("alice", "plaza")
    unmasked = dumped(system, token, hidden, "")
    masked = dumped(system, token, hidden, f"WITH MASK {name}")
    assert unmasked == pytest.approx((2550, 2550), abs=100)
    assert masked == pytest.approx((0, 2550), abs=100)  # a single pixel in a single chunk would be 255


def test_other_regions_are_zero_in_the_picture_of_one(system: LocalSystem) -> None:
    triangles = ("--polygon", "low=0,0 0,96 160,96", "--polygon", "high=0,0 160,96 160,0")
    system.run("privid-admin", "region", "add", "plaza", "halves", *triangles, "--yes")
    token = system.add_analyst("bob", "plaza")
    low = rasterise([((0, 0), (0, 96), (160, 96))], 160, 96)
    # Both regions' boxes are the whole picture, so each region's guest has room for the other half: it is dark there.
    # A pixel beside the edge may belong to the other side's block of colour, so that strip is left out.
    for half in (low, ~low):
        inner = cv2.erode(half.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1).astype(bool)
        by_region, _ = dumped(system, token, inner, "BY REGION halves")
        alone, _ = dumped(system, token, inner, "")
        assert (by_region, alone) == pytest.approx((2550, 2550), abs=100)


def test_measuring_and_checking_through_the_programs(system: LocalSystem, tracks: Path, tmp_path: Path) -> None:
    given = ("plaza", "--tracks", tracks)
    (whole,) = system.json("privid-admin", "mask", "measure", *given, "--cell", "8", "--cells", "0,0-19,11")["masks"]
    assert (whole["hidden_share"], whole["unseen_share"], whole["rho_s"]) == (1, 1, 0)
    (half,) = system.json("privid-admin", "mask", "measure", *given, "--polygon", "0,0 80,0 80,96 0,96")["masks"]
    assert half["hidden_share"] == 0.5
    assert half["rho_s"] > 0
    checked = system.json("privid-admin", "region", "check", *given, "--grid", "2x1", "-o", tmp_path / "out")
    (scheme,) = checked["schemes"]
    assert (scheme["regions"], scheme["boundary"]) == (["r1c1", "r1c2"], "none")
    assert scheme["at_once"] > 0
    assert all(Path(file).stat().st_size for file in checked["files"])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_from_recorded_video_to_a_policy(system: LocalSystem, repository: Path, tmp_path: Path) -> None:
    """Real pictures: what a study recommends is what the masks are proposed with, and what the camera gets."""
    clip = repository / "examples" / "plaza.mp4"
    system.run("privid-admin", "camera", "add", "square")
    system.run("privid-ingest", "import", clip, "--camera", "square", "--start", "2026-09-01T13:00:00Z")
    folder = tmp_path / "out"
    arguments = ("square", "--last", "20s", "--fps", "1", "--report", "-o", folder)
    found = system.json("privid-admin", "persistence", *arguments)
    rho_us, visits = found["recommended"]["rho_us"], found["recommended"]["K"]
    assert visits >= 2
    page = (folder / "report.html").read_text()
    assert "How long, and how often" in page
    assert {"bridging.png", "heatmap.png", "presences.png"} <= {path.name for path in folder.iterdir()}
    program, *command = shlex.split(found["masks"]["command"])
    assert (found["masks"]["rho_s"], found["masks"]["K"]) == (rho_us / 1e6, visits)
    masks = [text for text in command if ".png:" in text]
    assert masks
    # Looked for again, without the study's words: the same proposal, for the study's numbers are kept with its tracks.
    again = system.json("privid-admin", "mask", "suggest", "square", "-o", folder)
    assert again["command"] == found["masks"]["command"]
    refused = system.run(program, *command, check=False)  # nobody to ask: nothing changes
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert "square" not in system.json("privid-admin", "policy", "show")["policies"]
    system.run(program, *command, "--yes")
    system.run("privid-admin", "region", "add", "square", "halves", "--grid", "2x1", "--yes")
    policy = system.json("privid-admin", "policy", "show", "square")["policies"]["square"]
    assert (policy["rho"], policy["K"]) == (command[command.index("--rho") + 1], visits)
    promised = {Path(text.rsplit(":", 2)[0]).stem: tuple(text.rsplit(":", 2)[1:]) for text in masks}
    assert {name: (one["rho"], str(one["segments"])) for name, one in policy["masks"].items()} == promised
    assert list(policy["regions"]) == ["halves"]
    system.run("privid-admin", "mask", "suggest", "square", "-o", folder)
    page = (folder / "report.html").read_text()
    assert "Regions: halves" in page
    assert (folder / "regions-halves.png").stat().st_size


def test_what_cannot_be_searched_says_why(system: LocalSystem, tracks: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.npz"
    save_tracks(walks(1, 3, width=100, height=50, size=(8, 16)), small)
    empty = tmp_path / "empty.npz"
    one = walks(1, 3, width=160, height=96, size=(8, 16))
    save_tracks(replace(one.where(np.zeros(len(one), bool))), empty)
    (tmp_path / "text.npz").write_text("no tracks")
    suggest, measure, check = ("mask", "suggest"), ("mask", "measure"), ("region", "check")
    out = ("-o", tmp_path / "out")
    for arguments, says in (
        ((*suggest, "plaza", *out), "nothing was tracked at plaza yet"),
        ((*suggest, "plaza", "--tracks", tmp_path / "missing.npz", *out), "cannot read"),
        ((*suggest, "plaza", "--tracks", tmp_path / "text.npz", *out), "holds no tracks"),
        ((*suggest, "plaza", "--tracks", small, *out), "the tracks are of 100x50 pixels"),
        ((*suggest, "plaza", "--tracks", empty, *out), "nothing was tracked, so"),
        ((*suggest, "plazza", "--tracks", tracks, *out), "there is no camera 'plazza'"),
        ((*suggest, "plaza", "--tracks", tracks, "--tolerance", "soon", *out), "--tolerance soon"),
        ((*suggest, "plaza", "--tracks", tracks, "-o", tracks), "cannot write into"),
        ((*measure, "plaza", "--tracks", tracks, "--cells", "99,0"), "outside the grid"),
        ((*measure, "plaza", "--tracks", tracks, "--polygon", "0,0 999,0 9,9"), "outside the picture"),
        ((*check, "plaza", "nowhere", "--tracks", tracks), "has no such scheme"),
        ((*check, "plaza", "--tracks", tracks, "--grid", "2by1"), "--grid 2x1"),
        ((*check, "plaza", "--tracks", tracks, "--grid", "2x1", "--polygon", "a=0,0 9,0 9,9"), "give one of them"),
    ):
        done = system.run("privid-admin", *arguments, check=False)
        assert done.returncode == 2, done.stdout + done.stderr
        assert says in done.stderr
        assert "Traceback" not in done.stderr
