"""The recorder's main loop: a thread for each camera, retention, and whoever asks how things are."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
import structlog

from privid.ingest.clock import WallClock
from privid.ingest.configuration import Configuration
from privid.ingest.errors import BadRecording
from privid.ingest.folder import FolderWatcher
from privid.ingest.live import Source
from privid.ingest.recorder import Recorder, Recording
from privid.ingest.retention import Policy, Retention
from privid.ingest.state import CameraState
from privid.video.catalog import Catalog
from privid.video.errors import StoreFailure, VideoError
from privid.video.store import SegmentStore

_log = structlog.get_logger("privid.ingest")

_TICK_SECONDS = 1.0
_LOOK_EVERY_TICKS = 10
_RETENTION_SECONDS = 60.0
_GRACE_SECONDS = 10.0
_LEAST_FREE_BYTES = 64 * 1024 * 1024


class Worker(Protocol):
    """What records one camera in a thread."""

    def run(self) -> None:
        """The thread's body."""
        ...

    def stop(self) -> None:
        """End soon."""
        ...


@dataclass(slots=True)
class _Post:
    """A camera's worker and what it was started with."""

    source: Source
    worker: Worker
    thread: threading.Thread
    state: CameraState


@dataclass(slots=True)
class _Room:
    """What retention did last. `is_short`: nothing more could be removed, and less is free than was wanted."""

    policy: Policy = field(default_factory=Policy)
    removed_segments: int = 0
    removed_bytes: int = 0
    blocked_bytes: int = 0
    is_short: bool = False
    error: str | None = None


class Daemon:
    """Records every camera of a configuration until stopped. `load` reads the configuration, again at each reload."""

    def __init__(self, catalog: Catalog, store: SegmentStore, load: Callable[[], Configuration]) -> None:
        self._catalog = catalog
        self._store = store
        self._load = load
        self._clock = WallClock()
        self._make_room = threading.Event()
        self._recording = Recording(catalog, store, self._clock, make_room=self._make_room.set)
        self._configuration = self._followed(load())
        self._posts: dict[str, _Post] = {}
        self._ending: list[_Post] = []
        self._room = _Room()
        self._reload = threading.Event()
        self._stop = threading.Event()
        self._started_us = self._clock.now_us()

    def stop(self) -> None:
        """End: every camera's segment is finished and stored."""
        self._stop.set()
        self._make_room.set()

    def reload(self) -> None:
        """Read the configuration again; cameras that stay as they are go on undisturbed."""
        self._reload.set()

    def run(self) -> None:
        """Record until stopped. Raises OSError or SQLAlchemyError at the start only."""
        try:
            self._store.sweep(self._catalog.known_paths)
        except StoreFailure as error:  # the place is away: what is left there is removed before anything is stored
            _log.error("what a killed recorder left stays for now", error=str(error))
        retention = threading.Thread(target=self._keep_room, name="retention", daemon=True)
        retention.start()
        self._arrange()
        ticks = 0
        while not self._stop.wait(_TICK_SECONDS):
            ticks += 1
            if self._reload.is_set() or ticks % _LOOK_EVERY_TICKS == 0:
                self._read_again(is_asked=self._reload.is_set())
                self._reload.clear()
            self._arrange()
            if not self._room.is_short and self._is_short_of_room():
                self._make_room.set()
        self._end()
        retention.join(_GRACE_SECONDS)

    def status(self) -> dict[str, Any]:
        """How things are, as JSON; it names no address."""
        cameras = [post.state.as_json() for post in list(self._posts.values())]
        has_room, spool = self._store.has_room(self._recording.min_free_bytes), self._store.spool()
        return {
            "started_us": self._started_us,
            "now_us": self._clock.now_us(),
            "clock_step_us": self._clock.step_us(),
            "disk_free_bytes": self._store.free_bytes(),
            "store": self._store.label,
            "spool": spool
            and {"size_bytes": spool.size_bytes, "limit_bytes": spool.limit_bytes, "full": spool.is_full},
            "disk_full": not has_room,
            "retention": {
                "removed_segments": self._room.removed_segments,
                "removed_bytes": self._room.removed_bytes,
                "blocked_bytes": self._room.blocked_bytes,
                "error": self._room.error,
            },
            "healthy": has_room and all(camera["healthy"] for camera in cameras),
            "cameras": sorted(cameras, key=lambda camera: str(camera["camera"])),
        }

    def _followed(self, found: Configuration) -> Configuration:
        """What cameras that are being recorded follow at once."""
        self._recording.segment_us = found.segment_us
        wanted = found.retention.min_free_bytes
        # Below this nothing is written; retention, if it is asked to, begins long before.
        self._recording.min_free_bytes = min(_LEAST_FREE_BYTES, wanted // 4) if wanted else _LEAST_FREE_BYTES
        return found

    def _settled_seconds(self, camera: str) -> float:
        return self._configuration.settled_seconds.get(camera, _GRACE_SECONDS)

    def _is_short_of_room(self) -> bool:
        return not self._store.is_remote and self._store.free_bytes() < self._configuration.retention.min_free_bytes

    def _read_again(self, *, is_asked: bool) -> None:
        try:
            found = self._load()
        except (BadRecording, VideoError, sa.exc.SQLAlchemyError) as error:
            _log.error("the configuration stays as it was", error=str(error))
            return
        if found != self._configuration:
            _log.info("configuration changed", cameras=len(found.sources))
            self._configuration = self._followed(found)
            self._make_room.set()
        elif is_asked:
            _log.info("configuration unchanged", cameras=len(found.sources))

    def _arrange(self) -> None:
        """Start and stop workers so that they are what the configuration says."""
        wanted = self._configuration.sources
        for camera, post in list(self._posts.items()):
            if wanted.get(camera) != post.source:
                post.worker.stop()
                self._ending.append(self._posts.pop(camera))
            elif not post.thread.is_alive():
                _log.error("a recorder ended by itself and is started again", camera=camera)
                self._posts.pop(camera)
        self._ending = [post for post in self._ending if post.thread.is_alive()]
        ending = {post.state.camera for post in self._ending}
        for camera, source in wanted.items():
            if camera not in self._posts and camera not in ending:
                self._posts[camera] = self._begin(camera, source)

    def _begin(self, camera: str, source: Source) -> _Post:
        state = CameraState(camera, source.kind, since_us=self._clock.now_us())
        worker: Worker
        if source.kind == "folder":
            settled = partial(self._settled_seconds, camera)
            worker = FolderWatcher(self._catalog, self._store, self._clock, Path(source.url), settled, state)
        else:
            worker = Recorder(self._recording, source, state)
        thread = threading.Thread(target=worker.run, name=f"camera-{camera}", daemon=True)
        thread.start()
        _log.info("camera started", camera=camera, source=source.kind)
        return _Post(source, worker, thread, state)

    def _end(self) -> None:
        posts = [*self._posts.values(), *self._ending]
        for post in posts:
            post.worker.stop()
        for post in posts:
            post.thread.join(post.source.timeout_seconds + _GRACE_SECONDS)
            if post.thread.is_alive():
                # Its file is complete up to its last group, and the next start publishes it.
                _log.error("a recorder did not end in time", camera=post.state.camera)

    def _keep_room(self) -> None:
        retention = Retention(self._catalog, self._store)
        while not self._stop.is_set():
            try:
                swept = retention.apply(self._configuration.retention, self._clock.now_us())
            except (OSError, StoreFailure, VideoError, sa.exc.SQLAlchemyError) as error:
                self._room.error = str(getattr(error, "orig", None) or error).splitlines()[0]
                _log.error("retention failed", error=self._room.error)
            else:
                self._room.error = None
                self._room.removed_segments += swept.segments
                self._room.removed_bytes += swept.size_bytes
                self._room.blocked_bytes = swept.blocked_bytes
            self._room.is_short = self._is_short_of_room()
            self._make_room.wait(_RETENTION_SECONDS)
            self._make_room.clear()
