"""Exact aggregates of one outermost SELECT, from DuckDB (privacy-model.md, sections 4 and 7).

What comes back are integers for each group. They are secret: `privid.engine.release` alone reads them, to add noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import duckdb
import pyarrow as pa

from privid.engine.raw_sql import aggregate_query, histogram_query, raw_width
from privid.engine.sql import Rendered
from privid.privacy.candidates import Grid, Histogram
from privid.privacy.certificate import SelectCertificate
from privid.privacy.sensitivity import Method
from privid.privacy.stability.slots import Values
from query_lang.logical import DataType, Key, Value


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Bounds of the relational engine. `spill`: a folder for what does not fit into memory; None is nowhere."""

    threads: int = 1
    memory_bytes: int = 512 * 2**20
    spill: Path | None = None


Raw = tuple[int, ...] | Histogram
"""What one release needs of one group: the integers of its method, or for a choice among points a histogram."""


@dataclass(frozen=True, slots=True)
class RawGroups:
    """For each public group, in the certificate's order of groups, what each release needs."""

    rows: tuple[tuple[Raw, ...], ...]


def raw_aggregates(certified: SelectCertificate, tables: Mapping[str, pa.Table], settings: EngineSettings) -> RawGroups:
    """The exact values of every release of one SELECT, for every public group; a group without rows has zeros.

    `tables` holds the source table of every PROCESS that the SELECT reads, by name.
    """
    aggregate = certified.select.aggregate
    measured = [release.sensitivity for release in certified.releases]
    grids = [source.base.grid for release in certified.releases[:1] for source in release.sources]
    window = (min(grid.begin_us for grid in grids), max(grid.end_us for grid in grids))
    rendered = aggregate_query(aggregate, certified.input, measured, window)
    points = [i for i, sensitivity in enumerate(measured) if sensitivity.method is Method.POINT]
    with _engine(settings) as engine:
        found = _run(engine, rendered, tables)
        histograms = {}
        for i in points:
            grid = Grid.over(measured[i].range or (Fraction(0), Fraction(0)))
            query = histogram_query(aggregate, certified.input, measured[i], grid, window)
            histograms[i] = _histograms(aggregate.keys, _run(engine, query, tables))
    widths = [raw_width(sensitivity.method) for sensitivity in measured]
    count = len(aggregate.keys)
    by_key = {_key(aggregate.keys, row[:count]): row[count:] for row in found}
    nothing = (0,) * sum(widths)
    public: Sequence[Values] = ((),) if certified.keys is None else certified.keys.rows
    rows = []
    for key in public:
        parts: list[Raw] = list(_split(by_key.get(key, nothing), widths))
        for i in points:
            parts[i] = histograms[i].get(key, {})
        rows.append(tuple(parts))
    return RawGroups(tuple(rows))


def _histograms(keys: Sequence[Key], found: Sequence[tuple[object, ...]]) -> dict[Values, dict[int, int]]:
    by_key: dict[Values, dict[int, int]] = {}
    for row in found:
        point, number = row[len(keys) :]
        by_key.setdefault(_key(keys, row), {})[int(point)] = int(number)  # type: ignore[call-overload]
    return by_key


def _split(values: Sequence[object], widths: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    parts, start = [], 0
    for width in widths:
        parts.append(tuple(int(value) for value in values[start : start + width]))  # type: ignore[call-overload]
        start += width
    return tuple(parts)


def _key(keys: Sequence[Key], values: Sequence[object]) -> Values:
    """Key values as the certificate lists them: numbers as exact fractions. A number that is not finite is listed
    nowhere."""
    return tuple(_value(key.expr.type, value) for key, value in zip(keys, values, strict=False))


def _value(kind: DataType, value: object) -> Value:
    if kind is DataType.NUMBER and isinstance(value, float):
        return Fraction(value) if abs(value) < float("inf") else "not a number"
    return value  # type: ignore[return-value]  # str, bool, int or None by the column's type


@contextmanager
def _engine(settings: EngineSettings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory that reads no file, loads no extension, and cannot be configured again."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": str(settings.threads),
        "memory_limit": f"{settings.memory_bytes // 2**20}MiB",
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "temp_directory": "" if settings.spill is None else str(settings.spill),
    }
    engine = duckdb.connect(":memory:", config=config)
    # How long a query takes depends on its rows: nothing about that is printed.
    engine.execute("SET enable_progress_bar = false; SET lock_configuration = true")
    try:
        yield engine
    finally:
        engine.close()


def _run(
    engine: duckdb.DuckDBPyConnection, rendered: Rendered, tables: Mapping[str, pa.Table]
) -> list[tuple[object, ...]]:
    for process, name in rendered.sources.items():
        table = tables[process]
        engine.register(name, table.rename_columns([f"c{i}" for i in range(table.num_columns)]))
    for name, table in rendered.public.items():
        engine.register(name, table)
    rows: list[tuple[object, ...]] = engine.execute(rendered.sql).fetchall()
    return rows
