"""Real RTSP servers on loopback, and a recorder as its users run it, for tests to break.

`Server` (aio-rtsp-toolkit) plays files over TCP, `LiveCamera` (rtsp-rs) goes on by itself over UDP.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from fractions import Fraction
from pathlib import Path

from privid.database.connect import open_database
from privid.domain.home import Home
from privid.testing.video import read_number, write_clip
from privid.video.catalog import Catalog
from privid.video.decode import SegmentDecoder
from privid.video.store import SegmentStore

FPS = 20
GOP = 10
"""Frames: half a second."""
RUN = "from privid.cli.ingest import run; run()"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def write_source(folder, frames=1200, name="camera.mp4", **options):
    """A clip as a camera would code it: no frame waits for a later one."""
    options = {"fps": Fraction(FPS), "gop": GOP, "options": {"tune": "zerolatency", "preset": "ultrafast"}} | options
    return write_clip(folder / name, frames, **options)


class Server:
    """Plays each file of a folder from its beginning to every connection."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process = None

    def url(self, name="camera.mp4"):
        return f"rtsp://127.0.0.1:{self.port}/{name}"

    def start(self):
        command = [str(Path(sys.executable).with_name("rtsp-server")), "-d", str(self.folder), "-H", "127.0.0.1"]
        self.process = subprocess.Popen(
            [*command, "-p", str(self.port), "-cp", str(free_port())],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: connects(self.port), "the RTSP server")
        return self

    def kill(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)


class LiveCamera:
    """Plays clips with start codes, one after the other, over UDP: see `tests.support.live_camera`."""

    def __init__(self, *clips: str) -> None:
        self.port = free_port()
        script = Path(__file__).with_name("live_camera.py")
        # Without its folder on the path: it means the package, not the module beside it.
        command = [sys.executable, "-P", str(script), str(self.port), str(FPS), *clips]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def url(self):
        return f"rtsp://127.0.0.1:{self.port}/stream"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Garbage:
    """Answers every connection with bytes that mean nothing."""

    def __init__(self):
        code = (
            "import os, socketserver\n"
            "class Handler(socketserver.BaseRequestHandler):\n"
            "    def handle(self):\n"
            "        self.request.recv(100); self.request.sendall(os.urandom(100_000))\n"
            "server = socketserver.ThreadingTCPServer(('127.0.0.1', 0), Handler)\n"
            "print(server.server_address[1], flush=True)\n"
            "server.serve_forever()\n"
        )
        self.process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def connects(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait_for(condition, what, seconds=150):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"{what}: not after {seconds} s"
        time.sleep(0.05)
    return found


class Recorder:
    """`privid-ingest run` in a process of its own, over a data directory of its own."""

    def __init__(self, root: Path, cameras: dict[str, str], config: str = 'segment = "2s"\n') -> None:
        self.home = Home(root / "home").create()
        self.catalog = Catalog(open_database(self.home.database))
        self.store = SegmentStore(self.home.video)
        for name, url in cameras.items():
            self.catalog.add_camera(name, created_us=1, url=url)
        self.config = root / "ingest.toml"
        self.config.write_text(config)
        self.log = root / "ingest.log"
        self.port = free_port()
        self.process = None

    def start(self):
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN, "run", "--config", str(self.config), "--listen", f"127.0.0.1:{self.port}"],
                env={**os.environ, "PRIVID_HOME": str(self.home.root)},
                stdout=log,
                stderr=log,
            )
        return self

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return ""

    def camera(self, name):
        """The state of one camera; empty while nobody answers."""
        found = self.get("/status")
        return next((c for c in json.loads(found)["cameras"] if c["camera"] == name), {}) if found else {}

    def stop(self, number=signal.SIGTERM):
        if self.process is None:
            return 0
        self.process.send_signal(number)
        status = self.process.wait(150)
        self.process = None
        return status

    def frames(self, name):
        """(number, time) of every frame that can be read, and the segments they are in."""
        found = []
        segments = self.catalog.segments(name, 0, 1 << 61)
        for segment in segments:
            index = segment.index()
            decoder = SegmentDecoder(self.store.path(segment.path), index)
            read = list(decoder.read(range(len(index))))
            assert [position for position, _ in read] == list(range(len(index))), segment.path
            found += [(read_number(f.to_ndarray(format="rgb24")), int(index.times_us[p])) for p, f in read]
            decoder.close()
        return found, segments

    def check_files(self):
        """The catalog and the store agree, and nothing is left of what was being recorded."""
        root = self.home.video
        known = {s.path for camera in self.catalog.cameras() for s in self.catalog.segments(camera.name, 0, 1 << 61)}
        there = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
        assert there == known


@contextlib.contextmanager
def killed_in_the_end():
    """A list for servers and recorders: whatever is in it is killed, the last one first."""
    found = []
    yield found
    for thing in reversed(found):
        thing.stop(signal.SIGKILL) if isinstance(thing, Recorder) else thing.kill()
