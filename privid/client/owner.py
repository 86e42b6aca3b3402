"""The owners' client."""

from collections.abc import Iterable, Mapping

from privid.client.connection import OWNER_PORT, Connection, Target
from privid.client.values import Analyst, Budget, Camera, Executable, PolicyChange, Preview, Query
from privid.domain.policy import CameraPolicy
from privid.rpc.convert import policy_message, policy_value
from privid.rpc.v1 import admin_pb2, admin_pb2_grpc


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

    def policies(self, cameras: Iterable[str] = ()) -> tuple[dict[str, CameraPolicy], int]:
        """The policies of these cameras, or of all that have one, and the server's default epsilon in nano."""
        request = admin_pb2.GetPoliciesRequest(cameras=list(cameras))
        answer = self._connection.repeat(self._stub.GetPolicies, lambda: request)
        return {message.camera: policy_value(message.policy) for message in answer.policies}, (
            answer.default_epsilon_nano
        )

    def preview(self, policies: Mapping[str, CameraPolicy]) -> Preview:
        """What applying these policies would do."""
        request = admin_pb2.PreviewPoliciesRequest(policies=_messages(policies))
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

    def apply(self, policies: Mapping[str, CameraPolicy], confirmation: str) -> dict[str, CameraPolicy]:
        """Make previewed policies hold."""
        request = admin_pb2.ApplyPoliciesRequest(policies=_messages(policies), confirmation=confirmation)
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

    def queries(self, limit: int = 0, analyst: str = "") -> tuple[Query, ...]:
        """The newest queries first, of one analyst or of all."""
        request = admin_pb2.ListAllQueriesRequest(limit=limit, analyst=analyst)
        answer = self._connection.repeat(self._stub.ListAllQueries, lambda: request)
        return tuple(Query.of(message) for message in answer.queries)

    def executables(self) -> tuple[Executable, ...]:
        """The newest version of each analyst's executables."""
        answer = self._connection.repeat(self._stub.ListAllExecutables, admin_pb2.ListAllExecutablesRequest)
        return tuple(Executable.of(message) for message in answer.executables)


def _messages(policies: Mapping[str, CameraPolicy]) -> list[admin_pb2.CameraPolicy]:
    return [admin_pb2.CameraPolicy(camera=camera, policy=policy_message(policy)) for camera, policy in policies.items()]
