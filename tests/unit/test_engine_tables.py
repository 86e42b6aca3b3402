"""Source tables: trusted columns, the NUMBER grid, and public bounds on the number of rows."""

import math

import pytest

from privid.engine import tables
from tests.support.worlds import table


def test_chunk_camera_and_region_come_from_the_slot():
    base = table(chunks=2, begin_us=5_000_000, stride_us=1_000_000, chunk_us=9_000_000, regions=("north", "south"))
    rows = {slot: ((f"slot {slot}", 1.0, True),) for slot in range(4)}
    built = tables.build(base.process, rows, base.regions).to_pylist()
    assert [(row["chunk"], row["camera"], row["region"], row["p"]) for row in built] == [
        (5_000_000, "cam", "north", "slot 0"),
        (5_000_000, "cam", "south", "slot 1"),
        (15_000_000, "cam", "north", "slot 2"),
        (15_000_000, "cam", "south", "slot 3"),
    ]


def test_numbers_are_on_the_grid_or_the_default():
    base = table(chunks=1, max_rows=10)
    values = (0.1, -0.0, 2.0**42, -(2.0**42), math.nan, math.inf, 2.0**41 + 0.25, 1e-9, True)
    built = tables.build(base.process, {0: tuple(("", value, False) for value in values)})
    numbers = built.column("x").to_pylist()
    assert numbers == [round(0.1 * 2**20) / 2**20, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0**41 + 0.25, 0.0, 1.0]
    assert math.copysign(1, numbers[1]) == 1


def test_more_rows_than_allowed_are_cut_whatever_the_journal_holds():
    base = table(chunks=1, max_rows=2)
    built = tables.build(base.process, {0: (("a", 1.0, True),) * 5})
    assert built.num_rows == 2


def test_exactly_n_is_padded_with_the_default_row():
    base = table(chunks=2, max_rows=2, exact=True)
    built = tables.build(base.process, {0: (), 1: (("z", 4.0, True),) * 3})
    assert built.column("p").to_pylist() == ["a", "a", "z", "z"]


def test_a_table_without_any_row_has_its_columns():
    base = table(chunks=2)
    built = tables.build(base.process, {0: (), 1: ()})
    assert built.num_rows == 0
    assert built.column_names == ["chunk", "camera", "p", "x", "b"]
    assert [str(kind) for kind in built.schema.types] == ["int64", "string", "string", "double", "bool"]


def test_a_slot_that_has_not_run_is_never_taken_for_one_without_rows():
    base = table(chunks=2)
    with pytest.raises(ValueError, match="not run"):
        tables.build(base.process, {0: ()})
