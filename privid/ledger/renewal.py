"""What a new policy means for windows that have not started (privacy-model.md, section 5).

Their charges return as they stand; they are planned again under the new version and admitted in the order in which they
were reserved. Those that do not fit any more are cancelled, and whoever asked is told why.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from privid.database.schema import IS_LIVE, cameras, charges, policies, queries, reservations, standing
from privid.domain.budget import Charge, joined
from privid.domain.intervals import StepFunction
from privid.domain.policy import CameraPolicy
from privid.ledger import admission, listing, rows, states, steps
from privid.ledger.books import Book, read
from privid.ledger.errors import BudgetExceeded
from privid.ledger.values import Refusal, Renewed, State, Work

T = TypeVar("T")

Renew = Callable[[Work, Mapping[str, CameraPolicy]], Renewed | str]
"""Plans waiting work again under these policies, of all cameras; or says why that is impossible."""

_SOME = 500
"""Rows changed by one statement."""


def never_again(_work: Work, _policies: Mapping[str, CameraPolicy]) -> str:
    """For whoever keeps a ledger without an engine that could plan: nothing waits through a change of policy."""
    return "it was planned under another version"


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Waiting work under the new policy."""

    work: Work
    renewed: Renewed


class Renewal:
    """One change of one camera's policy: computed once, then shown or applied.

    `book` is the camera's under the new policy, `stored` its loss functions without the waiting windows and with all
    other charges as they are counted from now on.
    """

    def __init__(self, connection: sa.Connection, book: Book, stored: Mapping[str, StepFunction], renew: Renew) -> None:
        self._connection = connection
        self._books = {**_all_books(connection), book.camera: book}
        self._returned = returned(connection, book.camera_id)
        self._stored = {book.camera: dict(stored)}
        self._added: dict[str, dict[str, StepFunction]] = {}
        self._kept: list[_Candidate] = []
        self._ended: list[tuple[Work, str]] = []
        self._version = f"policy version {book.policy.version} of {book.camera}"
        in_force = {camera: known.policy for camera, known in self._books.items()}
        candidates: dict[str, _Candidate] = {}
        for work in listing.unfinished(connection, reservations.c.id.in_(waiting(book.camera_id))):
            planned = renew(work, in_force)
            if isinstance(planned, str):
                self._ended.append((work, f"{self._version}: {planned}"))
            elif planned.cache_key in candidates or self._asked(planned.cache_key):
                self._ended.append((work, f"{self._version}: another window asks the same now"))
            else:
                candidates[planned.cache_key] = _Candidate(work, planned)
        self._admit(list(candidates.values()))

    @property
    def kept(self) -> int:
        """How many windows go on under the new version."""
        return len(self._kept)

    @property
    def cancelled(self) -> tuple[str, ...]:
        """The windows that end here."""
        return tuple(work.reservation_id for work, _ in self._ended)

    def losses(self, camera: str) -> Mapping[str, StepFunction]:
        """The loss functions of a camera with the windows that go on."""
        return self._stored[camera]

    def apply(self, now_us: int) -> None:
        """Write it, after the new version and the re-derived charges were written."""
        for (camera_id, mask), function in self._returned.items():
            steps.add(self._connection, camera_id, mask, function.scale(-1))
        for camera, added in self._added.items():
            for mask, function in added.items():
                steps.add(self._connection, self._books[camera].camera_id, mask, function)
        for some in _batches(self._kept):
            self._rewrite(some)
        for some_ended in _batches(self._ended):
            self._end(some_ended, now_us)

    def _asked(self, cache_key: str) -> bool:
        """Whether there is an answer to this question, or will be; keys name policy versions, so it is rare."""
        same = sa.select(reservations.c.id).where(reservations.c.cache_key == cache_key, IS_LIVE)
        return self._connection.scalar(same) is not None

    def _admit(self, candidates: Sequence[_Candidate]) -> None:
        """Admit these in their order. All together if they fit together, which is the same: no charge is negative."""
        if not candidates:
            return
        asked = joined(charge for candidate in candidates for charge in candidate.renewed.charges)
        weighed = {charge.camera: admission.weigh(self._books[charge.camera], charge.losses) for charge in asked}
        refusals = [refusal for charge in asked for refusal in self._refusals(charge, weighed[charge.camera])]
        if refusals and len(candidates) == 1:
            self._ended.append((candidates[0].work, f"{self._version}: {BudgetExceeded(refusals).message}"))
        elif refusals:
            half = len(candidates) // 2
            self._admit(candidates[:half])
            self._admit(candidates[half:])
        else:
            self._kept += candidates
            for camera, added in weighed.items():
                _add(self._stored_of(camera), added)
                _add(self._added.setdefault(camera, {}), added)

    def _refusals(self, charge: Charge, weighed: Mapping[str, StepFunction]) -> Iterable[Refusal]:
        stored = self._stored_of(charge.camera)
        return admission.refusals(self._books[charge.camera], charge, weighed, partial(_part, stored))

    def _stored_of(self, camera: str) -> dict[str, StepFunction]:
        """The functions of any camera, without the charges that return."""
        if camera not in self._stored:
            camera_id = self._books[camera].camera_id
            found = steps.everything(self._connection, camera_id)
            gone = {mask: f.scale(-1) for (owner, mask), f in self._returned.items() if owner == camera_id}
            _add(found, gone)
            self._stored[camera] = found
        return self._stored[camera]

    def _rewrite(self, some: Sequence[_Candidate]) -> None:
        ids = [candidate.work.reservation_id for candidate in some]
        self._connection.execute(charges.delete().where(charges.c.reservation_id.in_(ids)))
        raw = [
            rows.row(candidate.work.reservation_id, self._books[charge.camera], loss)
            for candidate in some
            for charge in candidate.renewed.charges
            for loss in charge.losses
        ]
        if raw:
            self._connection.execute(rows.INSERT, raw)
        self._connection.execute(
            reservations.update()
            .where(reservations.c.id == sa.bindparam("one"))
            .values(
                cache_key=sa.bindparam("key"),
                plan=sa.bindparam("planned"),
                certificate=sa.bindparam("certified"),
                visible_us=sa.bindparam("visible"),
            ),
            [
                {
                    "one": candidate.work.reservation_id,
                    "key": candidate.renewed.cache_key,
                    "planned": candidate.renewed.plan,
                    "certified": candidate.renewed.certificate,
                    "visible": candidate.renewed.visible_us,
                }
                for candidate in some
            ],
        )

    def _end(self, some: Sequence[tuple[Work, str]], now_us: int) -> None:
        ids = [work.reservation_id for work, _ in some]
        self._connection.execute(
            charges.update()
            .where(charges.c.reservation_id.in_(ids), charges.c.refunded_us.is_(None))
            .values(refunded_us=now_us)
        )
        states.end(self._connection, ids, State.CANCELLED, now_us)
        self._connection.execute(
            queries.update()
            .where(queries.c.reservation_id.in_(ids), queries.c.cancelled_us.is_(None))
            .values(cancelled_us=now_us)
        )
        self._connection.execute(
            standing.update()
            .where(standing.c.reservation_id == sa.bindparam("one"))
            .values(cancelled_because=sa.bindparam("why")),
            [{"one": work.reservation_id, "why": why} for work, why in some],
        )


def waiting(camera_id: int) -> sa.Select[tuple[str]]:
    """The standing windows that are charged to a camera and have not started."""
    charged = sa.select(charges.c.reservation_id).where(charges.c.camera_id == camera_id)
    return (
        sa.select(reservations.c.id)
        .join(standing)
        .where(reservations.c.state == State.RESERVED.value, reservations.c.id.in_(charged))
    )


def returned(connection: sa.Connection, camera_id: int) -> dict[tuple[int, str], StepFunction]:
    """What those windows add to the functions of each camera and mask, as it stands."""
    return rows.by_mask(rows.counted(connection, charges.c.reservation_id.in_(waiting(camera_id))))


def _all_books(connection: sa.Connection) -> dict[str, Book]:
    names = connection.scalars(sa.select(cameras.c.name).join(policies).distinct()).all()
    return read(connection, names) if names else {}


def _part(stored: Mapping[str, StepFunction], mask: str, from_us: int, to_us: int) -> StepFunction:
    return stored.get(mask, StepFunction()).restrict(from_us, to_us)


def _add(functions: dict[str, StepFunction], more: Mapping[str, StepFunction]) -> None:
    for mask, function in more.items():
        functions[mask] = functions.get(mask, StepFunction()) + function


def _batches(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[start : start + _SOME] for start in range(0, len(items), _SOME))
