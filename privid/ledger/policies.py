"""Versions of a camera's policy, and what a new one means for what is spent (privacy-model.md, section 5).

A version is never edited. The ledger belongs to the camera: a new version re-derives every old charge whose segments,
K or k_m grow, and leaves the others as they are, so no change of policy ever makes a charge smaller. Only windows that
have not started are given back and admitted anew (`privid.ledger.renewal`). The masks of all versions stay in force
with the terms that they had last.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

import sqlalchemy as sa

from privid.database.schema import cameras, charges, mask_terms, policies, reservations
from privid.database.transactions import reading, write
from privid.domain.intervals import StepFunction
from privid.domain.loss_profile import spending
from privid.domain.policy import BOUNDARIES, CameraPolicy, MaskPolicy
from privid.domain.policy_document import to_document
from privid.ledger import audit, books, renewal, rows, states, steps
from privid.ledger.errors import PictureChanged, PolicyOverspent, SchemeChanged, StalePreview, UnknownCamera
from privid.ledger.renewal import Renew, Renewal, never_again
from privid.ledger.values import PolicyPreview, Span


class Policies:
    """The policies of all cameras; the only writer of their versions.

    `clock` gives microseconds since the epoch. `renew` plans windows that have not started under a new version; without
    it they are cancelled.
    """

    def __init__(self, engine: sa.Engine, clock: Callable[[], int], renew: Renew = never_again) -> None:
        self._engine = engine
        self._clock = clock
        self._renew = renew

    def current(self, camera: str) -> CameraPolicy:
        """The policy in force. Raises UnknownCamera or NoPolicy."""
        with reading(self._engine) as connection:
            return books.read(connection, [camera])[camera].policy

    def all_current(self) -> dict[str, CameraPolicy]:
        """The policies in force, by camera; cameras without one are left out."""
        with reading(self._engine) as connection:
            names = connection.scalars(
                sa.select(cameras.c.name).join(policies).group_by(cameras.c.name).order_by(cameras.c.name)
            ).all()
            return {name: book.policy for name, book in books.read(connection, names).items()} if names else {}

    def versions(self, camera: str) -> tuple[CameraPolicy, ...]:
        """Every version so far, the oldest first. Raises UnknownCamera."""
        with reading(self._engine) as connection:
            return _versions(connection, _camera_id(connection, camera))

    def preview(self, camera: str, policy: CameraPolicy) -> PolicyPreview:
        """What `policy` would mean as the next version; nothing is written. Its own `version` is not looked at.

        Raises UnknownCamera, SchemeChanged or PictureChanged.
        """
        with reading(self._engine) as connection:
            return _Change(connection, camera, policy, self._renew).preview()

    def put(
        self, camera: str, policy: CameraPolicy, *, actor: str, confirmed: PolicyPreview | None = None
    ) -> CameraPolicy:
        """Make `policy` the next version, re-deriving what is spent, in one transaction. Returns it with its version.

        `confirmed` is the preview that the owner has seen and agreed to.

        Raises StalePreview if that no longer holds, PolicyOverspent if spending would exceed epsilon and no preview
        was confirmed; UnknownCamera, SchemeChanged or PictureChanged as `preview`.
        """
        return write(self._engine, partial(self._put, camera, policy, actor, confirmed))

    def put_all(self, confirmed: Mapping[str, PolicyPreview], *, actor: str) -> dict[str, CameraPolicy]:
        """Make the previewed policies of several cameras hold: all in one transaction, or none.

        Raises as `put`.
        """

        def work(connection: sa.Connection) -> dict[str, CameraPolicy]:
            books.lock(connection)
            return {
                camera: self._put(camera, preview.policy, actor, preview, connection)
                for camera, preview in sorted(confirmed.items())
            }

        return write(self._engine, work)

    def _put(
        self, camera: str, policy: CameraPolicy, actor: str, confirmed: PolicyPreview | None, connection: sa.Connection
    ) -> CameraPolicy:
        books.lock(connection)
        change = _Change(connection, camera, policy, self._renew)
        preview = change.preview()
        if confirmed is not None and (confirmed.policy, confirmed.replaces) != (preview.policy, preview.replaces):
            raise StalePreview(camera)
        if preview.over:
            if confirmed is None:
                raise PolicyOverspent(preview)
            if preview.spent_nano > confirmed.spent_nano:
                raise StalePreview(camera)
        if confirmed is not None and preview.cancelled > confirmed.cancelled:
            raise StalePreview(camera)
        now = self._clock()
        change.apply(now)
        audit.append(
            connection,
            now,
            actor,
            "policy.set",
            {
                "camera": camera,
                "version": change.policy.version,
                "policy": to_document(change.policy),
                "spent_nano": preview.spent_nano,
                "rederived": preview.rederived,
                "renewed": preview.renewed,
                "cancelled": list(change.renewal.cancelled),
            },
        )
        return change.policy


class _Change:
    """One change of policy: computed once, then shown or applied."""

    def __init__(self, connection: sa.Connection, camera: str, policy: CameraPolicy, renew: Renew) -> None:
        self._connection = connection
        self._camera = camera
        self._camera_id = _camera_id(connection, camera)
        past = _versions(connection, self._camera_id)
        self._previous = past[-1] if past else None
        self.policy = replace(
            _with_known_pictures(policy, past), version=self._previous.version + 1 if self._previous else 1
        )
        for earlier in past:
            _require_same_schemes(camera, earlier, self.policy)
            _require_same_pictures(camera, earlier, self.policy)
        self._ever = _mask_terms(connection, self._camera_id)
        terms = books.in_force(self.policy, self._ever)
        self._segment_us = {mask: mask_policy.rho_us for mask, mask_policy in terms.items()}
        self._grown: list[rows.CountedLoss] = []
        changes: dict[str, list[StepFunction]] = {}
        staying = charges.c.reservation_id.not_in(renewal.waiting(self._camera_id))
        grows = sa.or_(*(rows.grows_under(mask, mask_policy, self.policy.K) for mask, mask_policy in terms.items()))
        for charge in rows.counted(connection, charges.c.camera_id == self._camera_id, staying, grows):
            grown = charge.under(terms[charge.loss.mask], self.policy.K)
            self._grown.append(grown)
            changes.setdefault(charge.loss.mask, []).append(grown.function() - charge.function())
        self._changes = {mask: StepFunction.total(functions) for mask, functions in changes.items()}
        self._stored = steps.everything(connection, self._camera_id)
        gone = renewal.returned(connection, self._camera_id)
        staying_functions = {
            mask: function + self._changes.get(mask, StepFunction()) - gone.get((self._camera_id, mask), StepFunction())
            for mask, function in self._stored.items()
        }
        book = books.Book(self._camera_id, camera, self.policy, terms)
        self.renewal = Renewal(connection, book, staying_functions, renew)

    def preview(self) -> PolicyPreview:
        """What it means."""
        spent = spending(self.renewal.losses(self._camera), self._segment_us, self.policy.rho_us)
        return PolicyPreview(
            camera=self._camera,
            policy=self.policy,
            replaces=self._previous.version if self._previous else None,
            spent_nano=spent.maximum(),
            spent_before_nano=self._spent_before(),
            over=_above(spent, self.policy.epsilon_nano),
            rederived=len(self._grown),
            unfinished=self._unfinished(),
            renewed=self.renewal.kept,
            cancelled=len(self.renewal.cancelled),
        )

    def _spent_before(self) -> int:
        if self._previous is None:
            return 0
        lengths = {mask: terms.rho_us for mask, terms in books.in_force(self._previous, self._ever).items()}
        return spending(self._stored, lengths, self._previous.rho_us).maximum()

    def _unfinished(self) -> tuple[str, ...]:
        found = self._connection.scalars(
            sa.select(reservations.c.id)
            .join(charges)
            .where(
                charges.c.camera_id == self._camera_id,
                reservations.c.state.in_(states.UNFINISHED),
                reservations.c.id.not_in(renewal.waiting(self._camera_id)),
            )
            .group_by(reservations.c.id, reservations.c.reserved_us)
            .order_by(reservations.c.reserved_us)
        )
        return tuple(found)

    def apply(self, now_us: int) -> None:
        """Write the version, its masks' terms and the charges as they are counted from now on."""
        self._connection.execute(
            policies.insert(),
            {
                "camera_id": self._camera_id,
                "version": self.policy.version,
                "document": to_document(self.policy),
                "created_us": now_us,
            },
        )
        here = mask_terms.c.camera_id == self._camera_id
        self._connection.execute(mask_terms.delete().where(here, mask_terms.c.mask.in_(list(self.policy.masks))))
        if self.policy.masks:
            self._connection.execute(
                mask_terms.insert(),
                [
                    {"camera_id": self._camera_id, "mask": mask, "rho_us": terms.rho_us, "segments": terms.segments}
                    for mask, terms in self.policy.masks.items()
                ],
            )
        if self._grown:
            self._connection.execute(
                charges.update()
                .where(charges.c.id == sa.bindparam("charge"))
                .values(
                    segment_us=sa.bindparam("longer"), weight=sa.bindparam("heavier"), cap_holds=sa.bindparam("capped")
                ),
                [
                    {"charge": c.id, "longer": c.segment_us, "heavier": c.weight, "capped": c.cap_holds}
                    for c in self._grown
                ],
            )
        for mask, change in self._changes.items():
            steps.add(self._connection, self._camera_id, mask, change)
        self.renewal.apply(now_us)


def _above(spent: StepFunction, epsilon_nano: int) -> tuple[Span, ...]:
    """Where more than epsilon is spent; steps that touch are one span, with the largest of their values."""
    spans: list[Span] = []
    for begin, end, value in spent:
        if value <= epsilon_nano:
            continue
        if spans and spans[-1].to_us == begin:
            spans[-1] = Span(spans[-1].from_us, end, max(spans[-1].spent_nano, value))
        else:
            spans.append(Span(begin, end, value))
    return tuple(spans)


def _camera_id(connection: sa.Connection, camera: str) -> int:
    found = connection.scalar(sa.select(cameras.c.id).where(cameras.c.name == camera))
    if found is None:
        raise UnknownCamera(camera)
    return int(found)


def _versions(connection: sa.Connection, camera_id: int) -> tuple[CameraPolicy, ...]:
    query = (
        sa.select(policies.c.document, policies.c.version)
        .where(policies.c.camera_id == camera_id)
        .order_by(policies.c.version)
    )
    return tuple(books.decode(*row) for row in connection.execute(query))


def _mask_terms(connection: sa.Connection, camera_id: int) -> dict[str, MaskPolicy]:
    query = sa.select(mask_terms).where(mask_terms.c.camera_id == camera_id)
    return {row.mask: MaskPolicy(row.rho_us, row.segments) for row in connection.execute(query)}


def _require_same_schemes(camera: str, old: CameraPolicy, new: CameraPolicy) -> None:
    """Old charges counted `g` slots a chunk, so under its name a scheme may only become stricter: hard is strictest."""
    for name, scheme in new.regions.items():
        before = old.regions.get(name)
        if before is None:
            continue
        if before.names != scheme.names or BOUNDARIES.index(scheme.boundary) > BOUNDARIES.index(before.boundary):
            raise SchemeChanged(camera, name)


def _with_known_pictures(policy: CameraPolicy, past: Iterable[CameraPolicy]) -> CameraPolicy:
    """Names that come without a picture, as in a policy that was exported, have the one they always had."""
    masks = {name: mask.picture for earlier in past for name, mask in earlier.masks.items() if mask.picture}
    regions = {name: scheme.picture for earlier in past for name, scheme in earlier.regions.items() if scheme.picture}
    return replace(
        policy,
        masks={n: replace(mask, picture=mask.picture or masks.get(n, "")) for n, mask in policy.masks.items()},
        regions={n: replace(s, picture=s.picture or regions.get(n, "")) for n, s in policy.regions.items()},
    )


def _require_same_pictures(camera: str, old: CameraPolicy, new: CameraPolicy) -> None:
    """A picture never changes under its name (privacy-model.md, section 1); one that is deleted keeps its name."""
    for kind, before, after in (("mask", old.masks, new.masks), ("region scheme", old.regions, new.regions)):
        for name in before.keys() & after.keys():
            if before[name].picture not in ("", after[name].picture):
                raise PictureChanged(camera, kind, name)
