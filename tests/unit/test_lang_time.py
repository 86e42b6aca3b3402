"""Functions of time: local calendars, DST, and the same results in DuckDB as in Python."""

from datetime import datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from query_lang import functions, units
from query_lang import timefunctions as tf
from query_lang.logical import Call, Column, DataType, Literal

ZONES = [
    "UTC", "Europe/Lisbon", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo",
    "Asia/Beirut", "Africa/Casablanca", "Pacific/Apia", "Asia/Kathmandu",
]  # fmt: skip
NAMES = ["hour", "day", "week", "month", "hour_of_day", "day_of_week", "bin"]


def us(*parts: int, zone: str = "UTC") -> int:
    return (datetime(*parts, tzinfo=ZoneInfo(zone)) - units.EPOCH) // timedelta(microseconds=1)


def call(name: str, zone: str, period: int = 900_000_000) -> Call:
    args = [Column("chunk", DataType.TIMESTAMP)]
    if name == "bin":
        args.append(Literal(Fraction(period), DataType.NUMBER))
    args.append(Literal(zone, DataType.STRING))
    kind = functions.REGISTRY[name].signature.result
    assert kind is not None
    return Call(name, tuple(args), kind)


def in_duckdb(expr: Call, moments: list[int], window: tuple[int, int]) -> list[object]:
    sql = functions.render(expr, lambda column: exp.column(column.name), window).sql("duckdb")
    rows = duckdb.execute(f"SELECT {sql} FROM (SELECT unnest(?::BIGINT[]) AS chunk)", [moments])
    return [row[0] for row in rows.fetchall()]


def test_days_have_the_length_that_the_clock_gives_them() -> None:
    zone = "Europe/Lisbon"
    noon = us(2026, 3, 29, 12, zone=zone)
    assert tf.start_of("day", noon, zone) == us(2026, 3, 29, zone=zone)
    assert us(2026, 3, 30, zone=zone) - tf.start_of("day", noon, zone) == 23 * units.HOUR
    assert tf.start_of("week", noon, zone) == us(2026, 3, 23, zone=zone)
    assert tf.start_of("month", noon, zone) == us(2026, 3, 1, zone=zone)
    assert tf.start_of("hour", noon + 5, zone) == noon
    assert tf.hour_of_day(noon, zone) == 12
    assert tf.day_of_week(noon, zone) == 7


def test_the_hour_that_comes_twice_is_two_hours_and_one_label() -> None:
    zone = "Europe/Lisbon"
    first, second = us(2026, 10, 25, 0, 30), us(2026, 10, 25, 1, 30)
    assert tf.start_of("hour", first, zone) != tf.start_of("hour", second, zone)
    assert tf.hour_of_day(first, zone) == tf.hour_of_day(second, zone) == 1


def test_bins_are_fixed_and_begin_at_a_local_monday() -> None:
    zone = "America/New_York"
    monday = us(2000, 1, 3, zone=zone)
    for period in (units.MINUTE * 15, units.HOUR * 5, units.DAY, units.WEEK, 7_000_003):
        assert tf.start_of_bin(monday, period, zone) == monday
        assert tf.start_of_bin(monday - 1, period, zone) == monday - period
        assert tf.start_of_bin(0, period, zone) <= 0
    assert tf.start_of_bin(us(2026, 1, 5, 13, zone=zone), units.DAY, zone) == us(2026, 1, 5, zone=zone)


def test_transitions_are_found_to_the_microsecond() -> None:
    found = tf.transitions("Europe/Lisbon", us(2026, 1, 1), us(2027, 1, 1))
    assert found == (us(2026, 3, 29, 1), us(2026, 10, 25, 1))
    assert tf.transitions("UTC", 0, us(2100, 1, 1)) == ()


def test_an_unknown_zone_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="unknown timezone"):
        tf.hour_of_day(0, "Europe/Atlantis")


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("name", NAMES)
def test_duckdb_agrees_around_every_change_of_the_clock(name: str, zone: str) -> None:
    window = us(2010, 11, 1), us(2013, 2, 1)
    moments = [window[0], window[1]]
    for change in (*tf.transitions(zone, *window), us(2012, 2, 29)):
        moments += [change + hours * units.HOUR // 2 + off for hours in range(-60, 420, 3) for off in (-1, 0)]
    moments = [m for m in moments if window[0] <= m <= window[1]]
    expr = call(name, zone)
    expected = [functions.evaluate(expr, {"chunk": m}) for m in moments]
    assert in_duckdb(expr, moments, window) == expected


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.sampled_from(ZONES),
    st.integers(0, us(2190, 1, 1)),
    st.integers(1, 400 * units.DAY),
    st.lists(st.floats(0, 1), min_size=1, max_size=20),
    st.integers(1, 90 * units.DAY),
)
def test_duckdb_agrees_in_any_window(
    name: str, zone: str, begin: int, length: int, places: list[float], period: int
) -> None:
    window = begin, begin + length
    moments = [begin + int(place * length) for place in places]
    expr = call(name, zone, period)
    assert in_duckdb(expr, moments, window) == [functions.evaluate(expr, {"chunk": m}) for m in moments]


@pytest.mark.parametrize("name", NAMES)
def test_no_moment_no_value(name: str) -> None:
    expr = call(name, "Europe/Lisbon")
    sql = functions.render(expr, lambda column: exp.column(column.name), (0, us(2030, 1, 1))).sql("duckdb")
    assert duckdb.execute(f"SELECT {sql} FROM (SELECT NULL::BIGINT AS chunk)").fetchall() == [(None,)]
    assert functions.evaluate(expr, {"chunk": None}) is None


@given(st.sampled_from(tf.CALENDAR), st.sampled_from(ZONES), st.integers(0, us(2190, 1, 1)))
def test_a_start_is_its_own_start_and_not_later(name: str, zone: str, moment: int) -> None:
    start = tf.start_of(name, moment, zone)
    assert start <= moment
    assert moment - start < 32 * units.DAY
    assert tf.start_of(name, start, zone) == start
