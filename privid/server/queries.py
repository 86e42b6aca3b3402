"""Whose query is which: the services' view of the queries table."""

from dataclasses import dataclass

import sqlalchemy as sa

from privid.database import schema
from privid.database.transactions import reading
from privid.server.errors import Refused


@dataclass(frozen=True, slots=True)
class QueryRow:
    """A query as it was submitted."""

    query_id: str
    analyst_id: int
    analyst: str
    text: str


class Queries:
    """Reads who submitted what. Its state and times come from the engine, which knows what is public."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def owned(self, query_id: str, analyst_id: int) -> QueryRow:
        """One query of this analyst. Raises Refused for others', exactly as for ones that do not exist."""
        with reading(self._engine) as connection:
            row = connection.execute(
                _select().where(schema.queries.c.id == query_id, schema.queries.c.analyst_id == analyst_id)
            ).first()
        if row is None:
            raise Refused("unknown_query", f"there is no query {query_id!r} of yours", "privid list shows them")
        return QueryRow(row.id, row.analyst_id, row.name, row.text)

    def newest(self, limit: int, *, analyst_id: int | None = None) -> tuple[QueryRow, ...]:
        """The newest queries first, of one analyst or of all."""
        query = _select().order_by(schema.queries.c.submitted_us.desc(), schema.queries.c.id).limit(limit)
        if analyst_id is not None:
            query = query.where(schema.queries.c.analyst_id == analyst_id)
        with reading(self._engine) as connection:
            return tuple(QueryRow(row.id, row.analyst_id, row.name, row.text) for row in connection.execute(query))


def _select() -> sa.Select[tuple[str, int, str, str]]:
    table, people = schema.queries, schema.analysts
    return sa.select(table.c.id, table.c.analyst_id, people.c.name, table.c.text).join(
        people, people.c.id == table.c.analyst_id
    )
