"""The video store: segment files, and how they come into it so that no crash leaves the catalog and the files apart.

A file is written under a staging folder (a live recording: under a folder of its camera) of the local disk, sealed if
there are keys, given its final name where segments lie (`privid.video.storage`), and only then entered in the catalog.
A staging folder belongs to one process, which holds its lock while it lives and lists the final names it is about to
give in a journal; so whoever starts next can tell what a killed process left behind and remove exactly that. What
cannot be removed because the place is away stays in the journal until it can.
"""

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from privid.domain.units import SECOND
from privid.video.errors import StoreFailure
from privid.video.keys import KeyRing
from privid.video.sealing import Seal, SealedFile, seal_file
from privid.video.storage.contract import Storage
from privid.video.storage.local import LocalStorage, make_folder, sync

_INCOMING = ".incoming"
_RECORDING = ".recording"
_JOURNAL = "journal.json"

Known = Callable[[Sequence[str]], frozenset[str]]
"""Those of some paths that the catalog knows."""


def segment_path(camera: str, begin_us: int, suffix: str) -> str:
    """A new path in the store for a segment that begins there."""
    moment = datetime.fromtimestamp(begin_us // SECOND, UTC)
    # The time is for people; the rest keeps a name from ever being used twice.
    return f"{camera}/{moment:%Y-%m-%d}/{moment:%H%M%S}-{uuid.uuid4().hex[:12]}{suffix}"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file as it will be stored: itself, or a sealed copy."""

    file: Path
    size_bytes: int
    seal: Seal | None


@dataclass(frozen=True, slots=True)
class Spool:
    """What waits on the local disk for a store elsewhere, and how much may."""

    size_bytes: int
    limit_bytes: int

    @property
    def is_full(self) -> bool:
        """Whether nothing more may come."""
        return self.size_bytes >= self.limit_bytes


class Staging:
    """A folder of files that are not part of the store yet."""

    def __init__(self, store: "SegmentStore", folder: Path) -> None:
        self._store = store
        self._folder = folder
        self.is_unsettled = False
        """Whether files may be left under names of the journal that the catalog does not know."""

    def new_file(self, suffix: str) -> Path:
        """A path at which to write a file."""
        return self._folder / f"{uuid.uuid4().hex}{suffix}"

    def prepare(self, camera: str, file: Path) -> Prepared:
        """Seal a complete file if the store seals. Raises StoreFailure, OSError, SQLAlchemyError."""
        keys = self._store.keys
        if keys is None or not keys.seals:
            return Prepared(file, file.stat().st_size, None)
        key = keys.current(camera)
        target = self.new_file(f"{file.suffix}.sealed")
        seal = Seal(key.id, seal_file(file, target, key.key))
        return Prepared(target, target.stat().st_size, seal)

    def publish(self, files: Mapping[str, Path], enter: Callable[[], None], known: Known) -> None:
        """Give staged files their final names and call `enter`, which makes the catalog's rows: all or nothing.

        `files` maps paths relative to the store to staged files; one staged file may get several names, which then
        share its bytes. Whatever `enter` raises is raised again, after the names have been removed.
        """
        self._store.settle(known)
        for file in set(files.values()):
            sync(file)
        self._write_journal(list(files))
        self.is_unsettled = True
        try:
            self._store.storage.put(files)
            enter()
        except BaseException:
            # Whether a commit that failed half-way took place is for the catalog to say.
            self._discard(list(files), known)
            raise
        self.is_unsettled = False

    def withdraw(self, leave: Callable[[], Sequence[str]], planned: Sequence[str], known: Known) -> None:
        """Remove files that `leave` takes out of the catalog: it gives their paths, which are among `planned`.

        Killed in between, the next sweep removes those of the planned ones that the catalog does not know any more.
        """
        self._store.settle(known)
        self._write_journal(planned)
        self.is_unsettled = True
        self._store.discard(leave(), known)
        self.is_unsettled = False

    def _discard(self, paths: Sequence[str], known: Known) -> None:
        """Remove what must not stay; what cannot be removed now stays in the journal, for the next sweep."""
        with suppress(StoreFailure, OSError, SQLAlchemyError):
            self._store.discard(paths, known)
            self.is_unsettled = False

    def _write_journal(self, paths: Sequence[str]) -> None:
        journal = self._folder / _JOURNAL
        journal.write_text(json.dumps(paths))
        sync(journal)
        sync(self._folder)


class SegmentStore:
    """Segment files. `root` is a local folder, readable by its user alone, for what is being recorded and staged.

    Segments lie there too, or in `storage`; then what waits in `root` is limited to `spool_bytes`. With `keys`, sealed
    segments can be read, and new ones are sealed if there is a master key.
    """

    def __init__(
        self,
        root: Path,
        storage: Storage | None = None,
        keys: KeyRing | None = None,
        spool_bytes: int | None = None,
    ) -> None:
        self._root = root
        self.storage: Storage = storage or LocalStorage(root)
        self.keys = keys
        self._spool_bytes = spool_bytes
        self._has_leftovers = False

    @property
    def is_remote(self) -> bool:
        """Whether segments lie elsewhere than on the disk that is recorded to."""
        return self.storage.is_remote

    @property
    def label(self) -> str:
        """Where segments lie, without a secret."""
        return self.storage.label

    def path(self, relative: str) -> Path:
        """Where a file of the catalog is, if segments lie in this folder. Raises StoreFailure if they do not, or for a
        path that leads out of the store.
        """
        if not isinstance(self.storage, LocalStorage):
            raise StoreFailure(f"{relative} lies in {self.label}, not on this disk")
        return self.storage.path(relative)

    @contextmanager
    def open(self, relative: str, seal: Seal | None) -> Iterator[Path | SealedFile]:
        """A segment for reading, as long as the context lasts: a local path, or if it is sealed an open file.

        Raises StoreFailure, OSError. A clear file that is missing is for who opens the path to find.
        """
        with self.storage.open(relative) as path:
            if seal is None:
                yield path
                return
            if self.keys is None:
                raise StoreFailure(f"{relative} is sealed, and this program has no keys")
            key = self.keys.key(seal.key_id)
            try:
                file = SealedFile(path, key, seal.file_id, relative)
            except OSError as error:
                raise StoreFailure(f"cannot open the segment {relative}: {error.strerror}") from error
            with file:
                yield file

    def prefetch(self, paths: Sequence[str]) -> None:
        """Segments that will be opened soon."""
        self.storage.prefetch(paths)

    @contextmanager
    def staging(self) -> Iterator[Staging]:
        """A staging folder for as long as the context lasts; what was not published is removed at its end."""
        with self._locked():
            folder = self._incoming / uuid.uuid4().hex
            folder.mkdir(mode=0o700)
            lock = _lock_folder(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        staging = Staging(self, folder)
        try:
            yield staging
        finally:
            if staging.is_unsettled:
                _empty_but_journal(folder)
            else:
                shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
            self._has_leftovers |= staging.is_unsettled

    @contextmanager
    def recording(self, camera: str) -> Iterator[Path]:
        """The folder for what one camera's recorder is writing: it outlives a crash, so that the next one can go on.

        Raises StoreFailure if another process records the camera.
        """
        folder = self._root / _RECORDING / camera
        make_folder(folder)
        try:
            lock = _lock_folder(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreFailure(f"{camera} is being recorded by another privid-ingest: stop it first") from None
        try:
            yield folder
        finally:
            os.close(lock)

    def free_bytes(self) -> int:
        """What is left, for this user, on the device that is recorded to."""
        return shutil.disk_usage(self._root).free

    def has_room(self, least_free_bytes: int) -> bool:
        """Whether there is room to record: on the device, and in the spool if segments go elsewhere."""
        spool = self.spool()
        return self.free_bytes() >= least_free_bytes and (spool is None or not spool.is_full)

    def spool(self) -> Spool | None:
        """What waits here for the place where segments lie; None if that is here."""
        if not self.is_remote or self._spool_bytes is None:
            return None
        return Spool(sum(_size(self._root / name) for name in (_INCOMING, _RECORDING)), self._spool_bytes)

    def settle(self, known: Known) -> None:
        """Remove what an earlier attempt could not. Raises StoreFailure if it still cannot be removed."""
        if self._has_leftovers:
            self.sweep(known)

    def sweep(self, known: Known) -> int:
        """Remove what killed processes left: staged files, and final names that never reached the catalog.

        Gives the number of dead staging folders. Folders of living processes are left alone.
        """
        removed = 0
        self._has_leftovers = False
        try:
            with self._locked():
                for folder in sorted(self._incoming.iterdir()):
                    try:
                        lock = _lock_folder(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        continue
                    try:
                        if names := _journal(folder):
                            self.discard(names, known)
                            self.storage.abandon(names)
                        shutil.rmtree(folder)
                    finally:
                        os.close(lock)
                    removed += 1
        except BaseException:
            self._has_leftovers = True
            raise
        return removed

    def announced(self) -> set[str]:
        """The names that staging folders of this machine are about to give, or to take away."""
        with self._locked():
            return {name for folder in self._incoming.iterdir() for name in _journal(folder)}

    def discard(self, paths: Sequence[str], known: Known) -> None:
        """Remove the files with these names, except those in the catalog."""
        kept = known(list(paths))
        for relative in paths:
            if relative not in kept:
                self.storage.remove(relative)

    @property
    def _incoming(self) -> Path:
        return self._root / _INCOMING

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else makes or sweeps staging folders meanwhile."""
        make_folder(self._incoming)
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


def _empty_but_journal(folder: Path) -> None:
    for file in folder.iterdir():
        if file.name != _JOURNAL:
            file.unlink(missing_ok=True)


def _size(folder: Path) -> int:
    """Bytes of the files below a folder, some of which may go meanwhile."""
    total = 0
    for found, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):
                total += (Path(found) / name).stat().st_size
    return total
