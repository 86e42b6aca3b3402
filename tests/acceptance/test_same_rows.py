"""The same frames give the same rows: plainly, tried in the sandbox, and in a query over recorded video."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from privid.engine.journal import SlotJournal
from privid.testing.system import LocalSystem

CLIP = Path(__file__).parents[2] / "examples" / "plaza.mp4"
CLI = Path(sys.executable).with_name("privid")
CHUNKS = 15
"""What a clip of 79.5 s has of 5 s."""
COLUMNS = ("frames", "pixels", "times", "moved", "place")
QUERY = """SPLIT plaza BEGIN 2026-09-01T13:00:00Z END 2026-09-01T13:01:15Z BY TIME 5 sec INTO chunks;
PROCESS chunks USING 'looks.py' TIMEOUT 5 sec PRODUCING 3 ROWS WITH SCHEMA (frames:NUMBER=-1, pixels:NUMBER=-1,
  times:NUMBER=-1, moved:NUMBER=-1, place:STRING="nowhere") INTO t;
SELECT COUNT(*) FROM t CONSUMING 1;
"""
POLICY = """
[camera.plaza]
epsilon = 1
rho = "5s"
K = 1
fps = 10
width = 768
height = 576
timing = "open"
"""
DETECTOR = """
import zlib
import cv2

def process(chunk):
    pixels, times = zlib.crc32(chunk.frames), zlib.crc32(chunk.times_us)
    for one, two in zip(chunk.frames[::20], chunk.frames[10::20]):
        moved = cv2.threshold(cv2.cvtColor(cv2.absdiff(one, two), cv2.COLOR_BGR2GRAY), 25, 255, cv2.THRESH_BINARY)[1]
        box = cv2.boundingRect(moved)
        yield {"frames": len(chunk.frames), "pixels": pixels, "times": times, "moved": cv2.countNonZero(moved),
               "place": f"{chunk.start_us} {box}"}
"""


def tried(folder: Path, command: str) -> dict[int, list[tuple[Any, ...]]]:
    arguments = [str(CLI), command, "looks.sql", "--video", str(CLIP), "--json"]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (table,) = json.loads(done.stdout)["tables"]
    assert [chunk["fault"] for chunk in table["chunks"]] == [None] * CHUNKS
    return {c["index"]: [tuple(row[name] for name in COLUMNS) for row in c["rows"]] for c in table["chunks"]}


def protected(folder: Path) -> dict[int, list[tuple[Any, ...]]]:
    """The rows of a query on a real server, which deletes them with the release: a second name keeps the file."""
    (folder / "policy.toml").write_text(POLICY)
    with LocalSystem(folder / "home") as system:
        system.run("privid-admin", "camera", "add", "plaza")
        system.run("privid-admin", "policy", "apply", folder / "policy.toml", "--yes")
        system.run("privid-ingest", "import", CLIP, "--camera", "plaza", "--start", "2026-09-01T13:00:00Z")
        with system.client(system.add_analyst("alice", "plaza")) as client:
            client.upload("looks.py", DETECTOR.encode())
            query = client.submit(QUERY).query
            spooled = folder / "home" / "spool" / query.id / "0.rows"
            deadline = time.monotonic() + 60
            while not spooled.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            os.link(spooled, folder / "kept.rows")
            *_, last = client.watch(query.id)
            assert last.query.state == "released"
    with SlotJournal(folder / "kept.rows") as journal:
        return {slot: [tuple(row) for row in rows] for slot, rows in journal.rows.items()}


@pytest.mark.timeout(900)
def test_the_same_frames_give_the_same_rows(tmp_path: Path) -> None:
    (tmp_path / "looks.sql").write_text(QUERY)
    (tmp_path / "looks.py").write_text(DETECTOR)
    plainly = tried(tmp_path, "run-local")
    assert sorted(plainly) == list(range(CHUNKS))
    assert all(rows[0][0] == 50 and len(rows) > 1 for rows in plainly.values())
    assert len({rows[0][1] for rows in plainly.values()}) == CHUNKS
    assert tried(tmp_path, "try") == plainly
    assert protected(tmp_path) == plainly
