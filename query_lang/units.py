"""Durations and moments as people write them, in integer microseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final
from zoneinfo import ZoneInfo

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MOMENT: Final = 7_258_118_400 * SECOND
"""Moments lie in [1970, 2200), so that their arithmetic stays far from the limits of 64-bit integers."""

_UNITS: Final[dict[str, int]] = {
    **dict.fromkeys(("us", "usec", "usecs", "microsecond", "microseconds"), 1),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), 1_000),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), SECOND),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), MINUTE),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), HOUR),
    **dict.fromkeys(("d", "day", "days"), DAY),
    **dict.fromkeys(("w", "week", "weeks"), WEEK),
}

UNIT_NAMES: Final = frozenset(_UNITS)

_DURATION: Final = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})\s*([A-Za-z]+)\s*", re.ASCII)
_SECONDS: Final = re.compile(r"[0-9]{1,11}(\.[0-9]{1,6})?", re.ASCII)
_ISO: Final = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[Tt ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)?)?"
    r"\s*([Zz]|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)
_PAPER: Final = re.compile(
    r"(\d{1,2})-(\d{1,2})-(\d{4})(?:/(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?\s*([AaPp][Mm])?)?", re.ASCII
)


def unit_us(name: str) -> int:
    """The length of a unit of time in microseconds, in singular, plural or short form.

    Raises ValueError for an unknown unit.
    """
    try:
        return _UNITS[name.lower()]
    except KeyError:
        raise ValueError(f"unknown unit of time {name!r}: write us, ms, sec, min, hr, day or week") from None


def parse_duration(text: str) -> int:
    """A number and a unit, with or without a blank or plural ("5sec", "500ms", "2 hrs"), in microseconds.

    Raises ValueError for anything else, and for what is no whole number of microseconds.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text.strip()!r} is not a duration: write a number and a unit, such as 5sec or 10 min")
    value = Fraction(found[1]) * unit_us(found[2])
    if value.denominator != 1:
        raise ValueError(f"{text.strip()!r} is not a whole number of microseconds")
    if value >= LAST_MOMENT:
        raise ValueError(f"{text.strip()!r} is too long")
    return int(value)


def parse_moment(text: str, timezone: str) -> int:
    """A moment in microseconds since 1970 UTC.

    Read are ISO 8601 (with a zone, else in `timezone`), unix seconds, and month-day-year as in the Privid paper
    (`12-01-2020/12:00am`, in `timezone`). A local time that occurs twice is its first occurrence. Raises ValueError,
    also for local times that a change of the clock skips and for moments outside [1970, 2200).
    """
    text = text.strip()
    try:
        moment = _read_moment(text, ZoneInfo(timezone))
    except (OverflowError, OSError):
        moment = -1
    if not 0 <= moment < LAST_MOMENT:
        raise ValueError(f"{text!r} is outside 1970 to 2199")
    return moment


def _read_moment(text: str, zone: ZoneInfo) -> int:
    if _SECONDS.fullmatch(text):
        return int(Fraction(text) * SECOND)
    if found := _ISO.fullmatch(text):
        fraction = int((found[7] or "").ljust(6, "0"))
        parts = (found[1], found[2], found[3], found[4], found[5], found[6])
        return _local(text, parts, fraction, found[8], zone)
    if found := _PAPER.fullmatch(text):
        hour = int(found[4] or 0)
        if found[7]:
            if not 1 <= hour <= 12:
                raise ValueError(f"{text!r} has no such hour: hours go from 1 to 12 with am and pm")
            hour = hour % 12 + (12 if found[7].lower() == "pm" else 0)
        parts = (found[3], found[1], found[2], str(hour), found[5], found[6])
        return _local(text, parts, 0, None, zone)
    raise ValueError(f"{text!r} is not a moment: write 2026-12-01T08:00:00Z, unix seconds or 12-01-2026/08:00am")


def _local(text: str, parts: tuple[str | None, ...], fraction: int, offset: str | None, zone: ZoneInfo) -> int:
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in parts)
        naive = datetime(year, month, day, hour, minute, second, fraction)
        if offset is not None:
            return (naive.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1) - _offset_us(offset)
    except ValueError as error:
        raise ValueError(f"{text!r} does not exist: {error}") from None
    aware = naive.replace(tzinfo=zone)
    moment = (aware.astimezone(UTC) - EPOCH) // timedelta(microseconds=1)
    if (EPOCH + timedelta(microseconds=moment)).astimezone(zone).replace(tzinfo=None) != naive:
        raise ValueError(f"{text!r} does not exist in {zone.key}: the clock skips it; add a zone, such as Z")
    return moment


def _offset_us(offset: str) -> int:
    if offset in "Zz":
        return 0
    hours, minutes = int(offset[1:3]), int(offset[-2:])
    if hours > 14 or minutes > 59:
        raise ValueError(f"no such zone {offset}")
    return (hours * HOUR + minutes * MINUTE) * (-1 if offset[0] == "-" else 1)


def format_moment(moment_us: int, timezone: str) -> str:
    """A moment as ISO 8601 with the offset of `timezone`, for messages."""
    return (EPOCH + timedelta(microseconds=moment_us)).astimezone(ZoneInfo(timezone)).isoformat()


def format_duration(duration_us: int) -> str:
    """A duration in its largest whole unit: "5 s", "90 s", "15 min"."""
    for name, length in (("d", DAY), ("h", HOUR), ("min", MINUTE), ("s", SECOND), ("ms", 1_000)):
        if duration_us % length == 0:
            return f"{duration_us // length} {name}"
    return f"{duration_us} us"
