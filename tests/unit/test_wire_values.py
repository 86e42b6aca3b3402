"""Values of the row format: the public grid, the types, the limits (privacy-model.md, section 4)."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers import limits, wire


@given(st.floats())
def test_a_number_is_on_the_grid_in_range_and_near_or_refused(value: float) -> None:
    result = wire.number(value)
    if not math.isfinite(value) or abs(value) >= limits.NUMBER_MAGNITUDE:
        assert result is None
        return
    assert result is not None
    assert (Fraction(result) * 2**limits.NUMBER_BITS).denominator == 1
    assert abs(result) < limits.NUMBER_MAGNITUDE
    assert abs(Fraction(result) - Fraction(value)) <= Fraction(1, 2 ** (limits.NUMBER_BITS + 1))
    assert math.copysign(1, result) == 1 or result < 0, "-0.0 must be 0.0"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_rounding_twice_is_rounding_once(value: float) -> None:
    once = wire.number(value)
    assert once is None or wire.number(once) == once


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (True, "NUMBER", None),
        (1, "BOOLEAN", None),
        ("true", "BOOLEAN", None),
        (1.0, "STRING", None),
        (2**42, "NUMBER", None),
        (-(2**42), "NUMBER", None),
        (2**42 - 1, "NUMBER", 2.0**42 - 1),
        (10**400, "NUMBER", None),
        ("x" * 256, "STRING", "x" * 256),
        ("x" * 257, "STRING", None),
        ("é" * 128, "STRING", "é" * 128),
        ("é" * 129, "STRING", None),
        ("\ud800", "STRING", None),
        (None, "STRING", None),
        ([1], "NUMBER", None),
    ],
)
def test_accept(value: object, kind: wire.ColumnType, expected: object) -> None:
    assert wire.accept(value, kind) == expected


@pytest.mark.parametrize("default", ["x", float("nan"), 2.0**42, True])
def test_a_default_must_be_acceptable_itself(default: wire.Value) -> None:
    with pytest.raises(ValueError, match="default"):
        wire.ColumnSpec("n", "NUMBER", default)


def test_a_default_is_put_on_the_grid() -> None:
    assert wire.ColumnSpec("n", "NUMBER", 0.1).default == round(0.1 * 2**20) / 2**20


@pytest.mark.parametrize("max_rows", [0, limits.MAX_ROWS + 1])
def test_row_counts_are_bounded(max_rows: int) -> None:
    with pytest.raises(ValueError, match="rows"):
        wire.TableSpec((wire.ColumnSpec("n", "NUMBER", 0),), max_rows)


def test_two_columns_of_one_name_are_refused() -> None:
    column = wire.ColumnSpec("n", "NUMBER", 0)
    with pytest.raises(ValueError, match="same name"):
        wire.TableSpec((column, column), 1)
