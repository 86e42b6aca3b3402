"""What a camera's address can be, as text: nothing is looked for or connected to.

Addresses carry credentials: whatever is said about one is said with `redacted`.
"""

import re
from pathlib import Path
from urllib.parse import urlsplit

from privid.video.errors import BadCamera

NETWORK = frozenset({"rtsp", "rtsps", "http", "https"})
_SECRET = re.compile(r"//[^/@\s]*@")


def redacted(address: str) -> str:
    """An address without user name, password, and parameters (which may hold a token)."""
    return _SECRET.sub("//", address).split("?")[0].split("#")[0]


def scheme_of(address: str) -> str:
    """One of NETWORK, or "file" for the absolute path of a file, a folder or a device. Raises BadCamera."""
    scheme = address.partition("://")[0].lower() if "://" in address else "file"
    if scheme == "file":
        path = address.removeprefix("file://")
        if not Path(path).is_absolute():
            raise BadCamera(f"{path} is not an absolute path: the recorder runs in no particular folder")
        return scheme
    if scheme not in NETWORK:
        raise BadCamera(
            f"{redacted(address)} cannot be recorded: use rtsp://, rtsps://, http://, https://, file://, a folder or "
            "/dev/video0"
        )
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise BadCamera(
            f"{redacted(address)} has a host or port that cannot be: write {scheme}://HOST:PORT/..."
        ) from None
    if not host:
        raise BadCamera(f"{redacted(address)} names no host: write {scheme}://HOST/...")
    return scheme
