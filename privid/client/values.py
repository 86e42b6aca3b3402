"""What the clients return. Times in microseconds UTC, epsilon in nano."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privid.client.errors import Refusal
from privid.domain.policy import CameraPolicy
from privid.rpc.convert import policy_value, state_name
from privid.rpc.v1 import admin_pb2, types_pb2


@dataclass(frozen=True, slots=True)
class Sample:
    """A clip that the owner shows to a camera's analysts."""

    sha256: str
    size_bytes: int
    length_us: int
    published_us: int

    @classmethod
    def of(cls, message: types_pb2.Sample) -> "Sample":
        """The sample in a message."""
        return cls(message.sha256, message.size_bytes, message.length_us, message.published_us)


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
    sample: Sample | None = None

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
            sample=Sample.of(message.sample) if message.HasField("sample") else None,
        )


@dataclass(frozen=True, slots=True)
class Executable:
    """One version of an uploaded executable; `analyst` is told to owners only.

    `manifest` is what it needs: runtime, and of all but models entry, libraries, memory_bytes, threads, weights.
    """

    name: str
    version: int
    sha256: str
    size_bytes: int
    created_us: int
    analyst: str
    manifest: dict[str, Any]

    @classmethod
    def of(cls, message: types_pb2.Executable) -> "Executable":
        """The executable in a message."""
        return cls(
            message.name,
            message.version,
            message.sha256,
            message.size_bytes,
            message.created_us,
            message.analyst,
            json.loads(message.manifest or "{}"),
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """A query with EVERY: windows of `every_us` over [begin_us, end_us), how many of them are over in which way.

    `next_query` is the query of the window whose answer comes next; empty if none comes any more.
    """

    every_us: int
    begin_us: int
    end_us: int
    windows: int
    released: int
    cancelled: int
    failed: int
    next_query: str


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a query with EVERY: its place, from 0, and the video that it reads."""

    standing_id: str
    position: int
    begin_us: int
    end_us: int


@dataclass(frozen=True, slots=True)
class Query:
    """A query. `state` is reserved, running, released, cancelled or failed; `analyst` is told to owners only.

    `note` says why a change of policy cancelled it.
    """

    id: str
    state: str
    submitted_us: int
    starts_us: int
    visible_us: int
    charges: Mapping[str, int]
    text: str
    analyst: str
    standing: Standing | None
    window: Window | None
    note: str

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
            standing=_standing(message.standing) if message.HasField("standing") else None,
            window=_window(message.window) if message.HasField("window") else None,
            note=message.note,
        )


def _standing(message: types_pb2.Standing) -> Standing:
    return Standing(
        every_us=message.every_us,
        begin_us=message.begin_us,
        end_us=message.end_us,
        windows=message.windows,
        released=message.released,
        cancelled=message.cancelled,
        failed=message.failed,
        next_query=message.next_query_id,
    )


def _window(message: types_pb2.Window) -> Window:
    return Window(message.standing_id, message.position, message.begin_us, message.end_us)


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
    """An analyst.

    `epsilon_limit_nano`: most that all their queries may take from any moment of a camera; None: no limit.
    """

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


@dataclass(frozen=True, slots=True)
class RecordedTimeline:
    """What is known of [from_us, to_us): `spans` (from_us, to_us, state) fill it in order.

    `state` is "covered", "gap" or "unknown"; `gaps` (from_us, to_us, reason) are those that meet the window.
    """

    camera: str
    from_us: int
    to_us: int
    spans: tuple[tuple[int, int, str], ...]
    gaps: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True, slots=True)
class Spending:
    """What an analyst's queries have taken from one camera: the most from any moment, by so many charged queries."""

    camera: str
    queries: int
    spent_max_nano: int


@dataclass(frozen=True, slots=True)
class ForecastStep:
    """Presence periods that start in [from_us, to_us): what is left, what was taken lately and by how many queries."""

    from_us: int
    to_us: int
    left_nano: int
    recent_nano: int
    asked: int


@dataclass(frozen=True, slots=True)
class QueryForecast:
    """A certain query: how often it would be admitted, and where one more would not."""

    times: int
    epsilon_nano: int
    window: tuple[int, int]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class ForecastFacts:
    """What a forecast rests on: history [since_us, now_us), the peaks of its queries, and `steps` without holes."""

    camera: str
    epsilon_nano: int
    recorded: tuple[int, int]
    now_us: int
    since_us: int
    peaks_nano: tuple[int, ...]
    steps: tuple[ForecastStep, ...]
    query: QueryForecast | None

    @classmethod
    def of(cls, message: admin_pb2.GetForecastResponse) -> "ForecastFacts":
        """The facts in a message."""
        query = None
        if message.HasField("query"):
            query = QueryForecast(
                times=message.query.times,
                epsilon_nano=message.query.epsilon_nano,
                window=(message.query.window.from_us, message.query.window.to_us),
                refusals=tuple(
                    Refusal(r.camera, r.from_us, r.to_us, r.left_nano, r.asked_nano) for r in message.query.refusals
                ),
            )
        return cls(
            camera=message.camera,
            epsilon_nano=message.epsilon_nano,
            recorded=(message.recorded.from_us, message.recorded.to_us),
            now_us=message.now_us,
            since_us=message.since_us,
            peaks_nano=tuple(message.peaks_nano),
            steps=tuple(ForecastStep(s.from_us, s.to_us, s.left_nano, s.recent_nano, s.asked) for s in message.steps),
            query=query,
        )


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry of the audit log; `document` is canonical JSON, `name` that of an analyst who is its actor."""

    seq: int
    at_us: int
    actor: str
    event: str
    document: str
    previous: str
    hash: str
    name: str = ""

    @classmethod
    def of(cls, message: admin_pb2.AuditEntry) -> "AuditEntry":
        """The entry in a message."""
        return cls(
            message.seq,
            message.at_us,
            message.actor,
            message.event,
            message.document,
            message.previous,
            message.hash,
            message.name,
        )


@dataclass(frozen=True, slots=True)
class AuditHead:
    """How many entries the audit log has, and the hash of the last one."""

    entries: int
    hash: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The result of a verification. `problem` None: the log is as written. Else `seq` is the first that is not."""

    head: AuditHead
    seq: int | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Activity:
    """What a server is doing: unfinished queries as their analysts see them, and what happened last, newest first."""

    now_us: int
    slot_cores: int
    shared_cores: int
    queries: tuple[Query, ...]
    recent: tuple[AuditEntry, ...]
