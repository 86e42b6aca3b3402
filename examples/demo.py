"""`make demo`: the whole system on real video, on this machine, in about two minutes.

Starts a server on loopback in a temporary directory, records a public clip as a camera's video, asks two questions of
it as an analyst would, and shows the answers beside the true ones, which only a public clip can have. Every line that
begins with `$` is a command that really runs. Leaves `demo/budget.png` and `demo/answer.png` behind, nothing else.
"""

import mmap
import shlex
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import fmean

import numpy as np

from privid.database.connect import open_database
from privid.domain.units import SECOND
from privid.testing.system import LocalSystem, descendants, memory_mb
from privid.video.catalog import Catalog
from privid.video.chunking import Chunk
from privid.video.frames import ChunkFrames, read_chunks
from privid.video.store import SegmentStore
from query_lang.units import parse_moment
from workers.detectors import background as detector

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "demo"
START = "2026-09-01T13:00:00Z"
REPEAT = 31
CLIP_SECONDS = 79.5
CHUNK_SECONDS = 5
CHUNKS = 480
QUARTER = 180  # chunks
PERIOD = 159  # ten repetitions are 159 whole chunks, so the chunks repeat from there on
FPS = 5
SIZE = (384, 288)


class Demo:
    """One run of the demo."""

    def __init__(self, system: LocalSystem) -> None:
        self.system = system
        self.token = ""
        self.largest: dict[str, float] = {}

    def show(self, command: str, *, refused: bool = False) -> None:
        """Print a command, run it, and let it print. A refusal has exit status 2."""
        print(f"\n$ {command}", flush=True)
        name, *arguments = shlex.split(command)
        done = self.system.run(name, *arguments, token=self.token, check=False, capture_output=False, cwd=HERE.parent)
        if done.returncode != (2 if refused else 0):
            print(self.system.log.read_text()[-4000:], file=sys.stderr)
            raise SystemExit(f"the demo failed: this command ended with status {done.returncode}")

    def prepare(self) -> None:
        """What an owner does: a camera, its policy, its video, an analyst."""
        self.show("privid-admin camera add plaza")
        self.show("privid-admin policy apply examples/people/policy.toml --yes")
        self.show(f"privid-ingest import examples/plaza.mp4 --camera plaza --start {START} --repeat {REPEAT}")
        print("  (each repetition of the short clip counts as other people)")
        self.token = self.system.add_analyst("newcomer", "plaza")

    def ask(self) -> None:
        """What an analyst does; meanwhile the truth is computed, and memory is watched."""
        self.show("privid upload examples/people/people.py")
        self.show("privid explain examples/people/people.sql --server")
        over = threading.Event()
        watcher = threading.Thread(target=self._watch_memory, args=(over,), daemon=True)
        watcher.start()
        truth = threading.Thread(target=self._truth, daemon=True)
        truth.start()
        self.show("privid submit examples/people/people.sql --watch --plot demo/answer.png")
        over.set()
        watcher.join()
        truth.join()

    def _truth(self) -> None:
        chunk_us = CHUNK_SECONDS * SECOND
        begin_us = parse_moment(START, "UTC")
        window = [Chunk(i, begin_us + i * chunk_us, begin_us + (i + 1) * chunk_us) for i in range(PERIOD)]
        database = open_database(self.system.home.database, migrate=False)
        found = read_chunks(
            Catalog(database), SegmentStore(self.system.home.video), "plaza", window, fps=FPS, resize=SIZE
        )
        counts, clip = [], []
        for chunk in found:
            pictures = [detector.reduce(frame) for frame in pixels(chunk)]
            counts.append(mean_count(pictures, detector.background(pictures)))
            if chunk.index < CLIP_SECONDS // CHUNK_SECONDS:
                clip += pictures
        database.dispose()
        by_chunk = [counts[i % PERIOD] for i in range(CHUNKS)]
        self.quarters = [fmean(by_chunk[i : i + QUARTER]) for i in range(0, CHUNKS, QUARTER)]
        self.average = fmean(by_chunk)
        self.whole_clip = mean_count(clip, detector.background(clip))
        self.own_chunks = fmean(counts[: int(CLIP_SECONDS // CHUNK_SECONDS)])

    def tell_truth(self) -> None:
        """The same without privacy, and how good the detector is."""
        quarters = ", ".join(f"{value:.2f}" for value in self.quarters)
        print(f"\nnot private (this clip is public):   average {self.average:.2f};   quarters {quarters}")
        print(
            f"the detector's own error: {self.own_chunks:.2f} people with the background of each 5 s chunk, "
            f"{self.whole_clip:.2f} with that of the whole clip"
        )

    def spend(self) -> None:
        """What is left, what is free, what is refused."""
        self.show("privid-admin budget show plaza --png demo/budget.png")
        print("\nthe same question again: the stored answer, free")
        self.show("privid submit examples/people/people.sql --watch")
        print("\na question that is too dear:")
        self.show("privid submit examples/people/too_dear.sql", refused=True)

    def _watch_memory(self, over: threading.Event) -> None:
        while not over.wait(0.5):
            server = self.system.pid
            self.largest["server"] = max(self.largest.get("server", 0), memory_mb(server))
            below = [memory for pid in descendants(server) if (memory := memory_or_none(pid)) is not None]
            self.largest["largest worker process"] = max(self.largest.get("largest worker process", 0), *below, 0)


def pixels(chunk: ChunkFrames) -> np.ndarray:
    """The frames of a chunk, shape (n, height, width, 3)."""
    shape = (len(chunk.times_us), chunk.height, chunk.width, 3)
    if chunk.memory is None:
        return np.zeros(shape, np.uint8)
    with mmap.mmap(chunk.memory.fd, 0, prot=mmap.PROT_READ) as memory:
        found = np.frombuffer(memory[:], np.uint8).reshape(shape)
    chunk.memory.reuse()
    return found


def mean_count(pictures: list[np.ndarray], background: np.ndarray) -> float:
    """People a frame, on average."""
    return fmean(detector.count_moving(picture, background) for picture in pictures)


def memory_or_none(pid: int) -> float | None:
    """None for a process that is gone."""
    try:
        return memory_mb(pid)
    except (OSError, StopIteration):
        return None


def main() -> None:
    """Run the demo."""
    began = time.monotonic()
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="privid-demo-") as folder, LocalSystem(Path(folder) / "home") as system:
        demo = Demo(system)
        demo.prepare()
        demo.ask()
        demo.tell_truth()
        demo.spend()
        largest = ", ".join(f"{name} {megabytes:.0f} MB" for name, megabytes in demo.largest.items())
    print(f"\ndone in {time.monotonic() - began:.0f} s; everything is stopped. Largest memory: {largest}.")
    print("Pictures: demo/answer.png, demo/budget.png. Where to go from here: README.md")


if __name__ == "__main__":
    main()
