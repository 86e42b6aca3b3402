"""The video store: segment files on a local disk.

A file is written under a staging folder (a live recording: under a folder of its camera), synced, given its final name,
and only then entered in the catalog. A staging folder belongs to one process, which holds its lock while it lives and
lists the final names it is about to give in a journal; so whoever starts next can tell what a killed process left
behind and remove exactly that.
"""

import errno
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from privid.domain.units import SECOND
from privid.video.errors import StoreFailure

_INCOMING = ".incoming"
_RECORDING = ".recording"
_JOURNAL = "journal.json"
_NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP)

Known = Callable[[Sequence[str]], frozenset[str]]
"""Those of some paths that the catalog knows."""


def segment_path(camera: str, begin_us: int, suffix: str) -> str:
    """A new path in the store for a segment that begins there."""
    moment = datetime.fromtimestamp(begin_us // SECOND, UTC)
    # The time is for people; the rest keeps a name from ever being used twice.
    return f"{camera}/{moment:%Y-%m-%d}/{moment:%H%M%S}-{uuid.uuid4().hex[:12]}{suffix}"


class Staging:
    """A folder of files that are not part of the store yet."""

    def __init__(self, store: "SegmentStore", folder: Path) -> None:
        self._store = store
        self._folder = folder

    def new_file(self, suffix: str) -> Path:
        """A path at which to write a file."""
        return self._folder / f"{uuid.uuid4().hex}{suffix}"

    def publish(self, files: Mapping[str, Path], enter: Callable[[], None], known: Known) -> None:
        """Give staged files their final names and call `enter`, which makes the catalog's rows: all or nothing.

        `files` maps paths relative to the store to staged files; one staged file may get several names, which then
        share its bytes. Whatever `enter` raises is raised again, after the names have been removed.
        """
        for file in set(files.values()):
            _sync(file)
        self._write_journal(list(files))
        try:
            for relative, file in files.items():
                target = self._store.path(relative)
                self._store.make_folder(target.parent)
                _link(file, target)
            for folder in {self._store.path(relative).parent for relative in files}:
                _sync(folder)
            enter()
        except BaseException:
            # Whether a commit that failed half-way took place is for the catalog to say.
            self._store.discard(files, known)
            raise

    def withdraw(self, leave: Callable[[], Sequence[str]], planned: Sequence[str], known: Known) -> None:
        """Remove files that `leave` takes out of the catalog: it gives their paths, which are among `planned`.

        Killed in between, the next sweep removes those of the planned ones that the catalog does not know any more.
        """
        self._write_journal(planned)
        self._store.discard(leave(), known)

    def _write_journal(self, paths: Sequence[str]) -> None:
        journal = self._folder / _JOURNAL
        journal.write_text(json.dumps(paths))
        _sync(journal)
        _sync(self._folder)


class SegmentStore:
    """Segment files under one folder, readable by their user alone."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, relative: str) -> Path:
        """Where a file of the catalog is. Raises StoreFailure for a path that leads out of the store."""
        parts = PurePosixPath(relative)
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise StoreFailure(f"{relative!r} is not a path inside the video store")
        return self._root / parts

    @contextmanager
    def staging(self) -> Iterator[Staging]:
        """A staging folder for as long as the context lasts; what was not published is removed at its end."""
        with self._locked():
            folder = self._incoming / uuid.uuid4().hex
            folder.mkdir(mode=0o700)
            lock = _lock_folder(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield Staging(self, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)

    @contextmanager
    def recording(self, camera: str) -> Iterator[Path]:
        """The folder for what one camera's recorder is writing: it outlives a crash, so that the next one can go on.

        Raises StoreFailure if another process records the camera.
        """
        folder = self._root / _RECORDING / camera
        self.make_folder(folder)
        try:
            lock = _lock_folder(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreFailure(f"{camera} is being recorded by another privid-ingest: stop it first") from None
        try:
            yield folder
        finally:
            os.close(lock)

    def free_bytes(self) -> int:
        """What is left on the device for this user."""
        return shutil.disk_usage(self._root).free

    def sweep(self, known: Known) -> int:
        """Remove what killed processes left: staged files, and final names that never reached the catalog.

        Gives the number of dead staging folders. Folders of living processes are left alone.
        """
        removed = 0
        with self._locked():
            for folder in sorted(self._incoming.iterdir()):
                try:
                    lock = _lock_folder(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                try:
                    self.discard(_journal(folder), known)
                    shutil.rmtree(folder)
                finally:
                    os.close(lock)
                removed += 1
        return removed

    def discard(self, paths: Mapping[str, Path] | Sequence[str], known: Known) -> None:
        """Remove the files with these names, except those in the catalog."""
        kept = known(list(paths))
        for relative in paths:
            if relative not in kept:
                self.remove(relative)

    def remove(self, relative: str) -> None:
        """Remove one file, and its folder if that was the last one in it. Not there is fine."""
        path = self.path(relative)
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()

    def make_folder(self, folder: Path) -> None:
        """Make a folder of the store, durably, with its parents."""
        if folder.is_dir():
            return
        if folder != self._root:
            self.make_folder(folder.parent)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync(folder.parent)

    @property
    def _incoming(self) -> Path:
        return self._root / _INCOMING

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else makes or sweeps staging folders meanwhile."""
        self.make_folder(self._incoming)
        lock = _lock_folder(self._incoming, fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(lock)


def _lock_folder(folder: Path, operation: int) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, operation)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _journal(folder: Path) -> list[str]:
    # No journal, or half of one: then its process was killed before it gave any file its final name.
    try:
        return [str(path) for path in json.loads((folder / _JOURNAL).read_text())]
    except (FileNotFoundError, ValueError):
        return []


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(file, target)
        _sync(target)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
