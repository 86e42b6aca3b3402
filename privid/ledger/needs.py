"""Which video the queries that are admitted and not finished still need: retention asks before it removes any."""

import sqlalchemy as sa

from privid.database.schema import IS_UNFINISHED, charges, reservations
from privid.ledger import books


def windows_needed(connection: sa.Connection, camera_id: int) -> list[tuple[int, int]]:
    """Intervals [begin, end) of a camera, in microseconds, that unfinished reservations will read or are reading.

    In a transaction that writes: nothing can be admitted until it ends, so what it removes nobody has been promised.
    """
    books.lock(connection)
    end = charges.c.begin_us + (charges.c.chunks - 1) * charges.c.period_us + charges.c.chunk_us
    rows = connection.execute(
        sa.select(charges.c.begin_us, end)
        .distinct()
        .join(reservations, reservations.c.id == charges.c.reservation_id)
        .where(charges.c.camera_id == camera_id, charges.c.refunded_us.is_(None), IS_UNFINISHED)
    )
    return [(int(begin), int(until)) for begin, until in rows]
