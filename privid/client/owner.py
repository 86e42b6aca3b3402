"""The owners' client."""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from privid.client.connection import OWNER_PORT, Connection, Target
from privid.client.values import (
    Activity,
    Analyst,
    AuditEntry,
    AuditHead,
    AuditReport,
    Budget,
    Camera,
    Executable,
    ForecastFacts,
    PolicyChange,
    Preview,
    Query,
    RecordedTimeline,
    Sample,
    Spending,
)
from privid.domain.policy import CameraPolicy
from privid.rpc.convert import COVERAGE, STATES, policy_message, policy_value
from privid.rpc.v1 import admin_pb2, admin_pb2_grpc, types_pb2

T = TypeVar("T")

_PAGE = 1000
_BATCH_BYTES = 512 * 1024
_FIRST = -(2**62)
"""Before every moment."""


class OwnerClient:
    """Calls of the owners' service. A context manager. Every method raises CallFailed.

    Calls that only read are repeated while the server is not there; calls that change something are sent once.
    """

    def __init__(self, target: Target) -> None:
        self._connection = Connection(target, OWNER_PORT)
        self._stub = admin_pb2_grpc.AdminServiceStub(self._connection.channel)

    @property
    def address(self) -> str:
        """Host and port of the server."""
        return self._connection.address

    def __enter__(self) -> "OwnerClient":
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.close()

    def add_camera(self, name: str, timezone: str, url: str = "") -> Camera:
        """A new camera, without a policy yet."""
        request = admin_pb2.AddCameraRequest(name=name, timezone=timezone, url=url)
        return Camera.of(self._connection.once(self._stub.AddCamera, request).camera)

    def cameras(self) -> tuple[Camera, ...]:
        """All cameras."""
        answer = self._connection.repeat(self._stub.ListAllCameras, admin_pb2.ListAllCamerasRequest)
        return tuple(Camera.of(message) for message in answer.cameras)

    def timeline(self, camera: str, from_us: int | None = None, to_us: int | None = None) -> RecordedTimeline:
        """What is recorded in a window, by default from the first frame to the last, and what is missing and why."""
        request = admin_pb2.GetTimelineRequest(camera=camera, from_us=from_us, to_us=to_us)
        answer = self._connection.repeat(self._stub.GetTimeline, lambda: request)
        names = {number: name for name, number in COVERAGE.items()}
        return RecordedTimeline(
            camera=answer.camera,
            from_us=answer.from_us,
            to_us=answer.to_us,
            spans=tuple((span.from_us, span.to_us, names.get(span.state, "unknown")) for span in answer.spans),
            gaps=tuple((gap.from_us, gap.to_us, gap.reason) for gap in answer.gaps),
        )

    def publish_sample(self, camera: str, content: bytes) -> Sample:
        """Show a clip (a video file) to all who may ask about a camera, in place of an earlier one."""
        request = admin_pb2.PublishSampleRequest(camera=camera, content=content)
        return Sample.of(self._connection.once(self._stub.PublishSample, request).sample)

    def withdraw_sample(self, camera: str) -> None:
        """Show a camera's clip to nobody any more."""
        self._connection.once(self._stub.WithdrawSample, admin_pb2.WithdrawSampleRequest(camera=camera))

    def policies(self, cameras: Iterable[str] = ()) -> tuple[dict[str, CameraPolicy], int]:
        """The policies of these cameras, or of all that have one, and the server's default epsilon in nano."""
        request = admin_pb2.GetPoliciesRequest(cameras=list(cameras))
        answer = self._connection.repeat(self._stub.GetPolicies, lambda: request)
        return {message.camera: policy_value(message.policy) for message in answer.policies}, (
            answer.default_epsilon_nano
        )

    def picture(self, sha256: str) -> bytes:
        """A picture that a policy names: binary PBM, black is hidden, one for each region of a scheme."""
        request = admin_pb2.GetPictureRequest(sha256=sha256)
        return self._connection.repeat(self._stub.GetPicture, lambda: request).content

    def preview(self, policies: Mapping[str, CameraPolicy], pictures: Iterable[bytes] = ()) -> Preview:
        """What applying these policies would do; `pictures` are those that they name and the server may not have."""
        request = admin_pb2.PreviewPoliciesRequest(policies=_messages(policies), pictures=pictures)
        answer = self._connection.repeat(self._stub.PreviewPolicies, lambda: request)
        changes = tuple(
            PolicyChange(
                camera=change.camera,
                before=policy_value(change.before) if change.HasField("before") else None,
                after=policy_value(change.after),
                changed=change.changed,
                spent_max_nano=change.spent_max_nano,
                warnings=tuple(change.warnings),
            )
            for change in answer.changes
        )
        return Preview(changes, answer.confirmation)

    def apply(
        self, policies: Mapping[str, CameraPolicy], confirmation: str, pictures: Iterable[bytes] = ()
    ) -> dict[str, CameraPolicy]:
        """Make previewed policies hold."""
        request = admin_pb2.ApplyPoliciesRequest(
            policies=_messages(policies), confirmation=confirmation, pictures=pictures
        )
        answer = self._connection.once(self._stub.ApplyPolicies, request)
        return {message.camera: policy_value(message.policy) for message in answer.policies}

    def add_analyst(
        self, name: str, cameras: Iterable[str], epsilon_limit_nano: int | None = None
    ) -> tuple[Analyst, str]:
        """A new analyst and their token, which nobody can read again."""
        request = admin_pb2.AddAnalystRequest(name=name, cameras=list(cameras), epsilon_limit_nano=epsilon_limit_nano)
        answer = self._connection.once(self._stub.AddAnalyst, request)
        return Analyst.of(answer.analyst), answer.token

    def analysts(self) -> tuple[Analyst, ...]:
        """All analysts, revoked ones too."""
        answer = self._connection.repeat(self._stub.ListAnalysts, admin_pb2.ListAnalystsRequest)
        return tuple(Analyst.of(message) for message in answer.analysts)

    def revoke_analyst(self, name: str) -> Analyst:
        """End the validity of an analyst's token."""
        request = admin_pb2.RevokeAnalystRequest(name=name)
        return Analyst.of(self._connection.once(self._stub.RevokeAnalyst, request).analyst)

    def analyst(self, name: str) -> tuple[Analyst, tuple[Spending, ...]]:
        """One analyst, and what their queries have taken from each camera."""
        request = admin_pb2.GetAnalystRequest(name=name)
        answer = self._connection.repeat(self._stub.GetAnalyst, lambda: request)
        spending = tuple(Spending(taken.camera, taken.queries, taken.spent_max_nano) for taken in answer.spending)
        return Analyst.of(answer.analyst), spending

    def limit_analyst(self, name: str, epsilon_limit_nano: int | None) -> Analyst:
        """Change how much of every moment an analyst may take; None: no limit of their own."""
        request = admin_pb2.LimitAnalystRequest(name=name, epsilon_limit_nano=epsilon_limit_nano)
        return Analyst.of(self._connection.once(self._stub.LimitAnalyst, request).analyst)

    def rotate_token(self, name: str) -> tuple[Analyst, str]:
        """A new token instead of the old one; a revoked analyst is let in again with it."""
        answer = self._connection.once(self._stub.RotateToken, admin_pb2.RotateTokenRequest(name=name))
        return Analyst.of(answer.analyst), answer.token

    def grant(self, analyst: str, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Analyst:
        """Change which cameras an analyst may ask about."""
        request = admin_pb2.GrantCamerasRequest(analyst=analyst, add=list(add), remove=list(remove))
        return Analyst.of(self._connection.once(self._stub.GrantCameras, request).analyst)

    def budget(self, camera: str, from_us: int | None = None, to_us: int | None = None) -> Budget:
        """Spending over a window, by default over the whole recording."""
        request = admin_pb2.GetBudgetRequest(camera=camera, from_us=from_us, to_us=to_us)
        answer = self._connection.repeat(self._stub.GetBudget, lambda: request)
        return Budget(
            camera=answer.camera,
            epsilon_nano=answer.epsilon_nano,
            rho_us=answer.rho_us,
            from_us=answer.from_us,
            to_us=answer.to_us,
            steps=tuple((step.from_us, step.to_us, step.spent_nano) for step in answer.steps),
        )

    def forecast(
        self, camera: str, days: int = 0, text: str = "", default_epsilon_nano: int | None = None
    ) -> ForecastFacts:
        """What is left of a camera's moments, what was taken in the last days, and how often a query would fit."""
        request = admin_pb2.GetForecastRequest(
            camera=camera, days=days, text=text, default_epsilon_nano=default_epsilon_nano
        )
        return ForecastFacts.of(self._connection.repeat(self._stub.GetForecast, lambda: request))

    def queries(
        self, limit: int = 0, analyst: str = "", camera: str = "", state: str = "", since_us: int | None = None
    ) -> tuple[Query, ...]:
        """The newest queries first: of one analyst, camera or state, or of all. KeyError for a state there is not."""
        request = admin_pb2.ListAllQueriesRequest(
            limit=limit,
            analyst=analyst,
            camera=camera,
            state=STATES[state] if state else types_pb2.QUERY_STATE_UNSPECIFIED,
            since_us=since_us,
        )
        answer = self._connection.repeat(self._stub.ListAllQueries, lambda: request)
        return tuple(Query.of(message) for message in answer.queries)

    def query(self, query_id: str) -> tuple[Query, dict[str, Any]]:
        """One query, with its explain document as it was admitted."""
        request = admin_pb2.GetAnyQueryRequest(query_id=query_id)
        answer = self._connection.repeat(self._stub.GetAnyQuery, lambda: request)
        return Query.of(answer.query), json.loads(answer.document)

    def cancel(self, query_id: str) -> tuple[Query, bool]:
        """Give anybody's query up. True: it had not started, and its charge has returned."""
        answer = self._connection.once(self._stub.CancelAnyQuery, admin_pb2.CancelAnyQueryRequest(query_id=query_id))
        return Query.of(answer.query), answer.refunded

    def activity(self, recent: int = 0) -> Activity:
        """What the server is doing now."""
        request = admin_pb2.GetActivityRequest(recent=recent)
        answer = self._connection.repeat(self._stub.GetActivity, lambda: request)
        return Activity(
            now_us=answer.now_us,
            slot_cores=answer.slot_cores,
            shared_cores=answer.shared_cores,
            queries=tuple(Query.of(message) for message in answer.queries),
            recent=tuple(AuditEntry.of(message) for message in answer.recent),
        )

    def audit_last(self, limit: int, event: str = "") -> tuple[AuditEntry, ...]:
        """The last entries of the audit log, of one kind or of all, in order."""
        request = admin_pb2.ListAuditRequest(limit=limit, newest=True, event=event)
        answer = self._connection.repeat(self._stub.ListAudit, lambda: request)
        return tuple(AuditEntry.of(message) for message in reversed(answer.entries))

    def audit(self) -> Iterator[tuple[AuditEntry, AuditHead]]:
        """The whole audit log in order, each entry with the log's head at that time of reading."""
        after = 0
        while True:
            request = admin_pb2.ListAuditRequest(after=after, limit=_PAGE)
            answer = self._connection.repeat(self._stub.ListAudit, partial(_same, request))
            for message in answer.entries:
                yield AuditEntry.of(message), AuditHead(answer.head.entries, answer.head.hash)
            if not answer.entries:
                return
            after = answer.entries[-1].seq

    def verify_audit(self, known: AuditHead | None = None) -> AuditReport:
        """Have the server compare every entry of its log; `known` is a head that was kept elsewhere."""
        request = admin_pb2.VerifyAuditRequest(
            known=None if known is None else admin_pb2.AuditHead(entries=known.entries, hash=known.hash)
        )
        answer = self._connection.repeat(self._stub.VerifyAudit, lambda: request)
        return AuditReport(AuditHead(answer.head.entries, answer.head.hash), answer.seq or None, answer.problem or None)

    def policy_history(self, camera: str) -> tuple[CameraPolicy, ...]:
        """Every version of a camera's policy, the oldest first."""
        request = admin_pb2.GetPolicyHistoryRequest(camera=camera)
        answer = self._connection.repeat(self._stub.GetPolicyHistory, lambda: request)
        return tuple(policy_value(message) for message in answer.versions)

    def records(self) -> Iterator[admin_pb2.LedgerRecord]:
        """Every query that was charged, with its charges in force, in the order they were admitted."""
        request = admin_pb2.ExportLedgerRequest(after_us=_FIRST)
        while True:
            answer = self._connection.repeat(self._stub.ExportLedger, partial(_same, request))
            yield from answer.records
            if not answer.records:
                return
            last = answer.records[-1]
            request = admin_pb2.ExportLedgerRequest(after_us=last.reserved_us, after_id=last.query_id)

    def take_records(self, records: Iterable[admin_pb2.LedgerRecord], source: str, *, preview: bool) -> tuple[int, int]:
        """Have the ledger take over what it does not have yet: how many records that is, and how many it knew.

        Each message is all or nothing; repeating it changes nothing more.
        """
        added = known = 0
        for batch in _batches(records):
            request = admin_pb2.ImportLedgerRequest(records=batch, preview=preview, source=source)
            answer = self._connection.repeat(self._stub.ImportLedger, partial(_same, request))
            added, known = added + answer.added, known + answer.known
        return added, known

    def executables(self) -> tuple[Executable, ...]:
        """The newest version of each analyst's executables."""
        answer = self._connection.repeat(self._stub.ListAllExecutables, admin_pb2.ListAllExecutablesRequest)
        return tuple(Executable.of(message) for message in answer.executables)


def _messages(policies: Mapping[str, CameraPolicy]) -> list[admin_pb2.CameraPolicy]:
    return [admin_pb2.CameraPolicy(camera=camera, policy=policy_message(policy)) for camera, policy in policies.items()]


def _same(request: T) -> T:
    return request


def _batches(records: Iterable[admin_pb2.LedgerRecord]) -> Iterator[list[admin_pb2.LedgerRecord]]:
    """Records in messages that a server accepts."""
    batch: list[admin_pb2.LedgerRecord] = []
    size = 0
    for record in records:
        if batch and size + record.ByteSize() > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += record.ByteSize()
    if batch:
        yield batch
