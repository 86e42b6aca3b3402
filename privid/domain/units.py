"""Units: time is integer microseconds (UTC), epsilon is integer nano-epsilon, inside the whole system."""

from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from typing import NewType

Micros = NewType("Micros", int)
"""Microseconds: a moment since the unix epoch in UTC, or a duration."""

Nano = NewType("Nano", int)
"""1e-9 of epsilon, the smallest amount of privacy loss that is ever accounted for."""

SECOND = 1_000_000
NANO = 1_000_000_000


def nano_epsilon(text: str | float | int) -> Nano:
    """Epsilon as written by a person, in nano-epsilon, rounded down.

    Raises ValueError if it is not a finite number.
    """
    try:
        value = Decimal(str(text))
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number") from None
    if not value.is_finite():
        raise ValueError(f"{text!r} is not a finite number")
    return Nano(int((value * NANO).to_integral_value(rounding=ROUND_FLOOR)))


def epsilon(nano: int) -> float:
    """Nano-epsilon as a plain number, for people and JSON only."""
    return nano / NANO


def isoformat(moment_us: int) -> str:
    """A moment as ISO 8601 in UTC, with a fraction of a second only if there is one."""
    whole, fraction = divmod(moment_us, SECOND)
    text = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:06d}Z" if fraction else f"{text}Z"
