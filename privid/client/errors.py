"""What can go wrong in a call, as the caller needs to know it."""

from dataclasses import dataclass

import grpc

from privid.rpc.convert import ERROR_METADATA
from privid.rpc.v1 import types_pb2

_SYSTEM = frozenset(
    {
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.CANCELLED,
    }
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A stretch of time in which a camera's budget does not suffice."""

    camera: str
    from_us: int
    to_us: int
    left_nano: int
    asked_nano: int


class CallFailed(Exception):
    """A call that was refused or did not come through.

    `code` is from the server's public table, `line` and `column` (from 1) and `length` point into the query's text.
    `system` says that nothing the caller changes would help. For want of budget: `refusals` says where, and instead
    `admissible_epsilon_nano` would be admitted, or `admissible_window` ([begin, end) in microseconds) as asked.
    """

    def __init__(
        self,
        code: str,
        message: str,
        hint: str = "",
        *,
        line: int | None = None,
        column: int | None = None,
        length: int = 0,
        system: bool = False,
        refusals: tuple[Refusal, ...] = (),
        admissible_epsilon_nano: int | None = None,
        admissible_window: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.line = line
        self.column = column
        self.length = length
        self.system = system
        self.refusals = refusals
        self.admissible_epsilon_nano = admissible_epsilon_nano
        self.admissible_window = admissible_window


class BadAddress(ValueError):
    """A server's address that cannot be used; the message says what to write."""


def call_failed(error: grpc.RpcError, address: str) -> CallFailed:
    """The failure in a gRPC error, with the server's detail if it sent one."""
    assert isinstance(error, grpc.Call)
    status = error.code()
    system = status in _SYSTEM
    for key, value in error.trailing_metadata() or ():
        if key == ERROR_METADATA and isinstance(value, bytes):
            detail = types_pb2.Error.FromString(value)
            return CallFailed(
                detail.code,
                detail.message,
                detail.hint,
                line=detail.line or None,
                column=detail.column or None,
                length=detail.length,
                system=system,
                refusals=tuple(
                    Refusal(r.camera, r.from_us, r.to_us, r.left_nano, r.asked_nano) for r in detail.refusals
                ),
                admissible_epsilon_nano=(
                    detail.admissible_epsilon_nano if detail.HasField("admissible_epsilon_nano") else None
                ),
                admissible_window=(
                    (detail.admissible_window.from_us, detail.admissible_window.to_us)
                    if detail.HasField("admissible_window")
                    else None
                ),
            )
    match status:
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            reason = (error.details() or "").strip()
            hint = "is it running, and is the address right?"
            if "ssl" in reason.lower() or "certificate" in reason.lower() or "handshake" in reason.lower():
                hint = "check https:// or http://, and the certificate authority (--ca)"
            return CallFailed("unavailable", f"no server answers at {address}", hint, system=True)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return CallFailed("deadline", f"{address} did not answer in time", "try again", system=True)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return CallFailed("too_large", f"{address} refused a message for its size", "send less")
        case grpc.StatusCode.UNIMPLEMENTED:
            return CallFailed(
                "unimplemented", f"{address} does not offer this call", "is it the other port, or another version?"
            )
        case _:
            return CallFailed(
                "failed", f"the call to {address} failed: {error.details() or status.name}", "try again", system=system
            )
