"""What lasts longer than anything seen: bounds on a tail from the few longest of many durations.

Durations above a threshold are taken to follow a generalised Pareto distribution, as those above a high enough one do
(Coles, An Introduction to Statistical Modeling of Extreme Values, 2001, chapter 4); of a duration that is only known to
have been longer than what was seen, just that is used. A bound is the worst over all pairs of parameters that a
likelihood ratio test does not reject (a level's profile likelihood), so it covers what few data leave open. Beside it
stands one that assumes no distribution at all (Wilks, Annals of Mathematical Statistics 12, 1941), which says less.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

SHAPES = np.linspace(-0.5, 0.0, 9)
"""Shapes considered, from tails that end somewhere to exponential ones: nobody who has stayed long is less likely to
leave in the next minute than those who have just come to stay."""
SHARES = (0.1, 0.03, 0.01)
"""Thresholds are exceeded by these shares. Those who linger are another kind of presence than those who pass, and what
share they are is not known: the worst of all thresholds counts."""
FEWEST = 10
"""Durations above a threshold."""
FEWEST_FOR_SHAPE = 20
"""With fewer no shape can be told from another: exponential is assumed."""
_SCALES = 120

Durations = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tail:
    """A fitted tail. Lengths in seconds: durations above `threshold_s`, which `share` of all exceed.

    `shapes` and `scales_s` are the pairs that are not rejected.
    """

    threshold_s: float
    share: float
    above: int
    shapes: npt.NDArray[np.float64]
    scales_s: npt.NDArray[np.float64]

    def level_s(self, chance: float) -> float:
        """An upper bound of the duration that a presence exceeds with at most this chance."""
        if chance >= self.share:
            return self.threshold_s
        odds = math.log(self.share / chance)
        # u + s/k ((share/chance)^k - 1), which is u + s log(share/chance) at k = 0
        safe = np.where(np.abs(self.shapes) < 1e-9, 1.0, self.shapes)
        grown = np.where(np.abs(self.shapes) < 1e-9, odds, np.expm1(safe * odds) / safe)
        return float(self.threshold_s + (self.scales_s * grown).max())


def fit(durations_s: Durations, cut: Flags, confidence: float) -> tuple[Tail, ...]:
    """The tails above the thresholds of SHARES, of durations of shape (n,), `cut` where they may have lasted longer.

    The pairs of parameters that one tail keeps give with `confidence` a bound of any one of its levels. Thresholds with
    too few whole durations above them are left out; if that is all of them, all durations are one tail.
    """
    tails: list[Tail] = []
    order = np.sort(durations_s)
    for above in sorted({*(max(FEWEST, round(share * len(order))) for share in SHARES), len(order)}):
        if not 0 < above <= len(order) or (above == len(order) and tails):
            continue
        threshold = float(order[-above - 1]) if above < len(order) else 0.0
        over = durations_s > threshold
        excess, whole = durations_s[over] - threshold, ~cut[over]
        if int(whole.sum()) < FEWEST // 2 and above < len(order):
            continue
        shapes = SHAPES if int(whole.sum()) >= FEWEST_FOR_SHAPE else np.zeros(1)
        scales = float(excess.sum() / max(1, whole.sum())) * np.geomspace(0.1, 12, _SCALES)
        likelihood = _log_likelihood(excess, whole, shapes, scales)
        shape, scale = np.nonzero(likelihood >= likelihood.max() - _chi_square(confidence) / 2)
        tails.append(Tail(threshold, float(over.mean()), int(over.sum()), shapes[shape], scales[scale]))
    return tuple(tails)


def level_s(tails: tuple[Tail, ...], chance: float) -> float:
    """The most that any of the tails gives; 0 without any."""
    return max((tail.level_s(chance) for tail in tails), default=0.0)


def _log_likelihood(
    excess: Durations, whole: Flags, shapes: npt.NDArray[np.float64], scales: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Of every shape (rows) and scale (columns): densities of whole durations, survival of those cut short."""
    found = np.empty((len(shapes), len(scales)))
    for row, shape in enumerate(shapes):
        at = excess[None, :] / scales[:, None]
        if abs(shape) < 1e-9:
            survival = -at
            rate = np.zeros_like(at)
        else:
            inside = 1 + shape * at
            log = np.log(np.where(inside > 0, inside, 1.0))
            survival = np.where(inside > 0, -log / shape, -np.inf)
            rate = np.where(inside > 0, -log, 0.0)
        # The density is survival * (1/s) (1 + k y/s)^-1.
        found[row] = (survival + np.where(whole, rate - np.log(scales)[:, None], 0.0)).sum(axis=1)
    return found


def _chi_square(confidence: float) -> float:
    """The quantile of the chi-square distribution with one degree of freedom: a standard normal variable squared."""
    return NormalDist().inv_cdf((1 + confidence) / 2) ** 2


def unseen_share(n: int, confidence: float) -> float:
    """Without any assumption on durations: at most this share of presences lasts longer than the longest of n.

    For presences that are drawn independently: the longest of n is below the quantile q with probability q^n.
    """
    return 1.0 if n == 0 else 1 - (1 - confidence) ** (1 / n)
