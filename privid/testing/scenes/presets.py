"""Three cameras of the kinds that the paper looked at, and a scene of people who come back.

Privid (Cangialosi et al., NSDI 2022) was tried on a campus, a highway and an urban crossing. These are such places,
made up: the longest presences are 81, 316 and 270 s, and hiding the spots shortens them about 1.7, 9.6 and 5 times.
They are meant to be near what the paper's tables say of its cameras, and were not checked against them.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from privid.domain.units import SECOND
from privid.testing.scenes.model import ASPECT, Colour, Kind, Light, Rectangle, Scene, Thing, Visit
from privid.testing.scenes.truth import ground_truth

WIDTH, HEIGHT = 640, 360
START_US = 1_788_260_400 * SECOND
"""2026-09-01 11:00 UTC."""

_Random = np.random.Generator
_Point = tuple[float, float]

CAMPUS_LONGEST, CAMPUS_WALK = 81.0, 47.0
HIGHWAY_LONGEST, HIGHWAY_PASSING = 316.0, 32.7
URBAN_LONGEST, URBAN_PASSING = 270.0, 54.0
"""Seconds: the longest presence, and the longest of those who do not linger."""


def campus(seed: int = 0, *, hours: float = 1.0, an_hour: float = 240.0) -> Scene:
    """People cross a square; one in eight sits on one of two benches. A lamp post hides whoever passes behind it."""
    random = np.random.default_rng(seed)
    benches = (Rectangle(140, 215, 190, 250), Rectangle(420, 270, 480, 310))
    things = []
    for number, begin in enumerate(_arrivals(random, hours, an_hour, CAMPUS_LONGEST), 1):
        y0, y1 = random.uniform(190, 350, 2)
        ends = [(-30.0, y0), (WIDTH + 30.0, y1)]
        longest = number == 8  # whatever the seed
        spot = benches[int(random.integers(2))] if longest or random.random() < 1 / 8 else None
        walk = float(np.clip(random.gamma(16, 1.6), 12, CAMPUS_WALK - 3))
        if longest:
            walk = 25.0
        stay = CAMPUS_LONGEST - walk if longest else min(2 + random.exponential(16), CAMPUS_LONGEST - walk - 1)
        things.append(_thing(random, number, "person", 78, [_way(random, ends, begin, walk, spot, stay)]))
    scene = Scene(
        "campus",
        WIDTH,
        HEIGHT,
        START_US,
        START_US + round(hours * 3600) * SECOND,
        tuple(things),
        far=0.45,
        roads=(Rectangle(0, 180, WIDTH, HEIGHT),),
        occluders=(Rectangle(300, 40, 334, 330),),
        spots=tuple(_reached(spot, 78, "person", 0.45) for spot in benches),
        trees=(Rectangle(20, 20, 120, 150), Rectangle(540, 30, 620, 140)),
        seed=seed,
    )
    return _exactly(scene, 8, CAMPUS_LONGEST)


def highway(seed: int = 0, *, hours: float = 1.0, an_hour: float = 720.0) -> Scene:
    """Cars on four lanes; one in a hundred stops on the shoulder. A bridge's pillar hides whoever passes behind it."""
    random = np.random.default_rng(seed)
    lanes = (170.0, 205.0, 250.0, 300.0)
    shoulder = Rectangle(250, 318, 350, 345)
    things = []
    for number, begin in enumerate(_arrivals(random, hours, an_hour, HIGHWAY_LONGEST), 1):
        longest = number == 12
        stops = longest or random.random() < 0.01
        lane = int(random.integers(4))
        y = lanes[lane] + random.uniform(-4, 4)
        ends = [(-90.0, y), (WIDTH + 90.0, y)]
        if lane < 2:  # the other direction
            ends.reverse()
        passing = float(np.clip(random.gamma(9, 1.0), 4, HIGHWAY_PASSING - 2))
        if number == 20:  # a tractor
            passing = HIGHWAY_PASSING * (WIDTH + 180) / (WIDTH + 60)
        if stops:
            ends, passing = [(-90.0, 310.0), (WIDTH + 90.0, 310.0)], 16.0
        stay = HIGHWAY_LONGEST - passing if longest else min(10 + random.exponential(80), HIGHWAY_LONGEST - passing - 2)
        way = _way(random, ends, begin, passing, shoulder if stops else None, stay)
        things.append(_thing(random, number, "car", 44, [way]))
    scene = Scene(
        "highway",
        WIDTH,
        HEIGHT,
        START_US,
        START_US + round(hours * 3600) * SECOND,
        tuple(things),
        far=0.4,
        roads=(Rectangle(0, 140, WIDTH, 350),),
        occluders=(Rectangle(520, 60, 580, 220),),
        spots=(_reached(shoulder, 44, "car", 0.4),),
        trees=(Rectangle(40, 30, 160, 120),),
        seed=seed,
    )
    return _exactly(scene, 12, HIGHWAY_LONGEST)


def urban(seed: int = 0, *, hours: float = 1.0, an_hour: float = 360.0) -> Scene:
    """A street with a traffic light, people on the pavement, one in ten of whom waits at a bus stop."""
    random = np.random.default_rng(seed)
    stop = Rectangle(90, 330, 150, 355)
    light = Light(400, 150, 90 * SECOND, 40 * SECOND)
    lane, line = 255.0, 380.0
    queue: list[int] = []
    """When those who wait at the red light will go."""
    planted = 0
    things = []
    for number, begin in enumerate(_arrivals(random, hours, an_hour, URBAN_LONGEST), 1):
        if random.random() < 0.5:
            passing = float(random.uniform(9, 15))
            ends = [(-90.0, lane), (WIDTH + 90.0, lane)]
            things.append(_thing(random, number, "car", 52, [_through(ends, begin, passing, line, light, queue)]))
            continue
        longest = number >= 10 and not planted  # car or person is drawn: the first person from the tenth thing on
        planted = number if longest else planted
        waits = longest or random.random() < 0.1
        ends = [(-30.0, random.uniform(325, 358)), (WIDTH + 30.0, random.uniform(325, 358))]
        if random.random() < 0.5:
            ends.reverse()
        walk = float(np.clip(random.gamma(20, 1.6), 15, URBAN_PASSING - 3))
        if longest:
            walk = 30.0
        stay = URBAN_LONGEST - walk if longest else min(8 + random.exponential(60), URBAN_LONGEST - walk - 2)
        way = _way(random, ends, begin, walk, stop if waits else None, stay)
        things.append(_thing(random, number, "person", 76, [way]))
    scene = Scene(
        "urban",
        WIDTH,
        HEIGHT,
        START_US,
        START_US + round(hours * 3600) * SECOND,
        tuple(things),
        far=0.5,
        roads=(Rectangle(0, 200, WIDTH, 275),),
        occluders=(Rectangle(480, 150, 515, 352),),
        spots=(_reached(stop, 76, "person", 0.5), Rectangle(int(line) - 330, 205, int(line), 260)),
        trees=(Rectangle(200, 20, 300, 120),),
        lights=(light,),
        seed=seed,
    )
    return _exactly(scene, planted, URBAN_LONGEST)


def returning(visits: int, seed: int = 0, *, others: int = 30, minutes: float = 20.0) -> Scene:
    """People cross a square once; one of them, in a colour that nobody else wears, does so `visits` times."""
    random = np.random.default_rng(seed)
    end_us = START_US + round(minutes * 60) * SECOND
    things = []
    begins = np.linspace(START_US + 5 * SECOND, end_us - 60 * SECOND, others)
    for number, begin in enumerate(begins.astype(np.int64).tolist(), 1):
        ends = [(-30.0, random.uniform(190, 350)), (WIDTH + 30.0, random.uniform(190, 350))]
        way = _way(random, ends, begin, float(random.uniform(18, 34)), None, 0.0)
        things.append(_thing(random, number, "person", 78, [way]))
    ways = []
    for begin in np.linspace(START_US + 20 * SECOND, end_us - 90 * SECOND, visits).astype(np.int64).tolist():
        y = random.uniform(230, 330)
        ways.append(_way(random, [(-30.0, y), (WIDTH + 30.0, y)], begin, float(random.uniform(18, 30)), None, 0.0))
    things.append(Thing(others + 1, "person", ((20, 200, 240), (180, 30, 200)), 78, tuple(ways)))
    return Scene(
        "returning",
        WIDTH,
        HEIGHT,
        START_US,
        end_us,
        tuple(things),
        far=0.45,
        roads=(Rectangle(0, 180, WIDTH, HEIGHT),),
        trees=(Rectangle(20, 20, 120, 150),),
        seed=seed,
    )


def _arrivals(random: _Random, hours: float, an_hour: float, longest_s: float) -> list[int]:
    """Moments at which things come, more of them about noon (UTC); the last ones have left by the end."""
    end_us = START_US + round(hours * 3600) * SECOND
    candidates = random.poisson(an_hour * hours)
    moments = np.sort(random.integers(START_US + 2 * SECOND, end_us, candidates))
    hour = moments / (3600 * SECOND) % 24
    kept = random.random(candidates) < 0.6 + 0.4 * np.cos((hour - 12) / 12 * math.pi)
    latest = end_us - int((longest_s + 10) * SECOND)
    return [int(moment) for moment in moments[kept] if moment < latest]


def _thing(random: _Random, number: int, kind: Kind, height: float, visits: Sequence[Visit]) -> Thing:
    upper, lower = random.integers(20, 236, (2, 3)).tolist()
    return Thing(
        number, kind, (_colour(upper), _colour(lower)), float(height * random.uniform(0.9, 1.1)), tuple(visits)
    )


def _colour(values: list[int]) -> Colour:
    blue, green, red = values
    return blue, green, red


def _way(
    random: _Random,
    ends: list[_Point],
    begin_us: int,
    moving_s: float,
    spot: Rectangle | None,
    stay_s: float,
) -> Visit:
    """From one end to the other in moving_s, and stay_s at a place within the spot."""
    if spot is None:
        places, times = ends, [0.0, moving_s]
    else:
        x, y = random.uniform(spot.left, spot.right), random.uniform(spot.top, spot.bottom)
        before = moving_s * math.dist(ends[0], (x, y)) / (math.dist(ends[0], (x, y)) + math.dist((x, y), ends[1]))
        places = [ends[0], (x, y), (x + random.uniform(-1, 1), y), ends[1]]
        times = [0.0, before, before + stay_s, moving_s + stay_s]
    return _visit(begin_us, times, places)


def _through(ends: list[_Point], begin_us: int, passing_s: float, line: float, light: Light, queue: list[int]) -> Visit:
    """Along a lane; at red, to the end of the queue before the line. `queue` is changed."""
    (x0, y), (x1, _) = ends
    speed = (x1 - x0) / passing_s
    at_line = begin_us + round((line - x0) / speed * SECOND)
    queue[:] = [leaves for leaves in queue if leaves > at_line]
    if not queue and not light.is_red(at_line):
        return _visit(begin_us, [0.0, passing_s], ends)
    green = at_line // light.cycle_us * light.cycle_us + light.red_us
    leaves = max([green, at_line, *(one + 2 * SECOND for one in queue)])
    place = line - 110 * min(len(queue), 2)
    queue.append(leaves)
    comes = (place - x0) / speed
    goes = max((leaves - begin_us) / SECOND, comes + 0.5)
    return _visit(begin_us, [0.0, comes, goes, goes + (x1 - place) / speed], [(x0, y), (place, y), (place, y), (x1, y)])


def _exactly(scene: Scene, number: int, longest_s: float) -> Scene:
    """The scene whose thing of this number is in view for exactly so long: it stays longer where it lingers."""
    for thing in scene.things:
        if thing.number == number:
            (visit,) = thing.visits
            ((begin, end),) = ground_truth(replace(scene, things=(thing,))).periods[number]
            times = visit.times_us.copy()
            times[-2:] += round(longest_s * SECOND) - (end - begin)
            exact = replace(thing, visits=(replace(visit, times_us=times),))
            return replace(scene, things=tuple(exact if one is thing else one for one in scene.things))
    return scene  # too short for so many things


def _visit(begin_us: int, times_s: Sequence[float], places: Sequence[_Point]) -> Visit:
    times: npt.NDArray[np.int64] = begin_us + (np.asarray(times_s) * SECOND).astype(np.int64)
    x, y = np.asarray(places, np.float64).T
    return Visit(times, x, y)


def _reached(spot: Rectangle, height: float, kind: Kind, far: float) -> Rectangle:
    """All that boxes of those who are at the spot can cover."""
    tallest = 1.1 * height * (far + (1 - far) * spot.bottom / HEIGHT)
    half = tallest * ASPECT[kind] / 2 + 1
    return Rectangle(
        max(0, int(spot.left - half)),
        max(0, int(spot.top - tallest)),
        min(WIDTH, math.ceil(spot.right + half)),
        min(HEIGHT, spot.bottom),
    )
