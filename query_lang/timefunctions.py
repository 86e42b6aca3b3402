"""Trusted functions of time: how `chunk` is cut into hours, days, weeks, months and bins of fixed length.

`hour`, `day`, `week` (from Monday) and `month` give the start of the local calendar unit, as a moment; local days may
have 23 or 25 hours. `bin` has exactly the given length, always, and is counted from the local midnight of Monday
2000-01-03, so bins of a day start at midnight only while the clock has that day's offset. `hour_of_day` is 0 to 23,
`day_of_week` 1 (Monday) to 7. All are functions of the moment and of the camera's zone, hence public.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from query_lang.units import DAY, EPOCH, HOUR, WEEK

_MICRO: Final = timedelta(microseconds=1)

_CENTURIES: Final = 10**16
"""317 years in microseconds: earlier than any moment, so that DuckDB's division, which cuts towards 0, rounds down."""

CALENDAR: Final = ("hour", "day", "week", "month")
"""The functions that give the start of a calendar unit."""


@lru_cache(maxsize=64)
def zone(timezone: str) -> ZoneInfo:
    """The zone of an IANA name. Raises ValueError if there is none."""
    try:
        return ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"unknown timezone {timezone!r}") from None


def local(moment_us: int, timezone: str) -> datetime:
    """The moment as local date and time."""
    return (EPOCH + timedelta(microseconds=moment_us)).astimezone(zone(timezone))


def offset_us(moment_us: int, timezone: str) -> int:
    """Local time minus UTC at a moment, in microseconds."""
    offset = local(moment_us, timezone).utcoffset()
    assert offset is not None
    return offset // _MICRO


def start_of(unit: str, moment_us: int, timezone: str) -> int:
    """The start of the local hour, day, week or month that holds the moment, in microseconds UTC."""
    if unit == "hour":
        offset = offset_us(moment_us, timezone)
        return (moment_us + offset) // HOUR * HOUR - offset
    date = local(moment_us, timezone).date()
    if unit == "week":
        date -= timedelta(days=date.weekday())
    elif unit == "month":
        date = date.replace(day=1)
    return (datetime(date.year, date.month, date.day, tzinfo=zone(timezone)) - EPOCH) // _MICRO


@lru_cache(maxsize=1024)
def bin_origin(period_us: int, timezone: str) -> int:
    """A bin boundary centuries before 1970, from which bins of a length are counted in a zone."""
    monday = (datetime(2000, 1, 3, tzinfo=zone(timezone)) - EPOCH) // _MICRO
    return monday % period_us - period_us * (1 + _CENTURIES // period_us)


def start_of_bin(moment_us: int, period_us: int, timezone: str) -> int:
    """The start of the bin of fixed length that holds the moment."""
    origin = bin_origin(period_us, timezone)
    return (moment_us - origin) // period_us * period_us + origin


def hour_of_day(moment_us: int, timezone: str) -> int:
    """The local hour, 0 to 23."""
    return local(moment_us, timezone).hour


def day_of_week(moment_us: int, timezone: str) -> int:
    """The local day of the week, 1 for Monday to 7 for Sunday."""
    return local(moment_us, timezone).isoweekday()


@lru_cache(maxsize=256)
def transitions(timezone: str, begin_us: int, end_us: int) -> tuple[int, ...]:
    """The moments in (begin, end] at which the zone's offset changes, found by daily sampling and bisection."""
    found = []
    moment, offset = begin_us, offset_us(begin_us, timezone)
    while moment < end_us:
        later = min(moment + DAY, end_us)
        if (next_offset := offset_us(later, timezone)) != offset:
            low, high = moment, later
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset_us(middle, timezone) == offset else (low, middle)
            found.append(high)
            offset = next_offset
        moment = later
    return tuple(found)


@lru_cache(maxsize=256)
def pieces(unit: str, timezone: str, begin_us: int, end_us: int) -> tuple[tuple[int, int, int], ...]:
    """The unit's start as pieces of one formula: (from, offset, offset of the start), for moments in [begin, end].

    From `from` on, up to the next piece, the start is floor_unit(moment + offset) - offset of the start. Months have no
    formula and are listed by `months`.
    """
    breaks = {begin_us}
    length = {"hour": HOUR, "day": DAY, "week": WEEK}[unit]
    for change in transitions(timezone, begin_us, end_us):
        breaks.add(change)
        if unit == "hour":
            continue
        start = start_of(unit, change, timezone)
        for _ in range(2):
            # Noon of the unit's second day at the latest: never skipped or doubled by a change of the clock.
            start = start_of(unit, start + length + DAY // 2, timezone)
            breaks.add(start)
    result = []
    for start in sorted(b for b in breaks if begin_us <= b <= end_us):
        offset = offset_us(start, timezone)
        label = start_of(unit, start, timezone)
        shift = 3 * DAY if unit == "week" else 0
        floor = (start + offset + shift) // length * length - shift
        result.append((start, offset, floor - label))
    return tuple(result)


@lru_cache(maxsize=256)
def months(timezone: str, begin_us: int, end_us: int) -> tuple[int, ...]:
    """The starts of all months that meet [begin, end], in order."""
    starts = [start_of("month", begin_us, timezone)]
    while True:
        later = start_of("month", starts[-1] + 32 * DAY, timezone)
        if later > end_us:
            return tuple(starts)
        starts.append(later)
