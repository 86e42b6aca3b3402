"""What the clients return. Times in microseconds UTC, epsilon in nano."""

from collections.abc import Mapping
from dataclasses import dataclass

from privid.domain.policy import CameraPolicy
from privid.rpc.convert import policy_value, state_name
from privid.rpc.v1 import admin_pb2, types_pb2


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera. `recorded` runs from the first frame to the end of the last one; `url` is told to owners only."""

    name: str
    timezone: str
    policy: CameraPolicy | None
    recorded: tuple[int, int] | None
    covered_us: int
    gaps: int
    width: int
    height: int
    left_now_nano: int | None
    left_min_nano: int | None
    url: str

    @classmethod
    def of(cls, message: types_pb2.Camera) -> "Camera":
        """The camera in a message."""
        return cls(
            name=message.name,
            timezone=message.timezone,
            policy=policy_value(message.policy) if message.HasField("policy") else None,
            recorded=(message.recorded.from_us, message.recorded.to_us) if message.HasField("recorded") else None,
            covered_us=message.covered_us,
            gaps=message.gaps,
            width=message.width,
            height=message.height,
            left_now_nano=message.left_now_nano if message.HasField("left_now_nano") else None,
            left_min_nano=message.left_min_nano if message.HasField("left_min_nano") else None,
            url=message.url,
        )


@dataclass(frozen=True, slots=True)
class Executable:
    """One version of an uploaded executable; `analyst` is told to owners only."""

    name: str
    version: int
    sha256: str
    size_bytes: int
    created_us: int
    analyst: str

    @classmethod
    def of(cls, message: types_pb2.Executable) -> "Executable":
        """The executable in a message."""
        return cls(
            message.name, message.version, message.sha256, message.size_bytes, message.created_us, message.analyst
        )


@dataclass(frozen=True, slots=True)
class Query:
    """A query. `state` is reserved, running, released, cancelled or failed; `analyst` is told to owners only."""

    id: str
    state: str
    submitted_us: int
    starts_us: int
    visible_us: int
    charges: Mapping[str, int]
    text: str
    analyst: str

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("released", "cancelled", "failed")

    @classmethod
    def of(cls, message: types_pb2.Query) -> "Query":
        """The query in a message."""
        return cls(
            id=message.query_id,
            state=state_name(message.state),
            submitted_us=message.submitted_us,
            starts_us=message.starts_us,
            visible_us=message.visible_us,
            charges={charge.camera: charge.epsilon_nano for charge in message.charges},
            text=message.text,
            analyst=message.analyst,
        )


@dataclass(frozen=True, slots=True)
class Submission:
    """The outcome of a submission: `existing`, submitted before with this request id; `shared`, free of charge."""

    query: Query
    existing: bool
    shared: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a query is on its public schedule: `fraction` from 0 to 1, `now_us` by the server's clock."""

    query: Query
    now_us: int
    fraction: float


@dataclass(frozen=True, slots=True)
class Analyst:
    """An analyst. `epsilon_limit_nano`: most that one query may cost; None: no limit."""

    name: str
    cameras: tuple[str, ...]
    epsilon_limit_nano: int | None
    created_us: int
    revoked_us: int | None

    @classmethod
    def of(cls, message: admin_pb2.Analyst) -> "Analyst":
        """The analyst in a message."""
        return cls(
            name=message.name,
            cameras=tuple(message.cameras),
            epsilon_limit_nano=message.epsilon_limit_nano if message.HasField("epsilon_limit_nano") else None,
            created_us=message.created_us,
            revoked_us=message.revoked_us if message.HasField("revoked_us") else None,
        )


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """What applying a policy would do; `spent_max_nano`: most that any moment has spent, once it holds."""

    camera: str
    before: CameraPolicy | None
    after: CameraPolicy
    changed: bool
    spent_max_nano: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """Policy changes to look at, and what applies exactly these."""

    changes: tuple[PolicyChange, ...]
    confirmation: str


@dataclass(frozen=True, slots=True)
class Budget:
    """Spending over [from_us, to_us): `steps` of (from_us, to_us, nano-epsilon), nothing spent elsewhere."""

    camera: str
    epsilon_nano: int
    rho_us: int
    from_us: int
    to_us: int
    steps: tuple[tuple[int, int, int], ...]
