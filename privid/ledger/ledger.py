"""The budget of every camera, and the life of every query that spends it (privacy-model.md, sections 5 and 6)."""

import secrets
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from hashlib import sha256
from typing import Any, TypeVar

import sqlalchemy as sa

from privid.database.schema import IS_LIVE, queries, releases, reservations, standing, windows
from privid.database.schema import series as series_table
from privid.database.transactions import GroupCommit, reading
from privid.domain.budget import Charge, Grid, joined
from privid.domain.intervals import StepFunction
from privid.ledger import admission, audit, books, limits, listing, rows, series, states, steps
from privid.ledger.errors import (
    BudgetExceeded,
    IllegalTransition,
    LimitExceeded,
    NotCancellable,
    PolicyChanged,
    RequestIdReused,
    UnknownQuery,
)
from privid.ledger.fitting import Account, largest_window
from privid.ledger.values import (
    Cancelled,
    QueryRecord,
    Refusal,
    Reservation,
    Reserved,
    SeriesCancelled,
    SeriesRecord,
    SeriesReservation,
    SeriesReserved,
    State,
    Work,
)

T = TypeVar("T")

_BY_REQUEST = (
    sa.select(
        queries.c.id,
        queries.c.reservation_id,
        queries.c.text,
        queries.c.default_epsilon_nano,
        queries.c.cancelled_us,
        reservations.c.state,
        reservations.c.visible_us,
    )
    .join(reservations)
    .where(queries.c.analyst_id == sa.bindparam("analyst"), queries.c.request_id == sa.bindparam("request"))
)
_SAME_QUESTION = (
    sa.select(reservations.c.id, reservations.c.state, reservations.c.visible_us)
    .where(reservations.c.cache_key == sa.bindparam("key"), IS_LIVE)
    .with_for_update(key_share=True)
)
_INSERT_RESERVATION = reservations.insert()
_INSERT_QUERY = queries.insert()


class Ledger:
    """Admits, keeps and ends reservations. One instance may be used by many threads, one database by many processes.

    Every method is one transaction, durable when it returns. `clock` gives microseconds since the epoch.
    """

    def __init__(self, engine: sa.Engine, clock: Callable[[], int]) -> None:
        self._engine = engine
        self._clock = clock
        self._commits = GroupCommit(engine)

    def reserve(self, reservation: Reservation) -> Reserved:
        """Take a query's charges, all or none, before any frame is read (section 6, step 2).

        The same request again (analyst and request id) is the same query. The same question (cache key), whoever asked
        it, shares the reservation that is there, running or released, at no charge: its answer may be read for ever.

        Raises BudgetExceeded where it does not fit, LimitExceeded where it is too much for its analyst,
        RequestIdReused, PolicyChanged, UnknownCamera, NoPolicy or UnknownMask.
        """
        outcome = self._write(partial(self._reserve, reservation))
        if isinstance(outcome, BudgetExceeded):
            raise outcome
        return outcome

    def would_admit(self, charged: Iterable[Charge], analyst_id: int | None = None) -> tuple[Refusal, ...]:
        """The places where these charges would be refused now; empty if they would be admitted. Nothing is written.

        With `analyst_id` that analyst's own limit counts as well. Raises UnknownCamera, NoPolicy or UnknownMask.
        """
        with reading(self._engine) as connection:
            return tuple(
                refusal
                for book, charge, read in _accounts(connection, charged, analyst_id)
                for refusal in admission.refusals(book, charge, admission.weigh(book, charge.losses), read)
            )

    def admits(self, charged: Iterable[Charge], analyst_id: int | None = None) -> bool:
        """Whether `would_admit` has nothing against these charges, found sooner."""
        with reading(self._engine) as connection:
            return all(
                next(admission.over(book, admission.weigh(book, charge.losses), read), None) is None
                for book, charge, read in _accounts(connection, charged, analyst_id)
            )

    def largest_window(
        self, charged: Iterable[Charge], grid: Grid, analyst_id: int | None = None
    ) -> tuple[int, int] | None:
        """[begin, end) of the longest run of a grid's chunks whose part of these charges would be admitted now.

        All losses lie on the chunks of `grid`. None if no run longer than a presence period would be. Raises as
        `would_admit`.
        """
        with reading(self._engine) as connection:
            accounts = []
            for book, charge, read in _accounts(connection, charged, analyst_id):
                first, last = grid.begin_us - book.policy.rho_us, grid.end_us + book.policy.rho_us
                accounts.append(Account(book, charge, {mask: read(mask, first, last) for mask in book.terms}))
        return largest_window(grid, accounts)

    def spent(self, camera: str, from_us: int, to_us: int, *, most_steps: int | None = None) -> StepFunction:
        """spent(tau), in nano-epsilon, for presence periods that start in [from_us, to_us).

        With `most_steps` a function that is nowhere smaller stands for a mask's losses where they have more steps than
        that, which they may after years. Raises UnknownCamera or NoPolicy.
        """
        with reading(self._engine) as connection:
            book = books.read(connection, [camera])[camera]
            if most_steps is None:
                read = partial(steps.read, connection, book.camera_id)
            else:
                read = partial(steps.outline, connection, book.camera_id, most_steps)
            return admission.spent(book, read, from_us, to_us)

    def remaining(self, camera: str, from_us: int, to_us: int) -> StepFunction:
        """epsilon - spent(tau) on [from_us, to_us), in nano-epsilon; zero elsewhere, and where nothing is left.

        Negative where a change of policy has left more spent than the budget. Raises UnknownCamera or NoPolicy.
        """
        with reading(self._engine) as connection:
            book = books.read(connection, [camera])[camera]
            spent = admission.spent(book, partial(steps.read, connection, book.camera_id), from_us, to_us)
        return StepFunction.of([(from_us, to_us, book.policy.epsilon_nano)]) - spent

    def spent_span(self, camera: str) -> tuple[int, int] | None:
        """Presence periods that start outside of this interval have spent nothing; None if none has.

        Raises UnknownCamera or NoPolicy.
        """
        with reading(self._engine) as connection:
            book = books.read(connection, [camera])[camera]
            found = steps.span(connection, book.camera_id)
        return None if found is None else (found[0] - book.policy.rho_us, found[1])

    def start(self, reservation_id: str) -> bool:
        """Its first slot is about to be dispatched: from now on nothing is refunded. False if it had started before.

        Raises IllegalTransition if it is finished, UnknownQuery.
        """
        return self._write(partial(self._start, reservation_id))

    def postpone(self, reservation_id: str, visible_us: int) -> None:
        """Move the public moment of unfinished work to `visible_us`, never to an earlier one.

        For a start that came later than planned: the new moment must follow from public times as well. Raises
        IllegalTransition if the work is finished, UnknownQuery.
        """
        self._write(partial(self._postpone, reservation_id, visible_us))

    def release(self, reservation_id: str, document: str) -> None:
        """Store the answer and end the reservation, in one transaction (section 6, step 4).

        Raises IllegalTransition unless it is running: a second answer, or one that nobody waits for, is dropped.
        """
        self._write(partial(self._release, reservation_id, document))

    def fail(self, reservation_id: str, reason: str) -> bool:
        """Give a reservation up after a failure of the system. True if its charges were returned: it had not started.

        `reason` goes to the audit log only, so it may say more than an analyst may know. Raises IllegalTransition if it
        is finished, UnknownQuery.
        """
        return self._write(partial(self._fail, reservation_id, reason))

    def reserve_series(self, asked: SeriesReservation) -> SeriesReserved:
        """Take the charges of all windows of a series, up to its horizon: every one or none, in one transaction.

        The same request again is the same series. A window that was asked before (the cache key) is shared, free.
        Raises as `reserve`.
        """
        outcome = self._write(lambda connection: series.reserve(asked, self._clock(), connection))
        if isinstance(outcome, BudgetExceeded):
            raise outcome
        return outcome

    def series(self, series_id: str) -> SeriesRecord:
        """One series as its analyst may see it. Raises UnknownQuery."""
        with reading(self._engine) as connection:
            found = series.records(connection, self._clock(), series_table.c.id == series_id)
        if not found:
            raise UnknownQuery(series_id)
        return found[0]

    def windows(self, series_id: str) -> tuple[QueryRecord, ...]:
        """The windows of a series in their order; none if there is no such series."""
        with reading(self._engine) as connection:
            found = listing.records(connection, self._clock(), windows.c.series_id == series_id)
        return tuple(sorted(found, key=lambda record: record.place.position if record.place else 0))

    def cancel_series(self, series_id: str, *, actor: str) -> SeriesCancelled:
        """Withdraw the windows of a series that are not over; exactly the charges of those not started return.

        Raises UnknownQuery, or NotCancellable if all are over.
        """
        return self._write(lambda connection: series.cancel(series_id, actor, self._clock(), connection))

    def cancel(self, query_id: str, *, actor: str) -> Cancelled:
        """Withdraw a query. The work on it stops if no other query shares it; charges return if it had not started.

        An answer that is stored but not yet public is withdrawn like a running query, so that nothing shows when it
        was ready. Raises NotCancellable if the query has its answer, has failed or was cancelled; UnknownQuery.
        """
        return self._write(partial(self._cancel, query_id, actor))

    def unfinished(self, due_us: int | None = None) -> tuple[Work, ...]:
        """Reserved and running work in the order it was admitted: what to take up again after a restart.

        With `due_us` only that whose video is complete by then.
        """
        conditions = [] if due_us is None else [listing.due(due_us)]
        with reading(self._engine) as connection:
            return listing.unfinished(connection, *conditions)

    def work(self, reservation_id: str) -> Work:
        """One piece of unfinished work, as it is now. Raises UnknownQuery."""
        with reading(self._engine) as connection:
            found = listing.unfinished(connection, reservations.c.id == reservation_id)
        if not found:
            raise UnknownQuery(reservation_id)
        return found[0]

    def next_due(self, after_us: int) -> int | None:
        """The next moment at which the video of some work is complete."""
        with reading(self._engine) as connection:
            return listing.next_due(connection, after_us)

    def query(self, query_id: str) -> QueryRecord:
        """One query as its analyst may see it. Raises UnknownQuery."""
        with reading(self._engine) as connection:
            found = listing.records(connection, self._clock(), queries.c.id == query_id)
        if not found:
            raise UnknownQuery(query_id)
        return found[0]

    def queries(self, analyst_id: int | None = None, *, limit: int = 1_000) -> tuple[QueryRecord, ...]:
        """The latest queries, of one analyst or of all, the newest first."""
        conditions = [] if analyst_id is None else [queries.c.analyst_id == analyst_id]
        with reading(self._engine) as connection:
            return listing.records(connection, self._clock(), *conditions, limit=limit)

    def release_of(self, query_id: str) -> str | None:
        """The stored answer of a query, from its public moment on; None before, and for one that has no answer.

        Raises UnknownQuery.
        """
        record = self.query(query_id)
        if record.state is not State.RELEASED:
            return None
        with reading(self._engine) as connection:
            return connection.scalar(
                sa.select(releases.c.document).where(releases.c.reservation_id == record.reservation_id)
            )

    def _write(self, work: Callable[[sa.Connection], T]) -> T:
        """One transaction of the ledger, together with those of other threads."""

        def alone(connection: sa.Connection) -> T:
            books.lock(connection)
            return work(connection)

        return self._commits.write(alone)

    def _reserve(self, asked: Reservation, connection: sa.Connection) -> Reserved | BudgetExceeded:
        by_camera = {charge.camera: charge for charge in joined(asked.charges)}
        now = self._clock()
        if known := connection.execute(_BY_REQUEST, {"analyst": asked.analyst_id, "request": asked.request_id}).first():
            if (known.text, known.default_epsilon_nano) != (asked.text, asked.default_epsilon_nano):
                raise RequestIdReused(asked.request_id)
            state = listing.public_state(State(known.state), known.visible_us, known.cancelled_us, now)
            shared = known.id != known.reservation_id
            return Reserved(known.id, known.reservation_id, state, known.visible_us, existing=True, shared=shared)
        query_id = secrets.token_hex(16)
        if same := connection.execute(_SAME_QUESTION, {"key": asked.cache_key}).first():
            self._insert_query(connection, asked, query_id, same.id, now)
            self._log(connection, now, asked, "query.shared", {"query": query_id, "reservation": same.id})
            state = listing.public_state(State(same.state), same.visible_us, None, now)
            return Reserved(query_id, same.id, state, same.visible_us, existing=True, shared=True)
        found = books.read(connection, by_camera) if by_camera else {}
        charged = [(book, by_camera[name]) for name, book in found.items()]
        if refused := self._admit(connection, asked, query_id, charged, now):
            return refused
        return Reserved(query_id, query_id, State.RESERVED, asked.visible_us, existing=False, shared=False)

    def _admit(
        self,
        connection: sa.Connection,
        asked: Reservation,
        query_id: str,
        charged: list[tuple[books.Book, Charge]],
        now: int,
    ) -> BudgetExceeded | None:
        """Write the reservation and its charges, or only why it was refused."""
        refusals: list[Refusal] = []
        added: list[tuple[books.Book, dict[str, StepFunction]]] = []
        for book, charge in charged:
            planned = asked.policy_versions.get(book.camera)
            if planned != book.policy.version:
                raise PolicyChanged(book.camera, planned, book.policy.version)
            weighed = admission.weigh(book, charge.losses)
            added.append((book, weighed))
            read = partial(steps.read, connection, book.camera_id)
            refusals.extend(admission.refusals(book, charge, weighed, read))
        refused = BudgetExceeded(refusals) if refusals else self._over_limit(connection, asked, charged, added)
        if refused is not None:
            places = [[r.camera, r.from_us, r.to_us, r.left_nano, r.asked_nano] for r in refused.refusals]
            self._log(connection, now, asked, "query.refused", {"text": asked.text, "refusals": places})
            return refused
        connection.execute(
            _INSERT_RESERVATION,
            {
                "id": query_id,
                "cache_key": asked.cache_key,
                "plan": asked.plan,
                "certificate": asked.certificate,
                "state": State.RESERVED.value,
                "reserved_us": now,
                "visible_us": asked.visible_us,
            },
        )
        if asked.ready_us is not None:
            connection.execute(standing.insert(), {"reservation_id": query_id, "ready_us": asked.ready_us})
        self._insert_query(connection, asked, query_id, query_id, now)
        raw = [rows.row(query_id, book, loss) for book, charge in charged for loss in charge.losses]
        if raw:
            connection.execute(rows.INSERT, raw)
        for book, weighed in added:
            for mask, function in weighed.items():
                steps.add(connection, book.camera_id, mask, function)
        cameras_charged = {book.camera: book.policy.version for book, _ in charged}
        self._log(
            connection, now, asked, "query.reserved",
            {"query": query_id, "cache_key": asked.cache_key, "text": asked.text, "policies": cameras_charged},
        )  # fmt: skip
        return None

    def _over_limit(
        self,
        connection: sa.Connection,
        asked: Reservation,
        charged: list[tuple[books.Book, Charge]],
        added: list[tuple[books.Book, dict[str, StepFunction]]],
    ) -> LimitExceeded | None:
        limit = limits.limit_of(connection, asked.analyst_id)
        if limit is None:
            return None
        refusals = [
            refusal
            for (book, charge), (_, weighed) in zip(charged, added, strict=True)
            for refusal in admission.refusals(
                limits.limited(book, limit), charge, weighed, limits.reader(connection, book, asked.analyst_id)
            )
        ]
        return LimitExceeded(refusals, limit) if refusals else None

    def _insert_query(
        self, connection: sa.Connection, asked: Reservation, query_id: str, reservation_id: str, now: int
    ) -> None:
        connection.execute(
            _INSERT_QUERY,
            {
                "id": query_id,
                "analyst_id": asked.analyst_id,
                "request_id": asked.request_id,
                "text": asked.text,
                "default_epsilon_nano": asked.default_epsilon_nano,
                "reservation_id": reservation_id,
                "submitted_us": now,
            },
        )

    def _start(self, reservation_id: str, connection: sa.Connection) -> bool:
        state = states.lock(connection, reservation_id)
        if state is State.RUNNING:
            return False
        now = self._clock()
        states.move(connection, reservation_id, state, State.RUNNING, now)
        self._log_work(connection, now, "query.started", reservation_id)
        return True

    def _postpone(self, reservation_id: str, visible_us: int, connection: sa.Connection) -> None:
        state = states.lock(connection, reservation_id)
        if state not in states.UNFINISHED:
            raise IllegalTransition(reservation_id, state, State.RUNNING)
        connection.execute(
            reservations.update()
            .where(reservations.c.id == reservation_id, reservations.c.visible_us < visible_us)
            .values(visible_us=visible_us)
        )

    def _release(self, reservation_id: str, document: str, connection: sa.Connection) -> None:
        state = states.lock(connection, reservation_id)
        digest = sha256(document.encode()).hexdigest()
        now = self._clock()
        states.move(connection, reservation_id, state, State.RELEASED, now)
        connection.execute(
            releases.insert(), {"reservation_id": reservation_id, "document": document, "released_us": now}
        )
        self._log_work(connection, now, "query.released", reservation_id, sha256=digest)

    def _fail(self, reservation_id: str, reason: str, connection: sa.Connection) -> bool:
        state = states.lock(connection, reservation_id)
        refunded = state is states.REFUNDED_FROM and self._refund(connection, reservation_id)
        now = self._clock()
        states.move(connection, reservation_id, state, State.FAILED, now)
        self._log_work(connection, now, "query.failed", reservation_id, reason=reason, refunded=refunded)
        return refunded

    def _cancel(self, query_id: str, actor: str, connection: sa.Connection) -> Cancelled:
        reservation_id = connection.scalar(sa.select(queries.c.reservation_id).where(queries.c.id == query_id))
        if reservation_id is None:
            raise UnknownQuery(query_id)
        state = states.lock(connection, reservation_id)
        now = self._clock()
        shown = listing.records(connection, now, queries.c.id == query_id)[0].state
        if shown not in states.UNFINISHED:
            raise NotCancellable(query_id, shown)
        connection.execute(queries.update().where(queries.c.id == query_id).values(cancelled_us=now))
        others = connection.scalar(
            sa.select(sa.func.count())
            .select_from(queries)
            .where(queries.c.reservation_id == reservation_id, queries.c.cancelled_us.is_(None))
        )
        stopped = not others and state in states.UNFINISHED
        refunded = stopped and state is states.REFUNDED_FROM and self._refund(connection, reservation_id)
        if stopped:
            states.move(connection, reservation_id, state, State.CANCELLED, now)
        audit.append(
            connection, now, actor, "query.cancelled",
            {"query": query_id, "reservation": reservation_id, "stopped": stopped, "refunded": refunded},
        )  # fmt: skip
        return Cancelled(reservation_id, stopped, refunded)

    def _refund(self, connection: sa.Connection, reservation_id: str) -> bool:
        """Return exactly what the reservation's charges add to the stored functions now."""
        rows.refund(connection, [reservation_id], self._clock())
        return True

    def _log_work(
        self, connection: sa.Connection, now: int, event: str, reservation_id: str, **details: str | bool
    ) -> None:
        audit.append(connection, now, "engine", event, {"reservation": reservation_id, **details})

    def _log(
        self, connection: sa.Connection, now: int, asked: Reservation, event: str, document: dict[str, Any]
    ) -> None:
        audit.append(connection, now, f"analyst:{asked.analyst_id}", event, document)


def _accounts(
    connection: sa.Connection, charged: Iterable[Charge], analyst_id: int | None
) -> Iterator[tuple[books.Book, Charge, admission.ReadLoss]]:
    """Whatever has to admit these charges: every camera's book, then the analyst's limit on each, if there is one."""
    by_camera = {charge.camera: charge for charge in joined(charged)}
    found = books.read(connection, by_camera) if by_camera else {}
    for name, book in found.items():
        yield book, by_camera[name], partial(steps.read, connection, book.camera_id)
    limit = None if analyst_id is None else limits.limit_of(connection, analyst_id)
    if analyst_id is not None and limit is not None:
        for name, book in found.items():
            yield limits.limited(book, limit), by_camera[name], limits.reader(connection, book, analyst_id)
