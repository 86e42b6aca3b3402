"""Whether a camera that is spoken to over TLS is the one that is meant: FFmpeg asks for no proof unless it is told to.

Its GnuTLS looks for authorities where only some systems keep them, so they are always named here.
"""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from privid.ingest.errors import BadRecording, SourceFailure

_PORTS = {"https": 443, "rtsps": 322}
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
"""Of Debian and of Red Hat, where OpenSSL does not know them."""
_EXPIRED = "the camera's certificate has expired or is not valid yet, or this machine's clock is wrong"
_OTHER_NAME = "the camera's certificate is for another name: give that one as tls_name"
_UNKNOWN = "the camera's certificate is signed by nobody who is known here: give the authority as tls_ca"
_WHY = {9: _EXPIRED, 10: _EXPIRED, 62: _OTHER_NAME, 64: _OTHER_NAME}
"""By X509_V_ERR_... of OpenSSL's x509_vfy.h."""
REFERRING = frozenset({"hls", "sdp"})
"""Formats that say where else the video comes from: there FFmpeg checks no certificate."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What is asked of a camera's certificate: signed by an authority of `ca_file` (None: of this machine's), for the
    name in the address or for `name`. Without `verify` nothing is.
    """

    verify: bool = True
    ca_file: Path | None = None
    name: str | None = None

    def options(self) -> dict[str, str]:
        """The same for FFmpeg (https://ffmpeg.org/ffmpeg-protocols.html#tls)."""
        if not self.verify:
            return {"tls_verify": "0"}
        bundle = self.ca_file or authorities()
        named = {"ca_file": str(bundle), "verifyhost": self.name}
        return {"tls_verify": "1"} | {option: value for option, value in named.items() if value}


CAREFUL = Trust()


def is_secured(url: str) -> bool:
    """Whether an address is spoken to over TLS."""
    return url.partition("://")[0].lower() in _PORTS


def authorities() -> Path | None:
    """The file of authorities that this machine trusts: `SSL_CERT_FILE`, or the system's."""
    found = ssl.get_default_verify_paths().cafile
    return next((Path(file) for file in (found, *_BUNDLES) if file and Path(file).is_file()), None)


def require_certificates(file: Path) -> None:
    """Check that a file holds certificates. Raises BadRecording."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        raise BadRecording(f"{file} holds no certificate in PEM") from None
    except OSError as error:
        raise BadRecording(f"cannot read certificates from {file}: {error.strerror}") from None


def explain(url: str, trust: Trust, timeout_seconds: float) -> SourceFailure | None:
    """Why no TLS connection came about, which FFmpeg does not tell: found out with one of our own.

    None if there is nothing wrong with that one. The reason is `not trusted` if it is the camera's certificate.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    try:
        context = ssl.create_default_context(cafile=trust.ca_file or authorities())
    except OSError:  # of which ssl.SSLError is one
        return SourceFailure("not trusted", "the authorities that are known here cannot be read any more")
    if not trust.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = parts.hostname, parts.port or _PORTS[parts.scheme.lower()]
    try:
        with (
            socket.create_connection(address, timeout=timeout_seconds) as plain,
            context.wrap_socket(plain, server_hostname=trust.name or parts.hostname),
        ):
            return None
    except ssl.SSLCertVerificationError as error:
        return SourceFailure("not trusted", _WHY.get(error.verify_code, _UNKNOWN))
    except ConnectionRefusedError:
        return SourceFailure("refused")
    except TimeoutError:
        return SourceFailure("timed out")
    except ssl.SSLError:
        return SourceFailure("failed", "what answers there does not speak TLS")
    except OSError as error:
        return SourceFailure("failed", error.strerror or "")
