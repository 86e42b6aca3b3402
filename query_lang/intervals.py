"""Exact interval arithmetic: how far a value can lie, given how far its inputs can. Fractions only, rounded outwards.

An interval is (low, high), both included. None means that no bound is known; so does a bound beyond 2^200, where
doubles would not stay finite through further arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from math import ceil, floor, isqrt
from typing import Final

Interval = tuple[Fraction, Fraction]
Bounds = Sequence[Interval | None]

_LIMIT: Final = Fraction(2**200)
_CONTEXT: Final = Context(prec=40)
_SLACK: Final = Fraction(1, 10**30)


def interval(low: Fraction | int, high: Fraction | int) -> Interval | None:
    """The interval, or None if it is too wide to be of use."""
    low, high = Fraction(low), Fraction(high)
    return (low, high) if max(abs(low), abs(high)) <= _LIMIT else None


def hull(parts: Bounds) -> Interval | None:
    """The smallest interval that holds all parts; None if one of them is unbounded, or there is none."""
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def add(a: Interval, b: Interval) -> Interval | None:
    """Sums."""
    return interval(a[0] + b[0], a[1] + b[1])


def sub(a: Interval, b: Interval) -> Interval | None:
    """Differences."""
    return interval(a[0] - b[1], a[1] - b[0])


def mul(a: Interval, b: Interval) -> Interval | None:
    """Products."""
    products = [x * y for x in a for y in b]
    return interval(min(products), max(products))


def div(a: Interval, b: Interval) -> Interval | None:
    """Quotients; unbounded where the divisor can be 0."""
    return None if b[0] <= 0 <= b[1] else mul(a, (1 / b[1], 1 / b[0]))


def mod(a: Interval, b: Interval) -> Interval | None:
    """Remainders with the sign of the dividend; unbounded where the divisor can be 0."""
    if b[0] <= 0 <= b[1]:
        return None
    most = max(abs(b[0]), abs(b[1]))
    return interval(max(-most, min(a[0], Fraction(0))), min(most, max(a[1], Fraction(0))))


def neg(a: Interval) -> Interval | None:
    """Negatives."""
    return -a[1], -a[0]


def absolute(a: Interval) -> Interval | None:
    """Magnitudes."""
    low = Fraction(0) if a[0] <= 0 <= a[1] else min(abs(a[0]), abs(a[1]))
    return low, max(abs(a[0]), abs(a[1]))


def sign(a: Interval) -> Interval | None:
    """-1, 0 or 1."""
    return Fraction((a[0] > 0) - (a[0] < 0)), Fraction((a[1] > 0) - (a[1] < 0))


def floors(a: Interval) -> Interval | None:
    """Rounded down."""
    return Fraction(floor(a[0])), Fraction(floor(a[1]))


def ceilings(a: Interval) -> Interval | None:
    """Rounded up."""
    return Fraction(ceil(a[0])), Fraction(ceil(a[1]))


def rounded(a: Interval, digits: Interval) -> Interval | None:
    """Rounded to a number of digits after the point; widened to whole units of the last digit."""
    unit = Fraction(10) ** -int(digits[0])
    return interval(floor(a[0] / unit) * unit, ceil(a[1] / unit) * unit)


def square_root(a: Interval) -> Interval | None:
    """Square roots; unbounded where the argument can be negative (not a number)."""
    if a[0] < 0:
        return None
    scale = 10**20
    low = isqrt(floor(a[0] * scale * scale))
    high = isqrt(ceil(a[1] * scale * scale)) + 1
    return Fraction(low, scale), Fraction(high, scale)


def exponential(a: Interval) -> Interval | None:
    """Powers of e."""
    return None if a[1] > 100 else _outward(lambda x: x.exp(_CONTEXT), (max(a[0], Fraction(-100)), a[1]))


def logarithm(a: Interval) -> Interval | None:
    """Natural logarithms; unbounded where the argument can be 0 or less."""
    return None if a[0] <= 0 else _outward(lambda x: x.ln(_CONTEXT), a)


def _outward(function: Callable[[Decimal], Decimal], a: Interval) -> Interval | None:
    low, high = (
        Fraction(function(_CONTEXT.divide(Decimal(x.numerator), Decimal(x.denominator)))) for x in (a[0], a[1])
    )
    slack = _SLACK * (1 + abs(low) + abs(high))
    return interval(low - slack, high + slack)


def power(a: Interval, exponent: Interval) -> Interval | None:
    """Powers with a constant, whole exponent of 0 or more."""
    n = exponent[0]
    if exponent[0] != exponent[1] or n.denominator != 1 or n < 0:
        return None
    ends = sorted((a[0] ** int(n), a[1] ** int(n)))
    low = Fraction(0) if n > 0 and n % 2 == 0 and a[0] <= 0 <= a[1] else ends[0]
    return interval(low, ends[1])
