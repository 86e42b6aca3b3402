"""What owners call."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from privid.domain.policy import CameraPolicy
from privid.engine.lanes import Lanes
from privid.ledger.archive import Archive, Taken
from privid.ledger.audit import Head
from privid.rpc.convert import policy_message, policy_value
from privid.rpc.v1 import admin_pb2, admin_pb2_grpc, types_pb2
from privid.server.audits import AuditDesk
from privid.server.cameras import Cameras
from privid.server.clock import Clock
from privid.server.convert import (
    analyst_message,
    camera_message,
    entry_message,
    executable_message,
    forecast_message,
    head_message,
    limit_of,
    query_message,
    record_message,
    record_value,
    sample_message,
    timeline_message,
)
from privid.server.errors import Refused
from privid.server.executables import ExecutableStore
from privid.server.forecast import Forecaster
from privid.server.guard import Context, caller
from privid.server.people import People
from privid.server.policies import PolicyChange, PolicyDesk
from privid.server.ports import QueryEngine
from privid.server.queries import Queries, QueryRow
from privid.server.samples import Samples
from privid.server.settings import Settings

_ACTIVITY = ("query.reserved", "query.shared", "query.refused", "query.cancelled", "series")
"""Nothing that tells when an answer was ready."""
_MOST_UNFINISHED = 100
_MOST_SOURCE = 200


@dataclass(frozen=True, slots=True)
class Office:
    """What only owners ask for. `lanes` are the cores that this server has."""

    forecaster: Forecaster
    audits: AuditDesk
    archive: Archive
    samples: Samples
    lanes: Lanes
    clock: Clock


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """The owners' port."""

    def __init__(
        self,
        engine: QueryEngine,
        cameras: Cameras,
        policies: PolicyDesk,
        people: People,
        executables: ExecutableStore,
        queries: Queries,
        office: Office,
        settings: Settings,
    ) -> None:
        self._engine = engine
        self._cameras = cameras
        self._policies = policies
        self._people = people
        self._executables = executables
        self._queries = queries
        self._office = office
        self._settings = settings

    async def AddCamera(self, request: admin_pb2.AddCameraRequest, context: Context) -> admin_pb2.AddCameraResponse:
        """Without a policy: nothing can be asked of it yet."""
        view = await asyncio.to_thread(self._cameras.add, _actor(), request.name, request.timezone, request.url)
        return admin_pb2.AddCameraResponse(camera=camera_message(view, for_owner=True))

    async def ListAllCameras(
        self, request: admin_pb2.ListAllCamerasRequest, context: Context
    ) -> admin_pb2.ListAllCamerasResponse:
        """By name."""
        views = await asyncio.to_thread(self._cameras.views)
        return admin_pb2.ListAllCamerasResponse(cameras=[camera_message(view, for_owner=True) for view in views])

    async def GetTimeline(
        self, request: admin_pb2.GetTimelineRequest, context: Context
    ) -> admin_pb2.GetTimelineResponse:
        """Spans that fill the window, and the gaps that meet it."""
        view = await asyncio.to_thread(
            self._cameras.timeline,
            request.camera,
            request.from_us if request.HasField("from_us") else None,
            request.to_us if request.HasField("to_us") else None,
        )
        return timeline_message(view)

    async def PublishSample(
        self, request: admin_pb2.PublishSampleRequest, context: Context
    ) -> admin_pb2.PublishSampleResponse:
        """From now on analysts see what is in it."""
        sample = await asyncio.to_thread(self._office.samples.publish, _actor(), request.camera, request.content)
        return admin_pb2.PublishSampleResponse(sample=sample_message(sample))

    async def WithdrawSample(
        self, request: admin_pb2.WithdrawSampleRequest, context: Context
    ) -> admin_pb2.WithdrawSampleResponse:
        """For those who do not have it yet."""
        await asyncio.to_thread(self._office.samples.withdraw, _actor(), request.camera)
        return admin_pb2.WithdrawSampleResponse()

    async def GetPolicies(
        self, request: admin_pb2.GetPoliciesRequest, context: Context
    ) -> admin_pb2.GetPoliciesResponse:
        """What holds now."""
        policies = await asyncio.to_thread(self._policies.named, request.cameras)
        return admin_pb2.GetPoliciesResponse(
            policies=_policy_messages(policies), default_epsilon_nano=self._settings.default_epsilon_nano
        )

    async def GetPicture(self, request: admin_pb2.GetPictureRequest, context: Context) -> admin_pb2.GetPictureResponse:
        """By its SHA-256."""
        content = await asyncio.to_thread(self._policies.picture, request.sha256)
        return admin_pb2.GetPictureResponse(content=content)

    async def PreviewPolicies(
        self, request: admin_pb2.PreviewPoliciesRequest, context: Context
    ) -> admin_pb2.PreviewPoliciesResponse:
        """Changes nothing."""
        preview = await asyncio.to_thread(self._policies.preview, _proposals(request.policies), request.pictures)
        return admin_pb2.PreviewPoliciesResponse(
            changes=[_change_message(change) for change in preview.changes], confirmation=preview.confirmation
        )

    async def ApplyPolicies(
        self, request: admin_pb2.ApplyPoliciesRequest, context: Context
    ) -> admin_pb2.ApplyPoliciesResponse:
        """All or nothing."""
        applied = await asyncio.to_thread(
            self._policies.apply, _actor(), _proposals(request.policies), request.confirmation, request.pictures
        )
        return admin_pb2.ApplyPoliciesResponse(policies=_policy_messages(applied))

    async def AddAnalyst(self, request: admin_pb2.AddAnalystRequest, context: Context) -> admin_pb2.AddAnalystResponse:
        """The only time that the token is told."""
        limit = request.epsilon_limit_nano if request.HasField("epsilon_limit_nano") else None
        analyst, token = await asyncio.to_thread(self._people.add, _actor(), request.name, request.cameras, limit)
        return admin_pb2.AddAnalystResponse(analyst=analyst_message(analyst), token=token)

    async def ListAnalysts(
        self, request: admin_pb2.ListAnalystsRequest, context: Context
    ) -> admin_pb2.ListAnalystsResponse:
        """Revoked ones too."""
        people = await asyncio.to_thread(self._people.all)
        return admin_pb2.ListAnalystsResponse(analysts=[analyst_message(analyst) for analyst in people])

    async def RevokeAnalyst(
        self, request: admin_pb2.RevokeAnalystRequest, context: Context
    ) -> admin_pb2.RevokeAnalystResponse:
        """For good."""
        analyst = await asyncio.to_thread(self._people.revoke, _actor(), request.name)
        return admin_pb2.RevokeAnalystResponse(analyst=analyst_message(analyst))

    async def GrantCameras(
        self, request: admin_pb2.GrantCamerasRequest, context: Context
    ) -> admin_pb2.GrantCamerasResponse:
        """Queries that were admitted before go on."""
        analyst = await asyncio.to_thread(self._people.grant, _actor(), request.analyst, request.add, request.remove)
        return admin_pb2.GrantCamerasResponse(analyst=analyst_message(analyst))

    async def GetAnalyst(self, request: admin_pb2.GetAnalystRequest, context: Context) -> admin_pb2.GetAnalystResponse:
        """With what they have taken from each camera."""

        def read() -> admin_pb2.GetAnalystResponse:
            return admin_pb2.GetAnalystResponse(
                analyst=analyst_message(self._people.named(request.name)),
                spending=[
                    admin_pb2.AnalystSpending(
                        camera=taken.camera, queries=taken.queries, spent_max_nano=taken.spent_max_nano
                    )
                    for taken in self._people.spending(request.name)
                ],
            )

        return await asyncio.to_thread(read)

    async def LimitAnalyst(
        self, request: admin_pb2.LimitAnalystRequest, context: Context
    ) -> admin_pb2.LimitAnalystResponse:
        """For queries from now on."""
        limit = request.epsilon_limit_nano if request.HasField("epsilon_limit_nano") else None
        analyst = await asyncio.to_thread(self._people.limit, _actor(), request.name, limit)
        return admin_pb2.LimitAnalystResponse(analyst=analyst_message(analyst))

    async def RotateToken(
        self, request: admin_pb2.RotateTokenRequest, context: Context
    ) -> admin_pb2.RotateTokenResponse:
        """The only time that the token is told."""
        analyst, token = await asyncio.to_thread(self._people.rotate, _actor(), request.name)
        return admin_pb2.RotateTokenResponse(analyst=analyst_message(analyst), token=token)

    async def GetForecast(
        self, request: admin_pb2.GetForecastRequest, context: Context
    ) -> admin_pb2.GetForecastResponse:
        """Public arithmetic over the ledger."""
        epsilon = (
            request.default_epsilon_nano
            if request.HasField("default_epsilon_nano")
            else self._settings.default_epsilon_nano
        )
        view = await asyncio.to_thread(
            self._office.forecaster.forecast, request.camera, request.days, request.text, epsilon
        )
        return forecast_message(view)

    async def GetBudget(self, request: admin_pb2.GetBudgetRequest, context: Context) -> admin_pb2.GetBudgetResponse:
        """A step function."""
        view = await asyncio.to_thread(
            self._cameras.budget,
            request.camera,
            request.from_us if request.HasField("from_us") else None,
            request.to_us if request.HasField("to_us") else None,
        )
        return admin_pb2.GetBudgetResponse(
            camera=view.camera,
            epsilon_nano=view.policy.epsilon_nano,
            rho_us=view.policy.rho_us,
            from_us=view.from_us,
            to_us=view.to_us,
            steps=[
                admin_pb2.SpentStep(from_us=step.from_us, to_us=step.to_us, spent_nano=step.value)
                for step in view.spent.restrict(view.from_us, view.to_us)
            ],
        )

    async def ListAllQueries(
        self, request: admin_pb2.ListAllQueriesRequest, context: Context
    ) -> admin_pb2.ListAllQueriesResponse:
        """Newest first."""
        limit = limit_of(request.limit)

        def read() -> list[types_pb2.Query]:
            rows = self._queries.newest(
                None if request.state else limit,
                analyst_id=self._people.named(request.analyst).id if request.analyst else None,
                camera=request.camera,
                since_us=request.since_us if request.HasField("since_us") else None,
            )
            shown = map(self._query, rows)
            # States follow public times: they are not in the table.
            return list(islice((query for query in shown if request.state in (0, query.state)), limit))

        return admin_pb2.ListAllQueriesResponse(queries=await asyncio.to_thread(read))

    async def GetAnyQuery(
        self, request: admin_pb2.GetAnyQueryRequest, context: Context
    ) -> admin_pb2.GetAnyQueryResponse:
        """With its explain document."""

        def read() -> admin_pb2.GetAnyQueryResponse:
            row = self._queries.any(request.query_id)
            return admin_pb2.GetAnyQueryResponse(query=self._query(row), document=self._queries.document(row.query_id))

        return await asyncio.to_thread(read)

    async def CancelAnyQuery(
        self, request: admin_pb2.CancelAnyQueryRequest, context: Context
    ) -> admin_pb2.CancelAnyQueryResponse:
        """Gives back what has not started."""

        def cancel() -> admin_pb2.CancelAnyQueryResponse:
            row = self._queries.any(request.query_id)
            self._engine.cancel(row.query_id, _actor())
            return admin_pb2.CancelAnyQueryResponse(
                query=self._query(row), refunded=self._queries.refunded(row.query_id)
            )

        return await asyncio.to_thread(cancel)

    async def ListAllExecutables(
        self, request: admin_pb2.ListAllExecutablesRequest, context: Context
    ) -> admin_pb2.ListAllExecutablesResponse:
        """The newest version of each."""
        rows = await asyncio.to_thread(self._executables.newest)
        return admin_pb2.ListAllExecutablesResponse(
            executables=[executable_message(row, for_owner=True) for row in rows]
        )

    async def GetPolicyHistory(
        self, request: admin_pb2.GetPolicyHistoryRequest, context: Context
    ) -> admin_pb2.GetPolicyHistoryResponse:
        """As the ledger keeps them."""
        versions = await asyncio.to_thread(self._policies.history, request.camera)
        return admin_pb2.GetPolicyHistoryResponse(versions=map(policy_message, versions))

    async def GetActivity(
        self, request: admin_pb2.GetActivityRequest, context: Context
    ) -> admin_pb2.GetActivityResponse:
        """Public times only, as analysts see them."""
        limit = limit_of(request.recent)

        def read() -> admin_pb2.GetActivityResponse:
            recent, _ = self._office.audits.entries(0, limit, newest=True, events=_ACTIVITY)
            return admin_pb2.GetActivityResponse(
                now_us=self._office.clock(),
                slot_cores=len(self._office.lanes.slotted),
                shared_cores=len(self._office.lanes.shared),
                queries=map(self._query, self._queries.unfinished(_MOST_UNFINISHED)),
                recent=map(entry_message, recent),
            )

        return await asyncio.to_thread(read)

    async def ListAudit(self, request: admin_pb2.ListAuditRequest, context: Context) -> admin_pb2.ListAuditResponse:
        """As written."""
        entries, head = await asyncio.to_thread(
            self._office.audits.entries,
            request.after,
            limit_of(request.limit),
            newest=request.newest,
            events=[request.event] if request.event else [],
        )
        return admin_pb2.ListAuditResponse(entries=map(entry_message, entries), head=head_message(head))

    async def VerifyAudit(
        self, request: admin_pb2.VerifyAuditRequest, context: Context
    ) -> admin_pb2.VerifyAuditResponse:
        """The first entry that is not as it was written."""
        known = Head(request.known.entries, request.known.hash) if request.HasField("known") else None
        report = await asyncio.to_thread(self._office.audits.verify, known)
        return admin_pb2.VerifyAuditResponse(
            head=head_message(report.head), problem=report.problem or "", seq=report.seq or 0
        )

    async def ExportLedger(
        self, request: admin_pb2.ExportLedgerRequest, context: Context
    ) -> admin_pb2.ExportLedgerResponse:
        """A page."""
        records = await asyncio.to_thread(self._office.archive.page, (request.after_us, request.after_id))
        return admin_pb2.ExportLedgerResponse(records=map(record_message, records))

    async def ImportLedger(
        self, request: admin_pb2.ImportLedgerRequest, context: Context
    ) -> admin_pb2.ImportLedgerResponse:
        """All of these records or none."""
        records = [record_value(message) for message in request.records]
        actor = _actor()

        def take() -> Taken:
            archive = self._office.archive
            if request.preview:
                return archive.preview(records)
            return archive.take(records, actor=actor, source=request.source[:_MOST_SOURCE])

        taken = await asyncio.to_thread(take)
        return admin_pb2.ImportLedgerResponse(added=len(taken.added), known=taken.known)

    def _query(self, row: QueryRow) -> types_pb2.Query:
        return query_message(self._engine.status(row.query_id), text=row.text, analyst=row.analyst)


def _actor() -> str:
    return f"owner:{caller().name}"


def _policy_messages(policies: dict[str, CameraPolicy]) -> list[admin_pb2.CameraPolicy]:
    return [admin_pb2.CameraPolicy(camera=camera, policy=policy_message(policy)) for camera, policy in policies.items()]


def _proposals(messages: Iterable[admin_pb2.CameraPolicy]) -> dict[str, CameraPolicy]:
    found: dict[str, CameraPolicy] = {}
    for message in messages:
        if message.camera in found:
            raise Refused("invalid_policy", f"camera {message.camera} has two policies", "send one")
        try:
            found[message.camera] = policy_value(message.policy)
        except ValueError as error:
            raise Refused("invalid_policy", f"camera {message.camera}: {error}") from None
    return found


def _change_message(change: PolicyChange) -> admin_pb2.PolicyChange:
    return admin_pb2.PolicyChange(
        camera=change.camera,
        before=None if change.before is None else policy_message(change.before),
        after=policy_message(change.after),
        changed=change.changed,
        spent_max_nano=change.spent_max_nano,
        warnings=change.warnings,
    )
