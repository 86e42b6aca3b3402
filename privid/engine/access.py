"""What one analyst may name in a query: granted cameras, own executables."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from privid.database.schema import cameras, executables, grants
from privid.database.transactions import reading


@dataclass(frozen=True, slots=True)
class Access:
    """`executables` maps a name to the SHA-256 of its newest version; models are among them. `programs` are those of
    its names that are no Python; `libraries` are those that each of the others declares.
    """

    cameras: frozenset[str]
    executables: Mapping[str, str]
    programs: frozenset[str]
    libraries: Mapping[str, tuple[str, ...]]


def access_of(database: sa.Engine, analyst_id: int) -> Access:
    """What the analyst may use now."""
    with reading(database) as connection:
        granted = connection.scalars(sa.select(cameras.c.name).join(grants).where(grants.c.analyst_id == analyst_id))
        newest = connection.execute(
            sa.select(executables.c.name, executables.c.sha256, executables.c.manifest)
            .where(executables.c.analyst_id == analyst_id)
            .order_by(executables.c.version)
        )
        rows = {row.name: row for row in newest}
        manifests = {name: json.loads(row.manifest) for name, row in rows.items()}
        return Access(
            frozenset(granted),
            {name: row.sha256 for name, row in rows.items()},
            frozenset(name for name, manifest in manifests.items() if manifest["runtime"] == "program"),
            # Models, and executables from before there were manifests, say nothing of libraries.
            {name: tuple(manifest.get("libraries", ())) for name, manifest in manifests.items()},
        )
