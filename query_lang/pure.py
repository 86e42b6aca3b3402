"""What the functions of the registry compute, in Python: total apart from ValueError, OverflowError and division by
zero, which mean NULL. Numbers are Fractions (constants) or floats (noisy values)."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

Number = Fraction | float

LENGTH = 256
"""The most characters of a string that a function returns."""


def add(a: Number, b: Number) -> Number:
    """Sum."""
    return a + b


def sub(a: Number, b: Number) -> Number:
    """Difference."""
    return a - b


def mul(a: Number, b: Number) -> Number:
    """Product."""
    return a * b


def div(a: Number, b: Number) -> Number:
    """Quotient."""
    return a / b


def mod(a: Number, b: Number) -> Number:
    """Remainder with the sign of the dividend, as in SQL."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        rest = abs(a) % abs(b)
        return -rest if a < 0 else rest
    return math.fmod(a, b)


def neg(a: Number) -> Number:
    """Negative."""
    return -a


def sign(a: Number) -> Number:
    """-1, 0 or 1."""
    return Fraction((a > 0) - (a < 0))


def floor(a: Number) -> Number:
    """Rounded down."""
    return Fraction(math.floor(a))


def ceil(a: Number) -> Number:
    """Rounded up."""
    return Fraction(math.ceil(a))


def round_half_up(a: Number, digits: Number = Fraction(0)) -> Number:
    """Rounded to a number of digits, halves away from zero."""
    unit = Fraction(10) ** int(digits)
    scaled = abs(Fraction(a)) * unit
    whole = Fraction(math.floor(scaled + Fraction(1, 2))) / unit
    return -whole if a < 0 else whole


def sqrt(a: Number) -> Number:
    """Square root."""
    return math.sqrt(a)


def exp(a: Number) -> Number:
    """Power of e."""
    return math.exp(a)


def ln(a: Number) -> Number:
    """Natural logarithm."""
    return math.log(a)


def power(a: Number, b: Number) -> Number:
    """Power; a whole exponent keeps fractions exact."""
    if isinstance(b, Fraction) and b.denominator == 1:
        return a ** int(b)
    return math.pow(a, b)


def least(*args: Number) -> Number:
    """The least."""
    return min(args)


def greatest(*args: Number) -> Number:
    """The greatest."""
    return max(args)


def eq(a: Any, b: Any) -> bool:
    """Equal."""
    return bool(a == b)


def ne(a: Any, b: Any) -> bool:
    """Not equal."""
    return bool(a != b)


def lt(a: Any, b: Any) -> bool:
    """Less."""
    return bool(a < b)


def le(a: Any, b: Any) -> bool:
    """Less or equal."""
    return bool(a <= b)


def gt(a: Any, b: Any) -> bool:
    """Greater."""
    return bool(a > b)


def ge(a: Any, b: Any) -> bool:
    """Greater or equal."""
    return bool(a >= b)


def between(a: Any, low: Any, high: Any) -> bool | None:
    """Within both bounds; a missing bound leaves open what the other does not exclude."""
    if a is None:
        return None
    return and_(None if low is None else bool(low <= a), None if high is None else bool(a <= high))


def is_in(a: Any, *values: Any) -> bool | None:
    """One of the values; unknown if it is not found and one of them is missing."""
    if a is None:
        return None
    return or_(*(None if value is None else bool(a == value) for value in values))


def not_(a: bool) -> bool:
    """Negation."""
    return not a


def and_(*args: bool | None) -> bool | None:
    """Three-valued conjunction."""
    if False in args:
        return False
    return None if None in args else True


def or_(*args: bool | None) -> bool | None:
    """Three-valued disjunction."""
    if True in args:
        return True
    return None if None in args else False


def is_null(a: Any) -> bool:
    """Whether there is no value."""
    return a is None


def coalesce(*args: Any) -> Any:
    """The first value."""
    return next((arg for arg in args if arg is not None), None)


def nullif(a: Any, b: Any) -> Any:
    """NULL if equal, else the first."""
    return None if a is not None and b is not None and a == b else a


def upper(a: str) -> str:
    """Capitals, character by character."""
    return "".join(c.upper() if len(c.upper()) == 1 else c for c in a)


def lower(a: str) -> str:
    """Small letters, character by character."""
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in a)


def trim(a: str) -> str:
    """Without blanks at both ends."""
    return a.strip(" ")


def ltrim(a: str) -> str:
    """Without blanks at the start."""
    return a.lstrip(" ")


def rtrim(a: str) -> str:
    """Without blanks at the end."""
    return a.rstrip(" ")


def length(a: str) -> Fraction:
    """The number of characters."""
    return Fraction(len(a))


def substring(a: str, start: Fraction, size: Fraction | None = None) -> str:
    """Characters from a position, counted from 1."""
    first = int(start) - 1
    return a[first:] if size is None else a[first : first + int(size)]


def left(a: str, size: Fraction) -> str:
    """The first characters."""
    return a[: int(size)]


def right(a: str, size: Fraction) -> str:
    """The last characters."""
    return a[len(a) - min(int(size), len(a)) :]


def concat(*args: str) -> str:
    """One after the other."""
    return "".join(args)[:LENGTH]


def replace(a: str, old: str, new: str) -> str:
    """Every occurrence of a string replaced; the empty string occurs nowhere."""
    return (a.replace(old, new) if old else a)[:LENGTH]


def like(a: str, pattern: str) -> bool:
    """SQL's LIKE: % stands for any characters, _ for one."""
    parts = {"%": ".*", "_": "."}
    return re.fullmatch("".join(parts.get(c, re.escape(c)) for c in pattern), a, re.DOTALL) is not None


def starts_with(a: str, b: str) -> bool:
    """Whether the string begins so."""
    return a.startswith(b)


def ends_with(a: str, b: str) -> bool:
    """Whether the string ends so."""
    return a.endswith(b)


def contains(a: str, b: str) -> bool:
    """Whether the string holds the other."""
    return b in a


def to_number(a: Any) -> Number:
    """A string or a truth value as a number."""
    if isinstance(a, bool):
        return Fraction(int(a))
    return a if isinstance(a, Fraction) else float(a)


def to_string(a: Any) -> str:
    """A number or a truth value as a string, as DuckDB writes it."""
    if isinstance(a, bool):
        return "true" if a else "false"
    return a if isinstance(a, str) else repr(float(a))


def to_boolean(a: Any) -> bool:
    """A number (0 is false) or a string as a truth value."""
    if isinstance(a, str):
        word = a.strip().lower()
        if word in ("true", "t", "yes", "y", "1", "on"):
            return True
        if word in ("false", "f", "no", "n", "0", "off"):
            return False
        raise ValueError(a)
    return bool(a)
