"""Counting, crossing and speed on a motorway, against what was counted and timed by eye, frame by frame."""

import runpy
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from workers.detectors import coco, engines, lines, speed, tracking
from workers.detectors.boxes import Boxes, suppress
from workers.detectors.fastestdet import FastestDet
from workers.guest.chunk import Chunk
from workers.guest.sdk import chunk_of

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "detectors"
FPS = 29.97 / 2
CROSSED = 52
"""Vehicles whose rear wheels pass the line of the example going away, counted by eye at every half second of the clip:
two of them in the first second, none between 10.5 and 11.5 s. Nobody drives the other way on this carriageway."""
TIMED = {"pickup": ((320, 380), 25.4), "red car": ((400, 470), 22.6)}
"""Two vehicles 17 s into the clip: between which columns they pass the lower marks, and their speed by hand. From those
marks to the next, 12.19 m, they take 14.4 and 16.2 frames."""

pytestmark = [pytest.mark.real_data, pytest.mark.detectors]


@cache
def clip(path: Path) -> np.ndarray:
    """Every second frame."""
    capture, video = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        video.append(read[1])
    return np.stack(video[::2])


def chunks(frames: np.ndarray) -> list[Chunk]:
    """Of five seconds, as the example queries cut them."""
    return [chunk_of(frames[start : start + 75], fps=FPS) for start in range(0, len(frames), 75)]


def vehicles(frames: np.ndarray) -> list[Boxes]:
    detect = FastestDet(engines.opencv((EXAMPLES / "people" / "fastestdet.onnx").read_bytes()), threshold=0.5)
    return [suppress(detect(frame).of(coco.VEHICLES), 0.5, across_classes=True) for frame in frames]


def test_the_example_counts_the_vehicles_that_cross(test_data):
    process = runpy.run_path(str(EXAMPLES / "crossings" / "main.py"))["process"]
    rows = [process(chunk) for chunk in chunks(clip(test_data / "clips" / "highway.mp4"))]
    assert sum(row["towards"] for row in rows) == 0
    assert CROSSED * 0.9 <= sum(row["away"] for row in rows) <= CROSSED * 1.1, "49 when this was written"


@pytest.mark.slow
def test_fastestdet_counts_as_many(test_data):
    line = runpy.run_path(str(EXAMPLES / "crossings" / "main.py"))["LINE"]
    crossed = [
        lines.crossings(tracking.paths(chunk, vehicles(chunk.frames)), line)
        for chunk in chunks(clip(test_data / "clips" / "highway.mp4"))
    ]
    away, towards = np.sum(crossed, axis=0)
    assert towards == 0
    assert CROSSED * 0.9 <= away <= CROSSED * 1.1, "51 when this was written"


def test_the_example_measures_plausible_speeds(test_data):
    process = runpy.run_path(str(EXAMPLES / "speed" / "main.py"))["process"]
    rows = [row for chunk in chunks(clip(test_data / "clips" / "highway.mp4")) for row in process(chunk)]
    kmh = np.array([row["kmh"] for row in rows])
    assert (
        CROSSED * 0.9 <= len(kmh) <= CROSSED * 1.3
    )  # some are two paths: cut by the end of a chunk, or by the tracker
    assert 75 < np.median(kmh) < 95, "the limit there is 55 miles an hour, 88 km/h"
    assert 60 < np.percentile(kmh, 5) < np.percentile(kmh, 90) < 120


def test_the_speed_of_a_vehicle_is_what_a_stopwatch_says(test_data):
    """By FastestDet: to the background these two, side by side, are one thing."""
    names = runpy.run_path(str(EXAMPLES / "speed" / "main.py"))
    ground = speed.Ground.from_points(names["MARKS"], names["METRES"])
    frames = clip(test_data / "clips" / "highway.mp4")[250:275]  # 500 to 550 of the clip
    near = [
        path
        for path in tracking.paths(chunk_of(frames, fps=FPS), vehicles(frames))
        if path.feet[:, 1].min() < 200 < path.feet[:, 1].max() and path.feet[0, 1] > path.feet[-1, 1]
    ]
    assert len(near) == len(TIMED)
    for name, ((left, right), by_hand) in TIMED.items():
        (path,) = (path for path in near if left < np.interp(220, path.feet[::-1, 1], path.feet[::-1, 0]) < right)
        assert speed.speed(path, ground) == pytest.approx(by_hand, rel=0.1), name
