"""What one analyst may name in a query: granted cameras, own executables."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from privid.database.schema import cameras, executables, grants
from privid.database.transactions import reading
from workers.host.profile import FORK_ONLY


@dataclass(frozen=True, slots=True)
class Access:
    """`executables` maps a name to the SHA-256 of its newest version; models are among them. `programs` are those of
    its names that are no Python, and `forks` those that need a library which only forks can have.
    """

    cameras: frozenset[str]
    executables: Mapping[str, str]
    programs: frozenset[str]
    forks: frozenset[str]


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
            # Executables from before there were manifests say nothing of libraries, and have none of these.
            frozenset(n for n, manifest in manifests.items() if FORK_ONLY & set(manifest.get("libraries", ()))),
        )
