"""Whether things come back: presences that look alike at different times are taken for one thing.

How alike two looks of one thing are, and two of different things, is measured on the video itself: the parts of one
track show one thing, and nearly all pairs of presences show two. Looks are compared as a whole, and in their most alike
parts: whoever walks beside another for half of the way, in one box with them, is alone in the other half. A pair is
taken for one thing only where, in each way, fewer false pairs than FALSE_PAIRS are expected in all of the recording,
and for a return only if it was seen to leave and come in again or was not seen for long. Where something comes in just
where something alike was the last to go out, less likeness is enough, for there are few such pairs. What is found is a
lower bound: tracks under-count returns.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privid.persistence.presence import MOST_BRIDGED_US, Ends, Presences

BINS = 64
"""Of a histogram of colours: see `detect.look`."""
PARTS = 4
"""Of a track, in the order of time, that are looked at by themselves; even."""
FALSE_PAIRS, FALSE_BACK = 0.05, 0.25
"""Expected in each way of comparing, anywhere and where things come back where the last one went."""
AWAY_US = 5_000_000
"""Whoever was not seen for less has not been away: that gap is a tracker's."""
_CONTROLS = 300
_FEWEST_CONTROLS = 20

Appearance = npt.NDArray[np.float32]
"""Shape (tracks, PARTS, BINS): histograms that sum to 1, of the parts of each track."""


_Roots = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Returns:
    """What is known of returns.

    `visits`: how often each thing was in view, most first, shape (things,). `power`: the share of pairs of one thing
    that would have been recognised, from parts of tracks; 0 if nothing can be recognised here.
    """

    visits: npt.NDArray[np.int64]
    power: float

    @property
    def K(self) -> int:  # noqa: N802  the model's name
        """The most visits of one thing that were recognised; 1 without any."""
        return int(self.visits.max()) if len(self.visits) else 1


@dataclass(frozen=True, slots=True, eq=False)
class _Doors:
    """Where each presence came in and went out, shape (presences, 2), and its size; in pixels."""

    came: npt.NDArray[np.float64]
    went: npt.NDArray[np.float64]
    size: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Looks:
    """Roots of histograms: of each presence, shape (presences, BINS), and of its parts, (presences, PARTS, BINS)."""

    whole: _Roots
    parts: _Roots


def returns(presences: Presences, found: Ends, weights: npt.NDArray[np.int64], looks: Appearance) -> Returns:
    """Visits of things, from the ends of tracks, how many boxes each track has, shape (tracks,), and their looks."""
    count = len(presences.begin_us)
    total = np.zeros((count, PARTS, BINS))
    np.add.at(total, presences.of, looks * weights[:, None, None])
    seen = _Looks(_roots(total.sum(axis=1)), _roots(total))
    first, last = np.zeros(count, np.int64), np.zeros(count, np.int64)
    order = np.argsort(found.begin_us, kind="stable")
    first[presences.of[order[::-1]]] = order[::-1]
    order = np.argsort(found.end_us, kind="stable")
    last[presences.of[order]] = order
    doors = _Doors(found.begin[first], found.end[last], found.size[last])
    halves = _roots(np.stack([looks[:, : PARTS // 2].sum(axis=1), looks[:, PARTS // 2 :].sum(axis=1)]))
    outer = _roots(looks[:, [0, -1]].astype(np.float64))
    same = _distance(np.stack([(halves[0] * halves[1]).sum(axis=1), (outer[:, 0] * outer[:, 1]).sum(axis=1)]))
    limits = _limits(presences, doors, seen)
    if limits is None:
        return Returns(np.ones(count, np.int64), 0.0)
    # More unlike than two halves of one track, or its ends, are no two tracks of one thing.
    limits = np.minimum(limits, np.quantile(same, 0.95, axis=1)[:, None])
    power = float((same <= limits[:, :1]).any(axis=0).mean())
    return Returns(_group(presences, doors, seen, limits), power)


def _roots(histograms: npt.NDArray[np.float64]) -> _Roots:
    return np.asarray(np.sqrt(histograms / np.maximum(histograms.sum(axis=-1, keepdims=True), 1e-12)))


def _distance(alike: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Hellinger's distance of histograms, from the sum of the roots of their products."""
    return np.sqrt(np.clip(1 - alike, 1e-9, 1))


def _limits(presences: Presences, doors: _Doors, seen: _Looks) -> npt.NDArray[np.float64] | None:
    """The distances up to which pairs are one thing, shape (2, 2).

    Rows: as a whole, and in the most alike parts. Columns: any pair, and one that comes in where it went out. None if
    nothing can be told.
    """
    count = len(seen.whole)
    chosen = np.linspace(0, count - 1, min(count, _CONTROLS)).round().astype(int) if count else np.zeros(0, np.int64)
    a, b = np.triu_indices(len(chosen), 1)
    if len(a) < _FEWEST_CONTROLS:
        return None
    begins = np.sort(presences.begin_us)
    pairs = int((len(begins) - np.searchsorted(begins, presences.end_us + AWAY_US)).sum())
    back = sum(int(_back(presences, doors, one, np.arange(count)).sum()) for one in range(count))
    strict = [_normal_quantile(min(0.5, f / max(1, n))) for f, n in ((FALSE_PAIRS, pairs), (FALSE_BACK, back))]
    limits = []
    a, b = chosen[a], chosen[b]
    nearest = (seen.parts[a] @ np.swapaxes(seen.parts[b], 1, 2)).max(axis=(1, 2))
    for alike in ((seen.whole[a] * seen.whole[b]).sum(axis=1), nearest):
        # Evenly over the recording; the lower quartile and the median do not care for the few pairs of one thing.
        different = np.log(_distance(alike))
        middle = float(np.median(different))
        spread = max(float((middle - np.quantile(different, 0.25)) / 0.6745), 1e-6)
        anywhere, there = (math.exp(middle - one * spread) for one in strict)
        limits.append((anywhere, max(anywhere, there)))
    return np.array(limits)


def _back(presences: Presences, doors: _Doors, one: int, others: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of the other presences was the last to go out where this one came in; none if they did not see a border."""
    near = np.linalg.norm(doors.went[others] - doors.came[one], axis=1) <= 2 * doors.size[one]
    near &= presences.end_us[others] + AWAY_US <= presences.begin_us[one]
    near &= presences.left[others] & presences.entered[one]
    found = np.zeros(len(others), np.bool_)
    if near.any():
        found[np.where(near, presences.end_us[others], -1).argmax()] = True
    return found


def _normal_quantile(chance: float) -> float:
    """The value that a standard normal variable exceeds with this chance, at most a half."""
    low, high = 0.0, 40.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if math.erfc(middle / math.sqrt(2)) / 2 > chance else (low, middle)
    return high


def _group(presences: Presences, doors: _Doors, seen: _Looks, limits: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Visits of each thing: a presence joins the thing that it looks most like and that was not there by then."""
    count = len(seen.whole)
    totals, lengths = np.zeros_like(seen.whole), np.ones(count)
    last, visits = np.zeros(count, np.int64), np.zeros(count, np.int64)
    known = 0
    order = np.argsort(presences.begin_us, kind="stable")
    thing_of = np.zeros(count, np.int64)
    ordered = seen.parts[order].reshape(-1, BINS)
    for at, one in enumerate(order.tolist()):
        latest = last[:known]
        parts = np.zeros(known)
        alike = (ordered[: at * PARTS] @ seen.parts[one].T).reshape(at, PARTS * PARTS)
        np.maximum.at(parts, thing_of[:at], alike.max(axis=1))
        distance = _distance(np.stack([totals[:known] @ seen.whole[one] / lengths[:known], parts]))
        limit = np.where(_back(presences, doors, one, latest), limits[:, 1:], limits[:, :1])
        unlike = (distance / limit).min(axis=0)
        unlike[presences.end_us[latest] + AWAY_US > presences.begin_us[one]] = np.inf
        thing = int(unlike.argmin()) if known else 0
        if known and unlike[thing] <= 1:
            # Otherwise it may be the rest of a presence whose pieces could not be put together.
            away = presences.begin_us[one] - presences.end_us[last[thing]] > MOST_BRIDGED_US
            visits[thing] += away or (presences.left[last[thing]] and presences.entered[one])
        else:
            thing, known = known, known + 1
            visits[thing] = 1
        last[thing] = one
        thing_of[at] = thing
        totals[thing] += seen.whole[one]
        lengths[thing] = max(float(np.linalg.norm(totals[thing])), 1e-12)
    return np.sort(visits[:known])[::-1]
