"""Charges as records that can leave a ledger and come into another one. What comes in only ever adds (section 5).

A record that a ledger does not know becomes a query that has failed after its start: no work, no answer, and its
charges stay for ever. One that it knows is left alone, unless its charges were returned here and the record says that
it had started: then something of it may have been read, and they are taken again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from privid.database.schema import analysts, cameras, charges, queries, reservations
from privid.database.transactions import reading, write
from privid.domain.budget import Grid, Loss
from privid.domain.policy import NO_MASK
from privid.ledger import audit, books, rows, steps
from privid.ledger.errors import RecordDiffers, UnknownAnalyst, UnknownMask
from privid.ledger.values import State

PAGE = 200


@dataclass(frozen=True, slots=True)
class ChargeRecord:
    """One release through one source: as certified (`loss`), and as counted with segments of `segment_us`."""

    camera: str
    policy_version: int
    loss: Loss
    segment_us: int
    weight: int
    cap_holds: bool


@dataclass(frozen=True, slots=True)
class Record:
    """A query that was charged, with those of its charges that are in force. `document` is its explain document."""

    query_id: str
    analyst: str
    text: str
    default_epsilon_nano: int
    cache_key: str
    state: State
    reserved_us: int
    document: str
    charges: tuple[ChargeRecord, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """What taking records over does: `added` have charges that were not in this ledger, `known` change nothing."""

    added: tuple[str, ...]
    known: int


class Archive:
    """Reads records from the ledger, and takes records over. `clock` gives microseconds since the epoch."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], int]) -> None:
        self._engine = engine
        self._clock = clock

    def page(self, after: tuple[int, str], limit: int = PAGE) -> tuple[Record, ...]:
        """The records that follow (reserved_us, query id), in that order; empty at the end."""
        with reading(self._engine) as connection:
            return _records(connection, after, limit)

    def preview(self, records: Sequence[Record]) -> Taken:
        """What `take` would do. Raises RecordDiffers."""
        with reading(self._engine) as connection:
            return _sorted_out(connection, records)[1]

    def take(self, records: Sequence[Record], *, actor: str, source: str) -> Taken:
        """Add what is missing, all of it or nothing, with one entry in the audit log.

        Raises UnknownAnalyst, UnknownCamera, NoPolicy or UnknownMask for what has to be there first, RecordDiffers for
        a query that this ledger knows with other charges.
        """
        return write(self._engine, partial(self._take, records, actor, source))

    def _take(self, records: Sequence[Record], actor: str, source: str, connection: sa.Connection) -> Taken:
        names = {charge.camera for record in records for charge in record.charges}
        books.lock(connection)
        found = books.read(connection, names) if names else {}
        missing, taken = _sorted_out(connection, records)
        now = self._clock()
        for record in missing:
            if _known(connection, record.query_id) is None:
                _insert(connection, record, now)
            else:
                # Returned charges have missed every change of policy since: they are written anew.
                connection.execute(charges.delete().where(charges.c.reservation_id == record.query_id))
            counts = [_counted(found[charge.camera], charge) for charge in record.charges]
            connection.execute(
                rows.INSERT,
                [_row(record.query_id, charge, count) for charge, count in zip(record.charges, counts, strict=True)],
            )
            for (camera_id, mask), function in rows.by_mask(iter(counts)).items():
                steps.add(connection, camera_id, mask, function)
        if missing:
            audit.append(connection, now, actor, "ledger.imported", {"queries": list(taken.added), "source": source})
        return taken


def _records(connection: sa.Connection, after: tuple[int, str], limit: int) -> tuple[Record, ...]:
    key = sa.tuple_(reservations.c.reserved_us, reservations.c.id)
    charged = sa.select(charges.c.reservation_id).where(charges.c.refunded_us.is_(None))
    found = connection.execute(
        sa.select(reservations, queries.c.text, queries.c.default_epsilon_nano, analysts.c.name)
        .join(queries, queries.c.id == reservations.c.id)
        .join(analysts, analysts.c.id == queries.c.analyst_id)
        .where(key > sa.tuple_(*after), reservations.c.id.in_(charged))
        .order_by(reservations.c.reserved_us, reservations.c.id)
        .limit(limit)
    ).all()
    mine = charges.c.reservation_id.in_([row.id for row in found])
    by_query: dict[str, list[ChargeRecord]] = {}
    for row in connection.execute(
        sa.select(charges, cameras.c.name)
        .join(cameras)
        .where(mine, charges.c.refunded_us.is_(None))
        .order_by(charges.c.id)
    ):
        grid = Grid(row.begin_us, row.chunk_us, row.period_us, row.chunks, row.slots_per_chunk)
        loss = Loss(row.mask, row.q_nano, row.cap_nano, grid)
        by_query.setdefault(row.reservation_id, []).append(
            ChargeRecord(row.name, row.policy_version, loss, row.segment_us, row.weight, row.cap_holds)
        )
    return tuple(
        Record(
            query_id=row.id,
            analyst=row.name,
            text=row.text,
            default_epsilon_nano=row.default_epsilon_nano,
            cache_key=row.cache_key,
            state=State(row.state),
            reserved_us=row.reserved_us,
            document=row.certificate,
            charges=tuple(by_query[row.id]),
        )
        for row in found
    )


def _sorted_out(connection: sa.Connection, records: Iterable[Record]) -> tuple[list[Record], Taken]:
    """The records whose charges are missing here, and the same as a report."""
    missing: list[Record] = []
    known = 0
    for record in records:
        here = _known(connection, record.query_id)
        if here is not None and here != sorted(map(_identity, record.charges)):
            raise RecordDiffers(record.query_id)
        if here is None or (_returned(connection, record.query_id) and record.state is not State.RESERVED):
            missing.append(record)
        else:
            known += 1
    return missing, Taken(tuple(record.query_id for record in missing), known)


def _known(connection: sa.Connection, query_id: str) -> list[tuple[Any, ...]] | None:
    """The charges of a query that this ledger has, returned ones too; None if it has no such query."""
    if connection.scalar(sa.select(reservations.c.id).where(reservations.c.id == query_id)) is None:
        return None
    found = connection.execute(
        sa.select(charges, cameras.c.name).join(cameras).where(charges.c.reservation_id == query_id)
    )
    return sorted(
        _key(row.name, row.mask, row.q_nano, row.cap_nano, row.begin_us, row.chunk_us, row.period_us, row.chunks,
             row.slots_per_chunk)
        for row in found
    )  # fmt: skip


def _identity(charge: ChargeRecord) -> tuple[Any, ...]:
    """What no change of policy changes about a charge."""
    loss, grid = charge.loss, charge.loss.grid
    return _key(charge.camera, loss.mask, loss.q, loss.cap, grid.begin_us, grid.chunk_us, grid.period_us, grid.count,
                grid.slots_per_chunk)  # fmt: skip


def _key(camera: str, mask: str, q: int, cap: int | None, *grid: int) -> tuple[Any, ...]:
    return (camera, mask, q, -1 if cap is None else cap, *grid)


def _returned(connection: sa.Connection, query_id: str) -> bool:
    mine = (charges.c.reservation_id == query_id, charges.c.refunded_us.is_not(None))
    return connection.scalar(sa.select(sa.func.count()).select_from(charges).where(*mine)) != 0


def _insert(connection: sa.Connection, record: Record, now_us: int) -> None:
    analyst_id = connection.scalar(sa.select(analysts.c.id).where(analysts.c.name == record.analyst))
    if analyst_id is None:
        raise UnknownAnalyst(record.analyst)
    connection.execute(
        reservations.insert(),
        {
            "id": record.query_id,
            "cache_key": record.cache_key,
            "plan": "{}",
            "certificate": record.document,
            "state": State.FAILED.value,
            "reserved_us": record.reserved_us,
            "visible_us": record.reserved_us,
            "finished_us": now_us,
        },
    )
    connection.execute(
        queries.insert(),
        {
            "id": record.query_id,
            "analyst_id": analyst_id,
            "request_id": record.query_id,
            "text": record.text,
            "default_epsilon_nano": record.default_epsilon_nano,
            "reservation_id": record.query_id,
            "submitted_us": record.reserved_us,
        },
    )


def _counted(book: books.Book, charge: ChargeRecord) -> rows.CountedLoss:
    """The charge by the larger of the terms that it was counted with and those in force here."""
    mask = charge.loss.mask
    if mask != NO_MASK and mask not in book.terms:
        raise UnknownMask(book.camera, mask)
    as_it_was = rows.CountedLoss(0, book.camera_id, charge.loss, charge.segment_us, charge.weight, charge.cap_holds)
    return as_it_was.under(book.terms[mask], book.policy.K)


def _row(query_id: str, charge: ChargeRecord, counted: rows.CountedLoss) -> dict[str, Any]:
    loss, grid = counted.loss, counted.loss.grid
    return {
        "reservation_id": query_id,
        "camera_id": counted.camera_id,
        "policy_version": charge.policy_version,
        "mask": loss.mask,
        "q_nano": loss.q,
        "cap_nano": loss.cap,
        "begin_us": grid.begin_us,
        "chunk_us": grid.chunk_us,
        "period_us": grid.period_us,
        "chunks": grid.count,
        "slots_per_chunk": grid.slots_per_chunk,
        "segment_us": counted.segment_us,
        "weight": counted.weight,
        "cap_holds": counted.cap_holds,
    }
