"""Connections to an RTSP server over TCP that end, or fall silent, behind any byte."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

RTP_HEADER = 12
_MARKER = 0x80


class Cut:
    """Stands before a server on loopback. `lengths` says for each connection how many bytes of the answers pass: behind
    those of every other one it hangs up, behind the others' it says no more.
    """

    def __init__(self, port: int, lengths: Iterator[int]) -> None:
        self.passed: list[bytearray] = []
        self._behind = port
        self._lengths = lengths
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def kill(self):
        """Take no more connections."""
        with suppress(OSError):  # closing alone would leave the thread waiting
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with suppress(OSError):
            for length in self._lengths:
                client, _ = self._listener.accept()
                passed, hangs_up = bytearray(), len(self.passed) % 2 == 0
                self.passed.append(passed)
                threading.Thread(target=self._serve, args=(client, passed, length, hangs_up), daemon=True).start()

    def _serve(self, client, passed, length, hangs_up):
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self._behind)) as server:
            forward = threading.Thread(target=self._forward, args=(client, server), daemon=True)
            forward.start()
            while len(passed) < length and (part := server.recv(min(length - len(passed), 65536))):
                passed += part
                client.sendall(part)
            if hangs_up:
                client.shutdown(socket.SHUT_WR)
            forward.join()  # until the recorder lets go

    @staticmethod
    def _forward(client, server):
        with suppress(OSError):
            while part := client.recv(65536):
                server.sendall(part)


def whole_pictures(passed: bytes) -> int:
    """How many pictures have arrived to their last byte (RFC 2326, 10.12, and the marker bit of RFC 6184, 5.1)."""
    at = count = 0
    while at < len(passed):
        if passed[at] != ord("$"):
            head = passed.find(b"\r\n\r\n", at)
            if head < 0:
                break
            lengths = [line for line in passed[at:head].split(b"\r\n") if line.lower().startswith(b"content-length:")]
            at = head + 4 + sum(int(line.partition(b":")[2]) for line in lengths)
            continue
        end = at + 4 + int.from_bytes(passed[at + 2 : at + 4])
        if end > len(passed):
            break
        count += passed[at + 1] == 0 and end - at > 4 + RTP_HEADER and bool(passed[at + 5] & _MARKER)
        at = end
    return count
