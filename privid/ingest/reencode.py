"""A live source whose pictures are decoded and coded again, because its own coding does not suit a recording.

Only where the configuration asks for it: it costs a decoder and an encoder for each camera, and some of the picture.
Every picture keeps the timestamp that the source gave it.
"""

import io
from collections.abc import Iterator
from fractions import Fraction

import av
from av import VideoFrame
from av.error import FFmpegError
from av.video.frame import PictureType
from av.video.reformatter import ColorRange

from privid.ingest.endings import is_never_known
from privid.ingest.errors import SourceFailure
from privid.ingest.groups import VideoPacket, has_picture, is_continued
from privid.ingest.live import Encoding, VideoSource

_ENCODER = {
    "preset": "veryfast",
    "tune": "zerolatency",  # a packet for each picture, at once, in the order in which they are shown
    "forced-idr": "1",
    # Key frames where they are asked for and nowhere else.
    "x264-params": "keyint=infinite:scenecut=0",
}
_PATIENCE = 500
"""Packets in a row of which nothing can be decoded."""


class Reencoded:
    """The pictures of another source as H.264. A context manager; the other source is closed by who opened it.

    The quantiser is fixed: with a rate to keep to, the coding of a picture would depend on all that were before it,
    while so nothing reaches further than to the next key frame. Raises SourceFailure for interlaced pictures, whose
    colour belongs to every other row, and for odd sizes, neither of which the encoder can keep as they are.
    """

    codec = "h264"
    has_lengths = False

    def __init__(self, source: VideoSource, encoding: Encoding) -> None:
        self._source = source
        self._encoding = encoding
        self._decoder = source.stream.codec_context
        self._decoder.thread_count = 1
        self.width, self.height = source.width, source.height
        self.frame_us, self.is_timed = source.frame_us, source.is_timed
        if self.width % 2 or self.height % 2:
            raise SourceFailure("unsupported", f"pictures of odd size ({self.width}x{self.height}) cannot be reencoded")
        self._container = av.open(io.BytesIO(), "w", format="mp4")
        try:
            self.stream = self._container.add_stream("libx264", options={**_ENCODER, "qp": str(encoding.quantiser)})
            context = self.stream.codec_context
            context.width, context.height, context.pix_fmt = self.width, self.height, "yuv420p"
            context.time_base = Fraction(1, 1_000_000)
            context.color_range, context.colorspace = self._decoder.color_range, self._decoder.colorspace
            context.max_b_frames, context.thread_count = 0, 1
            self._container.start_encoding()
        except BaseException:
            self._container.close()
            raise
        self._times: dict[int, tuple[int | None, Fraction | None]] = {}
        self._count = 0
        self._last_tick: int | None = None
        self._key_us: int | None = None
        self._is_over = False

    def __enter__(self) -> "Reencoded":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def packets(self) -> Iterator[VideoPacket]:
        """A packet for each picture as it is shown, until the source fails. Raises SourceFailure, always at the end."""
        for frame in self._frames():
            yield from self._encoded(frame)

    def _frames(self) -> Iterator[VideoFrame]:
        """The pictures of the source; at its end those that the decoder still has. Raises SourceFailure."""
        lost = 0
        try:
            for packet in self._whole():
                frames = self._decoded(packet)
                lost = 0 if frames else lost + 1
                if lost > _PATIENCE:
                    raise SourceFailure("garbage", "nothing that comes can be decoded")
                yield from frames
        except SourceFailure:
            yield from self._decoded(None)
            raise

    def _whole(self) -> Iterator[VideoPacket]:
        """Packets with a whole picture each: some sources send every slice by itself."""
        codec, has_lengths = self._source.codec, self._source.has_lengths
        held: VideoPacket | None = None
        try:
            for packet in self._source.packets():
                data = bytes(packet)
                if held is not None and is_continued(codec, data, has_lengths):
                    whole = av.Packet(bytes(held) + data)
                    whole.pts, whole.dts, whole.time_base = held.pts, held.dts, held.time_base
                    held = whole
                    continue
                if held is not None and not has_picture(codec, bytes(held), has_lengths):
                    whole = av.Packet(bytes(held) + data)  # parameters sent ahead of their picture
                    whole.pts, whole.dts, whole.time_base = packet.pts, packet.dts, packet.time_base
                    held = whole
                    continue
                if held is not None:
                    yield held
                held = packet
        except SourceFailure:
            self._is_over = True
            if held is not None and not is_never_known(self._source):
                yield held
            raise

    def _decoded(self, packet: VideoPacket | None) -> list[VideoFrame]:
        """The pictures that a packet completes; None for those that are still waiting at the end.

        The first is a sound one: a source may begin in the middle of a group. So are the last, which may be cut off.
        """
        try:
            frames = self._decoder.decode(packet)
        except (FFmpegError, EOFError):
            return []
        may_be_damaged = self._count and not self._is_over
        return [frame for frame in frames if may_be_damaged or not frame.is_corrupt]

    def _encoded(self, frame: VideoFrame) -> Iterator[VideoPacket]:
        if (frame.width, frame.height) != (self.width, self.height):
            raise SourceFailure("picture changed")
        if frame.interlaced_frame:
            raise SourceFailure("unsupported", "interlaced pictures cannot be reencoded: set the camera to progressive")
        tick, base = frame.pts, self._source.stream.time_base  # those that come last do not say theirs
        if self.is_timed and tick is not None and tick == self._last_tick:
            return  # some servers send a packet twice
        self._last_tick = tick
        picture = frame.reformat(format="yuv420p", dst_color_range=ColorRange(frame.color_range))
        picture.pts, picture.time_base = self._count, Fraction(1, 1_000_000)
        picture.pict_type = PictureType.I if self._is_key(tick, base) else PictureType.NONE
        self._times[self._count] = tick, base
        self._count += 1
        try:
            packets = self.stream.encode(picture)
        except FFmpegError as error:
            raise SourceFailure("failed", error.strerror or "") from None
        for packet in packets:
            assert packet.pts is not None
            own, own_base = self._times.pop(packet.pts)
            packet.pts = packet.dts = own
            if own_base is not None:
                packet.time_base = own_base
            yield packet

    def _is_key(self, tick: int | None, base: Fraction | None) -> bool:
        """Whether it is time for a key frame: half a frame early rather than a whole one late."""
        now = self._count * self.frame_us
        if self.is_timed and tick is not None and base is not None:
            now = int(tick * base * 1_000_000)
        if self._key_us is None or not 0 <= now - self._key_us < self._encoding.key_frame_us - self.frame_us // 2:
            self._key_us = now
            return True
        return False
