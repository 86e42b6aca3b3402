"""Packets of a live source, gathered into groups that can be decoded on their own and know their frames' timestamps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from privid.domain.units import SECOND
from privid.ingest.clock import WallClock
from privid.ingest.endings import is_whole
from privid.ingest.errors import SourceFailure
from privid.ingest.live import VideoSource

Integers = npt.NDArray[np.int64]
VideoPacket = Any
"""av.Packet[av.VideoStream], for which av has no name at run time."""
Arrived = Callable[[int, int, int], None]
"""Called for each packet as it arrives, with its timestamp, the time and its size in bytes."""

_SHORTEST_US = SECOND // 2
"""Groups hold at least so much where key frames come more often: of motion JPEG every frame is one."""
_MOST_BYTES = 64 * 1024 * 1024
_MOST_PACKETS = 10_000
"""A source without a key frame for so long gives nothing that can be cut, and memory has an end."""
_LEAP_US = 10 * SECOND


@dataclass(slots=True)
class Group:
    """Packets in decoding order, the first a key frame; `media_us` the time at which each is shown, by the camera.

    `is_closed`: nothing in it refers to an earlier group. `arrival_us`: when the last packet arrived.
    """

    packets: list[VideoPacket] = field(default_factory=list)
    media_us: list[int] = field(default_factory=list)
    arrival_us: int = 0
    size_bytes: int = 0

    @property
    def is_closed(self) -> bool:
        """No frame is shown before the key frame."""
        return min(self.media_us) == self.media_us[0]

    def close(self) -> None:
        """Drop what cannot be decoded without an earlier group: the frames shown before the key frame."""
        kept = [i for i, media in enumerate(self.media_us) if media >= self.media_us[0]]
        self.packets = [self.packets[i] for i in kept]
        self.media_us = [self.media_us[i] for i in kept]

    @property
    def times(self) -> Integers:
        """The timestamps in the order in which the frames are shown."""
        return np.array(sorted(self.media_us), dtype=np.int64)

    @property
    def delay_us(self) -> int:
        """How much later than decoded a frame is shown, at most."""
        return max(shown - own for shown, own in zip(sorted(self.media_us), self.media_us, strict=True))

    def drop_last(self) -> None:
        """Without the last packet."""
        self.size_bytes -= self.packets.pop().size
        self.media_us.pop()

    def entries(self) -> list[int]:
        """Timestamps of the key frames after which nothing is shown that was decoded before."""
        latest, found = -(1 << 62), []
        for packet, media in zip(self.packets, self.media_us, strict=True):
            if packet.is_keyframe and media > latest:
                found.append(media)
            latest = max(latest, media)
        return found


def groups(stream: VideoSource, clock: WallClock, arrived: Arrived) -> Iterator[Group | SourceFailure]:
    """Groups as they become complete; at the end the one that was not, and why the source ended.

    What has arrived before the first key frame is dropped, and the last picture if it was cut off. Timestamps inside a
    group are all different, and those of a group come after those of the groups before, or the source has failed.
    """
    group = Group()
    stamps = _Stamps(stream)
    parameters = b""
    untimed: list[tuple[VideoPacket, int]] = []
    failures: list[SourceFailure] = []
    try:
        for packet in _until_failure(stream, failures):
            arrival = clock.now_us()
            before = untimed[-1][0] if untimed else group.packets[-1] if group.packets else None
            if before is not None and stream.is_timed and _is_repeated(before, packet):
                continue
            if not has_picture(stream.codec, bytes(packet), stream.has_lengths):
                continue  # a source that stops in the middle of a picture leaves parameters without one
            if is_continued(stream.codec, bytes(packet), stream.has_lengths):
                if untimed:
                    untimed[-1] = (_joined(untimed[-1][0], packet), arrival)
                elif group.packets:
                    group.packets[-1] = _joined(group.packets[-1], packet)
                continue
            if not group.packets and not untimed and not packet.is_keyframe:
                continue
            media = stamps.of(packet, arrival)
            if media is None:  # the first packets of an RTSP stream can have no time, and be the key frame
                untimed.append((packet, arrival))
                continue
            waiting = [(p, media - (len(untimed) - i) * stream.frame_us, a) for i, (p, a) in enumerate(untimed)]
            untimed = []
            for one, at, moment in [*waiting, (packet, media, arrival)]:
                if one.is_keyframe and group.packets and at - group.media_us[0] >= _SHORTEST_US:
                    yield group
                    group = Group()
                if one.is_keyframe:
                    found = picture_parameters(stream.codec, bytes(one), stream.has_lengths)
                    if found and parameters and found != parameters:
                        raise SourceFailure("picture changed")
                    parameters = found or parameters
                group.packets.append(one)
                group.media_us.append(at)
                group.arrival_us = moment
                group.size_bytes += one.size
                arrived(at, moment, one.size)
            if len(group.packets) > _MOST_PACKETS or group.size_bytes > _MOST_BYTES:
                group = Group()
                raise SourceFailure("no key frame")
        if group.packets and not is_whole(stream, group.packets):
            group.drop_last()
        raise failures[0]
    except SourceFailure as failure:
        if group.packets:
            yield group
        yield failure


def _until_failure(stream: VideoSource, failures: list[SourceFailure]) -> Iterator[VideoPacket]:
    """Packets, and then why there are no more."""
    try:
        yield from stream.packets()
    except SourceFailure as failure:
        failures.append(failure)


def _is_repeated(first: VideoPacket, second: VideoPacket) -> bool:
    """Some servers send a packet twice."""
    return (first.pts is None or first.pts == second.pts) and bytes(first) == bytes(second)


def _joined(first: VideoPacket, second: VideoPacket) -> VideoPacket:
    """Two parts of one picture as one packet, at the time of the first."""
    whole: VideoPacket = av.Packet(bytes(first) + bytes(second))
    whole.is_keyframe = first.is_keyframe
    return whole


class _Stamps:
    """The time of each packet by the camera, in microseconds."""

    def __init__(self, stream: VideoSource) -> None:
        self._stream = stream
        self._used: set[int] = set()
        self._last: int | None = None
        self._last_arrival = 0

    def of(self, packet: VideoPacket, arrival_us: int) -> int | None:
        """None as long as there is nothing to tell it by. Raises SourceFailure if it leaps."""
        tick = packet.pts if packet.pts is not None else packet.dts
        if not self._stream.is_timed:
            media = arrival_us
        elif tick is None or packet.time_base is None:
            if self._last is None:
                return None
            media = self._last + self._stream.frame_us
        else:
            media = int(tick * packet.time_base * SECOND)
            if self._last is not None and not (
                -_LEAP_US < media - self._last < max(0, arrival_us - self._last_arrival) + _LEAP_US
            ):
                raise SourceFailure("time jumped")
        if not self._stream.is_timed and self._last is not None:
            media = max(media, self._last + 1)
        while media in self._used:  # frames in one tick of a coarse clock
            media += 1
        self._used.add(media)
        if len(self._used) > 64:
            self._used = set(sorted(self._used)[-32:])
        self._last, self._last_arrival = media, arrival_us
        return media


def is_continued(codec: str, packet: bytes, has_lengths: bool) -> bool:
    """Whether a packet goes on with the picture of the one before: its first slice is not the picture's first.

    Some sources send each slice by itself. ITU-T H.264, 7.3.3 (first_mb_in_slice) and H.265, 7.3.6.1
    (first_slice_segment_in_pic_flag): both are the bit behind the unit's header.
    """
    if codec not in ("h264", "hevc"):
        return False
    for unit in _units(packet, has_lengths):
        if codec == "h264" and 1 <= unit[0] & 0x1F <= 5:
            return len(unit) > 1 and not unit[1] & 0x80
        if codec == "hevc" and (unit[0] >> 1) & 0x3F < 32:
            return len(unit) > 2 and not unit[2] & 0x80
    return False


def has_picture(codec: str, packet: bytes, has_lengths: bool) -> bool:
    """Whether a packet holds any of a picture, not only parameter sets and messages.

    ITU-T H.264, 7.4.1 (units 1 to 5 are slices) and H.265, 7.4.2.2 (those below 32 are).
    """
    if codec == "h264":
        return any(1 <= unit[0] & 0x1F <= 5 for unit in _units(packet, has_lengths))
    if codec == "hevc":
        return any((unit[0] >> 1) & 0x3F < 32 for unit in _units(packet, has_lengths))
    return True


def picture_parameters(codec: str, packet: bytes, has_lengths: bool) -> bytes:
    """What a key frame says of the pictures to come: parameter sets, or a JPEG's size. Empty if it says nothing.

    ITU-T H.264, 7.4.1 (7 is a sequence parameter set), H.265, 7.4.2.2 (33 is one), T.81, B.2.2 (a frame header).
    """
    if codec == "mjpeg":
        at = 2
        while at + 9 <= len(packet) and packet[at] == 0xFF:
            if packet[at + 1] in (0xC0, 0xC1, 0xC2):
                return packet[at + 5 : at + 9]
            at += 2 + int.from_bytes(packet[at + 2 : at + 4])
        return b""
    if codec not in ("h264", "hevc"):
        return b""
    for unit in _units(packet, has_lengths):
        kind = unit[0] & 0x1F if codec == "h264" else (unit[0] >> 1) & 0x3F
        if kind == (7 if codec == "h264" else 33):
            return unit.rstrip(b"\0")
    return b""


def _units(packet: bytes, has_lengths: bool) -> Iterator[bytes]:
    """The NAL units before the picture itself, of a stream with start codes or with lengths of four bytes."""
    if not has_lengths:
        for unit in packet[:4096].split(b"\0\0\1")[1:]:
            if unit:
                yield unit
        return
    at = 0
    while at + 5 <= min(len(packet), 4096):
        length = int.from_bytes(packet[at : at + 4])
        yield packet[at + 4 : at + 4 + min(length, 4096)]
        at += 4 + length
