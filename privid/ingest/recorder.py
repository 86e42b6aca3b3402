"""One camera's recorder: connect, record until something ends it, wait, try again; for years.

connecting -> recording -> (failure) -> waiting -> connecting ... Each has a thread of its own and shares nothing with
the others but the disk and the database, which a second thread writes (see `privid.ingest.publisher`).
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import av
import sqlalchemy as sa
import structlog

from privid.domain.units import SECOND
from privid.ingest.backoff import Backoff
from privid.ingest.clock import WallClock
from privid.ingest.errors import SourceFailure
from privid.ingest.fragments import salvage
from privid.ingest.live import Open, Source, VideoSource, open_live
from privid.ingest.outage import Outage
from privid.ingest.publisher import Publisher, unfinished
from privid.ingest.reencode import Reencoded
from privid.ingest.run import DISK_FULL, STOPPED, Run, Station
from privid.ingest.state import CameraState
from privid.video.catalog import Catalog, Gap
from privid.video.errors import StoreFailure, VideoError
from privid.video.store import SegmentStore

_log = structlog.get_logger("privid.ingest")

_AT_ONCE = frozenset({"clock set", "picture changed", "time jumped"})
"""Nothing is wrong with the camera: a new run begins without a wait."""
_GAP_EVERY_SECONDS = 10.0


@dataclass(slots=True)
class Recording:
    """What all recorders share. With less than `min_free_bytes` left on the disk nothing is written.

    The two numbers may change while they record.
    """

    catalog: Catalog
    store: SegmentStore
    clock: WallClock
    segment_us: int = 10 * SECOND
    min_free_bytes: int = 64 * 1024 * 1024
    make_room: Callable[[], None] = lambda: None
    open_container: Open = av.open


class Recorder:
    """Records one camera. `run` is the body of its thread."""

    def __init__(self, recording: Recording, source: Source, state: CameraState) -> None:
        self._recording = recording
        self._source = source
        self._state = state
        self._stop = threading.Event()
        self._backoff = Backoff()

    def stop(self) -> None:
        """Finish the segment and end, as soon as the source lets go: within its timeout."""
        self._stop.set()

    def run(self) -> None:
        """Record until stopped. Whatever fails is logged, counted, and tried again."""
        recording, state = self._recording, self._state
        while not self._stop.is_set():
            try:
                with (
                    recording.store.recording(state.camera) as folder,
                    Publisher(recording.catalog, recording.store, state) as publisher,
                ):
                    station = self._station(folder, publisher)
                    while not self._stop.is_set():
                        self._attempt(station)
            except (StoreFailure, VideoError, OSError, sa.exc.SQLAlchemyError) as error:
                state.store_error = str(getattr(error, "orig", None) or error).splitlines()[0]
                _log.error("cannot record", camera=state.camera, error=state.store_error)
                state.enter("waiting", recording.clock.now_us(), "store failed")
                self._stop.wait(self._backoff.wait_us() / SECOND)
        state.enter("stopped", recording.clock.now_us())

    def _station(self, folder: Path, publisher: Publisher) -> Station:
        """Publish what a killed recorder left, and find out where the recording goes on."""
        recording, state = self._recording, self._state
        ends = [recording.catalog.last_end(state.camera) or 0]
        files = unfinished(folder)
        for file, follower in zip_longest(files, files[1:]):
            found = None if recording.catalog.has_segment(state.camera, int(file.stem)) else salvage(file)
            if found is None:
                file.unlink()
                continue
            # Within a frame of where this file seems to end the next one goes on with the same run: times are slewed.
            if follower is not None and int(follower.stem) < found.end_us + found.last_frame_us:
                found = found.ending_at(int(follower.stem))
            _log.warning("saved from a recording cut off", camera=state.camera, frames=len(found.index))
            if 0 < max(ends) < int(file.stem):  # killed before what is missing in between was entered to its end
                publisher.submit(Gap(max(ends), int(file.stem), STOPPED))
            publisher.submit(found)
            ends.append(found.end_us)
        outage = Outage(publisher)
        if max(ends):
            outage.begin(max(ends), STOPPED, max(ends))
        return Station(
            folder=folder,
            publisher=publisher,
            outage=outage,
            state=state,
            clock=recording.clock,
            stop=self._stop,
            segment_us=lambda: recording.segment_us,
            has_room=self._has_room,
            floor_us=max(ends),
        )

    def _has_room(self) -> bool:
        return self._recording.store.has_room(self._recording.min_free_bytes)

    def _attempt(self, station: Station) -> None:
        """One connection, and the wait after it."""
        recording, state, clock = self._recording, self._state, self._recording.clock
        state.enter("connecting", clock.now_us(), station.outage.reason)
        run: Run | None = None
        try:
            if not self._has_room():
                raise SourceFailure(DISK_FULL)
            with ExitStack() as held:
                stream: VideoSource = held.enter_context(open_live(self._source, recording.open_container))
                if self._source.encoding is not None:
                    stream = held.enter_context(Reencoded(stream, self._source.encoding))
                state.connections += 1
                run = Run(station, stream)
                run.record()
        except SourceFailure as failure:
            reason = failure.reason
            if self._stop.is_set():
                return
            state.failed(reason)
            log = _log.error if reason == DISK_FULL else _log.warning
            log("no video", camera=state.camera, reason=str(failure))
        now = clock.now_us()
        state.gaps += station.outage.begin(station.floor_us or now, reason, now)
        if reason == DISK_FULL:
            recording.make_room()
        has_recorded = run is not None and run.has_recorded
        if has_recorded:
            self._backoff.reset()
        if not (has_recorded and reason in _AT_ONCE):
            state.enter("waiting", now, reason)
            self._wait(station)

    def _wait(self, station: Station) -> None:
        left = self._backoff.wait_us() / SECOND
        while left > 0 and not self._stop.wait(min(left, _GAP_EVERY_SECONDS)):
            left -= _GAP_EVERY_SECONDS
            station.outage.extend(self._recording.clock.now_us())
