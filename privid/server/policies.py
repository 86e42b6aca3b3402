"""Policy versions: shown before they hold, applied exactly as shown (privacy-model.md, sections 1 and 5)."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from privid.database import schema
from privid.database.transactions import reading, write
from privid.domain.policy import CameraPolicy
from privid.domain.policy_document import from_document, to_document
from privid.domain.units import epsilon
from privid.server.audit import Audit
from privid.server.clock import Clock
from privid.server.errors import Refused
from privid.server.names import check_timezone
from privid.server.ports import Budget

_MOST_CORES = 1024


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """What applying one policy would do. `spent_max_nano`: most that any moment has spent, once it holds."""

    camera: str
    before: CameraPolicy | None
    after: CameraPolicy
    spent_max_nano: int
    warnings: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether there is a new version at all."""
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Preview:
    """Changes to look at, and the string that applies exactly these."""

    changes: tuple[PolicyChange, ...]
    confirmation: str


class Policies:
    """The policies of all cameras. A version is written once and never edited."""

    def __init__(self, engine: sa.Engine, clock: Clock, audit: Audit, budget: Budget) -> None:
        self._engine = engine
        self._clock = clock
        self._audit = audit
        self._budget = budget

    def current(self) -> dict[str, CameraPolicy]:
        """The version that holds, by camera; cameras without a policy are left out."""
        with reading(self._engine) as connection:
            return _current(connection)

    def named(self, cameras: Iterable[str]) -> dict[str, CameraPolicy]:
        """The policies of these cameras, or of all that have one if none is named. Raises Refused."""
        wanted = tuple(dict.fromkeys(cameras))
        with reading(self._engine) as connection:
            known, policies = _timezones(connection), _current(connection)
        for name in wanted:
            _require_camera(name, known)
            if name not in policies:
                raise Refused("unknown_camera", f"camera {name} has no policy", f"privid-admin policy set {name}")
        return {name: policies[name] for name in wanted} if wanted else policies

    def preview(self, proposals: Mapping[str, CameraPolicy]) -> Preview:
        """What applying these would do. Changes nothing. Raises Refused."""
        with reading(self._engine) as connection:
            before = _checked(connection, proposals)
        changes = []
        for camera, policy in sorted(proposals.items()):
            old = before.get(camera)
            new = _next_version(old, policy)
            spent = self._budget.spent_under(camera, new).maximum()
            changes.append(PolicyChange(camera, old, new, spent, _warnings(camera, old, new, spent)))
        return Preview(tuple(changes), _confirmation(before, proposals))

    def apply(self, actor: str, proposals: Mapping[str, CameraPolicy], confirmation: str) -> dict[str, CameraPolicy]:
        """Make the previewed versions hold, all or none. Raises Refused, also if anything changed since."""

        def insert(connection: sa.Connection) -> dict[str, CameraPolicy]:
            before = _checked(connection, proposals)
            if confirmation != _confirmation(before, proposals):
                raise Refused("stale_preview", "this is not what was previewed", "look at the change again, then apply")
            ids = _camera_ids(connection)
            applied = {}
            for camera, policy in sorted(proposals.items()):
                old = before.get(camera)
                applied[camera] = new = _next_version(old, policy)
                if old == new:
                    continue
                document = to_document(new)
                connection.execute(
                    schema.policies.insert().values(
                        camera_id=ids[camera], version=new.version, document=document, created_us=self._clock()
                    )
                )
                self._budget.policy_changed(connection, camera, new)
                self._audit(
                    connection,
                    actor,
                    "policy_changed",
                    {"camera": camera, "version": new.version, "policy": json.loads(document)},
                )
            return applied

        return write(self._engine, insert)


def _current(connection: sa.Connection) -> dict[str, CameraPolicy]:
    table, cameras = schema.policies, schema.cameras
    last = (
        sa.select(table.c.camera_id, sa.func.max(table.c.version).label("version"))
        .group_by(table.c.camera_id)
        .subquery()
    )
    rows = connection.execute(
        sa.select(cameras.c.name, table.c.document, table.c.version)
        .join(table, table.c.camera_id == cameras.c.id)
        .join(last, sa.and_(last.c.camera_id == table.c.camera_id, last.c.version == table.c.version))
        .order_by(cameras.c.name)
    )
    return {row.name: from_document(row.document, row.version) for row in rows}


def _timezones(connection: sa.Connection) -> dict[str, str]:
    table = schema.cameras
    rows = connection.execute(sa.select(table.c.name, table.c.timezone).order_by(table.c.name))
    return {row.name: row.timezone for row in rows}


def _camera_ids(connection: sa.Connection) -> dict[str, int]:
    table = schema.cameras
    return {row.name: row.id for row in connection.execute(sa.select(table.c.name, table.c.id))}


def _require_camera(name: str, known: Mapping[str, str]) -> None:
    if name not in known:
        raise Refused(
            "unknown_camera", f"there is no camera {name!r}", f"cameras: {', '.join(sorted(known)) or 'none yet'}"
        )


def _checked(connection: sa.Connection, proposals: Mapping[str, CameraPolicy]) -> dict[str, CameraPolicy]:
    """The current policies. Raises Refused for a proposal that breaks a rule beyond those of CameraPolicy itself."""
    if not proposals:
        raise Refused("invalid_policy", "no policy was given", "name at least one camera")
    known = _timezones(connection)
    for camera, policy in proposals.items():
        _require_camera(camera, known)
        check_timezone(policy.timezone)
        if policy.timezone != known[camera]:
            raise Refused(
                "invalid_policy",
                f"camera {camera} is in {known[camera]}, and its policy says {policy.timezone}",
                f'write timezone = "{known[camera]}"',
            )
        if policy.width < 0 or policy.height < 0:
            raise Refused("invalid_policy", f"camera {camera}: width and height are never negative", "in pixels")
        if policy.slot_cores > _MOST_CORES:
            raise Refused("invalid_policy", f"camera {camera}: slot_cores is more than {_MOST_CORES}", "use fewer")
    return _current(connection)


def _next_version(old: CameraPolicy | None, policy: CameraPolicy) -> CameraPolicy:
    """The policy with the version it would get: the old one if nothing changes."""
    if old is None:
        return replace(policy, version=1)
    if replace(policy, version=old.version) == old:
        return old
    return replace(policy, version=old.version + 1)


def _confirmation(before: Mapping[str, CameraPolicy], proposals: Mapping[str, CameraPolicy]) -> str:
    """Names these proposals on top of these versions, and nothing else."""
    content = [
        [camera, before[camera].version if camera in before else 0, to_document(policy)]
        for camera, policy in sorted(proposals.items())
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _warnings(camera: str, old: CameraPolicy | None, new: CameraPolicy, spent_nano: int) -> tuple[str, ...]:
    """What the owner should know before confirming (privacy-model.md, section 5)."""
    found = []
    if spent_nano > new.epsilon_nano:
        found.append(
            f"{camera}: under this policy {epsilon(spent_nano):g} has been spent at some moment, more than its budget "
            f"of {epsilon(new.epsilon_nano):g}: for what was released already the guarantee is {epsilon(spent_nano):g}"
        )
    if old is not None:
        weaker = []
        if new.epsilon_nano > old.epsilon_nano:
            weaker.append("the budget grows")
        if new.rho_us < old.rho_us:
            weaker.append("shorter presence is protected")
        if new.K < old.K:
            weaker.append("fewer presence periods are protected")
        if new.timing == "open" and old.timing != "open":
            weaker.append("results no longer come at public times")
        if weaker:
            found.append(f"{camera}: this protects less than version {old.version}: {', '.join(weaker)}")
    return tuple(found)
