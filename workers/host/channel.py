"""Messages between our own processes: host and warden, warden and zygote. Guests have no end of these.

A stream socket carries `kind` (one byte), the payload's length, the payload, and descriptors with the first byte.
"""

import json
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_HEADER = struct.Struct("<cI")
_MAX_FDS = 8


@dataclass(frozen=True, slots=True)
class Message:
    """One message; whoever receives it owns `fds`."""

    kind: bytes
    payload: bytes
    fds: tuple[int, ...]

    @property
    def fields(self) -> dict[str, Any]:
        """The payload as JSON."""
        fields: dict[str, Any] = json.loads(self.payload)
        return fields

    def close(self) -> None:
        """Close the descriptors that came with it."""
        for fd in self.fds:
            os.close(fd)


class ClosedError(Exception):
    """The other end is gone."""


def packed(kind: bytes, payload: bytes) -> bytes:
    """One message without descriptors, for whoever sends it in pieces."""
    return _HEADER.pack(kind, len(payload)) + payload


def send(
    sock: socket.socket, kind: bytes, payload: bytes | Mapping[str, object] = b"", fds: Sequence[int] = ()
) -> None:
    """Send one message; a mapping goes as JSON. Raises ClosedError."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    message = memoryview(packed(kind, data))
    try:
        sent = socket.send_fds(sock, [message[: _HEADER.size]], list(fds))
        sock.sendall(message[sent:])
    except (BrokenPipeError, ConnectionResetError):
        raise ClosedError from None


def _exactly(sock: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        data = sock.recv(min(count - len(parts), 1 << 20))
        if not data:
            raise ClosedError
        parts += data
    return bytes(parts)


def receive(sock: socket.socket) -> Message:
    """Wait for one message. Raises ClosedError at the end of the stream."""
    try:
        data, fds, _, _ = socket.recv_fds(sock, _HEADER.size, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
        if not data:
            raise ClosedError
        kind, length = _HEADER.unpack(data + _exactly(sock, _HEADER.size - len(data)))
        return Message(kind, _exactly(sock, length), tuple(fds))
    except ConnectionResetError:
        raise ClosedError from None
