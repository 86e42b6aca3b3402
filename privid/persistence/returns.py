"""Whether things come back: presences that look alike at different times are taken for one thing.

How alike two looks of one thing are, and two of different things, is measured on the video itself: the two halves of
one track show one thing, and nearly all pairs of presences show two. A pair is taken for one thing only where fewer
false pairs than FALSE_PAIRS are expected in all of the recording, and for a return only if it was seen to leave and
come in again or was not seen for long, so what is found is a lower bound: tracks under-count returns.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privid.persistence.presence import MOST_BRIDGED_US, Presences

BINS = 64
"""Of a histogram of colours: see `detect.look`."""
FALSE_PAIRS = 0.05
AWAY_US = 8_000_000
"""Whoever was not seen for less has not been away: that gap is a tracker's."""
_CONTROLS = 300
_FEWEST_CONTROLS = 20

Appearance = npt.NDArray[np.float32]
"""Shape (tracks, 2, BINS): histograms that sum to 1, of the first half of each track and of the second."""


@dataclass(frozen=True, slots=True, eq=False)
class Returns:
    """What is known of returns.

    `visits`: how often each thing was in view, most first, shape (things,). `power`: the share of pairs of one thing
    that would have been recognised, from halves of tracks; 0 if nothing can be recognised here.
    """

    visits: npt.NDArray[np.int64]
    power: float

    @property
    def K(self) -> int:  # noqa: N802  the model's name
        """The most visits of one thing that were recognised; 1 without any."""
        return int(self.visits.max()) if len(self.visits) else 1


def returns(presences: Presences, weights: npt.NDArray[np.int64], looks: Appearance) -> Returns:
    """Visits of things. `weights` is how many boxes each track has, shape (tracks,), and `looks` theirs."""
    count = len(presences.begin_us)
    root = np.sqrt(np.clip(looks, 0, None).astype(np.float64))
    mean = np.zeros((count, BINS))
    np.add.at(mean, presences.of, looks.mean(axis=1) * weights[:, None])
    sums = np.maximum(mean.sum(axis=1, keepdims=True), 1e-12)
    means = np.sqrt(mean / sums)
    same = _distance((root[:, 0] * root[:, 1]).sum(axis=1))
    limit = _limit(presences, means, same)
    if limit is None:
        return Returns(np.ones(count, np.int64), 0.0)
    return Returns(_group(presences, means, limit), float((same <= limit).mean()))


def _distance(alike: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Hellinger's distance of histograms, from the sum of the roots of their products."""
    return np.sqrt(np.clip(1 - alike, 1e-9, 1))


def _limit(presences: Presences, means: npt.NDArray[np.float64], same: npt.NDArray[np.float64]) -> float | None:
    """The distance up to which pairs are one thing: hardly ever reached by two. None if nothing can be told."""
    begins = np.sort(presences.begin_us)
    apart = int((len(begins) - np.searchsorted(begins, presences.end_us + AWAY_US)).sum())
    count = len(means)
    a, b = np.triu_indices(min(count, _CONTROLS), 1)
    if len(a) < _FEWEST_CONTROLS or not apart:
        return None
    # Evenly over the recording; the lower quartile and the median do not care for the few pairs that are of one thing.
    chosen = np.linspace(0, count - 1, min(count, _CONTROLS)).round().astype(int)
    different = np.log(_distance((means[chosen[a]] * means[chosen[b]]).sum(axis=1)))
    middle = float(np.median(different))
    spread = max(float((middle - np.quantile(different, 0.25)) / 0.6745), 1e-6)
    chance = min(0.5, FALSE_PAIRS / apart)
    limit = math.exp(middle - _normal_quantile(chance) * spread)
    return min(limit, float(np.quantile(same, 0.95)))


def _normal_quantile(chance: float) -> float:
    """The value that a standard normal variable exceeds with this chance, at most a half."""
    low, high = 0.0, 40.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if math.erfc(middle / math.sqrt(2)) / 2 > chance else (low, middle)
    return high


def _group(presences: Presences, means: npt.NDArray[np.float64], limit: float) -> npt.NDArray[np.int64]:
    """Visits of each thing: a presence joins the thing that it looks most like and that was not there by then."""
    totals, lengths = np.zeros_like(means), np.ones(len(means))
    last, visits = np.zeros(len(means), np.int64), np.zeros(len(means), np.int64)
    known = 0
    for one in np.argsort(presences.begin_us, kind="stable").tolist():
        distance = _distance(totals[:known] @ means[one] / lengths[:known])
        gone = presences.end_us[last[:known]] + AWAY_US <= presences.begin_us[one]
        distance[~gone] = 2.0
        thing = int(distance.argmin()) if known else 0
        if known and distance[thing] <= limit:
            # Otherwise it may be the rest of a presence whose pieces could not be put together.
            away = presences.begin_us[one] - presences.end_us[last[thing]] > MOST_BRIDGED_US
            visits[thing] += away or (presences.left[last[thing]] and presences.entered[one])
        else:
            thing, known = known, known + 1
            visits[thing] = 1
        last[thing] = one
        totals[thing] += means[one]
        lengths[thing] = max(float(np.linalg.norm(totals[thing])), 1e-12)
    return np.sort(visits[:known])[::-1]
