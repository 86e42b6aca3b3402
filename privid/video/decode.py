"""Decoding chosen frames of one segment, in order, with the file kept open."""

import logging
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import av
from av import VideoFrame, VideoStream
from av.error import FFmpegError

from privid.video.errors import StoreFailure
from privid.video.frame_index import FrameIndex
from privid.video.sealing import SealedFile

_log = logging.getLogger(__name__)

Packets = Iterator["av.Packet[VideoStream]"]

READ_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": "mov,mp4,matroska,webm"}
"""A segment is a file of one of our own containers and refers to nothing else."""
_BUFFER = 64 * 1024
"""What is asked of an open file at a time: one chunk of a sealed one."""

_WORTH_A_SEEK = 8
"""Frames that must be saved before a seek forwards pays: it drops what the decoder has begun."""


class SegmentDecoder:
    """Gives the frames of one segment by their positions in its index. `file` is a path, or open and then closed by
    who opened it.

    Asked for positions that go on where it stopped, it goes on decoding; else it seeks to the last entry of the index
    before them. Frames that are not asked for are decoded, since others depend on them, and dropped. Not for use by
    several threads at once. Raises StoreFailure if the file cannot be opened, and what reading an open one raises.
    """

    def __init__(self, file: Path | SealedFile, index: FrameIndex, *, threads: int = 1) -> None:
        self._path = file if isinstance(file, Path) else file.name
        self._index = index
        self._positions = {tick: position for position, tick in enumerate(index.ticks.tolist())}
        self._frames: Iterator[tuple[int, VideoFrame]] | None = None
        self._fresh = True
        self._next = 0
        self._ahead: tuple[int, VideoFrame] | None = None
        try:
            source = f"file:{file}" if isinstance(file, Path) else file
            self._container = av.open(source, mode="r", options=READ_OPTIONS, buffer_size=_BUFFER)
        except (OSError, FFmpegError) as error:
            raise StoreFailure(f"cannot open the segment {self._path}: {error.strerror or error}") from error
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count = threads

    def read(self, positions: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (position, frame) for ascending `positions`; those that cannot be decoded are left out."""
        wanted = iter(positions)
        want = next(wanted, None)
        if want is None:
            return
        self._go_to(want)
        while want is not None:
            found = self._decode_one()
            if found is None:
                return
            position, frame = found
            while want is not None and want < position:
                want = next(wanted, None)
            if position == want:
                yield position, frame
                want = next(wanted, None)
            elif want is None:
                self._ahead = found  # what was wanted is lost; this one may be wanted by the next call
                self._next = position

    def close(self) -> None:
        """Close the file."""
        self._frames = self._ahead = None
        self._container.close()

    def _decode_one(self) -> tuple[int, VideoFrame] | None:
        if self._ahead is not None:
            found: tuple[int, VideoFrame] | None = self._ahead
            self._ahead = None
        else:
            assert self._frames is not None
            found = next(self._frames, None)
        self._next = len(self._index) if found is None else found[0] + 1
        return found

    def _go_to(self, position: int) -> None:
        entry = self._index.entry_before(position)
        if (
            self._frames is not None
            and self._next <= position
            and int(self._index.entries[entry]) - self._next < _WORTH_A_SEEK
        ):
            return
        self._ahead = None
        self._frames = self._decode(self._seek(entry), int(self._index.entries[entry]))
        self._next = int(self._index.entries[entry])

    def _seek(self, entry: int) -> Packets:
        """Packets from the key frame of an entry on, or from an earlier one; none if the file cannot be read there."""
        if self._fresh and entry == 0:
            self._fresh = False
            return self._packets()
        self._fresh = False
        tick = int(self._index.entry_ticks[entry])
        # Containers index by decoding time, which is earlier than `tick` by the reordering delay: a seek may land
        # behind the key frame that is wanted. Then one before serves as well.
        for number in range(entry, -1, -1):
            self._container.seek(int(self._index.entry_ticks[number]), stream=self._stream, backward=True)
            packets = self._packets()
            first = next(packets, None)
            if first is not None and first.pts is not None and first.pts <= tick:
                return chain((first,), packets)
        return iter(())

    def _packets(self) -> Packets:
        try:
            yield from self._container.demux(self._stream)
        except FFmpegError as error:
            _log.warning("segment %s cannot be read on: %s", self._path, error)

    def _decode(self, packets: Packets, first: int) -> Iterator[tuple[int, VideoFrame]]:
        """Frames of the index from position `first` on."""
        for packet in packets:
            try:
                frames = packet.decode()
            except FFmpegError as error:
                _log.warning("segment %s: a packet cannot be decoded: %s", self._path, error)
                continue
            for frame in frames:
                position = self._positions.get(frame.pts)
                # Not in the index: before the edit that the recording begins with.
                if position is not None and position >= first:
                    first = position + 1
                    yield position, frame
