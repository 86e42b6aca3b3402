"""The background detector: on made-up scenes, and on the plaza against the whole clip's background."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from workers.detectors import background

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "examples" / "plaza.mp4"


def scene(walkers: int, frames: int = 25) -> np.ndarray:
    video = np.full((frames, 288, 384, 3), 90, np.uint8)
    for number in range(walkers):
        for index in range(frames):
            x, y = 10 + 12 * index, 30 + 60 * number
            video[index, y : y + 30, x : x + 10] = 200
    return video


@pytest.mark.parametrize("walkers", [0, 1, 3])
def test_walkers_are_counted(walkers: int) -> None:
    assert background.people_in_view(scene(walkers)) == pytest.approx(walkers, abs=0.2)


def test_no_frames_no_people() -> None:
    assert background.people_in_view(scene(1)[:0]) == 0


def test_the_example_uses_it() -> None:
    example = runpy.run_path(str(ROOT / "examples" / "people" / "people.py"))
    video = scene(2)
    assert list(example["process"](SimpleNamespace(frames=video))) == [{"people": background.people_in_view(video)}]


def test_the_plaza_has_five_people_in_view() -> None:
    """A person detector with weights finds 5.4 on average; the same method with the whole clip's background 5.1."""
    capture, video = cv2.VideoCapture(str(CLIP)), []
    while (read := capture.read())[0]:
        video.append(cv2.resize(read[1], (384, 288), interpolation=cv2.INTER_AREA))
    chunks = [np.stack(video[start : start + 50 : 2]) for start in range(0, len(video), 50)]
    assert len(chunks) == 16
    own = [background.people_in_view(chunk) for chunk in chunks]
    behind = background.background([background.reduce(frame) for frame in video])
    whole = [background.people_in_view(chunk, behind) for chunk in chunks]
    assert 5.0 < np.mean(own) < 5.8
    assert abs(np.mean(own) - np.mean(whole)) < 0.6
