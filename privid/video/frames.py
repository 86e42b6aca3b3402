"""Reading chunks: exactly the frames of each interval, decoded by trusted code into memory that is then sealed.

How many frames a chunk has, and when they were taken, follows from the catalog alone, which is public
(privacy-model.md, section 1). A frame that cannot be decoded is therefore delivered black, never left out.
"""

import logging
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av import VideoFrame

from privid.video.catalog import Catalog, Segment
from privid.video.chunking import Chunk
from privid.video.convert import BLACK, Converter
from privid.video.decode import SegmentDecoder
from privid.video.frame_index import FrameIndex
from privid.video.memory import FrameBuffer, FramePool
from privid.video.sampling import choose
from privid.video.store import SegmentStore
from privid.video.views import View
from workers.guest.chunk import Colour

_log = logging.getLogger(__name__)

_OPEN_SEGMENTS = 4
"""Decoders that a reader keeps open. Each holds some 20 frames of its segment."""


@dataclass(frozen=True, slots=True)
class ChunkFrames:
    """The frames of one chunk, as one view shows them; `view` is its position among those asked for.

    `memory` has len(times_us) frames of `height` x `width` x 3 bytes (uint8, in the colour asked for), one after
    the other; the receiver closes it, or gives it back to be used again. None if the chunk has no frames.
    """

    index: int
    view: int
    begin_us: int
    end_us: int
    memory: FrameBuffer | None
    times_us: tuple[int, ...]
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class _Part:
    """The chosen frames of one segment."""

    segment: Segment
    index: FrameIndex
    positions: tuple[int, ...]


def read_chunks(
    catalog: Catalog,
    store: SegmentStore,
    camera: str,
    chunks: Iterable[Chunk],
    *,
    views: Sequence[View | None] = (None,),
    fps: Fraction | None = None,
    resize: tuple[int, int] | None = None,
    colour: Colour = "bgr",
    decoder_threads: int = 1,
) -> Iterator[ChunkFrames]:
    """Decode chunks one after the other; fastest if they are in the order of time.

    Every chunk is decoded once and comes once for each of `views`, in their order; None is the whole picture. A frame
    that a view cannot be applied to (see `blacken`) is black, and counts all the same.

    A frame belongs to a chunk iff begin <= its time < end; `fps` thins frames out (see `sampling.choose`). All frames
    of a view have the size `resize` (width, height), whatever the size of the segments they come from; without it, that
    of the view's box, or of the camera's earliest segment. Closing the iterator closes every file and the memory that
    was given back. Raises UnknownCamera, StoreFailure (a segment file that is missing or cannot be opened), OSError
    (out of memory).
    """
    size = resize or catalog.frame_size(camera) or (0, 0)
    outputs = [
        _Output(view, *(size if resize or view is None else (view.box.width, view.box.height)), colour)
        for view in views
    ]
    reader = _Reader(catalog, store, camera, fps, outputs, decoder_threads)
    try:
        for chunk in chunks:
            yield from reader.read(chunk)
    finally:
        reader.close()


class _Output:
    """Where the frames of one view go."""

    def __init__(self, view: View | None, width: int, height: int, colour: Colour) -> None:
        self.width = width
        self.height = height
        self.converter = Converter(width, height, view, colour)
        self.black = BLACK[colour]
        self._pool = FramePool()  # of its own: views differ in size, and memory is used again for one shape only

    def take(self, count: int) -> FrameBuffer:
        """Memory for so many frames."""
        return self._pool.take(count, self.height, self.width)

    def close(self) -> None:
        """Let go of the memory that is free."""
        self._pool.close()


class _Reader:
    """The open segments of one camera."""

    def __init__(
        self,
        catalog: Catalog,
        store: SegmentStore,
        camera: str,
        fps: Fraction | None,
        outputs: Sequence[_Output],
        threads: int,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._camera = camera
        self._fps = fps
        self._outputs = outputs
        self._threads = threads
        self._indexes: OrderedDict[int, FrameIndex] = OrderedDict()
        self._decoders: OrderedDict[int, tuple[SegmentDecoder, ExitStack]] = OrderedDict()

    def read(self, chunk: Chunk) -> Iterator[ChunkFrames]:
        """The frames of a chunk, for each view."""
        times, parts = self._plan(chunk)
        buffers = deque(self._fill(parts, len(times)) if times else ())
        try:
            for view, output in enumerate(self._outputs):
                memory = buffers.popleft() if buffers else None
                yield ChunkFrames(
                    chunk.index, view, chunk.begin_us, chunk.end_us, memory, times, output.height, output.width
                )
        finally:
            for buffer in buffers:  # not handed over
                buffer.close()

    def _plan(self, chunk: Chunk) -> tuple[tuple[int, ...], list[_Part]]:
        """Times of the chosen frames of a chunk, and where they are."""
        found = []
        for segment in self._catalog.segments(self._camera, chunk.begin_us, chunk.end_us):
            index = self._index(segment)
            found.append((segment, index, index.within(chunk.begin_us, chunk.end_us)))
        if not found:
            return (), []
        times = np.concatenate([index.times_us[within] for _, index, within in found])
        chosen = choose(times, chunk.begin_us, self._fps)
        parts, offset = [], 0
        for segment, index, within in found:
            count = within.stop - within.start
            mine = chosen[(chosen >= offset) & (chosen < offset + count)] - offset + within.start
            parts.append(_Part(segment, index, tuple(mine.tolist())))
            offset += count
        return tuple(times[chosen].tolist()), parts

    def _fill(self, parts: list[_Part], count: int) -> list[FrameBuffer]:
        """Decode the frames of a chunk into sealed memory, one for each view."""
        buffers: list[FrameBuffer] = []
        try:
            for output in self._outputs:
                buffers.append(output.take(count))
            offset = 0
            for part in parts:
                slots = {position: offset + i for i, position in enumerate(part.positions)}
                for position, frame in self._decoder(part).read(part.positions):
                    self._write(frame, slots.pop(position), buffers)
                for slot in slots.values():
                    for output, buffer in zip(self._outputs, buffers, strict=True):
                        buffer.fill(slot, output.black)
                if slots:
                    _log.warning("%s: %d frames cannot be decoded, black instead", part.segment.path, len(slots))
                offset += len(part.positions)
        except BaseException:
            for buffer in buffers:
                buffer.close()
            raise
        return buffers

    def _write(self, frame: VideoFrame, slot: int, buffers: list[FrameBuffer]) -> None:
        for output, buffer in zip(self._outputs, buffers, strict=True):
            shown = output.converter.convert(frame)
            if shown is None:
                buffer.fill(slot, output.black)
            else:
                buffer.write(slot, shown)

    def close(self) -> None:
        """Close every file, and let go of the memory that is free."""
        for output in self._outputs:
            output.close()
        while self._decoders:
            self._close(*self._decoders.popitem()[1])

    def _index(self, segment: Segment) -> FrameIndex:
        if segment.id not in self._indexes:
            self._indexes[segment.id] = segment.index()
            if len(self._indexes) > _OPEN_SEGMENTS:
                self._indexes.popitem(last=False)
        return self._indexes[segment.id]

    def _decoder(self, part: _Part) -> SegmentDecoder:
        key = part.segment.id
        if key not in self._decoders:
            if len(self._decoders) >= _OPEN_SEGMENTS:
                self._close(*self._decoders.popitem(last=False)[1])
            with ExitStack() as held:
                file = held.enter_context(self._store.open(part.segment.path, part.segment.seal))
                decoder = SegmentDecoder(file, part.index, threads=self._threads)
                self._decoders[key] = decoder, held.pop_all()
            if self._store.is_remote:
                # While this one is read, the one after it is fetched.
                after = self._catalog.segments(self._camera, part.segment.end_us, part.segment.end_us + 1)
                self._store.prefetch([segment.path for segment in after])
        self._decoders.move_to_end(key)
        return self._decoders[key][0]

    @staticmethod
    def _close(decoder: SegmentDecoder, held: ExitStack) -> None:
        """Close a decoder, and only then the file that it reads."""
        with held:
            decoder.close()
