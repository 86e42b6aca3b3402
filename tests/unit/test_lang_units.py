"""Durations and moments."""

import contextlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query_lang import units

DURATIONS = {
    "5sec": 5_000_000,
    "500ms": 500_000,
    "10 min": 600_000_000,
    "2 hrs": 7_200_000_000,
    "1 day": 86_400_000_000,
    "1 week": 7 * 86_400_000_000,
    "0.5s": 500_000,
    ".25 Seconds": 250_000,
    "1.000001s": 1_000_001,
    "0sec": 0,
    "7us": 7,
}


@pytest.mark.parametrize(("text", "expected"), DURATIONS.items())
def test_durations(text: str, expected: int) -> None:
    assert units.parse_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "5", "sec", "-1 sec", "5 parsecs", "1e3 s", "5 sec 3", "0.0000001s", "9" * 18 + "d", "५s"]
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|unit|whole|long"):
        units.parse_duration(text)


def us(*parts: int, zone: str = "UTC") -> int:
    return round(datetime(*parts, tzinfo=ZoneInfo(zone)).timestamp() * 1_000_000)


MOMENTS = {
    "2026-12-01T08:00:00Z": us(2026, 12, 1, 8),
    "2026-12-01T08:00Z": us(2026, 12, 1, 8),
    "2026-12-01t08:00:00.250z": us(2026, 12, 1, 8) + 250_000,
    "2026-12-01 08:00": us(2026, 12, 1, 8, zone="America/New_York"),
    "2026-12-01": us(2026, 12, 1, zone="America/New_York"),
    "2026-12-01T08:00:00+05:30": us(2026, 12, 1, 2, 30),
    "2026-12-01T08:00:00-0530": us(2026, 12, 1, 13, 30),
    "12-01-2020/12:00am": us(2020, 12, 1, zone="America/New_York"),
    "12-01-2020/12:00pm": us(2020, 12, 1, 12, zone="America/New_York"),
    "12-01-2020/1:30PM": us(2020, 12, 1, 13, 30, zone="America/New_York"),
    "12-01-2020/13:30": us(2020, 12, 1, 13, 30, zone="America/New_York"),
    "12-01-2020": us(2020, 12, 1, zone="America/New_York"),
    "0": 0,
    "43200": 43_200_000_000,
    "43200.5": 43_200_500_000,
    # Twice on that night: the first time, while clocks still show summer time.
    "2026-11-01T01:30": us(2026, 11, 1, 5, 30),
}


@pytest.mark.parametrize(("text", "expected"), MOMENTS.items())
def test_moments(text: str, expected: int) -> None:
    assert units.parse_moment(text, "America/New_York") == expected


NO_MOMENTS = [
    "",
    "now",
    "2026-13-01",
    "2026-02-30",
    "1969-12-31T23:59Z",
    "2200-01-01T00:00Z",
    "2026-12-01T24:00Z",
    "2026-12-01T08",
    "12-01-2020/13:00am",
    "12-01-2020/0:00am",
    "13-01-2020",
    "-5",
    "1e5",
    "999999999999",
    "2026-12-01T08:00+25:00",
    "2026-03-08T02:30",
    "10000-01-01",
    "0000-01-01",
    "9999-12-31T23:59:59",
    "2026-12-01T08:00:00.1234567Z",
]


@pytest.mark.parametrize("text", NO_MOMENTS)
def test_no_moments(text: str) -> None:
    with pytest.raises(ValueError, match=r"moment|exist|outside|hour"):
        units.parse_moment(text, "America/New_York")


@given(st.integers(0, units.LAST_MOMENT - 1))
def test_iso_in_utc_is_read_exactly(moment: int) -> None:
    text = (units.EPOCH + timedelta(microseconds=moment)).isoformat()
    assert units.parse_moment(text, "Asia/Kolkata") == moment


@given(st.text(max_size=30))
def test_any_text_is_a_moment_or_a_value_error(text: str) -> None:
    for parse in (units.parse_duration, lambda t: units.parse_moment(t, "UTC")):
        with contextlib.suppress(ValueError):
            assert isinstance(parse(text), int)


def test_formats() -> None:
    assert units.format_duration(5_000_000) == "5 s"
    assert units.format_duration(90_000_000) == "90 s"
    assert units.format_duration(7) == "7 us"
    assert units.format_moment(us(2026, 6, 1), "Europe/Lisbon") == "2026-06-01T01:00:00+01:00"
    assert datetime.fromisoformat(units.format_moment(0, "UTC")) == datetime(1970, 1, 1, tzinfo=UTC)
