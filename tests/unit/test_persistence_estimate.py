"""Estimates on scenes whose truth is known: rho within its bound, K as often as things came, and nobody left out."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from privid.domain.units import SECOND
from privid.persistence.estimate import estimate
from privid.persistence.presence import bridges, choose_bridge, ends, join, links
from privid.persistence.tail import fit, level_s, unseen_share
from privid.testing.scenes import (
    DetectorNoise,
    Scene,
    campus,
    ground_truth,
    highway,
    observe,
    returning,
    urban,
)

CAMERAS = ((campus, 0.29), (highway, 0.05), (urban, 0.76))
"""With the share of things that a detector misses there."""


def _judged(preset: Callable[..., Scene], missed: float, seed: int, hours: float) -> tuple[bool, bool]:
    """Whether the truth lies within the stated bound, and whether the recommended policy leaves nobody out."""
    scene = preset(seed, hours=hours)
    truth = ground_truth(scene)
    said, _ = estimate(*observe(scene, DetectorNoise(never=missed), seed), missed=missed)
    within = said.longest_track_us <= truth.rho_us <= said.upper_us
    return within, not truth.unprotected(said.rho_us, said.K)


@pytest.mark.parametrize(("preset", "missed"), CAMERAS)
def test_the_truth_is_within_the_bound(preset: Callable[..., Scene], missed: float) -> None:
    assert _judged(preset, missed, seed=0, hours=2.0) == (True, True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_in_95_of_100_scenes_the_truth_is_within_the_bound_and_nobody_is_left_out() -> None:
    judged = [_judged(*CAMERAS[seed % 3], seed=seed, hours=3.0) for seed in range(100)]
    within, protected = np.array(judged).sum(axis=0)
    assert within >= 95
    assert protected >= 95


@pytest.mark.parametrize("visits", [1, 2, 3])
def test_returns_are_counted(visits: int) -> None:
    for seed in range(2):
        said, _ = estimate(*observe(returning(visits, seed), DetectorNoise(never=0), seed))
        assert said.seen_K == visits
        assert visits <= said.K
        assert any("under-counts" in warning for warning in said.warnings())


def test_more_visits_are_recommended_than_were_recognised() -> None:
    said, _ = estimate(*observe(returning(2), DetectorNoise(never=0), 0))
    assert said.seen_K == 2
    assert [replace(said, power=power).K for power in (1.0, 0.9, 0.6, 0.0)] == [3, 3, 4, 4]
    assert [replace(said, seen_K=1, power=power).K for power in (1.0, 0.0)] == [2, 2]


def test_pieces_are_put_together() -> None:
    scene = campus(5, hours=1.0)
    tracks, _ = observe(scene, DetectorNoise(never=0, breaks=200), 5)
    found = ends(tracks)
    linked = links(tracks, found)
    curve = bridges(tracks, found, linked)
    made = join(tracks, found, linked, choose_bridge(curve))
    things = len(ground_truth(scene).periods)
    assert len(found.begin_us) > 1.4 * things
    assert things <= len(made.begin_us) < 0.7 * len(found.begin_us)
    assert all(a.presences >= b.presences and a.longest_us <= b.longest_us for a, b in pairwise(curve))


def test_nothing_seen() -> None:
    scene = campus(0, hours=0.1, an_hour=0)
    said, presences = estimate(*observe(scene, DetectorNoise(), 0))
    assert (said.presences, said.seen_K, len(presences)) == (0, 1, 0)
    assert said.rho_us > 0


def test_the_bound_of_an_exponential_tail_covers_and_a_shorter_tail_has_a_lower_one() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(100):
        durations = random.exponential(10, 400)
        covered += level_s(fit(durations, np.zeros(400, np.bool_), 0.95), 0.001) >= 10 * np.log(1000)
    assert covered >= 95
    whole = np.zeros(400, np.bool_)
    ended = level_s(fit(random.uniform(0, 40, 400), whole, 0.95), 0.001)
    assert 39 < ended < 60


def test_cut_durations_raise_the_bound() -> None:
    durations = np.random.default_rng(4).exponential(10, 400)
    none, half = np.zeros(400, np.bool_), np.arange(400) % 2 == 0
    assert level_s(fit(durations, half, 0.95), 0.001) > 1.3 * level_s(fit(durations, none, 0.95), 0.001)


def test_without_any_assumption() -> None:
    assert unseen_share(0, 0.95) == 1
    assert (1 - unseen_share(100, 0.95)) ** 100 == pytest.approx(0.05)


def test_lengths_are_rounded_up() -> None:
    said, _ = estimate(*observe(campus(1, hours=1.0), DetectorNoise(), 1))
    assert said.rho_us >= said.upper_us * said.safety
    assert said.rho_us % (5 * SECOND) == 0
