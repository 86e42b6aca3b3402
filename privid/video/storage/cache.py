"""Local copies of files that lie elsewhere: so many bytes of them, those used longest ago removed first.

A copy is locked (flock, shared) while it is read, by whatever process, and only what nobody has locked is removed. The
limit holds for what is kept: what is being read, and what arrives for it, is there even if that is more.
"""

import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from privid.video.errors import StoreFailure
from privid.video.storage.local import make_folder

_ARRIVING = ".arriving-"


class Origin(Protocol):
    """Where the files are. Both raise StoreFailure."""

    def size(self, name: str) -> int:
        """Bytes of a file."""
        ...

    def fetch(self, name: str, target: Path) -> None:
        """Write a file's bytes into an empty local one."""
        ...


class SegmentCache:
    """Copies in one folder, which several processes may share. Any thread may use it."""

    def __init__(self, folder: Path, limit_bytes: int, origin: Origin) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._origin = origin
        self._change = threading.Condition()
        self._arriving: set[str] = set()
        make_folder(folder)
        for file in folder.glob(f"{_ARRIVING}*"):
            _remove_unlocked(file)  # its process was killed

    @contextmanager
    def hold(self, name: str) -> Iterator[Path]:
        """A local copy, fetched if need be, and there as long as the context lasts. Raises StoreFailure, OSError."""
        path = self._folder / name.replace("/", "-")
        with self._alone(name):
            lock = _lock(path)
            if lock is None:
                lock = self._fetch(name, path)
        try:
            yield path
        finally:
            os.close(lock)

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Nobody else in this process fetches the file meanwhile."""
        with self._change:
            self._change.wait_for(lambda: name not in self._arriving)
            self._arriving.add(name)
        try:
            yield
        finally:
            with self._change:
                self._arriving.remove(name)
                self._change.notify_all()

    def _fetch(self, name: str, path: Path) -> int:
        """Fetch a file and give the lock on it. It gets its name once it is whole and on the disk."""
        size = self._origin.size(name)
        with self._change:
            self._make_room(size)
        lock, arriving = tempfile.mkstemp(prefix=_ARRIVING, dir=self._folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            self._origin.fetch(name, Path(arriving))
            if os.fstat(lock).st_size != size:
                raise StoreFailure(f"{name} did not arrive whole: it is fetched again at the next attempt")
            os.fsync(lock)
            Path(arriving).rename(path)
        except BaseException:
            Path(arriving).unlink(missing_ok=True)
            os.close(lock)
            raise
        return lock

    def _make_room(self, size: int) -> None:
        found = []
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):
                found.append((entry.stat().st_mtime_ns, entry.stat().st_size, Path(entry.path)))
        total = sum(bytes_of for _, bytes_of, _ in found)
        for _, bytes_of, path in sorted(found):
            if total + size <= self._limit:
                break
            if _remove_unlocked(path):
                total -= bytes_of


def _lock(path: Path) -> int | None:
    """Lock a copy against removal, as the one used last; None if there is none."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if os.fstat(lock).st_nlink:
            os.utime(lock)
            return lock
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)  # removed between opening and locking it
    return None


def _remove_unlocked(path: Path) -> bool:
    """Remove a file unless somebody has locked it."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
