"""Reading queries back: what an analyst may see of them, and what the engine has to take up again."""

import sqlalchemy as sa

from privid.database.schema import IS_UNFINISHED, queries, reservations, series, standing, windows
from privid.ledger.values import Place, QueryRecord, State, Work


def public_state(state: State, visible_us: int, cancelled_us: int | None, now_us: int) -> State:
    """The state that an analyst sees.

    When an answer was stored may depend on what the video shows, so it counts as running until its public moment
    (privacy-model.md, section 7). A query that its analyst withdrew stays cancelled, whatever became of the work.
    """
    if cancelled_us is not None:
        return State.CANCELLED
    if state is State.RELEASED and now_us < visible_us:
        return State.RUNNING
    return state


def records(
    connection: sa.Connection, now_us: int, *where: sa.ColumnElement[bool], limit: int | None = None
) -> tuple[QueryRecord, ...]:
    """Queries that meet the conditions, the newest first."""
    found = connection.execute(
        sa.select(
            queries,
            reservations.c.state,
            reservations.c.visible_us,
            reservations.c.plan,
            reservations.c.certificate,
            windows.c.series_id,
            windows.c.position,
            windows.c.begin_us,
            windows.c.end_us,
            series.c.horizon_us,
            standing.c.cancelled_because,
        )
        .select_from(queries)
        .join(reservations)
        .outerjoin(windows, windows.c.query_id == queries.c.id)
        .outerjoin(series, series.c.id == windows.c.series_id)
        .outerjoin(standing, standing.c.reservation_id == reservations.c.id)
        .where(*where)
        .order_by(queries.c.submitted_us.desc(), queries.c.id)
        .limit(limit)
    )
    return tuple(
        QueryRecord(
            id=row.id,
            analyst_id=row.analyst_id,
            request_id=row.request_id,
            text=row.text,
            default_epsilon_nano=row.default_epsilon_nano,
            state=public_state(State(row.state), row.visible_us, row.cancelled_us, now_us),
            submitted_us=row.submitted_us,
            visible_us=row.visible_us,
            reservation_id=row.reservation_id,
            plan=row.plan,
            certificate=row.certificate,
            place=None if row.series_id is None else Place(*row[-6:-1]),
            cancelled_because=row.cancelled_because,
        )
        for row in found
    )


def unfinished(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> tuple[Work, ...]:
    """Reserved and running reservations that meet the conditions, in the order they were admitted."""
    found = connection.execute(
        sa.select(
            reservations.c.id.label("reservation_id"),
            reservations.c.state,
            queries.c.analyst_id,
            queries.c.text,
            queries.c.default_epsilon_nano,
            reservations.c.plan,
            reservations.c.certificate,
            reservations.c.reserved_us,
            reservations.c.visible_us,
            standing.c.ready_us,
        )
        .select_from(reservations)
        .join(queries, queries.c.id == reservations.c.id)
        .outerjoin(standing, standing.c.reservation_id == reservations.c.id)
        .where(IS_UNFINISHED, *where)
        .order_by(reservations.c.reserved_us, standing.c.ready_us, reservations.c.id)
    )
    return tuple(Work(**row | {"state": State(row["state"])}) for row in map(dict, found.mappings()))


def due(now_us: int) -> sa.ColumnElement[bool]:
    """Of unfinished work: its video is complete."""
    return sa.func.coalesce(standing.c.ready_us, now_us) <= now_us


def next_due(connection: sa.Connection, after_us: int) -> int | None:
    """The next moment after `after_us` at which unfinished work has its video."""
    found: int | None = connection.scalar(
        sa.select(sa.func.min(standing.c.ready_us))
        .select_from(reservations.join(standing))
        .where(IS_UNFINISHED, standing.c.ready_us > after_us)
    )
    return found
