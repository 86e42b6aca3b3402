"""An analyst's own limit: what all their queries together may take from any moment of a camera (decision 0017).

It is admission by the same rule once more, against the analyst's own charges and with the limit for epsilon. It keeps
one analyst from using up what others need; the people in the video are protected by the camera's own budget, always.
"""

from dataclasses import replace

import sqlalchemy as sa

from privid.database.schema import analysts, charges, queries
from privid.domain.intervals import StepFunction
from privid.ledger import rows
from privid.ledger.admission import ReadLoss
from privid.ledger.books import Book

_LIMIT = sa.select(analysts.c.epsilon_limit_nano).where(analysts.c.id == sa.bindparam("analyst"))


def limit_of(connection: sa.Connection, analyst_id: int) -> int | None:
    """In nano-epsilon; None: no limit besides the cameras' budgets."""
    limit: int | None = connection.scalar(_LIMIT, {"analyst": analyst_id})
    return limit


def limited(book: Book, limit_nano: int) -> Book:
    """The camera's book as one analyst sees it, with the limit for epsilon if that is less."""
    epsilon_nano = min(limit_nano, book.policy.epsilon_nano)
    return replace(book, policy=replace(book.policy, epsilon_nano=epsilon_nano))


def reader(connection: sa.Connection, book: Book, analyst_id: int) -> ReadLoss:
    """Reads what the analyst's own queries have added to a mask's function. Whoever shares an answer adds nothing."""

    def read(mask: str, from_us: int, to_us: int) -> StepFunction:
        end_us = charges.c.begin_us + (charges.c.chunks - 1) * charges.c.period_us + charges.c.chunk_us
        found = rows.counted(
            connection,
            charges.c.camera_id == book.camera_id,
            charges.c.mask == mask,
            paid_by(analyst_id),
            charges.c.begin_us - charges.c.segment_us < to_us,
            end_us > from_us,
        )
        return StepFunction.total([charge.function() for charge in found])

    return read


def paid_by(analyst_id: int) -> sa.ColumnElement[bool]:
    """Of charges: a query of this analyst's was the one that they were made for."""
    return charges.c.reservation_id.in_(
        sa.select(queries.c.reservation_id).where(
            queries.c.analyst_id == analyst_id, queries.c.id == queries.c.reservation_id
        )
    )
