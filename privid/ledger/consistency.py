"""What must hold in every database at every moment: for tests, for restored backups, and for owners who wonder."""

from collections.abc import Iterator

import sqlalchemy as sa

from privid.database.schema import cameras, charges, loss_steps, queries, releases, reservations
from privid.domain.intervals import Step, StepFunction
from privid.ledger import audit, rows
from privid.ledger.values import State


def problems(connection: sa.Connection) -> tuple[str, ...]:
    """Everything that is not as it must be, in plain words; empty if all is well. Reads the whole ledger.

    Use a connection from `reading`, so that nothing moves meanwhile.
    """
    return tuple(
        problem for check in (_stored_losses, _answers, _refunds, _work, _audit_log) for problem in check(connection)
    )


def _stored_losses(connection: sa.Connection) -> Iterator[str]:
    """The stored functions are the sum of the charges in force, to the last nano."""
    names = {row.id: row.name for row in connection.execute(sa.select(cameras.c.id, cameras.c.name))}
    stored: dict[tuple[int, str], list[Step]] = {}
    for row in connection.execute(
        sa.select(loss_steps).order_by(loss_steps.c.camera_id, loss_steps.c.mask, loss_steps.c.from_us)
    ):
        stored.setdefault((row.camera_id, row.mask), []).append(Step(row.from_us, row.to_us, row.loss_nano))
    charged = rows.by_mask(rows.counted(connection))
    for key in sorted({*stored, *charged}):
        where = f"camera {names[key[0]]!r}, mask {key[1]!r}"
        try:
            function = StepFunction(tuple(stored.get(key, ())))
        except ValueError as error:
            yield f"{where}: stored losses are not in order: {error}"
            continue
        difference = function - charged.get(key, StepFunction())
        if difference:
            yield f"{where}: stored losses differ from the charges by {difference.steps[0].value} nano at " + str(
                difference.steps[0].from_us
            )


def _answers(connection: sa.Connection) -> Iterator[str]:
    """A reservation is released exactly if it has an answer."""
    found = connection.execute(
        sa.select(reservations.c.id, reservations.c.state, releases.c.reservation_id)
        .outerjoin(releases)
        .where((reservations.c.state == State.RELEASED.value) == releases.c.reservation_id.is_(None))
    )
    for row in found:
        yield f"query {row.id} is {row.state} " + ("with" if row.reservation_id else "without") + " an answer"


def _refunds(connection: sa.Connection) -> Iterator[str]:
    """Only what was given up is refunded, and then as a whole."""
    returned = sa.func.count(charges.c.refunded_us)
    found = connection.execute(
        sa.select(reservations.c.id, reservations.c.state, returned.label("returned"), sa.func.count().label("total"))
        .join(charges)
        .group_by(reservations.c.id, reservations.c.state)
        .having(returned > 0)
    )
    for row in found:
        if row.returned != row.total or row.state not in (State.CANCELLED, State.FAILED):
            yield f"query {row.id} is {row.state}, and {row.returned} of its {row.total} charges are refunded"


def _work(connection: sa.Connection) -> Iterator[str]:
    """Every reservation began with a query of the same id, and is cancelled only if all its queries are."""
    first = queries.alias()
    orphans = (
        sa.select(reservations.c.id)
        .outerjoin(first, first.c.id == reservations.c.id)
        .where(first.c.reservation_id.is_distinct_from(reservations.c.id))
    )
    for reservation_id in connection.scalars(orphans):
        yield f"reservation {reservation_id} has no query of its own"
    waiting = (
        sa.select(queries.c.id)
        .join(reservations)
        .where(queries.c.cancelled_us.is_(None), reservations.c.state == State.CANCELLED.value)
    )
    for query_id in connection.scalars(waiting):
        yield f"query {query_id} waits for work that was cancelled"


def _audit_log(connection: sa.Connection) -> Iterator[str]:
    report = audit.verify(connection)
    if report.problem is not None:
        yield f"audit log: entry {report.seq} {report.problem}"
