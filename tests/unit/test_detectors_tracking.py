"""Paths from boxes: who is who while things cross and vanish, by the real time."""

import numpy as np
import pytest

from workers.detectors import tracking
from workers.detectors.boxes import boxes
from workers.guest.sdk import chunk_of

pytestmark = pytest.mark.detectors
KINDS = ("bytetrack", "sort", "ocsort")


def chunk(frames: int, fps: float):
    return chunk_of(np.zeros((frames, 2, 2, 3), np.uint8), fps=fps)


def box(x: float, y: float = 100, score: float = 0.9, kind: int = 0) -> tuple:
    return [x - 20, y - 80, x + 20, y], score, kind


def here(*things: tuple):
    return boxes(*zip(*things, strict=True)) if things else boxes([], [], [])


@pytest.mark.parametrize("kind", KINDS)
def test_two_who_walk_are_two_paths(kind):
    found = [here(box(50 + 5 * i, 100), box(250 - 5 * i, 400, kind=3)) for i in range(30)]
    paths = tracking.paths(chunk(30, 10), found, kind=kind)
    assert sorted(path.kind for path in paths) == [0, 3]
    for path in paths:
        assert path.duration == pytest.approx(2.9, abs=0.31)  # a tracker wants to see a thing a few times first
        assert np.all(np.diff(path.seconds) > 0)
        assert path.feet[-1].tolist() == ([195, 100] if path.kind == 0 else [105, 400])


@pytest.mark.parametrize("fps", [2.5, 7.49, 29.97])
@pytest.mark.parametrize(("hidden", "expected"), [(0.8, 1), (2.5, 2)])
def test_how_long_somebody_may_be_hidden_is_a_time(fps, hidden, expected):
    """One second is allowed, whatever the frame rate."""
    count = round(8 * fps)
    gone = range(round(4 * fps), round((4 + hidden) * fps) - 1)  # from one sight to the next: `hidden`
    found = [here() if i in gone else here(box(100)) for i in range(count)]
    assert len(tracking.paths(chunk(count, fps), found, lost_seconds=1.0)) == expected


def test_faint_boxes_hold_a_path_and_begin_none():
    scores = [0.9] * 5 + [0.3] * 10 + [0.9] * 5
    follow = [here(box(100 + i, score=score)) for i, score in enumerate(scores)]
    assert [len(path.seconds) >= 18 for path in tracking.paths(chunk(20, 10), follow, sure=0.6)] == [True]
    faint = [here(box(100 + i, score=0.3)) for i in range(20)]
    assert tracking.paths(chunk(20, 10), faint, sure=0.6) == []


def test_the_class_that_most_boxes_have():
    found = [here(box(100 + i, kind=2 if i % 4 else 7)) for i in range(20)]
    assert [path.kind for path in tracking.paths(chunk(20, 10), found)] == [2]


def test_nothing_and_no_frames():
    assert tracking.paths(chunk(10, 10), [here()] * 10) == []
    assert tracking.paths(chunk(0, 10), []) == []


def test_boxes_for_each_frame_are_needed():
    with pytest.raises(ValueError, match="zip"):
        tracking.paths(chunk(10, 10), [here()] * 9)
