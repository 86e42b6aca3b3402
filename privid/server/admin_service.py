"""What owners call."""

import asyncio
from collections.abc import Iterable

from privid.domain.policy import CameraPolicy
from privid.rpc.convert import policy_message, policy_value
from privid.rpc.v1 import admin_pb2, admin_pb2_grpc, types_pb2
from privid.server.cameras import Cameras
from privid.server.convert import analyst_message, camera_message, executable_message, limit_of, query_message
from privid.server.errors import Refused
from privid.server.executables import ExecutableStore
from privid.server.guard import Context, caller
from privid.server.people import People
from privid.server.policies import PolicyChange, PolicyDesk
from privid.server.ports import QueryEngine
from privid.server.queries import Queries
from privid.server.settings import Settings


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
        settings: Settings,
    ) -> None:
        self._engine = engine
        self._cameras = cameras
        self._policies = policies
        self._people = people
        self._executables = executables
        self._queries = queries
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

    async def GetPolicies(
        self, request: admin_pb2.GetPoliciesRequest, context: Context
    ) -> admin_pb2.GetPoliciesResponse:
        """What holds now."""
        policies = await asyncio.to_thread(self._policies.named, request.cameras)
        return admin_pb2.GetPoliciesResponse(
            policies=_policy_messages(policies), default_epsilon_nano=self._settings.default_epsilon_nano
        )

    async def PreviewPolicies(
        self, request: admin_pb2.PreviewPoliciesRequest, context: Context
    ) -> admin_pb2.PreviewPoliciesResponse:
        """Changes nothing."""
        preview = await asyncio.to_thread(self._policies.preview, _proposals(request.policies))
        return admin_pb2.PreviewPoliciesResponse(
            changes=[_change_message(change) for change in preview.changes], confirmation=preview.confirmation
        )

    async def ApplyPolicies(
        self, request: admin_pb2.ApplyPoliciesRequest, context: Context
    ) -> admin_pb2.ApplyPoliciesResponse:
        """All or nothing."""
        applied = await asyncio.to_thread(
            self._policies.apply, _actor(), _proposals(request.policies), request.confirmation
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
            analyst = self._people.named(request.analyst).id if request.analyst else None
            return [
                query_message(self._engine.status(row.query_id), text=row.text, analyst=row.analyst)
                for row in self._queries.newest(limit, analyst_id=analyst)
            ]

        return admin_pb2.ListAllQueriesResponse(queries=await asyncio.to_thread(read))

    async def ListAllExecutables(
        self, request: admin_pb2.ListAllExecutablesRequest, context: Context
    ) -> admin_pb2.ListAllExecutablesResponse:
        """The newest version of each."""
        rows = await asyncio.to_thread(self._executables.newest)
        return admin_pb2.ListAllExecutablesResponse(
            executables=[executable_message(row, for_owner=True) for row in rows]
        )


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
