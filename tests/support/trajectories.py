"""Tracks to search for masks in: walks across a view, some of which stay at a spot."""

import numpy as np

from privid.persistence.tracks import Tracks

START_US = 1_788_267_600_000_000
"""2026-09-01 13:00 UTC."""


def walks(
    seed: int,
    objects: int = 25,
    *,
    width: int = 640,
    height: int = 480,
    size: tuple[float, float] = (30.0, 70.0),
    stay_s: float = 120.0,
    seconds: float = 600.0,
    sample_us: int = 200_000,
) -> Tracks:
    """So many objects that come in at one border and leave at another; one in four stays at one of three spots."""
    random = np.random.default_rng(seed)
    spots = random.uniform((width * 0.15, height * 0.15), (width * 0.85, height * 0.85), (3, 2))
    columns = []
    for number in range(objects):
        w, h = np.array(size) * random.uniform(0.7, 1.4)
        enter, leave = _border(random, width, height), _border(random, width, height)
        legs = [(leave, 0.0)]
        if random.random() < 0.25:
            legs.insert(0, (spots[random.integers(3)] + random.normal(0, 10, 2), random.exponential(stay_s) + 20))
        step = random.uniform(0.06, 0.14) * width * sample_us / 1e6
        at, points = enter, []
        for to, stay in legs:
            count = max(2, int(np.linalg.norm(to - at) / step))
            points += [at + (to - at) * i / count for i in range(count)]
            points += [to + random.normal(0, 1, 2) for _ in range(int(stay * 1e6 / sample_us))]
            at = to
        middle = np.array(points)
        times = START_US + (int(random.uniform(0, seconds) * 1e6 / sample_us) + np.arange(len(middle))) * sample_us
        x, y = middle[:, 0], middle[:, 1]
        columns.append((np.full(len(middle), number), times, x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    track, time_us, *edges = (np.concatenate(column) for column in zip(*columns, strict=True))
    end_us = int(time_us.max()) + sample_us
    return Tracks(track, time_us, *edges, np.ones(len(track)), width, height, START_US, end_us, sample_us)


def boxes(*rows: tuple[int, float, float, float, float, float], width: int = 100, height: int = 60) -> Tracks:
    """Tracks of boxes (track, second, x0, y0, x1, y1), a second apart."""
    track, second, x0, y0, x1, y1 = np.array(rows, float).reshape(-1, 6).T
    time_us = (second * 1e6).astype(np.int64)
    end_us = int(time_us.max(initial=0)) + 1_000_000
    return Tracks(track, time_us, x0, y0, x1, y1, np.ones(len(track)), width, height, 0, end_us, 1_000_000)


def _border(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    at = random.uniform()
    sides = ((0, at * height), (width, at * height), (at * width, 0), (at * width, height))
    return np.array(sides[random.integers(4)], float)
