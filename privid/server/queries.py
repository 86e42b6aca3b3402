"""Whose query is which: the services' view of the queries table."""

import json
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
        row = self._find(query_id)
        if row is None or row.analyst_id != analyst_id:
            raise Refused("unknown_query", f"there is no query {query_id!r} of yours", "privid list shows them")
        return row

    def any(self, query_id: str) -> QueryRow:
        """One query, whoever's it is. Raises Refused."""
        row = self._find(query_id)
        if row is None:
            raise Refused("unknown_query", f"there is no query {query_id!r}", "privid-admin queries list shows them")
        return row

    def _find(self, query_id: str) -> QueryRow | None:
        """A query: one with EVERY, one of its windows, or any other."""
        with reading(self._engine) as connection:
            for table in (schema.queries, schema.series):
                if row := connection.execute(_select(table).where(table.c.id == query_id)).first():
                    return QueryRow(row.id, row.analyst_id, row.name, row.text)
        return None

    def document(self, query_id: str) -> str:
        """The explain document of a query as it was admitted."""
        table, work, series, windows = schema.queries, schema.reservations, schema.series, schema.windows
        single = sa.select(work.c.certificate).join(table, table.c.reservation_id == work.c.id)
        standing = sa.select(series.c.certificate).where(series.c.id == query_id)
        whole = sa.select(series.c.certificate).join(windows).where(windows.c.query_id == query_id)
        with reading(self._engine) as connection:
            document = connection.scalars(single.where(table.c.id == query_id).union_all(standing)).one()
            of_series = connection.scalar(whole)
        if of_series is None:
            return str(document)
        # The operators of all windows are the same, and kept once.
        return json.dumps({"plans": json.loads(of_series)["plans"], **json.loads(document)})

    def refunded(self, query_id: str) -> bool:
        """Whether charges of a query have been returned, or of windows of it."""
        windows = sa.select(schema.windows.c.query_id).where(schema.windows.c.series_id == query_id)
        mine = schema.charges.c.reservation_id.in_(windows.union_all(sa.select(sa.literal(query_id))))
        returned = (
            sa.select(sa.func.count()).select_from(schema.charges).where(schema.charges.c.refunded_us.is_not(None))
        )
        with reading(self._engine) as connection:
            return bool(connection.scalar(returned.where(mine)))

    def unfinished(self, limit: int) -> tuple[QueryRow, ...]:
        """Reserved and running ones in the order in which their answers are due."""
        table, work = schema.queries, schema.reservations
        query = _select(table).join(work, work.c.id == table.c.reservation_id).where(schema.IS_UNFINISHED)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(work.c.visible_us, table.c.id).limit(limit))
            return tuple(QueryRow(row.id, row.analyst_id, row.name, row.text) for row in rows)

    def newest(
        self, limit: int | None, *, analyst_id: int | None = None, camera: str = "", since_us: int | None = None
    ) -> tuple[QueryRow, ...]:
        """The newest queries first: of one analyst or of all, charged on one camera or on any, since then or ever.

        A query with EVERY is one query here.
        """
        asked = _asked(camera)
        query = _select(asked).order_by(asked.c.submitted_us.desc(), asked.c.id).limit(limit)
        if analyst_id is not None:
            query = query.where(asked.c.analyst_id == analyst_id)
        if since_us is not None:
            query = query.where(asked.c.submitted_us >= since_us)
        with reading(self._engine) as connection:
            return tuple(QueryRow(row.id, row.analyst_id, row.name, row.text) for row in connection.execute(query))


def _select(table: sa.FromClause) -> sa.Select[tuple[str, int, str, str]]:
    people = schema.analysts
    return sa.select(table.c.id, table.c.analyst_id, people.c.name, table.c.text).join(
        people, people.c.id == table.c.analyst_id
    )


def _asked(camera: str) -> sa.Subquery:
    """What analysts have submitted: queries that are no windows, those with EVERY; charged on a camera, if named."""
    queries, series, windows = schema.queries, schema.series, schema.windows
    single = sa.select(queries.c.id, queries.c.analyst_id, queries.c.text, queries.c.submitted_us).where(
        queries.c.id.not_in(sa.select(windows.c.query_id))
    )
    standing = sa.select(series.c.id, series.c.analyst_id, series.c.text, series.c.submitted_us)
    if camera:
        charged = sa.select(schema.charges.c.reservation_id).join(schema.cameras).where(schema.cameras.c.name == camera)
        single = single.where(queries.c.reservation_id.in_(charged))
        of_it = sa.select(windows.c.series_id).join(queries).where(queries.c.reservation_id.in_(charged))
        standing = standing.where(series.c.id.in_(of_it))
    return single.union_all(standing).subquery("asked")
