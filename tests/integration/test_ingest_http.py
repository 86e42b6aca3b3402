"""Streams over HTTP, from a server on loopback: MPEG-TS, and motion JPEG, which has no timestamps."""

import threading
import time
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import pytest

from privid.domain.units import SECOND
from privid.ingest.clock import WallClock
from privid.ingest.errors import SourceFailure
from privid.ingest.groups import groups
from privid.ingest.live import Source, open_live
from privid.testing.video import read_number, write_clip

FRAMES = 40
FPS = 20


@pytest.fixture
def server(tmp_path):
    clip = write_clip(tmp_path / "a.ts", FRAMES, fps=Fraction(FPS), gop=10)
    pictures = write_clip(tmp_path / "a.mp4", FRAMES, fps=Fraction(FPS), codec="mjpeg")
    with av.open(str(pictures)) as container:
        images = [bytes(packet) for packet in container.demux(video=0) if packet.size]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/locked":
                self.send_error(401)
                return
            if self.path not in ("/ts", "/jpeg", "/silent"):
                self.send_error(404)
                return
            self.send_response(200)
            kind = "multipart/x-mixed-replace; boundary=frame" if self.path == "/jpeg" else "video/mp2t"
            self.send_header("Content-Type", kind)
            self.end_headers()
            if self.path == "/ts":
                self.wfile.write(clip.read_bytes())
            elif self.path == "/silent":
                self.wfile.write(clip.read_bytes()[:2000])
                self.wfile.flush()
                time.sleep(4)
            else:
                for image in images:
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
                    self.wfile.write(head.encode() + image + b"\r\n")
                    time.sleep(1 / FPS)

        def log_message(self, *_):
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.daemon_threads = True
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://user:hunter2@127.0.0.1:{found.server_address[1]}"
    found.shutdown()
    found.server_close()


def receive(url):
    with open_live(Source.of(url, timeout_seconds=2)) as stream:
        *found, failure = groups(stream, WallClock(), lambda _media, _arrival, _size: None)
        numbers = []
        for group in found:
            for packet in group.packets:
                numbers += [
                    read_number(f.to_ndarray(format="rgb24")) for f in stream.stream.codec_context.decode(packet)
                ]
        numbers += [read_number(f.to_ndarray(format="rgb24")) for f in stream.stream.codec_context.decode(None)]
    times = [int(at) for group in found for at in group.times]
    return numbers, times, failure


def test_mpeg_ts(server):
    numbers, times, failure = receive(f"{server}/ts")
    assert numbers == list(range(FRAMES))
    assert {b - a for a, b in zip(times, times[1:], strict=False)} == {SECOND // FPS}
    assert failure.reason == "ended"


def test_motion_jpeg_is_stamped_as_it_comes(server):
    numbers, times, failure = receive(f"{server}/jpeg")
    assert numbers == list(range(FRAMES))
    assert times == sorted(set(times))
    assert times[-1] - times[0] >= (FRAMES - 3) * SECOND // FPS // 2
    assert failure.reason == "ended"


@pytest.mark.parametrize(("path", "reason"), [("locked", "not allowed"), ("nothing", "not found")])
def test_what_the_server_refuses(server, path, reason):
    with pytest.raises(SourceFailure) as refused:
        open_live(Source.of(f"{server}/{path}", timeout_seconds=2))
    assert refused.value.reason == reason
    assert "hunter2" not in str(refused.value)


def test_a_server_that_falls_silent(server):
    with pytest.raises(SourceFailure) as refused, open_live(Source.of(f"{server}/silent", timeout_seconds=1)) as stream:
        for _ in stream.packets():
            pass
    assert refused.value.reason == "timed out"
