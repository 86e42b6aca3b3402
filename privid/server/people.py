"""Analysts: who may ask about which cameras."""

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from privid.database import schema
from privid.database.transactions import reading, write
from privid.domain.intervals import StepFunction
from privid.ledger import audit
from privid.ledger.limits import paid_by
from privid.ledger.usage import usage
from privid.server.auth import new_token, token_hash
from privid.server.clock import Clock
from privid.server.errors import Refused
from privid.server.names import check_analyst_name


@dataclass(frozen=True, slots=True)
class Analyst:
    """An analyst as the owner sees them.

    `epsilon_limit_nano`: most that all their queries may take from any moment of a camera; None: no limit.
    """

    id: int
    name: str
    cameras: tuple[str, ...]
    epsilon_limit_nano: int | None
    created_us: int
    revoked_us: int | None


@dataclass(frozen=True, slots=True)
class Spending:
    """What an analyst's queries have taken from one camera: the most from any moment, by so many charged queries."""

    camera: str
    queries: int
    spent_max_nano: int


class People:
    """The analysts of one installation. Every change is one transaction with its audit entry."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def add(self, actor: str, name: str, cameras: Iterable[str], epsilon_limit_nano: int | None) -> tuple[Analyst, str]:
        """A new analyst and their token, which is told this once. Raises Refused."""
        check_analyst_name(name)
        _check_limit(epsilon_limit_nano)
        wanted = sorted(set(cameras))
        token = new_token()
        table = schema.analysts

        def insert(connection: sa.Connection) -> Analyst:
            if connection.execute(sa.select(table.c.id).where(table.c.name == name)).first() is not None:
                raise Refused("already_exists", f"there is an analyst {name!r} already", "choose another name")
            ids = _camera_ids(connection, wanted)
            inserted = connection.execute(
                table.insert().values(
                    name=name,
                    token_hash=token_hash(token),
                    epsilon_limit_nano=epsilon_limit_nano,
                    created_us=self._clock(),
                )
            )
            assert inserted.inserted_primary_key is not None
            analyst_id = int(inserted.inserted_primary_key[0])
            for camera_id in ids:
                connection.execute(schema.grants.insert().values(analyst_id=analyst_id, camera_id=camera_id))
            audit.append(
                connection,
                self._clock(),
                actor,
                "analyst.added",
                {"analyst": name, "cameras": wanted, "epsilon_limit_nano": epsilon_limit_nano},
            )
            return _load(connection, name)

        return write(self._engine, insert), token

    def revoke(self, actor: str, name: str) -> Analyst:
        """End the validity of an analyst's token, for good. Their queries and charges stay. Raises Refused."""
        table = schema.analysts

        def update(connection: sa.Connection) -> Analyst:
            analyst = _load(connection, name)
            if analyst.revoked_us is None:
                connection.execute(table.update().where(table.c.id == analyst.id).values(revoked_us=self._clock()))
                audit.append(connection, self._clock(), actor, "analyst.revoked", {"analyst": name})
            return _load(connection, name)

        return write(self._engine, update)

    def grant(self, actor: str, name: str, add: Iterable[str], remove: Iterable[str]) -> Analyst:
        """Change which cameras an analyst may ask about. Raises Refused."""
        added, removed = sorted(set(add)), sorted(set(remove))
        if both := sorted(set(added) & set(removed)):
            raise Refused("invalid_request", f"{', '.join(both)}: both granted and taken away", "name it once")
        table = schema.grants

        def update(connection: sa.Connection) -> Analyst:
            analyst = _load(connection, name)
            if analyst.revoked_us is not None:
                raise Refused(
                    "invalid_request",
                    f"{name} has been revoked",
                    f"let them in again: privid-admin analyst rotate {name}",
                )
            _camera_ids(connection, removed)
            for camera, camera_id in zip(added, _camera_ids(connection, added), strict=True):
                if camera not in analyst.cameras:
                    connection.execute(table.insert().values(analyst_id=analyst.id, camera_id=camera_id))
            for camera_id in _camera_ids(connection, removed):
                connection.execute(
                    table.delete().where(table.c.analyst_id == analyst.id, table.c.camera_id == camera_id)
                )
            audit.append(
                connection,
                self._clock(),
                actor,
                "analyst.granted",
                {"analyst": name, "added": added, "removed": removed},
            )
            return _load(connection, name)

        return write(self._engine, update)

    def limit(self, actor: str, name: str, epsilon_limit_nano: int | None) -> Analyst:
        """Change how much of every moment an analyst may take; None: no limit of their own. Raises Refused.

        What they have taken already stays; the ledger looks at the limit when it admits their next query.
        """
        _check_limit(epsilon_limit_nano)
        table = schema.analysts

        def update(connection: sa.Connection) -> Analyst:
            analyst = _load(connection, name)
            connection.execute(
                table.update().where(table.c.id == analyst.id).values(epsilon_limit_nano=epsilon_limit_nano)
            )
            document = {"analyst": name, "epsilon_limit_nano": epsilon_limit_nano}
            audit.append(connection, self._clock(), actor, "analyst.limited", document)
            return _load(connection, name)

        return write(self._engine, update)

    def rotate(self, actor: str, name: str) -> tuple[Analyst, str]:
        """A new token, told this once; the old one ends. Whoever was revoked is let in again. Raises Refused."""
        token = new_token()
        table = schema.analysts

        def update(connection: sa.Connection) -> Analyst:
            analyst = _load(connection, name)
            connection.execute(
                table.update().where(table.c.id == analyst.id).values(token_hash=token_hash(token), revoked_us=None)
            )
            document = {"analyst": name, "was_revoked": analyst.revoked_us is not None}
            audit.append(connection, self._clock(), actor, "analyst.token_rotated", document)
            return _load(connection, name)

        return write(self._engine, update), token

    def spending(self, name: str) -> tuple[Spending, ...]:
        """What an analyst has taken, by camera; cameras of which nothing was taken are left out. Raises Refused."""
        with reading(self._engine) as connection:
            analyst = _load(connection, name)
            charged = connection.scalars(
                sa.select(schema.cameras.c.name)
                .join(schema.charges, schema.charges.c.camera_id == schema.cameras.c.id)
                .where(paid_by(analyst.id), schema.charges.c.refunded_us.is_(None))
                .distinct()
                .order_by(schema.cameras.c.name)
            ).all()
            found = []
            for camera in charged:
                taken = list(usage(connection, camera, schema.queries.c.analyst_id == analyst.id))
                together = StepFunction.total(one.spent for one in taken)
                found.append(Spending(camera, len(taken), together.maximum()))
            return tuple(found)

    def all(self) -> tuple[Analyst, ...]:
        """Every analyst, by name."""
        table = schema.analysts
        with reading(self._engine) as connection:
            names = connection.execute(sa.select(table.c.name).order_by(table.c.name)).scalars().all()
            return tuple(_load(connection, name) for name in names)

    def named(self, name: str) -> Analyst:
        """One analyst. Raises Refused."""
        with reading(self._engine) as connection:
            return _load(connection, name)


def _check_limit(epsilon_limit_nano: int | None) -> None:
    if epsilon_limit_nano is not None and epsilon_limit_nano <= 0:
        raise Refused("invalid_request", "an analyst's limit must be more than 0", "leave it out for no limit")


def _camera_ids(connection: sa.Connection, names: Iterable[str]) -> list[int]:
    table = schema.cameras
    known = {row.name: row.id for row in connection.execute(sa.select(table.c.id, table.c.name))}
    ids = []
    for name in names:
        if name not in known:
            raise Refused(
                "unknown_camera", f"there is no camera {name!r}", f"cameras: {', '.join(sorted(known)) or 'none yet'}"
            )
        ids.append(known[name])
    return ids


def _load(connection: sa.Connection, name: str) -> Analyst:
    table, grants, cameras = schema.analysts, schema.grants, schema.cameras
    row = connection.execute(sa.select(table).where(table.c.name == name)).first()
    if row is None:
        names = connection.execute(sa.select(table.c.name).order_by(table.c.name)).scalars().all()
        raise Refused("unknown_analyst", f"there is no analyst {name!r}", f"analysts: {', '.join(names) or 'none yet'}")
    granted = connection.execute(
        sa.select(cameras.c.name)
        .join(grants, grants.c.camera_id == cameras.c.id)
        .where(grants.c.analyst_id == row.id)
        .order_by(cameras.c.name)
    ).scalars()
    return Analyst(row.id, row.name, tuple(granted), row.epsilon_limit_nano, row.created_us, row.revoked_us)
