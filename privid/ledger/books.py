"""A camera's book: the policy in force and the terms of every mask that it ever had."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import sqlalchemy as sa

from privid.database.schema import cameras, mask_terms, policies
from privid.domain.policy import NO_MASK, CameraPolicy, MaskPolicy
from privid.domain.policy_document import from_document
from privid.ledger.errors import NoPolicy, UnknownCamera

_LOCK = sa.select(sa.func.pg_advisory_xact_lock(0x6C65_6467_6572))
"""The number is "ledger" in ASCII."""
_versions = policies.alias()
_latest = (
    sa.select(sa.func.max(_versions.c.version))
    .where(_versions.c.camera_id == cameras.c.id)
    .correlate(cameras)
    .scalar_subquery()
)
_READ = (
    sa.select(
        cameras.c.name,
        cameras.c.id,
        policies.c.version,
        policies.c.document,
        mask_terms.c.mask,
        mask_terms.c.rho_us,
        mask_terms.c.segments,
    )
    .select_from(
        cameras.outerjoin(policies, (policies.c.camera_id == cameras.c.id) & (policies.c.version == _latest)).outerjoin(
            mask_terms, mask_terms.c.camera_id == cameras.c.id
        )
    )
    .where(cameras.c.name.in_(sa.bindparam("names", expanding=True)))
)

decode = lru_cache(maxsize=256)(from_document)


@dataclass(frozen=True, slots=True)
class Book:
    """What admission needs to know of a camera. `terms` holds every mask, deleted ones and `none` included."""

    camera_id: int
    camera: str
    policy: CameraPolicy
    terms: Mapping[str, MaskPolicy]

    @property
    def segment_us(self) -> Mapping[str, int]:
        """rho_m of every mask."""
        return {mask: terms.rho_us for mask, terms in self.terms.items()}

    def weight(self, mask: str) -> int:
        """K * k_m."""
        return self.policy.K * self.terms[mask].segments


def in_force(policy: CameraPolicy, ever: Mapping[str, MaskPolicy]) -> dict[str, MaskPolicy]:
    """The terms of all masks under `policy`; a deleted one keeps min(its rho_m, rho) and its k_m (section 5)."""
    deleted = {mask: MaskPolicy(min(terms.rho_us, policy.rho_us), terms.segments) for mask, terms in ever.items()}
    return {NO_MASK: policy.under(NO_MASK), **deleted, **policy.masks}


def lock(connection: sa.Connection) -> None:
    """Keep everybody else from writing to the ledger until the transaction ends.

    Always before anything else is read or locked: so nobody waits in a circle, and nothing that a decision rests on is
    read from before the lock. On SQLite the transaction itself is that lock. One lock for all cameras costs nothing
    that the audit log, one chain for all, would not cost anyway (docs/decisions/0018).
    """
    if connection.dialect.name != "sqlite":
        connection.execute(_LOCK)


def read(connection: sa.Connection, names: Iterable[str]) -> dict[str, Book]:
    """The books of these cameras, in the order of their names. Raises UnknownCamera or NoPolicy."""
    wanted = sorted(names)
    found: dict[str, tuple[int, CameraPolicy]] = {}
    ever: dict[str, dict[str, MaskPolicy]] = {}
    for row in connection.execute(_READ, {"names": wanted}):
        if row.version is None:
            raise NoPolicy(row.name)
        found[row.name] = (row.id, decode(row.document, row.version))
        if row.mask is not None:
            ever.setdefault(row.name, {})[row.mask] = MaskPolicy(row.rho_us, row.segments)
    result: dict[str, Book] = {}
    for name in wanted:
        if name not in found:
            raise UnknownCamera(name)
        camera_id, policy = found[name]
        result[name] = Book(camera_id, name, policy, in_force(policy, ever.get(name, {})))
    return result
