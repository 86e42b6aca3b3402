"""What recording costs: processor time and memory of the recorder for each camera, from a real RTSP server on loopback.

Every camera plays the clip, encoded as cameras do it (25 frames and a key frame a second, no B-frames), over TCP.
Processor time is user and system time of the recorder's process while all cameras record, memory its proportional set
size (PSS) at the end; both divided by the number of cameras. "cameras a core" is what the processor time alone allows.
Prints a table and writes benchmarks/out/ingest.json. Exit status 1 if a target is missed, or a camera connects twice.
Needs the extra `dev`.

    python benchmarks/ingest.py [CLIP] [--cameras 1,8] [--seconds 15]
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from privid.database.connect import open_database
from privid.domain.home import Home
from privid.video.catalog import Catalog

HERE = Path(__file__).resolve().parent
DEFAULT_CLIP = HERE.parent / "examples" / "plaza.mp4"
TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 120.0
FPS = 25
A_SERVER = 4
"""Cameras that one server process plays: it has a thread for each, but few of them."""
TARGETS = {"core_percent": 2.0, "pss_mb": 60.0}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def pss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


def status(port: int) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, urllib.error.URLError):
        return {"cameras": []}


def as_a_camera_would(clip: Path, target: Path) -> Path:
    """The clip at 25 frames a second, three times in a row."""
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "tune": "zerolatency"})
        stream.gop_size, stream.pix_fmt = FPS, "yuv420p"
        with av.open(str(clip)) as source:
            stream.width, stream.height = source.streams.video[0].width, source.streams.video[0].height
        number = 0
        for _ in range(3):
            with av.open(str(clip)) as source:
                for frame in source.decode(video=0):
                    picture = frame.reformat(format="yuv420p")
                    picture.pts, picture.time_base, picture.pict_type = number, Fraction(1, FPS), 0
                    container.mux(stream.encode(picture))
                    number += 1
        container.mux(stream.encode(None))
    return target


def measure(clip: Path, cameras: int, seconds: float) -> dict[str, float]:
    """Record `clip` with so many cameras for so long."""
    web = free_port()
    ports = [free_port() for _ in range(-(-cameras // A_SERVER))]
    binaries = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as root:
        home = Home(Path(root)).create()
        catalog = Catalog(open_database(home.database))
        for number in range(cameras):
            url = f"rtsp://127.0.0.1:{ports[number // A_SERVER]}/{clip.name}"
            catalog.add_camera(f"camera{number}", created_us=1, url=url)
        command = [str(binaries / "rtsp-server"), "-d", str(clip.parent), "-H", "127.0.0.1"]
        servers = [
            subprocess.Popen(
                [*command, "-p", str(port), "-cp", str(free_port())],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for port in ports
        ]
        time.sleep(3)
        recorder = subprocess.Popen(
            [str(binaries / "privid-ingest"), "run", "--listen", f"127.0.0.1:{web}"],
            env={**os.environ, "PRIVID_HOME": root},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + START_SECONDS
            while sum(camera["phase"] == "recording" for camera in status(web)["cameras"]) < cameras:
                if time.monotonic() > until:
                    states = [(camera["phase"], camera["reason"]) for camera in status(web)["cameras"]]
                    raise SystemExit(f"the cameras did not start: {states}")
                time.sleep(0.2)
            before, begin = cpu_seconds(recorder.pid), time.monotonic()
            time.sleep(seconds)
            core = (cpu_seconds(recorder.pid) - before) / (time.monotonic() - begin)
            memory = pss_mb(recorder.pid)
            connections = sum(camera["connections"] for camera in status(web)["cameras"])
        finally:
            recorder.send_signal(signal.SIGTERM)
            recorder.wait(60)
            for server in servers:
                server.kill()
                server.wait()
    return {
        "cameras": cameras,
        "core_percent": 100 * core / cameras,
        "cameras_a_core": cameras / core,
        "pss_mb": memory / cameras,
        "pss_mb_total": memory,
        "reconnects": connections - cameras,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, nargs="?", default=DEFAULT_CLIP)
    parser.add_argument("--cameras", default="1,8", help="numbers of cameras to try")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long to measure each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = as_a_camera_would(options.clip, Path(folder) / "camera.mp4")
        rows = [measure(clip, int(number), options.seconds) for number in options.cameras.split(",")]
    print("| cameras | a camera: % of a core | cameras a core | a camera: MB (PSS) | all: MB | reconnects |")
    print("|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        print(
            f"| {row['cameras']} | {row['core_percent']:.2f} | {row['cameras_a_core']:.0f} | {row['pss_mb']:.1f} | "
            f"{row['pss_mb_total']:.0f} | {row['reconnects']} |"
        )
    output = HERE / "out" / "ingest.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps({"clip": options.clip.name, "seconds": options.seconds, "rows": rows}, indent=1))
    last = rows[-1]
    targets = f"{TARGETS['core_percent']:g} % of a core and {TARGETS['pss_mb']:.0f} MB a camera"
    print(f"\ntargets, with {last['cameras']} cameras: at most {targets}")
    return int(last["reconnects"] > 0 or any(last[name] > target for name, target in TARGETS.items()))


if __name__ == "__main__":
    sys.exit(main())
