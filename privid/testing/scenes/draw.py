"""Pictures of a scene at a moment: a fixed background, things in the order of their distance, occluders in front."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from privid.domain.units import SECOND
from privid.testing.scenes.model import Scene, Thing

Picture = npt.NDArray[np.uint8]

_NOISE_TILES = 4
_DARKEST = 0.55
"""At midnight; noon has 1."""


class Painter:
    """Draws frames (height, width, 3), BGR, of one scene. The same scene gives the same frames."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        random = np.random.default_rng(scene.seed)
        self._background = _background(scene, random)
        shape = (_NOISE_TILES, scene.height, scene.width, 3)
        self._noise = random.integers(0, 5, shape).astype(np.uint8)
        # A tree's leaves are moved to and fro within its own rectangle.
        self._leaves = [
            random.integers(20, 110, (bottom - top, right - left + 8, 1)).astype(np.uint8)
            * np.array([0, 1, 0], np.uint8)
            for left, top, right, bottom in scene.trees
        ]

    def frame(self, time_us: int) -> Picture:
        """What the camera shows at a moment."""
        scene, picture = self._scene, self._background.copy()
        for leaves, (left, top, right, bottom) in zip(self._leaves, scene.trees, strict=True):
            sway = round(4 + 3 * math.sin(time_us / SECOND * 1.7 + left))
            picture[top:bottom, left:right] = leaves[:, sway : sway + right - left]
        for light in scene.lights:
            colour = (40, 40, 230) if light.is_red(time_us) else (60, 220, 60)
            cv2.circle(picture, (light.x, light.y), 5, colour, -1)
        shown = []
        for thing in scene.things:
            for visit in thing.visits:
                if visit.times_us[0] <= time_us <= visit.times_us[-1]:
                    (box,), (seen,) = scene.boxes(thing, visit, np.array([time_us]))
                    if seen:
                        exact = box.astype(np.float32).astype(np.float64)  # as the truth has it
                        shown.append((float(exact[3]), thing, exact))
        for _, thing, box in sorted(shown, key=lambda one: (one[0], one[1].number)):
            left, top = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
            inside = picture[top : math.ceil(box[3]), left : math.ceil(box[2])]  # nothing is drawn outside of the box
            box = box - np.array([left, top, left, top])
            (_person if thing.kind == "person" else _car)(inside, thing, box, time_us)
        for left, top, right, bottom in scene.occluders:
            picture[top:bottom, left:right] = self._background[top:bottom, left:right]
        if scene.day:
            hour = time_us / (3600 * SECOND) % 24
            bright = _DARKEST + (1 - _DARKEST) * (0.5 + 0.5 * math.cos((hour - 12) / 12 * math.pi))
            picture = np.asarray(cv2.convertScaleAbs(picture, alpha=bright), np.uint8)
        noise = self._noise[time_us // 100_000 % _NOISE_TILES]
        return np.asarray(cv2.add(picture, noise), dtype=np.uint8)


def _background(scene: Scene, random: np.random.Generator) -> Picture:
    fall = np.linspace(190, 110, scene.height)[:, None, None]
    rough: npt.NDArray[np.float64] = fall + random.integers(-6, 7, (scene.height, scene.width, 1))
    picture: Picture = (rough + np.array([10.0, 0.0, -10.0])).astype(np.uint8)
    for left, top, right, bottom in scene.roads:
        ground = 118 + random.integers(-5, 6, (bottom - top, right - left, 1))
        picture[top:bottom, left:right] = ground.astype(np.uint8)
    for left, _, right, bottom in scene.spots:
        cv2.rectangle(picture, (left, bottom - 6), (right, bottom), (70, 90, 120), -1)
    for light in scene.lights:
        cv2.rectangle(picture, (light.x - 2, light.y), (light.x + 2, light.y + 70), (50, 50, 50), -1)
    for left, top, right, bottom in scene.occluders:
        picture[top:bottom, left:right] = (85, 88, 92)
        cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), (60, 62, 66), 2)
    return picture


def _person(picture: Picture, thing: Thing, box: npt.NDArray[np.float64], time_us: int) -> None:
    x0, y0, x1, y1 = box
    height, width, middle = y1 - y0, x1 - x0, (x0 + x1) / 2
    hip, neck = y0 + 0.52 * height, y0 + 0.18 * height
    stride = 0.35 * width * math.sin(time_us / SECOND * 6 + thing.number)
    thick = max(2, round(0.3 * width))
    for side in (-1, 1):
        foot = (round(middle + side * stride), round(y1) - 1)
        cv2.line(picture, (round(middle), round(hip)), foot, thing.colours[1], thick)
    cv2.rectangle(picture, (round(x0), round(neck)), (round(x1), round(hip)), thing.colours[0], -1)
    cv2.circle(picture, (round(middle), round(y0 + 0.09 * height)), max(2, round(0.09 * height)), (120, 150, 200), -1)


def _car(picture: Picture, thing: Thing, box: npt.NDArray[np.float64], time_us: int) -> None:
    del time_us  # wheels are round
    x0, y0, x1, y1 = box
    height, width = y1 - y0, x1 - x0
    body, roof = thing.colours
    left, right = round(x0 + 0.2 * width), round(x1 - 0.2 * width)
    cv2.rectangle(picture, (left, round(y0)), (right, round(y0 + 0.5 * height)), roof, -1)
    cv2.rectangle(picture, (round(x0), round(y0 + 0.4 * height)), (round(x1), round(y1 - 0.12 * height)), body, -1)
    for share in (0.22, 0.78):
        centre = (round(x0 + share * width), round(y1 - 0.15 * height))
        cv2.circle(picture, centre, max(2, round(0.15 * height)), (25, 25, 25), -1)
