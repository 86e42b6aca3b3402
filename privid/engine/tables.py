"""Checked rows of a PROCESS as an Arrow table, the trusted columns added (privacy-model.md, sections 1 and 4).

NUMBER is DOUBLE on the 2^-20 grid, below 2^42 in magnitude, never -0.0; TIMESTAMP is BIGINT microseconds UTC.
The number of rows of a slot is held to its public bound here once more, whatever the journal says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from query_lang.logical import DataType, Process, SchemaColumn
from workers import limits

Row = tuple[str | float | bool, ...]
Rows = Sequence[Row]

ARROW_TYPES = {
    DataType.NUMBER: pa.float64(),
    DataType.STRING: pa.string(),
    DataType.BOOLEAN: pa.bool_(),
    DataType.TIMESTAMP: pa.int64(),
}
_GRID = float(1 << limits.NUMBER_BITS)


def build(process: Process, rows: Mapping[int, Rows], regions: Sequence[str] = ()) -> pa.Table:
    """The source table of a PROCESS: `chunk`, `camera`, `region` if there are regions, then the schema's columns.

    `rows` are those of each slot; slot = chunk index * number of regions + index of the region.
    Raises ValueError if a slot is missing: its rows are not there yet, which is never the same as no rows.
    """
    per_chunk = max(1, len(regions))
    slots = process.split.count * per_chunk
    if any(slot not in rows for slot in range(slots)):
        raise ValueError(f"table {process.name} has not run all its {slots} slots")
    bounded = [_bounded(process, rows[slot]) for slot in range(slots)]
    lengths = np.array([len(part) for part in bounded], dtype=np.int64)
    slot_of_row = np.repeat(np.arange(slots, dtype=np.int64), lengths)
    split = process.split
    columns: dict[str, pa.Array] = {
        "chunk": pa.array(split.begin_us + slot_of_row // per_chunk * split.period_us, pa.int64()),
        "camera": pa.array([split.camera] * len(slot_of_row), pa.string()),
    }
    if regions:
        columns["region"] = pa.array([regions[int(slot) % per_chunk] for slot in slot_of_row], pa.string())
    flat = [row for part in bounded for row in part]
    for position, column in enumerate(process.schema):
        columns[column.name] = _column(column, [row[position] for row in flat])
    return pa.table(columns)


def _bounded(process: Process, rows: Rows) -> Rows:
    """At most max_rows rows; EXACTLY n: n of them, padded with the default row."""
    kept = rows[: process.max_rows]
    if process.exact and len(kept) < process.max_rows:
        default = tuple(_plain(column) for column in process.schema)
        return [*kept, *[default] * (process.max_rows - len(kept))]
    return kept


def _plain(column: SchemaColumn) -> str | float | bool:
    return column.default if isinstance(column.default, str | bool) else float(column.default)


def _column(column: SchemaColumn, values: Sequence[str | float | bool]) -> pa.Array:
    if column.type is not DataType.NUMBER:
        return pa.array(values, ARROW_TYPES[column.type])
    return pa.array(on_grid(np.array(values, dtype=np.float64), float(_plain(column))))


def on_grid(values: np.ndarray, default: float) -> np.ndarray:
    """Numbers rounded to the grid; those that are not finite or too large become the default."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = np.rint(values * _GRID) / _GRID
        fits = np.abs(rounded) < limits.NUMBER_MAGNITUDE
    # Adding 0.0 turns -0.0 into 0.0.
    return np.where(fits, rounded, np.rint(default * _GRID) / _GRID) + 0.0
