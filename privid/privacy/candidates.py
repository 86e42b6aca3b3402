"""The public grids from which MIN, MAX, MEDIAN and QUANTILE are chosen, and the utilities of their points (section 3).

Values are first moved to the nearest point of the grid, row by row. A utility then depends on how many values each
point has:

- QUANTILE(x, q): -abs(rank - q*n), rank = values below the point and half of those at it. A row that leaves or enters
  moves rank by at most 1 and q*n by at most q, in opposite directions on the two sides of its value; replacing r rows
  moves the difference between any two points' utilities by at most 2r.
- MIN, MAX: -(number of values beyond the point), for which it is at most r.

All points beyond the largest value are equally good for MAX. So the grid is public and *denser* towards the other end
(`weights`): that breaks the tie near the data, and costs nothing, since it does not depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from privid.privacy.stability.state import TICKS
from query_lang.intervals import Interval
from query_lang.logical import Function

MOST_POINTS = 4096
TIE_BREAK = 10.0
"""The grid of MIN and MAX is e^10 times denser at one end than at the other."""
_WEIGHT = 1 << 40

Histogram = Mapping[int, int]
"""How many values lie at each point, by its index; points without values may be missing."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Points low, low + step, ... up to the first that is not below high, in ticks of 2^-20; the last one is high."""

    low: int
    high: int
    step: int

    @classmethod
    def over(cls, bounds: Interval) -> Grid:
        """At most MOST_POINTS steps of a power of two ticks."""
        low, high = (round(bound * TICKS) for bound in bounds)
        step = 1
        while (high - low) > step * MOST_POINTS:
            step *= 2
        return cls(low, high, step)

    @property
    def points(self) -> int:
        """How many there are."""
        return -(-(self.high - self.low) // self.step) + 1

    def value(self, index: int) -> Fraction:
        """The value of a point."""
        return Fraction(min(self.low + index * self.step, self.high), TICKS)

    def weights(self, function: Function) -> Sequence[int]:
        """How dense the grid is at each point."""
        if function in (Function.MIN, Function.MAX):
            return _denser(self.points, function)
        return [1] * self.points


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring points with one utility: from `first` on, with these weights."""

    first: int
    weights: Sequence[int]
    utility: Fraction


def runs(grid: Grid, function: Function, q: Fraction, histogram: Histogram) -> list[Run]:
    """The utilities of all points, equal neighbours together. Only points that have values end a run."""
    total = sum(histogram.values())
    weights = grid.weights(function)
    found: list[Run] = []
    below = start = 0

    def add(end: int, here: int) -> None:
        """The points from `start` up to `end`, with `below` values before them and `here` values at them."""
        match function:
            case Function.MIN:
                utility = Fraction(-below)
            case Function.MAX:
                utility = Fraction(-(total - below - here))
            case _:
                utility = -abs(below + Fraction(here, 2) - q * total)
        first = start
        if found and found[-1].utility == utility:
            first = found.pop().first
        found.append(Run(first, weights[first:end], utility))

    for index in sorted(index for index, here in histogram.items() if here):
        if start < index:
            add(index, 0)
            start = index
        add(index + 1, histogram[index])
        below += histogram[index]
        start = index + 1
    if start < grid.points:
        add(grid.points, 0)
    return found


@lru_cache(maxsize=64)
def _denser(points: int, function: Function) -> Sequence[int]:
    """Weights that fall by e^TIE_BREAK towards the end where an extreme value is sought."""
    last = max(1, points - 1)
    down = [round(_WEIGHT * math.exp(-TIE_BREAK * i / last)) for i in range(points)]
    return down if function is Function.MAX else down[::-1]
