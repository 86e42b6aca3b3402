"""What single queries have taken, in the order they were admitted: for owners, who forecast and set limits."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import sqlalchemy as sa

from privid.database.schema import charges, queries, reservations
from privid.domain.intervals import StepFunction
from privid.domain.loss_profile import spending
from privid.ledger import books, rows


@dataclass(frozen=True, slots=True)
class Usage:
    """A query's charges in force on one camera: `spent` as if it were alone, over presence-period starts."""

    query_id: str
    analyst_id: int
    reserved_us: int
    spent: StepFunction


def usage(connection: sa.Connection, camera: str, *where: sa.ColumnElement[bool]) -> Iterator[Usage]:
    """The queries that were charged on `camera` and meet the conditions (on queries and reservations).

    Raises UnknownCamera or NoPolicy.
    """
    book = books.read(connection, [camera])[camera]
    chosen = sa.select(queries.c.id).join(reservations, reservations.c.id == queries.c.id).where(*where)
    mine = (charges.c.camera_id == book.camera_id, charges.c.reservation_id.in_(chosen))
    found = connection.execute(
        sa.select(charges.c.id, queries.c.id.label("query"), queries.c.analyst_id, reservations.c.reserved_us)
        .join(reservations, reservations.c.id == charges.c.reservation_id)
        .join(queries, queries.c.id == reservations.c.id)
        .where(*mine, charges.c.refunded_us.is_(None))
        .order_by(reservations.c.reserved_us, queries.c.id)
    ).all()
    counted = {loss.id: loss for loss in rows.counted(connection, *mine)}
    for (query_id, analyst_id, reserved_us), group in groupby(found, key=lambda row: (row[1], row[2], row[3])):
        by_mask: dict[str, list[StepFunction]] = {}
        for row in group:
            loss = counted[row.id]
            by_mask.setdefault(loss.loss.mask, []).append(loss.function())
        losses = {mask: StepFunction.total(functions) for mask, functions in by_mask.items()}
        yield Usage(query_id, analyst_id, reserved_us, spending(losses, book.segment_us, book.policy.rho_us))
