"""The two ports: gRPC servers with their services, health and reflection."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from privid.rpc.v1 import admin_pb2, admin_pb2_grpc, query_pb2, query_pb2_grpc
from privid.server.auth import Authenticator, Identity
from privid.server.guard import Guard
from privid.server.settings import Settings, split_address

_MAX_MESSAGE_BYTES = 1 << 20
_MAX_OWNERS_MESSAGE_BYTES = 32 << 20
"""Pictures of masks and regions travel with the policies that name them."""
_MAX_CALLS = 256
_QUERY = query_pb2.DESCRIPTOR.services_by_name["QueryService"].full_name
_ADMIN = admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name


class CannotListen(Exception):
    """An address that cannot be had; the message says which."""


class Endpoint:
    """One port. `address` is where it really listens, once it does."""

    def __init__(
        self,
        find: Callable[[str], Identity | None],
        hint: str,
        service: str,
        address: str,
        settings: Settings,
        max_message_bytes: int = _MAX_MESSAGE_BYTES,
    ) -> None:
        self._service = service
        self._health = health.aio.HealthServicer()
        self.server = grpc.aio.server(
            interceptors=(Guard(find, settings.max_call_seconds, hint),),
            options=(
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.so_reuseport", 0),  # a second server must fail to start, not take half of the calls
                ("grpc.keepalive_permit_without_calls", 0),
            ),
            maximum_concurrent_rpcs=_MAX_CALLS,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        reflection.enable_server_reflection((service, health.SERVICE_NAME, reflection.SERVICE_NAME), self.server)
        self.address = self._bind(address, settings)

    def _bind(self, address: str, settings: Settings) -> str:
        host, _ = split_address(address)
        try:
            if settings.tls_cert is None:
                port = self.server.add_insecure_port(address)
            else:
                port = self.server.add_secure_port(address, _credentials(settings))
        except RuntimeError:
            port = 0
        if port == 0:
            raise CannotListen(f"cannot listen on {address}: it is in use, or not an address of this machine")
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def start(self) -> None:
        """Begin to serve."""
        await self.server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        await self._health.set(self._service, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, let running ones end for so long."""
        await self._health.enter_graceful_shutdown()
        await self.server.stop(grace_seconds)


def analysts_endpoint(
    service: query_pb2_grpc.QueryServiceServicer, authenticator: Authenticator, settings: Settings
) -> Endpoint:
    """The analysts' port. Raises CannotListen."""
    hint = "ask the owner for a token, then: privid login"
    endpoint = Endpoint(authenticator.analyst, hint, _QUERY, settings.listen, settings)
    query_pb2_grpc.add_QueryServiceServicer_to_server(service, endpoint.server)
    return endpoint


def owners_endpoint(
    service: admin_pb2_grpc.AdminServiceServicer, authenticator: Authenticator, settings: Settings
) -> Endpoint:
    """The owners' port. Raises CannotListen."""
    hint = "the owner's token is in PRIVID_HOME/owner.token on the server"
    endpoint = Endpoint(authenticator.owner, hint, _ADMIN, settings.admin_listen, settings, _MAX_OWNERS_MESSAGE_BYTES)
    admin_pb2_grpc.add_AdminServiceServicer_to_server(service, endpoint.server)
    return endpoint


def _credentials(settings: Settings) -> Any:
    assert settings.tls_key is not None
    assert settings.tls_cert is not None
    return grpc.ssl_server_credentials(
        [(_read(settings.tls_key), _read(settings.tls_cert))],
        root_certificates=None if settings.tls_client_ca is None else _read(settings.tls_client_ca),
        require_client_auth=settings.tls_client_ca is not None,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CannotListen(f"cannot read {path}: {error.strerror}") from None
