"""From tracks to rho and K, with what is not known: how much a tracker breaks, what was never seen, who comes back."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from privid.domain.units import SECOND
from privid.persistence.presence import Bridged, Presences, Times, bridges, choose_bridge, ends, join, joined, links
from privid.persistence.returns import Appearance, returns
from privid.persistence.tail import fit, level_s, unseen_share
from privid.persistence.tracks import Tracks

CONFIDENCE = 0.95
"""Of `upper_us`: half of the error is left to the parameters of the tail, half to the longest that follows them."""
USUAL_MISSED = 0.5
"""Share of things that a detector misses, where nobody has counted."""
LEAST_SAFETY = 1.1
MOST_POWER = 0.9
"""No more returns than this share are believed to be recognised, though all parts of the few tracks seen were."""
_FEW = 60
_STEPS = ((60, 5), (300, 10), (1800, 30), (math.inf, 300))
"""Rho is rounded up to multiples of so many seconds, up to so many."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """What a study says of one camera. Lengths of time in microseconds, shares from 0 to 1.

    `longest_track_us` is the longest that one track lasted: somebody was in view for so long (if the tracker mixed up
    no two). `longest_us` is that with gaps bridged. With CONFIDENCE nothing was in view for longer than `upper_us`,
    things that were missed included; 999 of 1000 presences last no longer than `bound_us`. `unseen` is a bound without
    any assumption on durations: at most this share of presences lasts longer than `longest_us`. `fragmented`: the share
    of presences that were seen in pieces, `cut` of those whose beginning or end was not seen. `seen_K`: the most visits
    of one thing that were recognised; `returned`: how many things were seen to return; `power`: the share of returns
    that would be recognised, anywhere.
    """

    start_us: int
    end_us: int
    tracks: int
    presences: int
    bridge_us: int
    curve: tuple[Bridged, ...]
    longest_track_us: int
    longest_us: int
    bound_us: int
    upper_us: int
    unseen: float
    fragmented: float
    cut: float
    seen_K: int  # noqa: N815  the model's name
    returned: int
    power: float
    missed: float

    @property
    def safety(self) -> float:
        """By which the bound is multiplied: more where much was not seen from border to border."""
        return max(LEAST_SAFETY, 1 + self.cut / 2)

    @property
    def rho_us(self) -> int:
        """The recommended rho."""
        seconds = self.upper_us * self.safety / SECOND
        step = next(step for most, step in _STEPS if seconds <= most)
        return max(1, math.ceil(seconds / step)) * step * SECOND

    @property
    def K(self) -> int:  # noqa: N802  the model's name
        """The recommended K: at least 2, for whoever was seen once may have been there twice."""
        return max(2, math.ceil(self.seen_K / min(max(self.power, 0.5), MOST_POWER)))

    def warnings(self) -> list[str]:
        """What an owner must know before believing the numbers."""
        said = [
            "tracks are not people: a tracker under-counts returns, because whoever comes back is a new track; "
            f"K is at least {self.seen_K}, and nothing here says that it is not more",
        ]
        if self.presences < _FEW:
            said.append(f"only {self.presences} presences: the bounds rest on few; study more video")
        if self.power == 0:
            said.append("too little to tell returns from others: seen K says nothing")
        if self.cut > 0.3:
            said.append(
                f"{self.cut:.0%} of presences were not seen from border to border: the detector loses much here; "
                "try another one, or more video"
            )
        if self.curve[-1].longest_us > 1.5 * max(1, self.longest_us):
            said.append("the longest presence grows with the gap that is bridged: see the gap-bridging curve")
        return said

    def assumptions(self) -> list[str]:
        """What was assumed, in words."""
        return [
            f"gaps of up to {self.bridge_us / SECOND:g} s between tracks that fit together are one presence",
            f"the detector misses {self.missed:.0%} of things altogether, and they stay as long as the others",
            "whoever has stayed long is no less likely to leave in the next minute than who has just come to linger",
            "other days are like the time studied; whoever comes every day is in view more often than K",
            "what stands still for more than ten minutes is background to the motion detector",
        ]

    def to_json(self) -> dict[str, Any]:
        """For programs, and to be kept."""
        return {
            "from_us": self.start_us,
            "to_us": self.end_us,
            "recommended": {"rho_us": self.rho_us, "K": self.K, "safety": round(self.safety, 3)},
            "rho": {
                "longest_track_us": self.longest_track_us,
                "longest_us": self.longest_us,
                "bound_999_us": self.bound_us,
                "upper_us": self.upper_us,
                "confidence": CONFIDENCE,
                "share_longer_at_most": self.unseen,
            },
            "K": {"at_least": self.seen_K, "things_that_returned": self.returned, "power": round(self.power, 3)},
            "fragmentation": {
                "tracks": self.tracks,
                "presences": self.presences,
                "bridge_us": self.bridge_us,
                "in_pieces": self.fragmented,
                "cut": self.cut,
                "curve": [
                    {
                        "bridge_us": one.bridge_us,
                        "presences": one.presences,
                        "cut": one.cut,
                        "longest_us": one.longest_us,
                        "upper_us": one.upper_us,
                    }
                    for one in self.curve
                ],
            },
            "missed": self.missed,
            "assumptions": self.assumptions(),
            "warnings": self.warnings(),
        }


class Recommended(NamedTuple):
    """What a study recommends, for who looks for masks on its tracks.

    What is measured under a mask is multiplied by `margin`, as rho is; gaps of up to `tolerance_us` are none.
    """

    rho_us: int
    K: int
    margin: float
    tolerance_us: int


def recommended(found: Mapping[str, Any], tracks: Tracks) -> Recommended:
    """From an estimate's JSON and the presences that go with it."""
    rho_us = found["recommended"]["rho_us"]
    margin = rho_us / max(1, found["rho"]["longest_us"])
    tolerance_us = max(found["fragmentation"]["bridge_us"], tracks.sample_us)
    return Recommended(rho_us, found["recommended"]["K"], margin, tolerance_us)


def load_recommended(path: Path, tracks: Tracks) -> Recommended | None:
    """From the file of an estimate; None if it is not there, or not of these tracks. Raises OSError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if (found["from_us"], found["to_us"]) != (tracks.start_us, tracks.end_us):
            return None
        return recommended(found, tracks)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def estimate(tracks: Tracks, looks: Appearance, missed: float = USUAL_MISSED) -> tuple[Estimate, Tracks]:
    """The estimate, and the presences that it rests on, each as one track."""
    found = ends(tracks)
    linked = links(tracks, found)
    curve = bridges(tracks, found, linked)
    bridge_us = choose_bridge(curve)
    made = join(tracks, found, linked, bridge_us if bridge_us else -1)
    numbers, first, stop = tracks.spans()
    back = returns(made, found, stop - first, looks)
    bound, upper = _bounds(made, missed)
    pieces = np.bincount(made.of, minlength=len(made.begin_us))
    said = Estimate(
        tracks.start_us,
        tracks.end_us,
        len(numbers),
        len(made.begin_us),
        bridge_us,
        curve,
        _longest(found.end_us - found.begin_us),
        _longest(made.durations_us),
        bound,
        upper,
        unseen_share(len(made.begin_us), CONFIDENCE),
        _share(pieces > 1),
        _share(made.cut),
        back.K,
        int((back.visits > 1).sum()),
        back.power,
        missed,
    )
    return said, joined(tracks, made)


def _bounds(made: Presences, missed: float) -> tuple[int, int]:
    """The bound of 999 of 1000 presences, and of all that there were, in microseconds."""
    durations = made.durations_us / SECOND
    if not len(durations):
        return 0, 0
    tails = fit(durations, made.cut, CONFIDENCE)
    all_of_them = len(durations) / (1 - missed)
    chance = -math.log(1 - (1 - CONFIDENCE) / 2) / all_of_them
    longest = float(durations.max())
    upper = max(longest, level_s(tails, chance))
    return round(min(upper, level_s(tails, 0.001)) * SECOND), round(upper * SECOND)


def _longest(durations_us: Times) -> int:
    return int(durations_us.max()) if len(durations_us) else 0


def _share(flags: npt.NDArray[np.bool_]) -> float:
    return float(np.mean(flags)) if len(flags) else 0.0
