"""The only source of randomness: exact samplers, keyed by the operating system (privacy-model.md, sections 4 and 7).

Nothing here takes a seed. `secrets` asks the kernel at every draw. OpenDP draws from OpenSSL's generator, which is
keyed by the kernel, and keyed anew in a forked process: so no two processes share a stream, and a test forks some.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from itertools import accumulate

import opendp.prelude as dp

dp.enable_features("contrib")

MAX_LAPLACE_SCALE = 2.0**56
"""Beyond it a draw could leave 64 bits (probability above e**-128), where OpenDP saturates."""


def discrete_laplace(size: int, scale: float) -> list[int]:
    """`size` independent integers with Pr(k) proportional to exp(-abs(k)/scale): OpenDP's exact sampler.

    Raises ValueError unless 0 < scale <= MAX_LAPLACE_SCALE.
    """
    if not 0 < scale <= MAX_LAPLACE_SCALE:
        raise ValueError(f"a Laplace scale must be above 0 and at most 2**56, not {scale}")
    noise = dp.m.make_laplace(dp.vector_domain(dp.atom_domain(T="i64")), dp.l1_distance(T="i64"), scale=scale)
    drawn: list[int] = noise([0] * size)
    return drawn


def exponential_choice(groups: Sequence[tuple[int, Fraction]], scale: Fraction) -> int:
    """The index of a group, drawn with Pr(i) proportional to count_i * exp(utility_i / scale), exactly.

    `groups` are (count, utility), counts not negative and not all 0. Raises ValueError otherwise.

    Inversion with lazily refined real numbers: the drawn point is an interval of n random bits, each weight an interval
    around a correctly rounded exponential. While the point's interval may lie in more than one group, both get more
    digits; so the answer is that of exact real arithmetic, and every draw ends with probability 1.
    """
    if scale <= 0 or any(count < 0 for count, _ in groups) or not any(count for count, _ in groups):
        raise ValueError("a choice needs a positive scale and at least one candidate")
    best = max(utility for count, utility in groups if count)
    point, bits, digits = 0, 0, 30
    while True:
        point = (point << 128) | secrets.randbits(128)
        bits += 128
        bounds = [_weight(count, (utility - best) / scale, digits) for count, utility in groups]
        low = [Fraction(0), *accumulate(lower for lower, _ in bounds)]
        high = [Fraction(0), *accumulate(upper for _, upper in bounds)]
        left, right = Fraction(point, 1 << bits), Fraction(point + 1, 1 << bits)
        for index in range(len(groups)):
            if left * low[-1] >= high[index] and right * high[-1] <= low[index + 1]:
                return index
        digits *= 2


def uniform(size: int) -> int:
    """An integer in [0, size), each equally likely. Raises ValueError for a size below 1."""
    if size < 1:
        raise ValueError("nothing to choose from")
    return secrets.randbelow(size)


def _weight(count: int, exponent: Fraction, digits: int) -> tuple[Fraction, Fraction]:
    """Lower and upper bounds of count * exp(exponent), for an exponent that is not positive."""
    if count == 0:
        return Fraction(0), Fraction(0)
    if exponent == 0:
        return Fraction(count), Fraction(count)
    bounds = []
    for rounding, step in ((ROUND_FLOOR, -1), (ROUND_CEILING, 1)):
        context = Context(prec=digits, rounding=rounding, Emin=-(10**17), Emax=10**17)
        argument = context.divide(Decimal(exponent.numerator), Decimal(exponent.denominator))
        # Decimal's exp is correctly rounded, but to the nearest whatever the context says: one unit covers it.
        value = context.next_plus(context.exp(argument)) if step > 0 else context.next_minus(context.exp(argument))
        bounds.append(Fraction(max(value, Decimal(0))) if value.adjusted() > -_TINY_DIGITS else Fraction(0))
    upper = bounds[1] or Fraction(1, 10**_TINY_DIGITS)
    return count * bounds[0], count * upper


_TINY_DIGITS = 4000
"""A weight below 1e-4000 is only known to lie in [0, 1e-4000]. Choosing it would take more digits than this, and the
draw would go on until it has them: with a probability that is no concern."""


def round_up_to_float(value: Fraction) -> float:
    """The least float that is not below `value`: a noise scale never shrinks by rounding."""
    nearest = float(value)
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)
