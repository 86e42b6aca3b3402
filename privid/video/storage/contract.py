"""What every place for segment files does, whichever it is; `tests/contracts/test_video_storage.py` asks them all."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Protocol

from privid.video.errors import StoreFailure


class Storage(Protocol):
    """Files by name (relative paths with `/`), each written once and never changed. Any thread may use it.

    Every method raises StoreFailure, or OSError of the local disk; the place may be away for a while.
    """

    @property
    def label(self) -> str:
        """The place, for people and logs: never with a secret."""
        ...

    @property
    def is_remote(self) -> bool:
        """Whether files lie elsewhere than on the disk that is recorded to."""
        ...

    def put(self, files: Mapping[str, Path]) -> None:
        """Store files under new names: whole and durable once this returns. Several names may share one file.

        Interrupted, it may leave some names, or part of a file under one: the caller has noted the names before.
        """
        ...

    def open(self, name: str) -> AbstractContextManager[Path]:
        """A local file with the bytes, there as long as the context lasts."""
        ...

    def prefetch(self, names: Sequence[str]) -> None:
        """These will be opened soon. Fails silently: opening will tell."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file. Not there is fine."""
        ...

    def abandon(self, names: Sequence[str]) -> None:
        """Let go of what an interrupted `put` may have stored under no name yet: the parts of an unfinished upload."""
        ...

    def names(self) -> Iterator[str]:
        """Every file there is, in no order."""
        ...


def require_name(name: str) -> str:
    """Raises StoreFailure for a name that leads out of the store."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise StoreFailure(f"{name!r} is not a path inside the video store")
    return name
