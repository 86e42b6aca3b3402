"""Certificates made on the spot, and TLS in front of servers that speak none."""

import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def openssl(*arguments, cwd):
    subprocess.run(["openssl", *map(str, arguments)], cwd=cwd, check=True, capture_output=True)


def make_authority(folder: Path) -> Path:
    """`ca.pem` and `ca.key`."""
    openssl("req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test ca", cwd=folder)
    return folder / "ca.pem"


def make_certificate(folder: Path, name: str, names="DNS:localhost, IP:127.0.0.1", days=30) -> Path:
    """`NAME.pem` and `NAME.key`, signed by the authority there; with less than 0 days it has expired."""
    openssl("req", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}", cwd=folder)
    (folder / f"{name}.names").write_text(f"subjectAltName = {names}\n")
    openssl(
        *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", days),
        *("-out", f"{name}.pem", "-extfile", f"{name}.names"),
        cwd=folder,
    )
    return folder / f"{name}.pem"


def server_context(certificate: Path) -> ssl.SSLContext:
    """For a server with this certificate, whose key lies beside it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    return context


class Relay:
    """TLS in front of a server on loopback; `sent` counts what the server has answered, in bytes."""

    def __init__(self, certificate: Path, port: int) -> None:
        self.sent = 0
        self._context = server_context(certificate)
        self._behind = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def kill(self):
        # Closing alone would leave the thread waiting for a connection.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with (
            suppress(OSError),
            client,
            self._context.wrap_socket(client, server_side=True) as outer,
            socket.create_connection(("127.0.0.1", self._behind)) as inner,
        ):
            threading.Thread(target=self._forward, args=(outer, inner), daemon=True).start()
            while part := inner.recv(65536):
                self.sent += len(part)
                outer.sendall(part)

    @staticmethod
    def _forward(outer, inner):
        with suppress(OSError):
            while part := outer.recv(65536):
                inner.sendall(part)
            inner.shutdown(socket.SHUT_RDWR)
