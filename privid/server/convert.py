"""The services' values as messages."""

from privid.rpc.convert import STATES, policy_message
from privid.rpc.v1 import admin_pb2, types_pb2
from privid.server.cameras import CameraView
from privid.server.errors import Refused
from privid.server.executables import StoredExecutable
from privid.server.people import Analyst
from privid.server.ports import QueryStatus

_DEFAULT_LIMIT = 100
_MOST = 1000


def limit_of(asked: int) -> int:
    """How many rows a list shows; 0 asks for the default. Raises Refused."""
    if not 0 <= asked <= _MOST:
        raise Refused("invalid_request", f"a list shows 1 to {_MOST} rows", "ask for fewer")
    return asked or _DEFAULT_LIMIT


def query_message(status: QueryStatus, *, text: str, analyst: str = "") -> types_pb2.Query:
    """What may be told of a query."""
    return types_pb2.Query(
        query_id=status.query_id,
        state=STATES[status.state],
        submitted_us=status.submitted_us,
        starts_us=status.starts_us,
        visible_us=status.visible_us,
        charges=[
            types_pb2.CameraCharge(camera=camera, epsilon_nano=nano)
            for camera, nano in sorted(status.epsilon_nano.items())
        ],
        text=text,
        analyst=analyst,
    )


def camera_message(view: CameraView, *, for_owner: bool = False) -> types_pb2.Camera:
    """A camera; its address only for owners."""
    message = types_pb2.Camera(
        name=view.name,
        timezone=view.timezone,
        gaps=view.gaps,
        covered_us=view.covered_us,
        left_now_nano=view.left_now_nano,
        left_min_nano=view.left_min_nano,
        width=view.width,
        height=view.height,
        url=(view.url or "") if for_owner else "",
    )
    if view.policy is not None:
        message.policy.CopyFrom(policy_message(view.policy))
    if view.recorded is not None:
        message.recorded.CopyFrom(types_pb2.Interval(from_us=view.recorded[0], to_us=view.recorded[1]))
    return message


def executable_message(row: StoredExecutable, *, for_owner: bool = False) -> types_pb2.Executable:
    """An executable; whose it is only for owners."""
    return types_pb2.Executable(
        name=row.name,
        version=row.version,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        created_us=row.created_us,
        analyst=row.analyst if for_owner else "",
    )


def analyst_message(analyst: Analyst) -> admin_pb2.Analyst:
    """An analyst, without anything of their token."""
    return admin_pb2.Analyst(
        name=analyst.name,
        cameras=analyst.cameras,
        epsilon_limit_nano=analyst.epsilon_limit_nano,
        created_us=analyst.created_us,
        revoked_us=analyst.revoked_us,
    )
