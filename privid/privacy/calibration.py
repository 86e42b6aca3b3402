"""From sensitivities to the noise scale and the integers that are charged (privacy-model.md, section 4).

A release moves by at most w for each touched slot of a source, and by at most `cap` for a whole segment. With Laplace
noise of scale b it loses at most q = ceil(1e9*w/b) nano-epsilon a slot and Q = ceil(1e9*cap/b) a segment. The scale is
the smallest for which these integers fit the budget: charges are exact, nothing is left to floats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from privid.domain.units import NANO


@dataclass(frozen=True, slots=True)
class Share:
    """What one source can move: `w` a slot, `cap` a segment (None: no bound below M*w).

    `touched` is M, `segments` K * k_m.
    """

    w: Fraction
    cap: Fraction | None
    touched: int
    segments: int

    @property
    def most(self) -> Fraction:
        """K * k_m * min(M*w, cap): this source's part of Delta."""
        whole = self.touched * self.w
        return self.segments * (whole if self.cap is None else min(whole, self.cap))

    def cost(self, q: int, cap: int | None) -> int:
        """K * k_m * min(M*q, Q), in nano-epsilon."""
        whole = self.touched * q
        return self.segments * (whole if cap is None else min(whole, cap))

    def rates(self, inverse: Fraction) -> tuple[int, int | None]:
        """(q, Q) at scale b = 1/inverse."""
        q = ceil(NANO * self.w * inverse)
        return q, None if self.cap is None else ceil(NANO * self.cap * inverse)


@dataclass(frozen=True, slots=True)
class Calibration:
    """`scale` is b, exactly; None if nothing is noised because nothing can move. `rates` has (q, Q) of each source."""

    scale: Fraction | None
    rates: tuple[tuple[int, int | None], ...]
    delta: Fraction


class TooSmallError(ValueError):
    """The budget has no integers of at least 1 for these sources; `least` nano-epsilon would do."""

    def __init__(self, least: int) -> None:
        super().__init__(f"the least budget is {least} nano-epsilon")
        self.least = least


def calibrate(shares: Sequence[Share], budget: int) -> Calibration:
    """The smallest scale within `budget` nano-epsilon. Raises TooSmallError if there is none.

    Costs rise with 1/b by jumps, just above the points q / (1e9*w) and Q / (1e9*cap); so the largest admissible 1/b is
    one of these points. The search starts from the bound that holds without any rounding up and steps down from point
    to point; each source rounds up by less than 1, so it takes a few steps.
    """
    delta = sum((share.most for share in shares), Fraction(0))
    moving = [share for share in shares if share.w > 0]
    if delta == 0 or not moving:
        return Calibration(None, tuple((0, None if share.cap is None else 0) for share in shares), Fraction(0))
    least = sum(share.cost(1, None if share.cap is None else min(1, ceil(share.cap))) for share in moving)
    if least > budget:
        raise TooSmallError(least)
    steps = [NANO * share.w for share in moving]
    steps += [NANO * share.cap for share in moving if share.cap]
    inverse = Fraction(budget) / (NANO * delta)
    while sum(share.cost(*share.rates(inverse)) for share in moving) > budget:
        inverse = max(Fraction(ceil(step * inverse) - 1) / step for step in steps)
    inverse = min(Fraction(ceil(step * inverse)) / step for step in steps)
    return Calibration(1 / inverse, tuple(share.rates(inverse) for share in shares), delta)
