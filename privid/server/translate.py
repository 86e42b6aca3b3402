"""From exceptions to what a caller may read: the one table of public errors (privacy-model.md, section 7, Errors).

A code means the same for ever. Whatever is not in the table becomes `internal`: one fixed sentence and the name of
an incident, under which the server's log has the rest.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from sqlalchemy.exc import OperationalError

from privid import ledger
from privid.engine.errors import EngineError
from privid.rpc.v1 import types_pb2
from privid.server.convert import refusal_message
from privid.server.errors import Refused
from query_lang.errors import QueryError

_MAX_TEXT = 1_000
# Metadata of more than 8 KiB is dropped by common gRPC implementations, and base64 adds a third.
_MAX_ERROR_BYTES = 4_096

_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_STATE = grpc.StatusCode.FAILED_PRECONDITION


@dataclass(frozen=True, slots=True)
class PublicError:
    """A row of the table: the status of a code, and what it means, for the documentation."""

    status: grpc.StatusCode
    meaning: str


PUBLIC_ERRORS: Mapping[str, PublicError] = {
    "query": PublicError(_INVALID, "The query's text, or its bounds, are not acceptable; see line and column."),
    "budget_exceeded": PublicError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "A camera has too little budget left somewhere in the query's window."
    ),
    "limit_exceeded": PublicError(
        grpc.StatusCode.PERMISSION_DENIED, "The analyst's own limit leaves too little somewhere in the query's window."
    ),
    "no_video": PublicError(_STATE, "Nothing is recorded in a window that the query reads."),
    "cannot_enforce": PublicError(_STATE, "A policy asks for what this server cannot enforce, so nothing runs."),
    "unknown_query": PublicError(grpc.StatusCode.NOT_FOUND, "No such query of yours."),
    "not_cancellable": PublicError(_STATE, "The query has an answer already, or was cancelled before."),
    "not_visible": PublicError(_STATE, "The answer's public time has not come."),
    "several_answers": PublicError(_STATE, "Each window of a query with EVERY has an answer of its own."),
    "cancelled": PublicError(_STATE, "The query was cancelled; there will be no answer."),
    "query_failed": PublicError(grpc.StatusCode.INTERNAL, "The system failed while answering; the charge stays."),
    "engine": PublicError(_STATE, "The request cannot be carried out."),
    "unauthenticated": PublicError(grpc.StatusCode.UNAUTHENTICATED, "No token, or one that is not valid here."),
    "invalid_request": PublicError(_INVALID, "A field of the request is missing or malformed."),
    "too_large": PublicError(_INVALID, "A text or a file is over the server's size limit."),
    "upload_incomplete": PublicError(_INVALID, "The upload ended early or does not match its checksum."),
    "bad_executable": PublicError(_INVALID, "The file is not an executable that can be run."),
    "too_many_watches": PublicError(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many open Watch streams."),
    "no_sample": PublicError(grpc.StatusCode.NOT_FOUND, "The camera's owner shows no sample of it."),
    "unknown_camera": PublicError(grpc.StatusCode.NOT_FOUND, "No such camera."),
    "unknown_analyst": PublicError(grpc.StatusCode.NOT_FOUND, "No such analyst."),
    "already_exists": PublicError(grpc.StatusCode.ALREADY_EXISTS, "The name is taken."),
    "invalid_policy": PublicError(_INVALID, "The policy breaks a rule."),
    "no_policy": PublicError(_STATE, "The camera has no policy, so nothing can be asked of it."),
    "unknown_mask": PublicError(_INVALID, "The camera's policy has no such mask."),
    "policy_changed": PublicError(grpc.StatusCode.ABORTED, "A policy changed while the query was planned."),
    "record_differs": PublicError(_STATE, "The ledger knows a query that is to be imported with other charges."),
    "request_id_reused": PublicError(
        grpc.StatusCode.ALREADY_EXISTS, "The request id belongs to another query of the same analyst."
    ),
    "stale_preview": PublicError(
        grpc.StatusCode.ABORTED, "A policy changed after the preview; look at a new one before applying."
    ),
    "deadline": PublicError(grpc.StatusCode.DEADLINE_EXCEEDED, "The call took longer than the server allows."),
    "busy": PublicError(grpc.StatusCode.UNAVAILABLE, "The server is busy or stopping; ask again."),
    "internal": PublicError(grpc.StatusCode.INTERNAL, "A failure of the system; the log has the incident."),
}
"""Errors in a query's text have codes of the language's own, all with the status and the meaning of `query`."""


_LEDGER_CODES: Mapping[type[ledger.LedgerError], str] = {
    ledger.LossTooLarge: "invalid_request",
    ledger.NoPolicy: "no_policy",
    ledger.NotCancellable: "not_cancellable",
    ledger.PictureChanged: "invalid_policy",
    ledger.PolicyChanged: "policy_changed",
    ledger.PolicyOverspent: "stale_preview",
    ledger.RecordDiffers: "record_differs",
    ledger.RequestIdReused: "request_id_reused",
    ledger.SchemeChanged: "invalid_policy",
    ledger.StalePreview: "stale_preview",
    ledger.UnknownAnalyst: "unknown_analyst",
    ledger.UnknownCamera: "unknown_camera",
    ledger.UnknownMask: "unknown_mask",
    ledger.UnknownQuery: "unknown_query",
}


@dataclass(frozen=True, slots=True)
class Translated:
    """A status with its detail. `incident` is not empty if the exception must be logged."""

    status: grpc.StatusCode
    error: types_pb2.Error

    @property
    def incident(self) -> str:
        """Of an internal error, else empty."""
        return self.error.incident


def _translated(code: str, message: str, hint: str | None, status: grpc.StatusCode | None = None) -> Translated:
    error = types_pb2.Error(code=code, message=message[:_MAX_TEXT], hint=(hint or "")[:_MAX_TEXT])
    return Translated(status or PUBLIC_ERRORS[code].status, error)


def _internal() -> Translated:
    incident = secrets.token_hex(6)
    answer = _translated(
        "internal",
        f"the server failed (incident {incident})",
        "try again; if it stays, tell the owner the incident",
    )
    answer.error.incident = incident
    return answer


def _budget(refused: ledger.BudgetExceeded) -> Translated:
    code = "limit_exceeded" if isinstance(refused, ledger.LimitExceeded) else "budget_exceeded"
    answer = _translated(code, refused.message, refused.hint)
    if refused.admissible_epsilon_nano is not None:
        answer.error.admissible_epsilon_nano = refused.admissible_epsilon_nano
    if refused.admissible_window is not None:
        begin_us, end_us = refused.admissible_window
        answer.error.admissible_window.CopyFrom(types_pb2.Interval(from_us=begin_us, to_us=end_us))
    for refusal in refused.refusals:
        answer.error.refusals.append(refusal_message(refusal))
        if answer.error.ByteSize() > _MAX_ERROR_BYTES:
            del answer.error.refusals[-1]
            break
    return answer


def translate(error: Exception) -> Translated:
    """What the caller is told about `error`."""
    match error:
        case Refused():
            return _translated(error.code, error.message, error.hint)
        case QueryError():
            answer = _translated(error.code, error.message, error.hint, PUBLIC_ERRORS["query"].status)
            if error.span is not None:
                answer.error.line, answer.error.column = error.line or 0, error.column or 0
                answer.error.length = error.span[1] - error.span[0]
            return answer
        case ledger.BudgetExceeded():
            return _budget(error)
        case ledger.LedgerError() if type(error) in _LEDGER_CODES:
            return _translated(_LEDGER_CODES[type(error)], error.message, error.hint)
        case EngineError() if error.code in PUBLIC_ERRORS:
            return _translated(error.code, error.message, error.hint)
        case TimeoutError():
            return _translated("deadline", "the call took longer than the server allows", "try again")
        case OperationalError() if "locked" in str(error.orig):
            return _translated("busy", "the database is busy", "try again")
        case _:
            return _internal()
