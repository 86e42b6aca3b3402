"""Live sources: network streams, devices, and files played as if they were cameras, opened for their video packets.

Addresses carry credentials: none is ever said here, and libav's own messages, which quote them, are never passed on.
"""

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol

import av
from av.container import InputContainer
from av.error import ExitError, FFmpegError, HTTPForbiddenError, HTTPNotFoundError, HTTPUnauthorizedError
from av.stream import Disposition

from privid.domain.units import SECOND
from privid.ingest.errors import SourceFailure
from privid.ingest.trust import CAREFUL, REFERRING, Trust, explain, is_secured
from privid.video.addresses import NETWORK, scheme_of

Kind = Literal["rtsp", "http", "device", "file", "folder"]
Transport = Literal["tcp", "udp"]

CODECS = frozenset({"h264", "hevc", "mpeg4", "mjpeg", "vp9", "av1"})
"""What can be copied into segments as it is."""
_UNTIMED = frozenset({"mpjpeg", "mjpeg", "h264", "hevc", "video4linux2,v4l2"})
"""Formats without timestamps of their own, or with the wall clock's: here the time of arrival is the timestamp."""
_NETWORK = "rtsp,rtsps,rtp,rtcp,udp,tcp,tls,http,https,httpproxy,crypto"
_SAID_OF_TLS = frozenset({"ended", "failed", "garbage"})
"""What libav says if it was TLS that failed."""
_EXPLAIN_SECONDS = 5.0

Open = Callable[..., InputContainer]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a source's pictures are coded again: H.264 with a key frame at least so often, and a fixed quantiser."""

    key_frame_us: int = 2 * SECOND
    quantiser: int = 23


@dataclass(frozen=True, slots=True)
class Source:
    """Where a camera's video comes from. Seconds for waiting; the address is kept out of every representation.

    With an `encoding` its pictures are not recorded as they come (see `privid.ingest.reencode`). `trust` is for what is
    spoken to over TLS.
    """

    kind: Kind
    url: str = field(repr=False)
    transport: Transport = "tcp"
    timeout_seconds: float = 5.0
    encoding: Encoding | None = None
    trust: Trust = CAREFUL

    @classmethod
    def of(cls, url: str, transport: Transport = "tcp", timeout_seconds: float = 5.0) -> "Source":
        """Read an address: rtsp(s)://, http(s)://, a device of V4L2, or a file or folder. Raises BadCamera."""
        scheme = scheme_of(url)
        if scheme in NETWORK:
            return cls("rtsp" if scheme.startswith("rtsp") else "http", url, transport, timeout_seconds)
        path = Path(url.removeprefix("file://"))
        kind: Kind = "device" if path.parent == Path("/dev") else "folder" if path.is_dir() else "file"
        return cls(kind, str(path), transport, timeout_seconds)


class VideoSource(Protocol):
    """Packets to record, and what is known of all of them.

    `stream` is what a file that takes them is made after. `frame_us` is how long a picture is shown, nominally; with
    `has_lengths` the units of a packet have their lengths before them, else start codes; not `is_timed` if only the
    arrival of a packet tells its time.
    """

    @property
    def stream(self) -> av.VideoStream:
        """The stream that the packets belong to."""

    @property
    def codec(self) -> str:
        """One of CODECS."""

    @property
    def width(self) -> int:
        """Of the pictures."""

    @property
    def height(self) -> int:
        """Of the pictures."""

    @property
    def frame_us(self) -> int:
        """Microseconds."""

    @property
    def has_lengths(self) -> bool:
        """See above."""

    @property
    def is_timed(self) -> bool:
        """See above."""

    def packets(self) -> Iterator["av.Packet[av.VideoStream]"]:
        """Packets as they come, until the source fails. Raises SourceFailure, always at the end."""


class LiveStream:
    """An open source. A context manager; `container` is closed at its end."""

    def __init__(self, source: Source, container: InputContainer) -> None:
        self._source = source
        self._container = container
        streams = [s for s in container.streams.video if not Disposition.attached_pic & s.disposition]
        if not streams:
            raise SourceFailure("no video")
        self.stream = streams[0]
        self.codec = {"libdav1d": "av1", "libvpx-vp9": "vp9"}.get(
            self.stream.codec_context.name, self.stream.codec_context.name
        )
        if self.codec not in CODECS and source.encoding is None:
            raise SourceFailure("unsupported", f"{self.codec}: set the camera to H.264, H.265 or MJPEG")
        self.width, self.height = self.stream.codec_context.width, self.stream.codec_context.height
        if not self.width or not self.height:
            raise SourceFailure("no video", "the size of the picture is not known")
        rate = self.stream.average_rate or self.stream.guessed_rate
        self.frame_us = int(SECOND / rate) if rate else SECOND // 25
        # Else with start codes: the first byte of an `avcC` or `hvcC` record is 1, that of a start code 0.
        self.has_lengths = bytes(self.stream.codec_context.extradata or b"")[:1] == b"\1"
        self.is_timed = container.format.name not in _UNTIMED

    def __enter__(self) -> "LiveStream":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def packets(self) -> Iterator["av.Packet[av.VideoStream]"]:
        """Video packets as they come, until the source fails. Raises SourceFailure, always at the end."""
        patience = self._source.timeout_seconds
        before = last = time.monotonic()
        try:
            with _failures():
                for packet in self._paced(self._container.demux()):
                    # Sound, or reports, without a picture is a stall as well.
                    if packet.stream is self.stream and packet.size:
                        before, last = last, time.monotonic()
                        yield packet
                    elif time.monotonic() - last > patience:
                        raise SourceFailure("stalled", f"no picture for {patience:g} s")
        except SourceFailure as failure:
            # Once libav has waited in vain it gives what it still has of a picture, and only then fails.
            raise _timed(failure, self._source, before) from None
        raise SourceFailure("ended")

    def _paced(self, packets: Iterator["av.Packet[Any]"]) -> Iterator["av.Packet[Any]"]:
        """A file's packets come when they would have been taken; a camera's as they are."""
        if self._source.kind != "file":
            yield from packets
            return
        begin: float | None = None
        for packet in packets:
            if packet.dts is not None and packet.time_base is not None:
                moment = float(packet.dts * Fraction(packet.time_base))
                begin = time.monotonic() - moment if begin is None else begin
                time.sleep(max(0.0, begin + moment - time.monotonic()))
            yield packet


def open_live(source: Source, open_container: Open = av.open) -> LiveStream:
    """Connect, within the source's timeout. Raises SourceFailure."""
    timeout = source.timeout_seconds
    secured = is_secured(source.url)
    # What is read to find out about the stream is kept: the first packet can be the key frame (so no `nobuffer`). That
    # ends long before the timeout, which would interrupt it and lose part of a picture, and of TLS the connection.
    options = {"analyzeduration": str(int(timeout * SECOND / 2))}
    name, container_format = source.url, None
    match source.kind:
        case "rtsp":
            options |= {"rtsp_transport": source.transport, "protocol_whitelist": _NETWORK, "buffer_size": "4194304"}
        case "http":
            options |= {"protocol_whitelist": _NETWORK}
        case "device":
            container_format = "v4l2"
            # The device's own compression, if it has one: nothing is coded here.
            options |= {"input_format": "mjpeg"}
        case _:
            name, options = f"file:{source.url}", {"protocol_whitelist": "file"}
    if secured:
        options |= source.trust.options()
    begin = time.monotonic()
    try:
        with _failures():
            container = open_container(name, format=container_format, options=options, timeout=(timeout, timeout))
    except SourceFailure as found:
        failure = _timed(found, source, begin)
        if secured and failure.reason in _SAID_OF_TLS:
            failure = explain(source.url, source.trust, min(timeout, _EXPLAIN_SECONDS)) or failure
        raise failure from None
    try:
        if secured and source.trust.verify and container.format.name in REFERRING:
            raise SourceFailure("unsupported", "of a playlist's parts no certificate can be checked: see tls_verify")
        return LiveStream(source, container)
    except BaseException:
        container.close()
        raise


def _timed(failure: SourceFailure, source: Source, since: float) -> SourceFailure:
    """Over TLS, libav tells waiting in vain from other failures by nothing but the time that it took."""
    waited = time.monotonic() - since >= source.timeout_seconds
    return (
        SourceFailure("timed out") if waited and is_secured(source.url) and failure.reason in _SAID_OF_TLS else failure
    )


@contextmanager
def _failures() -> Iterator[None]:
    """What libav raises, in the words of the catalog."""
    try:
        yield
    except ConnectionRefusedError:
        raise SourceFailure("refused") from None
    except (ExitError, TimeoutError):
        raise SourceFailure("timed out") from None
    except (HTTPUnauthorizedError, HTTPForbiddenError, PermissionError):
        raise SourceFailure("not allowed") from None
    except (HTTPNotFoundError, FileNotFoundError):
        raise SourceFailure("not found") from None
    except (EOFError, ConnectionError):
        raise SourceFailure("ended") from None
    except ValueError:
        raise SourceFailure("garbage") from None
    except (OSError, FFmpegError) as error:
        # How libav says that an HTTP stream of no known length is over.
        raise SourceFailure("ended" if error.errno == errno.EIO else "failed", error.strerror or "") from None
