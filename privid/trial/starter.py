"""The files that `privid init` makes: a detector to start from, a query that uses it, and a test."""

from pathlib import Path

DETECTOR = '''\
"""Counts what moves in each chunk of video. One row a chunk: `moving`, the average number of moving things in view."""

import cv2
import numpy as np

SMALLEST = 200
"""Pixels of the smallest thing that counts."""


def process(chunk):
    """Called once for each chunk, in a fresh process; `chunk.frames` has shape (n, height, width, 3), BGR.

    Returns rows as dictionaries with the columns of the query's WITH SCHEMA. What it prints is shown by `privid try`.
    """
    if len(chunk.frames) == 0:  # a chunk in a gap of the recording
        return {"moving": 0}
    grey = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in chunk.frames]
    background = np.median(grey[:: max(1, len(grey) // 10)], axis=0).astype(np.uint8)
    return {"moving": float(np.mean([moving(picture, background) for picture in grey]))}


def moving(picture, background):
    """How many separate things differ from the background."""
    different = cv2.threshold(cv2.absdiff(picture, background), 25, 1, cv2.THRESH_BINARY)[1]
    _, _, stats, _ = cv2.connectedComponentsWithStats(cv2.dilate(different, np.ones((5, 5), np.uint8)))
    return int((stats[1:, cv2.CC_STAT_AREA] > SMALLEST).sum())
'''

MANIFEST = """\
# What the detector needs. `privid upload` takes the whole folder: this file, its Python files but tests, its weights.
entry = "main.py"
libraries = ["numpy", "cv2"]
memory = "512 MiB"

# Weights are loaded once, before the first chunk: from workers.guest.sdk import net; net("person").
# [weights.person]
# file = "person.onnx"
# format = "onnx"
# input = [1, 3, 352, 352]
"""

QUERY = """\
-- The camera, and the time that you want to know about. Short chunks hide people with less noise; long ones let the
-- detector see more of what goes on.
SPLIT {camera}
  BEGIN 2026-09-01T13:00:00Z END 2026-09-01T13:15:00Z
  BY TIME 5 sec
  AT 5 FPS RESIZE 384x288
  INTO chunks;

-- One row a chunk, one number: the less a chunk can change, the less noise.
PROCESS chunks USING '{name}' TIMEOUT 500 ms
  PRODUCING EXACTLY 1 ROWS
  WITH SCHEMA (moving:NUMBER=0)
  INTO seen;

-- RANGE says how far one chunk can move the answer: no wider than you need.
SELECT AVG(RANGE(moving, 0, 10)) AS moving FROM seen CONSUMING 0.5;
"""

TEST = '''\
"""pytest {name}"""

import numpy as np
from main import process
from workers.guest.sdk import chunk_of


def square_that_moves(frames=20):
    pictures = np.full((frames, 120, 160, 3), 90, np.uint8)
    for i, picture in enumerate(pictures):
        picture[40:70, 7 * i : 7 * i + 20] = 220
    return pictures


def test_one_thing_moves():
    assert 0.8 <= process(chunk_of(square_that_moves()))["moving"] <= 1.2


def test_nothing_moves():
    still = np.full((20, 120, 160, 3), 90, np.uint8)
    assert process(chunk_of(still)) == {{"moving": 0}}


def test_a_gap_in_the_recording():
    assert process(chunk_of(np.zeros((0, 120, 160, 3), np.uint8))) == {{"moving": 0}}
'''


def write_starter(folder: Path, camera: str) -> list[Path]:
    """Make `folder`, a bundle with a detector, and in it a query for `camera` and a test. Gives the files.

    Raises FileExistsError if the folder is there, ValueError for a name that no module can have, OSError.
    """
    name = folder.name
    module = name.replace("-", "_")
    if not module.isidentifier():
        raise ValueError(f"{name!r} cannot be the name of a detector: use letters, digits, - and _, a letter first")
    folder.mkdir()
    files = {
        "privid.toml": MANIFEST,
        "main.py": DETECTOR,
        f"{module}.sql": QUERY.format(camera=camera, name=name),
        f"test_{module}.py": TEST.format(name=name),
    }
    for file, text in files.items():
        (folder / file).write_text(text)
    return [folder / file for file in files]
