"""Raw charges: what a release was certified with, and how it is counted."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from privid.database.schema import charges
from privid.domain.budget import Grid, Loss
from privid.domain.intervals import StepFunction
from privid.domain.loss_profile import loss_function
from privid.domain.policy import MaskPolicy
from privid.ledger import steps
from privid.ledger.books import Book

INSERT = charges.insert()


@dataclass(frozen=True, slots=True)
class CountedLoss:
    """A charge as it stands in the stored loss functions: weight * lam with segments of `segment_us`.

    The certified cap is a bound for segments as long as they were then; `cap_holds` is False once they have grown.
    """

    id: int
    camera_id: int
    loss: Loss
    segment_us: int
    weight: int
    cap_holds: bool

    def function(self) -> StepFunction:
        """What this charge adds to its mask's stored function."""
        cap = self.loss.cap if self.cap_holds else None
        counted = Loss(self.loss.mask, self.loss.q, cap, self.loss.grid)
        return loss_function(counted, self.segment_us).scale(self.weight)

    def under(self, terms: MaskPolicy, presence_periods: int) -> "CountedLoss":
        """This charge under new terms, never smaller (section 5). With longer segments its cap is dropped."""
        longer = terms.rho_us > self.segment_us
        return CountedLoss(
            self.id,
            self.camera_id,
            self.loss,
            segment_us=terms.rho_us if longer else self.segment_us,
            weight=max(self.weight, presence_periods * terms.segments),
            cap_holds=self.cap_holds and not longer,
        )


def grows_under(mask: str, terms: MaskPolicy, presence_periods: int) -> sa.ColumnElement[bool]:
    """Of charges: `CountedLoss.under` these terms is a larger one. So a change need not read years of charges."""
    heavier = charges.c.weight < presence_periods * terms.segments
    return (charges.c.mask == mask) & ((charges.c.segment_us < terms.rho_us) | heavier)


def row(reservation_id: str, book: Book, loss: Loss) -> dict[str, Any]:
    """The row of a new charge under the policy in force."""
    return {
        "reservation_id": reservation_id,
        "camera_id": book.camera_id,
        "policy_version": book.policy.version,
        "mask": loss.mask,
        "q_nano": loss.q,
        "cap_nano": loss.cap,
        "begin_us": loss.grid.begin_us,
        "chunk_us": loss.grid.chunk_us,
        "period_us": loss.grid.period_us,
        "chunks": loss.grid.count,
        "slots_per_chunk": loss.grid.slots_per_chunk,
        "segment_us": book.segment_us[loss.mask],
        "weight": book.weight(loss.mask),
        "cap_holds": True,
    }


def counted(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> Iterator[CountedLoss]:
    """The charges that are in force (not refunded) and meet the conditions, in the order they were made."""
    query = sa.select(charges).where(charges.c.refunded_us.is_(None), *where).order_by(charges.c.id)
    for found in connection.execute(query.execution_options(yield_per=1_000)):
        grid = Grid(found.begin_us, found.chunk_us, found.period_us, found.chunks, found.slots_per_chunk)
        loss = Loss(found.mask, found.q_nano, found.cap_nano, grid)
        yield CountedLoss(found.id, found.camera_id, loss, found.segment_us, found.weight, found.cap_holds)


def by_mask(counts: Iterator[CountedLoss]) -> dict[tuple[int, str], StepFunction]:
    """The sum of these charges for each camera and mask."""
    functions: dict[tuple[int, str], list[StepFunction]] = {}
    for charge in counts:
        functions.setdefault((charge.camera_id, charge.loss.mask), []).append(charge.function())
    return {key: StepFunction.total(values) for key, values in functions.items()}


def refund(connection: sa.Connection, reservation_ids: Collection[str], at_us: int) -> None:
    """Return exactly what the charges of these reservations add to the stored functions now."""
    mine = charges.c.reservation_id.in_(reservation_ids)
    for (camera_id, mask), function in by_mask(counted(connection, mine)).items():
        steps.add(connection, camera_id, mask, function.scale(-1))
    connection.execute(charges.update().where(mine, charges.c.refunded_us.is_(None)).values(refunded_us=at_us))
