"""What can be wrong with video, in words for the person who runs the system. None of it reaches an analyst."""

import difflib
from collections.abc import Iterable


class VideoError(Exception):
    """Something that the caller asked for cannot be done; the message says what to do."""


class UnknownCamera(VideoError):
    """No camera of this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=1)
        if close:
            hint = f"did you mean {close[0]!r}?"
        elif names:
            hint = f"there is {', '.join(names)}"
        else:
            hint = "there are none yet"
        super().__init__(f"unknown camera {name!r}: {hint} (privid-admin camera add {name} makes it)")


class BadCamera(VideoError):
    """A camera that cannot be added: its name is taken or cannot be used, or its time zone is unknown."""


class TimeConflict(VideoError):
    """Video that overlaps what is recorded already, or whose time goes backwards."""


class BadStoreSetting(VideoError):
    """An address of the store that cannot be used."""


class BadKeyFile(BadStoreSetting):
    """A file of master keys that cannot be used; the message never quotes it."""


class StoreFailure(Exception):
    """The store or a file in it failed: a failure of the system, never a property of what a camera saw."""
