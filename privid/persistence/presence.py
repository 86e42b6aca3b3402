"""How long things stay: tracks in pieces put together, and the distribution of durations.

A tracker loses a thing behind a post or in a crowd and finds it again as another track. Where a track ends inside the
view and another begins a moment later within reach, the two are taken for one presence. How long a moment may be is
the *bridge*; `bridges` tries all of them, so that its effect can be seen (the gap-bridging curve).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from privid.domain.units import SECOND
from privid.persistence.tracks import Tracks

MOST_BRIDGED_US = 30 * SECOND
"""No longer gap is ever taken for one presence: whoever was away for longer has been away."""
STANDING = 0.3
"""Heights or widths a second (the greater) by which a thing that stands may be elsewhere after a gap."""
LEAVING = 0.1
"""Heights or widths a second at which a thing by the border is on its way out of the view, or into it."""
_SPEED_SAMPLES = 8
"""A speed at an end of a track is that over so many of its boxes."""

Times = npt.NDArray[np.int64]
Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Ends:
    """Where and when each track begins and ends; arrays of shape (tracks,) or (tracks, 2) for x and y of the middle.

    `begin_speed`, `end_speed` in pixels a second; `size` the greater side of its typical box. `entered`, `left`:
    whether it was at the picture's border then, so that it may have come into view or gone out of it.
    """

    begin_us: Times
    end_us: Times
    begin: Points
    end: Points
    begin_speed: Points
    end_speed: Points
    size: Points
    entered: npt.NDArray[np.bool_]
    left: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Presences:
    """Tracks put together. `of` is the presence of each track, shape (tracks,); the others have shape (presences,).

    `entered`, `left`: whether it was seen to come into view, and to go out of it.
    """

    of: npt.NDArray[np.int64]
    begin_us: Times
    end_us: Times
    entered: npt.NDArray[np.bool_]
    left: npt.NDArray[np.bool_]

    @property
    def cut(self) -> npt.NDArray[np.bool_]:
        """Not seen from border to border, or the recording began or ended within it: it may have lasted longer."""
        return ~(self.entered & self.left)

    @property
    def durations_us(self) -> Times:
        """From its first moment to the end of its last one."""
        return self.end_us - self.begin_us


@dataclass(frozen=True, slots=True)
class Bridged:
    """What follows if gaps up to `bridge_us` are bridged: a point of the gap-bridging curve."""

    bridge_us: int
    presences: int
    cut: int
    longest_us: int
    upper_us: int
    """What 99 of 100 presences do not exceed."""


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """Pairs of tracks that may be one thing, shortest gap first; each track goes on in one other at most."""

    gap_us: Times
    earlier: npt.NDArray[np.int64]
    later: npt.NDArray[np.int64]


def ends(tracks: Tracks) -> Ends:
    """The ends of every track, in the order of `tracks.spans()`."""
    _, first, stop = tracks.spans()
    middle = np.stack([(tracks.x0 + tracks.x1) / 2, (tracks.y0 + tracks.y1) / 2], axis=1).astype(np.float64)
    sides = np.maximum(tracks.x1 - tracks.x0, tracks.y1 - tracks.y0).astype(np.float64)
    size = np.array([np.median(sides[a:b]) for a, b in zip(first, stop, strict=True)])
    head, tail = np.minimum(first + _SPEED_SAMPLES, stop) - 1, np.maximum(stop - _SPEED_SAMPLES, first)
    last = stop - 1
    begin_speed, end_speed = (
        (middle[b] - middle[a]) / np.maximum((tracks.time_us[b] - tracks.time_us[a]) / SECOND, 1e-6)[:, None]
        for a, b in ((first, head), (tail, last))
    )
    return Ends(
        tracks.time_us[first],
        tracks.time_us[last] + tracks.sample_us,
        middle[first],
        middle[last],
        begin_speed,
        end_speed,
        size,
        _at_border(tracks, first, -begin_speed, size),
        _at_border(tracks, last, end_speed, size),
    )


def _at_border(tracks: Tracks, rows: Times, outward: Points, size: Points) -> npt.NDArray[np.bool_]:
    # Only what moves outwards leaves, and what is by the border may stand there. A thing is first seen some moments
    # after it came in, as far from the border as it has moved in three samples, and boxes are not exact. `outward` is
    # its speed, turned round where it came in.
    least = LEAVING * size
    reach = 0.1 * size[:, None] + 2 + np.abs(outward) * (3 * tracks.sample_us / SECOND)
    x, y = outward.T
    return np.asarray(
        ((x < -least) & (tracks.x0[rows] <= reach[:, 0]))
        | ((y < -least) & (tracks.y0[rows] <= reach[:, 1]))
        | ((x > least) & (tracks.x1[rows] >= tracks.width - reach[:, 0]))
        | ((y > least) & (tracks.y1[rows] >= tracks.height - reach[:, 1]))
    )


def links(tracks: Tracks, found: Ends) -> Links:
    """Which tracks may go on in which, shortest gap first.

    Only a track that ends inside the view goes on, and only in one that begins inside it, no earlier, of about the
    same size, and where the first one can have come to: by its own speed, or standing.
    """
    later = np.flatnonzero(~found.entered)
    later = later[np.argsort(found.begin_us[later], kind="stable")]
    begins = found.begin_us[later]
    pairs: list[tuple[int, float, int, int]] = []
    for one in np.flatnonzero(~found.left).tolist():
        end = found.end_us[one]
        low, high = np.searchsorted(begins, [end - tracks.sample_us, end + MOST_BRIDGED_US + 1])
        other = later[low:high]
        other = other[other != one]
        gap = np.maximum(found.begin_us[other] - end, 0) / SECOND
        moved = found.begin[other] - found.end[one]
        size = np.maximum(found.size[other], found.size[one])
        alike = np.minimum(found.size[other], found.size[one]) > 0.5 * size
        reach = size * (0.6 + STANDING * np.minimum(gap, 4))
        straight = np.linalg.norm(moved - found.end_speed[one] * gap[:, None], axis=1)
        backward = np.linalg.norm(moved - found.begin_speed[other] * gap[:, None], axis=1)
        away = np.minimum(np.minimum(straight, backward), np.linalg.norm(moved, axis=1))
        for which in np.flatnonzero(alike & (away <= reach)).tolist():
            pairs.append((round(gap[which] * SECOND), float(away[which]), one, int(other[which])))
    pairs.sort()
    gone: set[int] = set()
    come: set[int] = set()
    chosen = []
    for gap_us, _, one, next_one in pairs:
        if one not in gone and next_one not in come:
            gone.add(one)
            come.add(next_one)
            chosen.append((gap_us, one, next_one))
    table = np.array(chosen, np.int64).reshape(-1, 3)
    return Links(table[:, 0], table[:, 1], table[:, 2])


def join(tracks: Tracks, found: Ends, linked: Links, bridge_us: int) -> Presences:
    """The presences if every gap up to `bridge_us` is bridged."""
    count = len(found.begin_us)
    of = np.arange(count)
    after = dict(zip(linked.later.tolist(), linked.earlier.tolist(), strict=True))
    used = {int(b) for gap, b in zip(linked.gap_us, linked.later, strict=True) if gap <= bridge_us}
    # In the order of time: whatever a track goes on from has its presence already.
    for one in np.argsort(found.begin_us, kind="stable").tolist():
        if one in used:
            of[one] = of[after[one]]
    names, of = np.unique(of, return_inverse=True)
    begin, end = np.full(len(names), np.iinfo(np.int64).max), np.zeros(len(names), np.int64)
    np.minimum.at(begin, of, found.begin_us)
    np.maximum.at(end, of, found.end_us)
    entered, left = np.zeros(len(names), np.bool_), np.zeros(len(names), np.bool_)
    at_begin, at_end = found.begin_us == begin[of], found.end_us == end[of]
    inside = (found.begin_us > tracks.start_us) & (found.end_us < tracks.end_us)
    np.logical_or.at(entered, of[at_begin], (found.entered & inside)[at_begin])
    np.logical_or.at(left, of[at_end], (found.left & inside)[at_end])
    return Presences(of, begin, end, entered, left)


def bridges(tracks: Tracks, found: Ends, linked: Links) -> tuple[Bridged, ...]:
    """The gap-bridging curve, from no gap to MOST_BRIDGED_US."""
    curve = []
    for seconds in (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0):
        bridge_us = int(seconds * SECOND)
        made = join(tracks, found, linked, bridge_us if seconds else -1)
        durations = made.durations_us
        longest, upper = (int(durations.max()), int(np.quantile(durations, 0.99))) if len(durations) else (0, 0)
        curve.append(Bridged(bridge_us, len(durations), int(made.cut.sum()), longest, upper))
    return tuple(curve)


def choose_bridge(curve: tuple[Bridged, ...]) -> int:
    """The shortest gap that mends nine of ten of all pieces that any gap would mend."""
    most = curve[0].presences - curve[-1].presences
    return next(one.bridge_us for one in curve if curve[0].presences - one.presences >= 0.9 * most)


def joined(tracks: Tracks, presences: Presences) -> Tracks:
    """The same boxes, each presence one track."""
    _, first, stop = tracks.spans()
    return replace(tracks, track=np.repeat(presences.of, stop - first).astype(np.int32))
