"""When slots start in the slotted default, and what one can tell the next.

A slot of 100 ms on one core, 1,000 of them, each of which measures what the slot before it may have left and then sends
a random bit by all means at once: it computes to the middle of its turn or ends, writes much or little, fills its
memory or not, reads every file or none, tries to leave a process (`tests/hostile/covert.py`). Once on an idle machine,
and once while every other core, or the only one, computes and the disk and memory are busy. Prints how long after its
public time each slot started, and how many of the bits the best rule hears by each measurement, and by all together;
chance is one half. The same pair with `timing: open`, and as plain processes without walls, shows that there is
something to hear.

A second pair has one means alone: some files are in the processor's caches at the end of a slot, or are not. Also where
the caches are not swept before each slot, and with `timing: open`, where they never are.

Target: nothing is heard that chance would not give once in 10,000 times. Exit status 1 if it is missed.

    python benchmarks/timing.py [--slots 1000]
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.hostile.covert import ALL, BY_CACHES, LEVEL, Heard, chance, listen, listen_without_walls
from workers.host.profile import Profile

HERE = Path(__file__).resolve().parent
_LOAD = """
import os, tempfile
with tempfile.TemporaryFile() as file:
    while True:
        block = bytearray(os.urandom(1 << 20) * 16)
        file.seek(0)
        file.write(block)
        file.flush()
"""


@contextlib.contextmanager
def load(core: int) -> Iterator[None]:
    """Keep the other cores busy; where there is none, this one."""
    others = sorted(os.sched_getaffinity(0) - {core}) or [core]
    processes = []
    for other in others:
        for _ in range(2):
            process = subprocess.Popen([sys.executable, "-c", _LOAD])
            os.sched_setaffinity(process.pid, {other})
            processes.append(process)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def described(heard: Heard) -> dict[str, Any]:
    """What is printed and kept of one run."""
    late = sorted(heard.late_ns)
    at = {"p50": len(late) // 2, "p99": len(late) * 99 // 100, "max": len(late) - 1} if late else {}
    right = {channel: heard.accuracy(channel) for channel in (*heard.measured, ALL)}
    return {
        "slots": len(heard.sent),
        "start_us": {name: late[position] / 1e3 for name, position in at.items()},
        "heard": {channel: {"right": of[0], "of": of[1], "chance": chance(*of)} for channel, of in right.items()},
    }


def shown(name: str, heard: Heard) -> str:
    """One run as lines of text."""
    result = described(heard)
    times = "   ".join(f"{part} {value:.0f}" for part, value in result["start_us"].items()) or "at once"
    lines = [f"{name}: {result['slots']} slots after another; started after their time (microseconds): {times}"]
    for channel, of in result["heard"].items():
        lines.append(f"  {channel:<8} {of['right']:4} of {of['of']:4} right   by chance {of['chance']:.2g}")
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--slots", type=int, default=1000)
    slots = options.parse_args().slots
    core = max(os.sched_getaffinity(0))
    runs = {"slotted, idle": listen(slots, core=core)}
    with load(core):
        runs["slotted, loaded"] = listen(slots, core=core)
    runs["open, idle"] = listen(max(60, slots // 5), "open", core=core)
    runs["without walls, idle"] = listen_without_walls(max(60, slots // 5), orphans=2)
    runs["slotted, caches alone"] = listen(slots, core=core, pair=BY_CACHES)
    runs["not swept, caches alone"] = listen(slots, core=core, pair=BY_CACHES, walls=Profile.weakened(caches=False))
    runs["open, caches alone"] = listen(slots, "open", core=core, pair=BY_CACHES)
    for name, heard in runs.items():
        print(shown(name, heard))
    kept = {name: heard for name, heard in runs.items() if name.startswith("slotted")}
    missed = [
        name
        for name, heard in kept.items()
        for channel in (*heard.measured, ALL)
        if chance(*heard.accuracy(channel)) < LEVEL
    ]
    print(f"\nheard in slotted timing: {'nothing, as is wanted' if not missed else 'something: MISSED'}")
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    document = {name: described(heard) for name, heard in runs.items()}
    (out / "timing.json").write_text(json.dumps(document, indent=2) + "\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
