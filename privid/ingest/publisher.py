"""Finished segment files on their way into the store and the catalog, off the thread that reads from the camera.

Syncing or uploading a file and committing a row can take long; a camera must not wait for it. What cannot be published
(the disk is full, the database or the bucket is away) stays where it was recorded, and is tried again until it can.
"""

import threading
from collections import deque
from pathlib import Path
from types import TracebackType

import sqlalchemy as sa
import structlog

from privid.ingest.fragments import Finished
from privid.ingest.state import CameraState
from privid.video.catalog import Catalog, Gap, NewSegment
from privid.video.errors import StoreFailure, TimeConflict
from privid.video.store import SegmentStore, Staging, segment_path

_log = structlog.get_logger("privid.ingest")

_RETRY_SECONDS = 5.0
CONFLICT = ".conflict"
"""Added to the name of a file whose time is taken: kept for a person to look at."""


class Publisher:
    """Publishes one camera's segments in order, in a thread of its own. A context manager: leaving it publishes what is
    left, or leaves it in the recording folder for the next start.
    """

    def __init__(self, catalog: Catalog, store: SegmentStore, state: CameraState) -> None:
        self._catalog = catalog
        self._store = store
        self._state = state
        self._waiting: deque[Finished | Gap] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"publish-{state.camera}", daemon=True)

    def __enter__(self) -> "Publisher":
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def submit(self, entry: Finished | Gap) -> None:
        """Publish a segment, or keep a gap (see `Catalog.keep_gap`), soon."""
        with self._wake:
            self._waiting.append(entry)
            self._count()
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                if not self._waiting:
                    return
                entry = self._waiting[0]
            done = self._try(entry)
            with self._wake:
                if done:
                    self._waiting.popleft()
                    self._count()
                elif self._closing:
                    return
                else:
                    self._wake.wait_for(lambda: self._closing, _RETRY_SECONDS)

    def _count(self) -> None:
        self._state.unpublished = sum(isinstance(entry, Finished) for entry in self._waiting)

    def _try(self, entry: Finished | Gap) -> bool:
        try:
            if isinstance(entry, Gap):
                self._catalog.keep_gap(self._state.camera, *entry)
            else:
                self._publish(entry)
        except (OSError, StoreFailure, sa.exc.SQLAlchemyError) as error:
            self._state.store_error = _in_words(error)
            _log.error("cannot store what is recorded", camera=self._state.camera, error=_in_words(error))
            return False
        self._state.store_error = None
        return True

    def _publish(self, finished: Finished) -> None:
        try:
            with self._store.staging() as staging:
                publish(self._catalog, staging, self._state.camera, finished)
        except TimeConflict as error:
            if self._catalog.has_segment(self._state.camera, int(finished.index.times_us[0])):
                finished.file.unlink(missing_ok=True)  # it was entered, and the answer of the database was lost
                return
            aside = finished.file.with_name(finished.file.name + CONFLICT)
            finished.file.rename(aside)
            self._state.conflicts += 1
            _log.error("time is taken", camera=self._state.camera, error=str(error), kept_as=aside.name)
            return
        self._state.segments += 1
        self._state.frames += len(finished.index)
        self._state.recorded_until_us = finished.end_us


def publish(catalog: Catalog, staging: Staging, camera: str, finished: Finished) -> None:
    """Seal a file if the store seals, give it its name there, enter it in the catalog; then remove the recording.

    Raises TimeConflict, StoreFailure, OSError, SQLAlchemyError.
    """
    path = segment_path(camera, int(finished.index.times_us[0]), finished.file.suffix)
    prepared = staging.prepare(camera, finished.file)
    segment = NewSegment(
        path=path,
        end_us=finished.end_us,
        index=finished.index,
        width=finished.width,
        height=finished.height,
        codec=finished.codec,
        size_bytes=prepared.size_bytes,
        end_reason=finished.end_reason,
        offset_us=finished.offset_us,
        seal=prepared.seal,
    )
    staging.publish({path: prepared.file}, lambda: catalog.add_segments(camera, [segment]), catalog.known_paths)
    finished.file.unlink()


def unfinished(folder: Path) -> list[Path]:
    """Files that a killed recorder left, in the order of their times."""
    return sorted((file for file in folder.glob("*.mp4") if file.stem.isdecimal()), key=lambda file: int(file.stem))


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError):
        return (error.strerror or "the disk failed").lower()
    if isinstance(error, sa.exc.SQLAlchemyError):
        return "the database failed: " + str(getattr(error, "orig", error)).splitlines()[0]
    return str(error)
