"""Messages to the domain's values and back, shared by the server and its clients.

Reading a message checks it: ValueError, in words for people, if it does not describe a valid value.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import TypeVar

from privid.domain.policy import (
    BOUNDARIES,
    ISOLATIONS,
    TIMINGS,
    CameraPolicy,
    MaskPolicy,
    RegionScheme,
)
from privid.domain.release import Estimate, Release, Scalar, Table
from privid.rpc.v1 import admin_pb2, query_pb2, types_pb2

ERROR_METADATA = "privid-error-bin"
"""The trailing metadata that carries a serialized `Error` beside every status that is not OK."""

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_Name = TypeVar("_Name", bound=str)

STATES: Mapping[str, "types_pb2.QueryState.ValueType"] = {
    "reserved": types_pb2.QUERY_STATE_RESERVED,
    "running": types_pb2.QUERY_STATE_RUNNING,
    "released": types_pb2.QUERY_STATE_RELEASED,
    "cancelled": types_pb2.QUERY_STATE_CANCELLED,
    "failed": types_pb2.QUERY_STATE_FAILED,
}
COVERAGE: Mapping[str, "admin_pb2.Coverage.ValueType"] = {
    "covered": admin_pb2.COVERAGE_COVERED,
    "gap": admin_pb2.COVERAGE_GAP,
    "unknown": admin_pb2.COVERAGE_UNKNOWN,
}
"""What is known of an interval of a recording."""
_STATE_NAMES = {number: name for name, number in STATES.items()}


def state_name(state: "types_pb2.QueryState.ValueType") -> str:
    """The domain's name of a state; `unknown` for one that a newer server invented."""
    return _STATE_NAMES.get(state, "unknown")


# --- policies -----------------------------------------------------------------------------------------------


def policy_message(policy: CameraPolicy) -> types_pb2.Policy:
    """A policy as a message."""
    return types_pb2.Policy(
        epsilon_nano=policy.epsilon_nano,
        rho_us=policy.rho_us,
        k=policy.K,
        fps=types_pb2.Ratio(numerator=policy.fps.numerator, denominator=policy.fps.denominator),
        width=policy.width,
        height=policy.height,
        timezone=policy.timezone,
        timing=policy.timing,
        slot_cores=policy.slot_cores,
        isolation=policy.isolation,
        masks=[
            types_pb2.Mask(name=n, rho_us=m.rho_us, segments=m.segments, picture=m.picture)
            for n, m in policy.masks.items()
        ],
        regions=[
            types_pb2.RegionScheme(name=n, names=r.names, boundary=r.boundary, picture=r.picture)
            for n, r in policy.regions.items()
        ],
        version=policy.version,
    )


def _one_of(value: str, allowed: tuple[_Name, ...], what: str) -> _Name:
    for name in allowed:
        if name == value:
            return name
    raise ValueError(f"{what} must be one of {', '.join(allowed)}, not {value!r}")


def policy_value(message: types_pb2.Policy) -> CameraPolicy:
    """The policy in a message. Raises ValueError where it breaks a rule of `CameraPolicy`."""
    if message.fps.denominator <= 0:
        raise ValueError("fps must be a fraction with a denominator of more than 0")
    for kind, names in (
        ("mask", [m.name for m in message.masks]),
        ("region scheme", [r.name for r in message.regions]),
    ):
        if "" in names or len(set(names)) != len(names):
            raise ValueError(f"every {kind} needs a name of its own")
    return CameraPolicy(
        epsilon_nano=message.epsilon_nano,
        rho_us=message.rho_us,
        K=message.k,
        fps=Fraction(message.fps.numerator, message.fps.denominator),
        width=message.width,
        height=message.height,
        timezone=message.timezone,
        timing=_one_of(message.timing, TIMINGS, "timing"),
        slot_cores=message.slot_cores,
        isolation=_one_of(message.isolation, ISOLATIONS, "isolation"),
        masks={m.name: MaskPolicy(m.rho_us, m.segments, m.picture) for m in message.masks},
        regions={
            r.name: RegionScheme(tuple(r.names), _one_of(r.boundary, BOUNDARIES, "boundary"), r.picture)
            for r in message.regions
        },
        version=message.version,
    )


# --- releases -----------------------------------------------------------------------------------------------


def scalar_message(value: Scalar) -> types_pb2.Scalar:
    """A public value as a message. Integers beyond 64 bits are sent as numbers."""
    if value is None:
        return types_pb2.Scalar(null=types_pb2.Null())
    if isinstance(value, bool):
        return types_pb2.Scalar(flag=value)
    if isinstance(value, int):
        if _SMALLEST <= value <= _LARGEST:
            return types_pb2.Scalar(integer=value)
        return types_pb2.Scalar(number=float(value))
    if isinstance(value, float):
        return types_pb2.Scalar(number=value)
    return types_pb2.Scalar(text=value)


def scalar_value(message: types_pb2.Scalar) -> Scalar:
    """The value in a message."""
    match message.WhichOneof("kind"):
        case "number":
            return message.number
        case "integer":
            return message.integer
        case "text":
            return message.text
        case "flag":
            return message.flag
        case _:
            return None


def _cell_message(cell: Scalar | Estimate) -> types_pb2.Cell:
    if isinstance(cell, Estimate):
        return types_pb2.Cell(
            estimate=types_pb2.Estimate(
                value=scalar_message(cell.value),
                noise_scale=cell.noise_scale,
                interval95=cell.interval95,
                epsilon=cell.epsilon,
            )
        )
    return types_pb2.Cell(public=scalar_message(cell))


def _cell_value(message: types_pb2.Cell) -> Scalar | Estimate:
    if message.WhichOneof("kind") != "estimate":
        return scalar_value(message.public)
    estimate = message.estimate
    return Estimate(
        value=scalar_value(estimate.value),
        noise_scale=estimate.noise_scale if estimate.HasField("noise_scale") else None,
        interval95=estimate.interval95 if estimate.HasField("interval95") else None,
        epsilon=estimate.epsilon,
    )


def release_message(release: Release) -> query_pb2.GetResultResponse:
    """A release as a message."""
    return query_pb2.GetResultResponse(
        query_id=release.query,
        released_us=release.released_us,
        values_only=release.values_only,
        tables=[
            types_pb2.Table(
                select=table.select,
                columns=table.columns,
                rows=[types_pb2.Row(cells=[_cell_message(cell) for cell in row]) for row in table.rows],
                epsilon=table.epsilon,
            )
            for table in release.tables
        ],
    )


def release_value(message: query_pb2.GetResultResponse) -> Release:
    """The release in a message."""
    return Release(
        query=message.query_id,
        released_us=message.released_us,
        tables=tuple(
            Table(
                select=table.select,
                columns=tuple(table.columns),
                rows=tuple(tuple(_cell_value(cell) for cell in row.cells) for row in table.rows),
                epsilon=table.epsilon,
            )
            for table in message.tables
        ),
        values_only=message.values_only,
    )
