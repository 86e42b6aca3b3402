"""Names that people give to things, time zones, and addresses of cameras: checked once, in words for people."""

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from privid.server.errors import Refused
from privid.video.addresses import scheme_of
from privid.video.errors import BadCamera

# A camera is named in queries, where anything else would have to be quoted.
_CAMERA = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_ANALYST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_EXECUTABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_camera_name(name: str) -> None:
    """Raises Refused for a name that queries could not write."""
    if not _CAMERA.fullmatch(name):
        raise Refused(
            "invalid_request",
            f"{name!r} cannot be a camera's name",
            "use up to 64 letters, digits and underscores, a letter first",
        )


def check_analyst_name(name: str) -> None:
    """Raises Refused."""
    if not _ANALYST.fullmatch(name):
        raise Refused(
            "invalid_request",
            f"{name!r} cannot be an analyst's name",
            "use up to 64 letters, digits and any of . _ @ -, a letter or digit first",
        )


def check_executable_name(name: str) -> None:
    """Raises Refused."""
    if not _EXECUTABLE.fullmatch(name):
        raise Refused(
            "invalid_request",
            f"{name!r} cannot be an executable's name",
            "use up to 128 letters, digits and any of . _ -, without a folder",
        )


def check_timezone(name: str) -> None:
    """Raises Refused for anything but a name of the time zone database."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Refused(
            "invalid_request", f"{name!r} is not a time zone", "use an IANA name such as Europe/Lisbon or UTC"
        ) from None


def check_address(address: str) -> None:
    """Raises Refused for an address that nothing can be recorded from, without what may be secret in it."""
    try:
        scheme_of(address)
    except BadCamera as error:
        said, _, rest = str(error).partition(": ")
        raise Refused("invalid_request", said, rest) from None
