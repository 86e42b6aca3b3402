"""Releases as canonical JSON text, as the ledger stores them."""

import json
from typing import Any

from privid.domain.release import Estimate, Release, Scalar, Table


def encode(release: Release) -> str:
    """One line of JSON with sorted keys. Raises ValueError for a number that is not finite."""
    tables = [
        {
            "select": table.select,
            "columns": list(table.columns),
            "rows": [[_cell(cell) for cell in row] for row in table.rows],
            "epsilon": table.epsilon,
        }
        for table in release.tables
    ]
    document = {
        "query": release.query,
        "released_us": release.released_us,
        "values_only": release.values_only,
        "tables": tables,
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def decode(document: str) -> Release:
    """The inverse of `encode`."""
    stored = json.loads(document)
    tables = tuple(
        Table(
            table["select"],
            tuple(table["columns"]),
            tuple(tuple(_read(cell) for cell in row) for row in table["rows"]),
            table["epsilon"],
        )
        for table in stored["tables"]
    )
    return Release(stored["query"], stored["released_us"], tables, stored["values_only"])


def _cell(cell: Scalar | Estimate) -> dict[str, Any]:
    if isinstance(cell, Estimate):
        return {
            "value": cell.value,
            "noise_scale": cell.noise_scale,
            "interval95": cell.interval95,
            "epsilon": cell.epsilon,
        }
    return {"public": cell}


def _read(cell: dict[str, Any]) -> Scalar | Estimate:
    if "public" in cell:
        public: Scalar = cell["public"]
        return public
    return Estimate(**cell)
