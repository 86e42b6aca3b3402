"""What one connection to a camera delivers without a break: from packets to finished segment files."""

import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from privid.domain.units import SECOND, isoformat
from privid.ingest.clock import Timeline, WallClock
from privid.ingest.errors import SourceFailure
from privid.ingest.fragments import SegmentWriter
from privid.ingest.groups import Group, groups
from privid.ingest.live import VideoSource
from privid.ingest.outage import Outage
from privid.ingest.publisher import Publisher
from privid.ingest.state import CameraState

_log = structlog.get_logger("privid.ingest")

STOPPED = "recorder stopped"
DISK_FULL = "disk full"
_SETTLE_US = SECOND
"""What a source hands over at once when it is opened is late; packets that come so much later are not."""
_LONGEST = 10
"""A segment is cut at last when it is so many times as long as it should be, even if frames are lost by it."""
_LAST_FRAME_US = SECOND


@dataclass(slots=True)
class Station:
    """What all runs of one camera share. Nothing is recorded before `floor_us`: that time is filled."""

    folder: Path
    publisher: Publisher
    outage: Outage
    state: CameraState
    clock: WallClock
    stop: threading.Event
    segment_us: Callable[[], int]
    has_room: Callable[[], bool]
    floor_us: int


class Run:
    """What one connection delivers without a break."""

    def __init__(self, station: Station, stream: VideoSource) -> None:
        self._station = station
        self._stream = stream
        self._timeline = Timeline(station.floor_us)
        self._settings = station.clock.settings
        self._is_settled = False
        self._first_arrival_us: int | None = None
        self._writer: SegmentWriter | None = None
        self._frame_us = stream.frame_us
        self._is_behind = False
        self.has_recorded = False

    def record(self) -> None:
        """Record until the source fails or the recorder stops. Raises SourceFailure, always at the end."""
        reason = "failed"
        try:
            for item in groups(self._stream, self._station.clock, self._arrived):
                if isinstance(item, SourceFailure):
                    self._settle()
                    raise item
                self._take(item)
        except SourceFailure as failure:
            reason = failure.reason
            raise
        except OSError as error:
            reason = DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else "disk failed"
            raise SourceFailure(reason, error.strerror or "") from None
        finally:
            if self._writer is not None:
                self._finish(self._writer.last_us + self._frame_us, reason)

    def _arrived(self, media_us: int, arrival_us: int, size_bytes: int) -> None:
        self._timeline.observe(media_us, arrival_us)
        self._first_arrival_us = self._first_arrival_us or arrival_us
        self._station.state.last_packet_us = arrival_us
        self._station.state.packets += 1
        self._station.state.received_bytes += size_bytes
        if self._station.stop.is_set():
            raise SourceFailure(STOPPED)
        if self._station.clock.settings != self._settings:
            raise SourceFailure("clock set")

    def _take(self, group: Group) -> None:
        """Write a group. The first ones are where they belong as soon as it is known how late they were."""
        assert self._first_arrival_us is not None
        if group.arrival_us - self._first_arrival_us >= _SETTLE_US:
            self._settle()
        self._write(group)

    def _settle(self) -> None:
        """From now on times are only slewed."""
        if self._is_settled:
            return
        self._is_settled = True
        shift = self._timeline.settle()
        if shift and self._writer is not None:
            self._writer.move(shift)
            self._station.outage.move_end(self._writer.begin_us)

    def _write(self, group: Group) -> None:
        station = self._station
        cut = self._is_to_be_cut(group)
        if cut and not group.is_closed:
            group.close()
        if cut and self._writer is not None:
            self._settle()
        times = self._timeline.place(group.times)
        if times is None:
            if not self._is_behind:
                self._is_behind = True
                station.state.enter("waiting", station.clock.now_us(), "clock behind")
                _log.error(
                    "there is video of now already", camera=station.state.camera, until=isoformat(station.floor_us)
                )
            return
        begin = int(times[0])
        if cut and self._writer is not None:
            self._finish(begin, "cut")
        if self._writer is None:
            if not station.has_room():
                raise SourceFailure(DISK_FULL)
            if not self.has_recorded:
                station.outage.end(begin)
                station.state.enter("recording", station.clock.now_us())
            self._writer = SegmentWriter(station.folder, self._stream, begin, group.delay_us)
        try:
            self._writer.append(group, times)
        except (OSError, SourceFailure):
            if self._writer.is_empty:
                self._writer.discard()
                self._writer = None
            raise
        self.has_recorded = True
        if len(times) > 1:
            self._frame_us = min(_LAST_FRAME_US, int(times[-1] - times[-2]))
        station.state.offset_us = self._timeline.offset_us
        if self._is_settled and self._timeline.has_gone_astray:
            raise SourceFailure("time jumped")

    def _is_to_be_cut(self, group: Group) -> bool:
        """Whether a group begins a new file."""
        if self._writer is None:
            return True
        wanted = self._station.segment_us()
        # Slewed by a little, ten seconds may be a little less: half a frame decides.
        length = self._writer.last_us - self._writer.begin_us + self._frame_us * 3 // 2
        return (
            (length >= wanted and group.is_closed)
            or length >= _LONGEST * wanted
            or group.delay_us > self._writer.delay_us
        )

    def _finish(self, end_us: int, reason: str) -> None:
        assert self._writer is not None
        finished = self._writer.finish(end_us, reason, self._timeline.offset_us)
        self._writer = None
        self._station.floor_us = end_us
        self._station.state.stored_bytes += finished.file.stat().st_size
        self._station.publisher.submit(finished)
