"""What is counted on paths: crossings, dwell time, speed; with paths whose truth is known."""

import numpy as np
import pytest

from workers.detectors import background, counting, dwell, lines, speed
from workers.detectors.boxes import boxes
from workers.detectors.tracking import Path

LINE = lines.Line((0, 100), (200, 100))
SQUARE = [(0, 0), (100, 0), (100, 100), (0, 100)]


def path(feet, fps: float = 10.0) -> Path:
    """The path of somebody 20 pixels wide who stands at these points."""
    feet = np.asarray(feet, float)
    corners = np.hstack([feet + corner for corner in ((-10, -40), (10, 0))])
    return Path(np.arange(len(feet)) / fps, corners.astype(np.float32), 0)


def straight(start, end, steps: int = 20) -> np.ndarray:
    return np.linspace(start, end, steps)


@pytest.mark.parametrize(
    ("feet", "way"),
    [
        (straight((50, 50), (60, 150)), 1),
        (straight((50, 150), (60, 50)), -1),
        (straight((50, 50), (150, 90)), 0),
        (straight((250, 50), (250, 150)), 0),  # beyond the end
        (straight((-150, 90), (450, 110), 2), 1),  # one long step
        ([(50, 50)], 0),
        (np.concatenate([straight((50, 50), (50, 150)), straight((50, 150), (50, 50))]), 0),
        (np.concatenate([straight((50, 50), (50, 98)), [(50, 102), (50, 99)] * 9, [(50, 150)]]), 1),
        (np.concatenate([straight((50, 50), (50, 98)), [(50, 102), (50, 99)] * 9]), 0),
        # Over the line, and back around its end.
        ([(150, 50), (150, 150), (250, 150), (250, 50), (150, 50)], 1),
    ],
)
def test_a_way_crosses_a_line(feet, way):
    assert LINE.crossing(np.asarray(feet, float)) == way
    assert lines.Line(LINE.end, LINE.start).crossing(np.asarray(feet, float)) == -way


def test_crossings_of_many():
    down, up = path(straight((50, 50), (60, 150))), path(straight((50, 150), (60, 50)))
    assert lines.crossings([down, up, down], LINE) == (2, 1)
    assert lines.crossings([], LINE) == (0, 0)


def test_seconds_in_a_place():
    through = path(straight((-100, 50), (200, 50), 31))  # 10 pixels a tenth of a second: 100 pixels are 1 s
    assert dwell.dwell_seconds(through, SQUARE) == pytest.approx(1.0, abs=0.11)
    assert dwell.dwell_seconds(path([(50, 50)] * 31), SQUARE) == pytest.approx(3.0)
    assert dwell.dwell_seconds(path([(150, 50)] * 31), SQUARE) == 0
    assert dwell.dwell_seconds(path([(50, 50)]), SQUARE) == 0


def test_a_time_out_of_sight_does_not_count_as_dwelling():
    seen_twice = Path(np.array([0.0, 0.1, 8.0, 8.1]), path([(50, 50)] * 4).xyxy, 0)
    assert dwell.dwell_seconds(seen_twice, SQUARE) == pytest.approx(0.2)


ROAD = speed.Ground.from_points([(100, 400), (500, 400), (250, 100), (350, 100)], [(0, 0), (10, 0), (0, 50), (10, 50)])
"""A road of 10 m width that narrows to a quarter 50 m further on."""


def along_the_road(metres_per_second: float, fps: float = 12.5, seconds: float = 2.0) -> Path:
    metres = np.stack([np.full(int(fps * seconds), 5.0), np.arange(int(fps * seconds)) * metres_per_second / fps], 1)
    back = speed.Ground(np.linalg.inv(ROAD.homography))
    return path(back.places(metres), fps)


@pytest.mark.parametrize("metres_per_second", [1.5, 10, 25])
def test_speed_on_the_ground_is_the_same_near_and_far(metres_per_second):
    assert speed.speed(along_the_road(metres_per_second), ROAD) == pytest.approx(metres_per_second, rel=1e-3)


def test_boxes_that_jump_do_not_matter():
    jumping = along_the_road(20)
    jumping.xyxy[[3, 11, 17], 1::2] += 60
    assert speed.speed(jumping, ROAD) == pytest.approx(20, rel=0.1)


def test_speed_needs_time():
    assert speed.speed(along_the_road(20, seconds=0.3), ROAD) is None
    assert speed.velocity(along_the_road(20), ROAD) == (pytest.approx(0, abs=1e-2), pytest.approx(20, rel=1e-3))


def test_speed_from_above():
    ground = speed.Ground.seen_from_above(0.05)
    assert speed.speed(path(straight((0, 0), (300, 400), 11)), ground) == pytest.approx(25)


@pytest.mark.parametrize(
    ("pixels", "metres", "message"),
    [
        ([(0, 0), (1, 0), (0, 1)], [(0, 0), (1, 0), (0, 1)], "at least four"),
        ([(0, 0), (1, 0), (0, 1), (1, 1)], [(0, 0)] * 3, "as many"),
        ([(0, 0), (1, 1), (2, 2), (3, 3)], [(0, 0), (1, 0), (0, 1), (1, 1)], "in a line"),
    ],
)
def test_a_ground_that_is_none(pixels, metres, message):
    with pytest.raises(ValueError, match=message):
        speed.Ground.from_points(pixels, metres)


def test_counts():
    two, none = boxes([[0, 0, 1, 1]] * 2, [1, 1], [0, 0]), boxes([], [], [])
    assert counting.in_view([two, none, two, none]) == 1
    assert counting.in_view([]) == 0
    brief, long = path([(0, 0)] * 3), path([(0, 0)] * 30)
    assert counting.different([brief, long, long]) == 3
    assert counting.different([brief, long, long], least_seconds=1) == 2


def test_moving_things_have_boxes_in_pixels_of_the_frame():
    video = np.full((20, 576, 768, 3), 90, np.uint8)
    for index in range(20):
        video[index, 200:280, 20 + 30 * index : 50 + 30 * index] = 220
    found = background.things(video)
    assert [len(here) for here in found] == [1] * 20
    np.testing.assert_allclose(found[4].xyxy, [[140, 200, 170, 280]], atol=8)
    assert background.things(video[:0]) == []
