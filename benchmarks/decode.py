"""How fast chunks are read, against plain PyAV reading the same frames to BGR in the same run.

Prints a table and writes benchmarks/out/decode.json. Rates are frames per CPU-second, user and system, the best of
interleaved rounds (other load on the machine only ever makes a run slower). "plain" converts every frame and drops it;
our reader also fills the sealed memory that is handed to the sandbox, and gets it back as it does from a pool of
workers, two chunks later. The rows "against none" set our reader under a mask, or with two regions, beside itself
without. Exit status 1 if a target is missed.

    python benchmarks/decode.py [CLIP] [--rounds 5]
"""

import argparse
import json
import resource
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from privid.database.connect import open_database
from privid.ingest.importer import import_file
from privid.video.catalog import Catalog
from privid.video.chunking import Chunk, chunks
from privid.video.frames import read_chunks
from privid.video.memory import FrameBuffer
from privid.video.store import SegmentStore
from privid.video.views import View, views

HERE = Path(__file__).resolve().parent
DEFAULT_CLIP = HERE.parent / "examples" / "plaza.mp4"
CHUNK_US = 5_000_000
START_US = 1_800_000_000_000_000
REPEAT = 1
RANDOM_CHUNKS = 12
IN_USE = 3
"""Chunks in use at a time: one that a guest looks at, one prepared, one waiting."""
Run = Callable[[], int]

TARGETS = {"sequential": 0.9, "random": 0.8}


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rate(read: Run) -> float:
    """Frames per CPU-second of one run, which gives its number of frames."""
    before = cpu_seconds()
    frames = read()
    return frames / (cpu_seconds() - before)


class Bench:
    def __init__(self, folder: Path, clip: Path, name: str) -> None:
        self.name = name
        self.clip = clip
        self.catalog = Catalog(open_database(folder / f"{name}.sqlite3"))
        self.store = SegmentStore(folder / name)
        self.catalog.add_camera("camera", created_us=START_US)
        imported = import_file(self.catalog, self.store, clip, "camera", START_US, REPEAT)
        self.length_us = (imported.end_us - imported.begin_us) // REPEAT
        self.chunks = chunks(START_US, START_US + imported.end_us - imported.begin_us, CHUNK_US, CHUNK_US)

    def ours(self, wanted: Sequence[Chunk], shown: Sequence[View | None] = (None,)) -> int:
        frames = 0
        in_use: deque[FrameBuffer] = deque()
        for chunk in read_chunks(self.catalog, self.store, "camera", wanted, views=shown):
            frames += len(chunk.times_us) if chunk.view == 0 else 0
            if chunk.memory is not None:
                in_use.append(chunk.memory)
            if len(in_use) == IN_USE * len(shown):
                in_use.popleft().reuse()
        for memory in in_use:
            memory.close()
        return frames

    def plain(self) -> int:
        frames = 0
        for _ in range(REPEAT):
            with av.open(str(self.clip)) as container:
                for frame in container.decode(video=0):
                    frame.to_ndarray(format="bgr24")
                    frames += 1
        return frames

    def plain_kept(self) -> int:
        """As `plain`, with the frames of 5 s in memory at a time, as any detector of chunks needs them."""
        frames = 0
        for _ in range(REPEAT):
            with av.open(str(self.clip)) as container:
                rate_of = container.streams.video[0].average_rate
                assert rate_of is not None
                kept = []
                for frame in container.decode(video=0):
                    kept.append(frame.to_ndarray(format="bgr24"))
                    frames += 1
                    if len(kept) >= 5 * rate_of:
                        kept = []
        return frames

    def plain_random(self, wanted: Sequence[Chunk]) -> int:
        frames = 0
        with av.open(str(self.clip)) as container:
            stream = container.streams.video[0]
            assert stream.time_base is not None
            for chunk in wanted:
                begin = float((chunk.begin_us - START_US) % self.length_us) / 1e6
                container.seek(int(begin / stream.time_base), stream=stream)
                for frame in container.decode(stream):
                    if frame.time is None or frame.time >= begin + CHUNK_US / 1e6:
                        break
                    if frame.time >= begin:
                        frame.to_ndarray(format="bgr24")
                        frames += 1
        return frames

    def drawn(self) -> tuple[View | None, View | None, View | None]:
        """A mask over a quarter of the picture, in the middle and at odd places; the left and the right half."""
        width, height = self.catalog.frame_size("camera") or (0, 0)
        mask, halves = np.zeros((1, height, width), np.bool_), np.ones((2, height, width), np.bool_)
        mask[:, height // 4 | 1 : 3 * height // 4, width // 4 | 1 : 3 * width // 4] = True
        halves[0, :, : width // 2] = halves[1, :, width // 2 :] = False
        return (*views([mask], None), *views([], halves))  # type: ignore[return-value]  # one view and two

    def spread(self) -> list[Chunk]:
        """Chunks far from each other, out of order, and inside one repetition: the same ones in every run."""
        inside = [c for c in self.chunks if (c.begin_us - START_US) % self.length_us + CHUNK_US <= self.length_us]
        return [inside[(7 * i + 3) % len(inside)] for i in range(RANDOM_CHUNKS)]


def with_key_frames(clip: Path, target: Path) -> Path:
    """The clip, encoded again with a key frame each second, as cameras are usually set."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as container:
        pictures = source.streams.video[0]
        rate_of = Fraction(pictures.average_rate or 10)
        stream = container.add_stream("libx264", rate=rate_of, options={"crf": "26"})
        stream.width, stream.height, stream.pix_fmt = pictures.width, pictures.height, "yuv420p"
        stream.gop_size = round(rate_of)
        for i, frame in enumerate(source.decode(pictures)):
            picture = frame.reformat(format="yuv420p")
            picture.pts, picture.time_base, picture.pict_type = i, 1 / rate_of, 0
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return target


def measure(bench: Bench, rounds: int) -> dict[str, dict[str, float]]:
    spread = bench.spread()
    mask, *halves = bench.drawn()
    runs: dict[str, tuple[Run, Run]] = {
        "sequential": (lambda: bench.ours(bench.chunks), bench.plain),
        "sequential, 5 s kept by both": (lambda: bench.ours(bench.chunks), bench.plain_kept),
        "random": (lambda: bench.ours(spread), lambda: bench.plain_random(spread)),
        "a mask, against none": (lambda: bench.ours(bench.chunks, [mask]), lambda: bench.ours(bench.chunks)),
        "two regions, against none": (lambda: bench.ours(bench.chunks, halves), lambda: bench.ours(bench.chunks)),
    }
    results = {}
    for label, (ours, plain) in runs.items():
        ours()  # once to warm caches and allocator
        plain()
        pairs = [(rate(ours), rate(plain)) for _ in range(rounds)]
        best_ours, best_plain = max(a for a, _ in pairs), max(b for _, b in pairs)
        results[label] = {
            "ours_frames_per_cpu_s": round(best_ours, 1),
            "plain_frames_per_cpu_s": round(best_plain, 1),
            "ratio": round(best_ours / best_plain, 3),
        }
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clip", nargs="?", type=Path, default=DEFAULT_CLIP)
    parser.add_argument("--rounds", type=int, default=5, help="many short ones: some meet a quiet machine")
    options = parser.parse_args()
    if not options.clip.is_file():
        parser.error(f"{options.clip} is not a file: name a video clip")
    report = {}
    missed = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dense = with_key_frames(options.clip, folder / "dense.mp4")
        for bench in (Bench(folder, options.clip, "clip"), Bench(folder, dense, "key_frame_each_second")):
            report[bench.name] = measure(bench, options.rounds)
            print(f"{bench.name:38} {'ours':>8} {'plain':>8}   frames per CPU-second")
            for label, row in report[bench.name].items():
                target = TARGETS.get(label)
                print(
                    f"  {label:36} {row['ours_frames_per_cpu_s']:8.0f} {row['plain_frames_per_cpu_s']:8.0f}"
                    f"   ratio {row['ratio']:.2f}" + (f" (target {target})" if target else "")
                )
                if target and row["ratio"] < target:
                    missed.append(f"{bench.name}, {label}")
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    (out / "decode.json").write_text(json.dumps({"targets": TARGETS, "missed": missed, "results": report}, indent=2))
    for label in missed:
        print(f"missed: {label}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
