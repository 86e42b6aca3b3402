"""The mechanisms that turn exact values into released ones (privacy-model.md, sections 3 and 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from privid.privacy import rng

INTERVAL_FACTOR = math.log(20)
"""A Laplace variable of scale b lies within b * ln(20) of 0 with probability 95 %."""


def laplace(values: Sequence[int], scale: Fraction) -> list[int]:
    """Every integer plus independent discrete Laplace noise of at least this scale (in the same unit).

    Neighbours whose values differ by w in L1 have a loss of at most w / scale: the scale handed to the sampler is the
    nearest float that is not below it. The sum is formed on unbounded integers, so nothing saturates.
    """
    drawn = rng.discrete_laplace(len(values), rng.round_up_to_float(scale))
    return [value + noise for value, noise in zip(values, drawn, strict=True)]


def choose(options: Sequence[tuple[Sequence[int], Fraction]], scale: Fraction) -> tuple[int, int]:
    """One candidate, with Pr proportional to weight * exp(utility / scale): (index of its option, index in it).

    An option is (public weights of its candidates, their common utility). The exponential mechanism: neighbours lose
    (max du - min du) / scale, because a utility that moves by the same amount everywhere changes no probability.
    """
    option = rng.exponential_choice([(sum(weights), utility) for weights, utility in options], scale)
    left = rng.uniform(sum(options[option][0]))
    for index, weight in enumerate(options[option][0]):
        left -= weight
        if left < 0:
            return option, index
    raise AssertionError("a point below the sum of the weights lies in one of them")


def half_width95(scale: float) -> float:
    """The half-width of the 95 % interval of Laplace noise."""
    return scale * INTERVAL_FACTOR
