"""Reaching a server: its address, TLS, the token, deadlines and repeats."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import grpc

from privid.client.errors import BadAddress, CallFailed, call_failed
from privid.domain.addresses import is_loopback

T = TypeVar("T")

ANALYST_PORT = 7741
OWNER_PORT = 7742
CALL_SECONDS = 60.0
_PAUSES = (0.2, 0.5, 1.0)
"""Seconds between attempts at a server that is not there."""
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")
_MAX_MESSAGE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is and how to be let in.

    `address` is https://HOST[:PORT], or http://HOST[:PORT] on this machine only: a token is never sent in clear.
    """

    address: str
    token: str = field(repr=False)
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None


def parse_address(text: str, default_port: int) -> tuple[bool, str]:
    """Whether TLS is used, and host:port. Without a scheme, this machine is reached without TLS, others with it.

    Raises BadAddress.
    """
    example = f"write https://HOST:PORT, or 127.0.0.1:{default_port} for this machine"
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = parts.hostname, parts.port or default_port
    except ValueError:
        raise BadAddress(f"{text!r} is not a server's address: {example}") from None
    if (
        parts.scheme not in ("", "http", "https")
        or not host
        or not _HOST.fullmatch(host)
        or parts.path not in ("", "/")
        or parts.username
    ):
        raise BadAddress(f"{text!r} is not a server's address: {example}")
    local = is_loopback(host)
    if parts.scheme == "http" and not local:
        raise BadAddress(f"{text!r} would send your token in clear: use https://{parts.netloc}")
    return parts.scheme == "https" or (parts.scheme == "" and not local), (
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    )


class Connection:
    """A channel to one server. Close it, or use it as a context manager."""

    def __init__(self, target: Target, default_port: int) -> None:
        tls, self.address = parse_address(target.address, default_port)
        if not target.token or not target.token.isascii() or not target.token.isprintable() or " " in target.token:
            raise BadAddress("the token has characters that no token has: copy it again")
        self._metadata = (("authorization", f"Bearer {target.token}"),)
        options = (("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),)
        if tls:
            self.channel = grpc.secure_channel(self.address, _credentials(target), options)
        else:
            self.channel = grpc.insecure_channel(self.address, options)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel."""
        self.channel.close()

    def once(self, call: Callable[..., T], request: object, seconds: float = CALL_SECONDS) -> T:
        """One attempt at a call. Raises CallFailed."""
        try:
            return call(request, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise call_failed(error, self.address) from None

    def repeat(self, call: Callable[..., T], request: Callable[[], object], seconds: float = CALL_SECONDS) -> T:
        """A call that may be sent twice, attempted again while the server is not there. Raises CallFailed."""
        for pause in _PAUSES:
            try:
                return self.once(call, request(), seconds)
            except CallFailed as error:
                if error.code not in ("unavailable", "busy"):
                    raise
                time.sleep(pause)
        return self.once(call, request(), seconds)

    def stream(self, call: Callable[..., Iterator[T]], request: object) -> Iterator[T]:
        """The messages of a streaming answer. Raises CallFailed."""
        messages = call(request, metadata=self._metadata)
        try:
            yield from messages
        except grpc.RpcError as error:
            raise call_failed(error, self.address) from None
        finally:
            if isinstance(messages, grpc.Call):
                messages.cancel()


def _credentials(target: Target) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_read(target.ca),
        private_key=_read(target.client_key),
        certificate_chain=_read(target.client_cert),
    )


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadAddress(f"cannot read {path}: {error.strerror}") from None
