"""Segment files in a folder of a local disk."""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from privid.video.storage.contract import require_name

_NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP)


class LocalStorage:
    """Files under one folder, readable by their user alone. Names that begin with a dot are not segments."""

    is_remote = False

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def label(self) -> str:
        """The folder."""
        return str(self._root)

    def path(self, name: str) -> Path:
        """Where a file is. Raises StoreFailure for a name that leads out of the store."""
        return self._root / require_name(name)

    def put(self, files: Mapping[str, Path]) -> None:
        """Link files to their names, durably; copy them where the disk has no links."""
        for name, file in files.items():
            target = self.path(name)
            make_folder(target.parent)
            _link(file, target)
        for folder in {self.path(name).parent for name in files}:
            sync(folder)

    @contextmanager
    def open(self, name: str) -> Iterator[Path]:
        """The file itself."""
        yield self.path(name)

    def prefetch(self, names: Sequence[str]) -> None:
        """Nothing: they are here."""

    def remove(self, name: str) -> None:
        """Remove a file, and its folder if that was the last one in it."""
        path = self.path(name)
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()

    def abandon(self, names: Sequence[str]) -> None:
        """Nothing: a link is there or not, and half a copy has its name."""

    def names(self) -> Iterator[str]:
        """Every file, but none of a folder for work in progress."""
        for folder, folders, files in os.walk(self._root):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for file in files:
                yield (Path(folder) / file).relative_to(self._root).as_posix()


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably, for its user alone."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync(folder.parent)


def sync(path: Path) -> None:
    """Have a file or folder on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(file, target)
        sync(target)
