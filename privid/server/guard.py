"""The one interceptor of each port: who is calling, for how long at most, and what a caller may read of a failure."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
import structlog

from privid.rpc.convert import ERROR_METADATA
from privid.server.auth import Identity
from privid.server.errors import Refused
from privid.server.translate import translate

_UPLOAD, _UPLOAD_SHARES = "/privid.rpc.v1.QueryService/UploadExecutable", 5
"""So much longer than another call it may take: an upload is large, and is tried in the sandbox."""
_HEALTH = "/grpc.health.v1.Health/Check"
_BEARER = "bearer "

_identity: ContextVar[Identity] = ContextVar("identity")

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
# Quoted: only the stubs of gRPC know these as generic.
_log = structlog.get_logger("privid.server")


def caller() -> Identity:
    """Who made the call that is being served. LookupError outside of one."""
    return _identity.get()


def _token(details: grpc.HandlerCallDetails) -> str:
    for key, value in details.invocation_metadata or ():
        if key == "authorization":
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            if text[: len(_BEARER)].lower() == _BEARER:
                return text[len(_BEARER) :].strip()
    return ""


class Guard(grpc.aio.ServerInterceptor):
    """Wraps every method of a port. A health check alone is open to everybody.

    `find` looks a token's holder up. `max_seconds` bounds every call that does not stream its answer.
    """

    def __init__(self, find: Callable[[str], Identity | None], max_seconds: float, hint: str) -> None:
        self._find = find
        self._max_seconds = max_seconds
        self._hint = hint

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """As gRPC defines it."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or method == _HEALTH:
            return handler
        token = _token(handler_call_details)
        most_seconds = self._max_seconds * (_UPLOAD_SHARES if method == _UPLOAD else 1)

        async def admit() -> None:
            identity = await asyncio.to_thread(self._find, token) if token else None
            if identity is None:
                problem = "the token is not valid here" if token else "this call needs a token"
                raise Refused("unauthenticated", problem, self._hint)
            _identity.set(identity)

        async def single(request: Any, context: Context) -> Any:
            try:
                async with asyncio.timeout(most_seconds):
                    await admit()
                    inner: Any = handler.unary_unary or handler.stream_unary
                    return await inner(request, context)
            except Exception as error:
                await _abort(method, error, context)

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                await admit()
                inner: Any = handler.unary_stream or handler.stream_stream
                async for message in inner(request, context):
                    yield message
            except Exception as error:
                await _abort(method, error, context)

        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        wrapped: Handler = make(
            stream if handler.response_streaming else single,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return wrapped


async def _abort(method: str, error: Exception, context: Context) -> NoReturn:
    answer = translate(error)
    if answer.incident:
        _log.error("internal error", method=method, incident=answer.incident, exc_info=error)
    else:
        _log.info("refused", method=method, code=answer.error.code)
    await context.abort(
        answer.status,
        answer.error.message,
        ((ERROR_METADATA, answer.error.SerializeToString()),),
    )
    raise AssertionError("abort always raises")
