"""Queries with EVERY: windows reserved together, which then live one by one (privacy-model.md, sections 5 and 6).

Every window is a query with a reservation of its own, so what holds for a query holds for it: what leads where, what is
refunded, who shares whose answer. Only admission and withdrawal look at all windows at once.
"""

import secrets
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

import sqlalchemy as sa

from privid.database.schema import IS_LIVE, queries, reservations, series, standing, windows
from privid.domain.budget import joined
from privid.domain.intervals import StepFunction
from privid.ledger import admission, audit, books, limits, listing, rows, states, steps
from privid.ledger.errors import (
    BudgetExceeded,
    LimitExceeded,
    NotCancellable,
    PolicyChanged,
    RequestIdReused,
    UnknownQuery,
)
from privid.ledger.values import SeriesCancelled, SeriesRecord, SeriesReservation, SeriesReserved, State, Window

_SHARED = (
    sa.select(reservations.c.id)
    .where(reservations.c.cache_key == sa.bindparam("key"), IS_LIVE)
    .with_for_update(key_share=True)
)
_LISTED = 900
"""Parameters of one statement; SQLite takes a thousand in its oldest versions."""


def reserve(asked: SeriesReservation, now_us: int, connection: sa.Connection) -> SeriesReserved | BudgetExceeded:
    """Reserve every window, or none. A window that somebody has reserved before is shared, at no charge.

    Returned is the refusal if it does not fit, which is then in the audit log. Raises LimitExceeded, RequestIdReused,
    PolicyChanged, UnknownCamera, NoPolicy or UnknownMask.
    """
    if known := _known(connection, asked):
        return known
    series_id = secrets.token_hex(16)
    placed = [_Placed(connection, window) for window in asked.windows]
    new = [one for one in placed if not one.shared]
    added = _admitted(connection, asked, [one.window for one in new], now_us)
    if isinstance(added, BudgetExceeded):
        return added
    _insert(connection, asked, series_id, placed, now_us)
    found = {book.camera: book for book, _ in added}
    raw = [
        rows.row(one.query_id, found[charge.camera], loss)
        for one in new
        for charge in one.window.reservation.charges
        for loss in charge.losses
    ]
    if raw:
        connection.execute(rows.INSERT, raw)
    for book, weighed in added:
        for mask, function in weighed.items():
            steps.add(connection, book.camera_id, mask, function)
    document = {
        "series": series_id,
        "text": asked.text,
        "windows": [one.query_id for one in new],
        "shared": len(placed) - len(new),
        "policies": {book.camera: book.policy.version for book, _ in added},
    }
    audit.append(connection, now_us, f"analyst:{asked.analyst_id}", "series.reserved", document)
    return SeriesReserved(series_id, existing=False, shared=not new)


def records(
    connection: sa.Connection, now_us: int, *where: sa.ColumnElement[bool], limit: int | None = None
) -> tuple[SeriesRecord, ...]:
    """Series that meet the conditions, the newest first."""
    found = connection.execute(
        sa.select(series).where(*where).order_by(series.c.submitted_us.desc(), series.c.id).limit(limit)
    )
    return tuple(_record(connection, row, now_us) for row in found)


def cancel(series_id: str, actor: str, now_us: int, connection: sa.Connection) -> SeriesCancelled:
    """Withdraw every window that is not over yet; charges of those that had not started return.

    The work on a window goes on if another query shares it. Raises UnknownQuery, or NotCancellable if all are over.
    """
    found = records(connection, now_us, series.c.id == series_id)
    if not found:
        raise UnknownQuery(series_id)
    open_ = [
        row
        for row in _states(connection, series_id)
        if listing.public_state(State(row.state), row.visible_us, row.cancelled_us, now_us) in states.UNFINISHED
    ]
    if not open_:
        raise NotCancellable(series_id, found[0].state)
    for some in _batches([row.id for row in open_]):
        connection.execute(queries.update().where(queries.c.id.in_(some)).values(cancelled_us=now_us))
    wanted = _wanted(connection, [row.reservation_id for row in open_])
    stopped = [row for row in open_ if row.reservation_id not in wanted and State(row.state) in states.UNFINISHED]
    refunded = [row.reservation_id for row in stopped if State(row.state) is states.REFUNDED_FROM]
    for some in _batches(refunded):
        rows.refund(connection, some, now_us)
    for some in _batches([row.reservation_id for row in stopped]):
        states.end(connection, some, State.CANCELLED, now_us)
    ended = tuple(row.reservation_id for row in stopped)
    document = {"series": series_id, "windows": len(open_), "stopped": len(ended), "refunded": len(refunded)}
    audit.append(connection, now_us, actor, "series.cancelled", document)
    return SeriesCancelled(ended, len(refunded))


class _Placed:
    """A window on its way into the ledger: the reservation that will answer it, its own or one that is there."""

    def __init__(self, connection: sa.Connection, window: Window) -> None:
        self.window = window
        self.query_id = secrets.token_hex(16)
        same: str | None = connection.scalar(_SHARED, {"key": window.reservation.cache_key})
        self.shared = same is not None
        self.reservation_id = same or self.query_id


def _known(connection: sa.Connection, asked: SeriesReservation) -> SeriesReserved | None:
    """What the same request became when it came before."""
    mine = series.c.analyst_id == asked.analyst_id, series.c.request_id == asked.request_id
    before = connection.execute(sa.select(series).where(*mine)).first()
    if before is None:
        other = queries.c.analyst_id == asked.analyst_id, queries.c.request_id == asked.request_id
        if connection.scalar(sa.select(queries.c.id).where(*other)) is not None:
            raise RequestIdReused(asked.request_id)
        return None
    if (before.text, before.default_epsilon_nano, before.horizon_us) != (
        asked.text,
        asked.default_epsilon_nano,
        asked.horizon_us,
    ):
        raise RequestIdReused(asked.request_id)
    paid = (
        sa.select(windows.c.query_id)
        .join(queries)
        .where(windows.c.series_id == before.id, queries.c.id == queries.c.reservation_id)
    )
    return SeriesReserved(before.id, existing=True, shared=connection.scalar(paid.limit(1)) is None)


def _admitted(
    connection: sa.Connection, asked: SeriesReservation, new: list[Window], now_us: int
) -> list[tuple[books.Book, dict[str, StepFunction]]] | BudgetExceeded:
    """What the new windows together add to the functions of each camera, if that fits."""
    by_camera = {charge.camera: charge for charge in joined(c for w in new for c in w.reservation.charges)}
    found = books.read(connection, by_camera) if by_camera else {}
    planned = new[0].reservation.policy_versions if new else {}
    added: list[tuple[books.Book, dict[str, StepFunction]]] = []
    for name, book in found.items():
        if planned.get(name) != book.policy.version:
            raise PolicyChanged(name, planned.get(name), book.policy.version)
        added.append((book, admission.weigh(book, by_camera[name].losses)))
    refusals = [
        refusal
        for book, weighed in added
        for refusal in admission.refusals(
            book, by_camera[book.camera], weighed, partial(steps.read, connection, book.camera_id)
        )
    ]
    if refusals:
        places = [[r.camera, r.from_us, r.to_us, r.left_nano, r.asked_nano] for r in refusals]
        document = {"text": asked.text, "refusals": places}
        audit.append(connection, now_us, f"analyst:{asked.analyst_id}", "series.refused", document)
        return BudgetExceeded(refusals)
    if (limit := limits.limit_of(connection, asked.analyst_id)) is not None:
        over = [
            refusal
            for book, weighed in added
            for refusal in admission.refusals(
                limits.limited(book, limit),
                by_camera[book.camera],
                weighed,
                limits.reader(connection, book, asked.analyst_id),
            )
        ]
        if over:
            raise LimitExceeded(over, limit)
    return added


def _insert(
    connection: sa.Connection, asked: SeriesReservation, series_id: str, placed: list[_Placed], now_us: int
) -> None:
    new = [one for one in placed if not one.shared]
    if new:
        connection.execute(reservations.insert(), [_reservation(one, now_us) for one in new])
        connection.execute(
            standing.insert(),
            [{"reservation_id": one.query_id, "ready_us": one.window.reservation.ready_us} for one in new],
        )
    connection.execute(
        series.insert(),
        {
            "id": series_id,
            "analyst_id": asked.analyst_id,
            "request_id": asked.request_id,
            "text": asked.text,
            "default_epsilon_nano": asked.default_epsilon_nano,
            "horizon_us": asked.horizon_us,
            "every_us": asked.every_us,
            "certificate": asked.certificate,
            "submitted_us": now_us,
        },
    )
    connection.execute(
        queries.insert(),
        [
            {
                "id": one.query_id,
                "analyst_id": asked.analyst_id,
                # The first one holds the request's own id, so that no other query can be submitted under it.
                "request_id": f"{series_id}/{position}" if position else asked.request_id,
                "text": asked.text,
                "default_epsilon_nano": asked.default_epsilon_nano,
                "reservation_id": one.reservation_id,
                "submitted_us": now_us,
            }
            for position, one in enumerate(placed)
        ],
    )
    connection.execute(
        windows.insert(),
        [
            {
                "query_id": one.query_id,
                "series_id": series_id,
                "position": position,
                "begin_us": one.window.begin_us,
                "end_us": one.window.end_us,
            }
            for position, one in enumerate(placed)
        ],
    )


def _reservation(one: _Placed, now_us: int) -> dict[str, Any]:
    wanted = one.window.reservation
    return {
        "id": one.query_id,
        "cache_key": wanted.cache_key,
        "plan": wanted.plan,
        "certificate": wanted.certificate,
        "state": State.RESERVED.value,
        "reserved_us": now_us,
        "visible_us": wanted.visible_us,
    }


def _states(connection: sa.Connection, series_id: str) -> list[sa.Row[Any]]:
    return list(
        connection.execute(
            sa.select(
                queries.c.id,
                queries.c.reservation_id,
                queries.c.cancelled_us,
                reservations.c.state,
                reservations.c.visible_us,
                windows.c.begin_us,
                windows.c.end_us,
            )
            .join(windows, windows.c.query_id == queries.c.id)
            .join(reservations, reservations.c.id == queries.c.reservation_id)
            .where(windows.c.series_id == series_id)
            .order_by(windows.c.position)
        )
    )


def _record(connection: sa.Connection, row: sa.Row[Any], now_us: int) -> SeriesRecord:
    found = _states(connection, row.id)
    shown = [listing.public_state(State(w.state), w.visible_us, w.cancelled_us, now_us) for w in found]
    coming = [w for w, state in zip(found, shown, strict=True) if state in states.UNFINISHED]
    # The first of them, not the one with the earliest moment: windows that wait for one that is late are later, too.
    following = coming[0] if coming else None
    return SeriesRecord(
        id=row.id,
        analyst_id=row.analyst_id,
        request_id=row.request_id,
        text=row.text,
        default_epsilon_nano=row.default_epsilon_nano,
        every_us=row.every_us,
        begin_us=found[0].begin_us,
        end_us=found[-1].end_us,
        submitted_us=row.submitted_us,
        visible_us=following.visible_us if following else max(w.visible_us for w in found),
        certificate=row.certificate,
        windows=Counter(shown),
        next_query=following.id if following else None,
    )


def _wanted(connection: sa.Connection, reservation_ids: list[str]) -> set[str]:
    """Those that a query still waits for."""
    found: set[str] = set()
    for some in _batches(reservation_ids):
        waiting = sa.select(queries.c.reservation_id).where(
            queries.c.reservation_id.in_(some), queries.c.cancelled_us.is_(None)
        )
        found.update(connection.scalars(waiting))
    return found


def _batches(ids: list[str]) -> Iterable[list[str]]:
    return (ids[start : start + _LISTED] for start in range(0, len(ids), _LISTED))
