"""A folder into which a camera, or a person, puts finished video files: each is imported once, and moved aside.

A file counts as finished when it has not changed for a while. Its name tells when its first frame was taken
(`gate_2026-12-01_08-00-00.mp4`, `20261201T080000Z.mkv`): the time of the file itself changes when it is copied.
"""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
import structlog

from privid.ingest.clock import WallClock
from privid.ingest.errors import BadVideoFile
from privid.ingest.importer import import_file
from privid.ingest.state import CameraState
from privid.video.catalog import Catalog
from privid.video.errors import StoreFailure, VideoError
from privid.video.store import SegmentStore
from query_lang.units import parse_moment

_log = structlog.get_logger("privid.ingest")

IMPORTED, REFUSED = "imported", "refused"
"""Folders inside the watched one, for what has been dealt with."""
_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".flv", ".m4v"})
_LOOK_SECONDS = 1.0
_TIME = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)[T_ -]?(\d\d)[-_.:]?(\d\d)[-_.:]?(\d\d)(Z)?")


class FolderWatcher:
    """Imports what one camera's folder gets. `run` is the body of its thread."""

    def __init__(
        self,
        catalog: Catalog,
        store: SegmentStore,
        clock: WallClock,
        folder: Path,
        settled_seconds: Callable[[], float],
        state: CameraState,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._clock = clock
        self._folder = folder
        self._settled_seconds = settled_seconds
        self._state = state
        self._stop = threading.Event()

    def stop(self) -> None:
        """End after the file that is being imported."""
        self._stop.set()

    def run(self) -> None:
        """Watch until stopped. A file that cannot be imported is moved to `refused`; the others go on."""
        self._state.enter("recording", self._clock.now_us())
        while not self._stop.is_set():
            try:
                for file in self._finished():
                    if self._stop.is_set():
                        break
                    self._import(file)
                self._state.store_error = None
            except (OSError, StoreFailure, sa.exc.SQLAlchemyError) as error:
                self._state.store_error = str(getattr(error, "orig", None) or error).splitlines()[0]
                _log.error("cannot import", camera=self._state.camera, error=self._state.store_error)
            self._stop.wait(_LOOK_SECONDS)
        self._state.enter("stopped", self._clock.now_us())

    def _finished(self) -> list[Path]:
        until = time.time() - self._settled_seconds()
        return sorted(
            file
            for file in self._folder.iterdir()
            if file.suffix.lower() in _SUFFIXES and file.is_file() and file.stat().st_mtime <= until
        )

    def _import(self, file: Path) -> None:
        camera = self._catalog.camera(self._state.camera)
        try:
            begin_us = time_in_name(file.name, camera.timezone)
            imported = import_file(self._catalog, self._store, file, camera.name, begin_us)
        except (BadVideoFile, VideoError) as error:
            _log.error("file refused", camera=camera.name, file=file.name, error=str(error))
            self._state.failed("file refused")
            _move(file, REFUSED)
            return
        self._state.segments += imported.segments
        self._state.frames += imported.frames
        self._state.stored_bytes += imported.size_bytes
        self._state.recorded_until_us = max(self._state.recorded_until_us or 0, imported.end_us)
        self._state.last_packet_us = self._clock.now_us()
        _log.info("file imported", camera=camera.name, file=file.name, frames=imported.frames)
        _move(file, IMPORTED)


def time_in_name(name: str, timezone: str) -> int:
    """When a file's first frame was taken, by its name; without a Z, in the camera's zone. Raises BadVideoFile."""
    found = _TIME.search(name)
    if found is None:
        raise BadVideoFile(
            f"{name} does not tell when its first frame was taken: name it like gate_2026-12-01_08-00-00.mp4"
        )
    year, month, day, hour, minute, second = found.groups()[:6]
    try:
        moment = parse_moment(f"{year}-{month}-{day}T{hour}:{minute}:{second}{found[7] or ''}", timezone)
    except ValueError as error:
        raise BadVideoFile(f"{name}: {error}") from None
    return moment


def _move(file: Path, folder: str) -> None:
    """Put a file aside, under another name if there is one of its name."""
    target = file.parent / folder / file.name
    target.parent.mkdir(exist_ok=True)
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{file.stem} ({number}){file.suffix}")
    file.rename(target)
