"""Scenes with a known truth: presets, hidden things, files, what a bad tracker makes of them."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from privid.domain.units import SECOND
from privid.testing.scenes import (
    DetectorNoise,
    Rectangle,
    Scene,
    Thing,
    Truth,
    Visit,
    campus,
    film,
    frames,
    ground_truth,
    highway,
    load_truth,
    observe,
    returning,
    save_truth,
    true_tracks,
    urban,
)


def _walk(number: int, *begins_s: float) -> Thing:
    """From the left to the right of a picture 100 wide in 11 s, in view for all but the first and last half second."""
    visits = [
        Visit(
            (np.array([begin, begin + 11]) * SECOND).astype(np.int64),
            np.array([-5.0, 105.0]),
            np.array([60.0, 60.0]),
        )
        for begin in begins_s
    ]
    return Thing(number, "person", ((9, 9, 200), (9, 200, 9)), 25, tuple(visits))


def _scene(*things: Thing, occluders: tuple[Rectangle, ...] = ()) -> Scene:
    return Scene("test", 100, 80, 0, 60 * SECOND, things, far=1.0, occluders=occluders, day=False)


def test_the_truth_of_a_walk() -> None:
    truth = ground_truth(_scene(_walk(1, 0.0, 30.0), _walk(2, 20.0)), 100_000)
    assert truth.K == 2
    assert truth.rho_us == pytest.approx(11 * SECOND, abs=0.3 * SECOND)
    assert truth.unprotected(truth.rho_us, 2) == []
    assert truth.unprotected(truth.rho_us, 1) == [1]
    assert truth.unprotected(truth.rho_us - 1, 2) == [1]  # two intervals each; and 2, once in view, has two
    assert truth.unprotected(60 * SECOND, 1) == []  # one interval holds both visits


def test_behind_a_post_nothing_is_seen_and_the_period_goes_on() -> None:
    post = Rectangle(40, 0, 60, 80)
    hidden, seen = (true_tracks(_scene(_walk(1, 0.0), occluders=o), 100_000) for o in ((post,), ()))
    missing = np.setdiff1d(seen.time_us, hidden.time_us)
    assert 9 <= len(missing) <= 11  # wholly behind it for 10 pixels, at 10 a second
    assert len(ground_truth(_scene(_walk(1, 0.0), occluders=(post,)), 100_000).periods[1]) == 1


def test_frames_show_the_boxes_and_nothing_else() -> None:
    with_one, empty = frames(_scene(_walk(1, 0.0))), frames(_scene())
    tracks = true_tracks(_scene(_walk(1, 0.0)))
    changed = 0
    for row, (time_us, picture), (_, background) in zip(range(50), with_one, empty, strict=False):
        differs = (picture != background).any(axis=2)
        shown = np.flatnonzero(tracks.time_us == time_us)
        box = np.zeros_like(differs)
        for one in shown:
            x0, y0, x1, y1 = (float(getattr(tracks, side)[one]) for side in ("x0", "y0", "x1", "y1"))
            box[int(y0) : math.ceil(y1), int(x0) : math.ceil(x1)] = True
        assert not (differs & ~box).any(), row
        changed += bool(differs.any())
    assert changed >= 48  # of 50; a sliver at the border may be background


@pytest.mark.parametrize(("preset", "longest"), [(campus, 81), (highway, 316), (urban, 270)])
def test_presets_have_the_longest_presence_that_they_say(preset: Callable[..., Scene], longest: int) -> None:
    for seed in range(3):
        scene = preset(seed, hours=1.0)
        truth = ground_truth(scene)
        assert truth.rho_us == pytest.approx(longest * SECOND, abs=0.5 * SECOND)
        assert truth.K == 1


@pytest.mark.parametrize(("preset", "gain"), [(campus, 1.72), (highway, 9.7), (urban, 5.0)])
def test_hiding_the_spots_gains_what_the_presets_say(preset: Callable[..., Scene], gain: float) -> None:
    scene = preset(1, hours=2.0)
    tracks, longest = true_tracks(scene), ground_truth(scene).rho_us
    within = np.zeros(len(tracks), np.bool_)
    for left, top, right, bottom in scene.spots:
        within |= (tracks.x0 >= left) & (tracks.y0 >= top) & (tracks.x1 <= right) & (tracks.y1 <= bottom)
    outside = tracks.where(~within)
    runs = []
    for _, rows in outside.each():
        times = outside.time_us[rows]
        for run in np.split(times, np.flatnonzero(np.diff(times) > 5 * SECOND) + 1):
            runs.append(int(run[-1] - run[0]) + outside.sample_us)
    assert longest / max(runs) == pytest.approx(gain, rel=0.2)


def test_the_same_seed_is_the_same_scene() -> None:
    first, again, other = (true_tracks(campus(seed, hours=0.2)) for seed in (3, 3, 4))
    assert np.array_equal(first.x0, again.x0)
    assert not np.array_equal(first.x0, other.x0)


def test_returning() -> None:
    assert [ground_truth(returning(visits)).K for visits in (1, 2, 3)] == [1, 2, 3]


def test_a_truth_file(tmp_path: Path) -> None:
    truth: Truth = ground_truth(returning(2))
    save_truth(truth, tmp_path / "truth.json")
    assert load_truth(tmp_path / "truth.json") == truth


def test_noise_misses_and_breaks() -> None:
    scene = campus(1, hours=0.5)
    true = true_tracks(scene)
    perfect, _ = observe(scene, DetectorNoise(never=0, miss=0, breaks=0, jitter=0), 1)
    assert np.array_equal(np.sort(perfect.time_us), np.sort(true.time_us))
    noisy, looks = observe(scene, DetectorNoise(never=0.3, miss=0.2, breaks=120), 1)
    assert len(looks) == len(noisy.spans()[0])
    assert 0.4 * len(true) < len(noisy) < 0.75 * len(true)
    assert len(noisy.spans()[0]) > len(true.spans()[0])


def test_film(tmp_path: Path) -> None:
    import av

    scene = _scene(_walk(1, 0.0))
    path = film(scene, tmp_path / "scene.mp4")
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 300
