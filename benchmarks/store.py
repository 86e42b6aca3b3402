"""What it costs to read segments that are sealed, or that lie in a bucket, beside clear ones on the disk.

Prints a table and writes benchmarks/out/store.json. Rates are frames per CPU-second, user and system, of the whole
process, the best of interleaved rounds. The bucket is a real S3 server (moto) in a process of its own; "cached" reads
the copies that the round before has fetched, "fetched" begins with none, and its wall time is given too. "sealing" is
what the recorder pays to seal segments, in MB per CPU-second. Exit status 1 if a target is missed.

    python benchmarks/store.py [CLIP] [--rounds 3]
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from privid.database.connect import open_database
from privid.ingest.importer import import_file
from privid.video.catalog import Catalog
from privid.video.chunking import Chunk, chunks
from privid.video.frames import read_chunks
from privid.video.keys import KeyRing, new_master_key, read_master_keys
from privid.video.sealing import seal_file
from privid.video.storage.objects import ObjectStorage, connect
from privid.video.store import SegmentStore

HERE = Path(__file__).resolve().parent
DEFAULT_CLIP = HERE.parent / "examples" / "plaza.mp4"
CHUNK_US = 5_000_000
START_US = 1_800_000_000_000_000
REPEAT = 1
RANDOM_CHUNKS = 12
TARGETS = {"sealed, sequential": 0.9, "sealed, random": 0.9, "bucket, cached, sequential": 0.9}
SERVER = """
from moto.server import ThreadedMotoServer
import logging, sys
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Bench:
    """A store with the clip in it."""

    def __init__(self, folder: Path, clip: Path, *, sealed: bool = False, url: str | None = None) -> None:
        folder.mkdir()
        database = open_database(folder / "privid.sqlite3")
        self.catalog = Catalog(database)
        self.catalog.add_camera("camera", created_us=START_US)
        self.cache = folder / "cache"
        keys = KeyRing(database, read_master_keys(key_file(folder)) if sealed else None)
        storage = None
        if url is not None:
            filesystem, prefix = connect(url)
            storage = ObjectStorage(filesystem, prefix, url, self.cache, 1 << 30)
        self.store = SegmentStore(folder / "video", storage, keys, 1 << 30)
        imported = import_file(self.catalog, self.store, clip, "camera", START_US, REPEAT)
        self.chunks = chunks(START_US, imported.end_us, CHUNK_US, CHUNK_US)

    def forget(self) -> None:
        """Remove what is cached."""
        for file in self.cache.iterdir():
            file.unlink()

    def read(self, wanted: list[Chunk] | tuple[Chunk, ...]) -> int:
        frames = 0
        for chunk in read_chunks(self.catalog, self.store, "camera", wanted):
            frames += len(chunk.times_us)
            if chunk.memory is not None:
                chunk.memory.reuse()
        return frames

    def sequential(self) -> int:
        return self.read(self.chunks)

    def random(self) -> int:
        """Chunks far from each other and out of order: the same ones in every run."""
        return self.read([self.chunks[(7 * i + 3) % len(self.chunks)] for i in range(RANDOM_CHUNKS)])


def key_file(folder: Path) -> Path:
    file = folder / "keys"
    file.write_text(new_master_key())
    file.chmod(0o600)
    return file


def rate(read: Callable[[], int]) -> tuple[float, float]:
    """Frames per CPU-second of one run, and its wall time in seconds."""
    before, begin = cpu_seconds(), time.perf_counter()
    frames = read()
    return frames / (cpu_seconds() - before), time.perf_counter() - begin


def sealing_rate(folder: Path, rounds: int) -> float:
    """MB per CPU-second of sealing a file of 64 MB."""
    clear = folder / "source"
    clear.write_bytes(os.urandom(1 << 20) * 64)
    best = 0.0
    for number in range(rounds):
        before = cpu_seconds()
        seal_file(clear, folder / f"sealed-{number}", bytes(32))
        best = max(best, 64 * 1.048576 / (cpu_seconds() - before))
    return best


def measure(clip: Path, folder: Path, url: str, rounds: int) -> dict[str, dict[str, float]]:
    clear = Bench(folder / "clear", clip)
    sealed = Bench(folder / "sealed", clip, sealed=True)
    bucket = Bench(folder / "bucket", clip, url=url)
    both = Bench(folder / "both", clip, sealed=True, url=f"{url}-sealed")

    def fetched() -> int:
        bucket.forget()
        return bucket.sequential()

    runs = {
        "sealed, sequential": (sealed.sequential, clear.sequential),
        "sealed, random": (sealed.random, clear.random),
        "bucket, cached, sequential": (bucket.sequential, clear.sequential),
        "bucket, cached, random": (bucket.random, clear.random),
        "bucket, cached, sealed, sequential": (both.sequential, clear.sequential),
        "bucket, fetched, sequential": (fetched, clear.sequential),
    }
    results = {}
    for label, (ours, plain) in runs.items():
        ours()  # once to warm caches and allocator
        plain()
        pairs = [(rate(ours), rate(plain)) for _ in range(rounds)]
        best, best_plain = max(a[0] for a, _ in pairs), max(b[0] for _, b in pairs)
        results[label] = {
            "frames_per_cpu_s": round(best, 1),
            "clear_frames_per_cpu_s": round(best_plain, 1),
            "ratio": round(best / best_plain, 3),
            "wall_ratio": round(min(b[1] for _, b in pairs) / min(a[1] for a, _ in pairs), 3),
        }
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clip", nargs="?", type=Path, default=DEFAULT_CLIP)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if not options.clip.is_file():
        parser.error(f"{options.clip} is not a file: name a video clip")
    folder = Path(tempfile.mkdtemp())
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(server.stdout.readline())}",
            "AWS_ACCESS_KEY_ID": "benchmark",
            "AWS_SECRET_ACCESS_KEY": "benchmark",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        connect("s3://bench/video")[0].mkdir("bench")
        results = measure(options.clip, folder, "s3://bench/video", options.rounds)
        sealing = round(sealing_rate(folder, options.rounds))
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder)
    missed = [label for label, target in TARGETS.items() if results[label]["ratio"] < target]
    print(f"{'':36} {'this':>7} {'clear':>7}   frames per CPU-second")
    for label, row in results.items():
        target = f" (target {TARGETS[label]})" if label in TARGETS else ""
        print(
            f"  {label:34} {row['frames_per_cpu_s']:7.0f} {row['clear_frames_per_cpu_s']:7.0f}   "
            f"ratio {row['ratio']:.2f}{target}; of wall time {row['wall_ratio']:.2f}"
        )
    print(f"  {'sealing':34} {sealing:7} MB per CPU-second")
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    report = {"targets": TARGETS, "missed": missed, "results": results, "sealing_mb_per_cpu_s": sealing}
    (out / "store.json").write_text(json.dumps(report, indent=2))
    for label in missed:
        print(f"missed: {label}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
