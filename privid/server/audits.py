"""The audit log as owners read it."""

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from privid.database import schema
from privid.database.transactions import reading
from privid.ledger import audit

_ANALYST = "analyst:"


@dataclass(frozen=True, slots=True)
class NamedEntry:
    """An entry, and the name of its actor if that is an analyst."""

    entry: audit.Entry
    name: str


class AuditDesk:
    """Reads and verifies the log of one installation."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def entries(
        self, after: int, limit: int, *, newest: bool, events: Iterable[str] = ()
    ) -> tuple[tuple[NamedEntry, ...], audit.Head]:
        """Up to `limit` entries with numbers above `after`, in order or the newest first, and the log's head.

        `events` keeps those of these kinds: a kind is an event (`query.refused`) or what stands before its dot.
        """
        with reading(self._engine) as connection:
            found = audit.entries(connection, after, limit, newest=newest, kinds=tuple(events))
            people = schema.analysts
            names = {
                f"{_ANALYST}{row.id}": row.name for row in connection.execute(sa.select(people.c.id, people.c.name))
            }
            return tuple(NamedEntry(entry, names.get(entry.actor, "")) for entry in found), audit.head(connection)

    def verify(self, known: audit.Head | None) -> audit.AuditReport:
        """Compare every entry with its hash and the one before it, and with a head that was kept elsewhere."""
        with reading(self._engine) as connection:
            return audit.verify(connection, known)
