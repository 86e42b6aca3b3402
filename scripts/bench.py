"""Run the benchmarks: their tables on the terminal, JSON in benchmarks/out/, pages in docs/results/.

    python scripts/bench.py [NAME ...]

A benchmark is a program in benchmarks/ that prints a table, writes the same numbers to benchmarks/out/NAME.json, and
ends with status 1 if it missed a target. Each page carries what the numbers depend on: processor, cores, memory,
kernel, the versions of the main libraries, and how busy the machine was before.
"""

import argparse
import ast
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"
RESULTS = ROOT / "docs" / "results"
LIBRARIES = ("av", "duckdb", "grpcio", "numpy", "opencv-python", "opendp", "torch")


def names() -> list[str]:
    """The benchmarks there are."""
    return sorted(path.stem for path in BENCHMARKS.glob("*.py") if not path.stem.startswith("_"))


def machine() -> str:
    """What the numbers depend on, in one line."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    kilobytes = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    versions = []
    for name in LIBRARIES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return (
        f"{model}, {len(os.sched_getaffinity(0))} cores, {round(kilobytes / 2**20)} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}; {', '.join(versions)}"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def page(name: str, table: str, load: float) -> str:
    """The page of one benchmark: what it measures, its table, the machine and the load that it had."""
    purpose = ast.get_docstring(ast.parse((BENCHMARKS / f"{name}.py").read_text())) or ""
    return "\n".join(
        [
            f"# Benchmark: {name}",
            "",
            f"Written by `make bench` from `benchmarks/{name}.py`. Measured on: {machine()}; at a load of "
            f"{load:.1f} before it began.",
            "",
            "```text",
            purpose.split("\n\n    ")[0].strip(),
            "```",
            "",
            "```text",
            table.strip(),
            "```",
            "",
        ]
    )


def run(name: str) -> bool:
    """Run one benchmark and write its page. True if it met its targets."""
    print(f"== {name}", flush=True)
    began, (load, _, _) = time.monotonic(), os.getloadavg()
    command = [sys.executable, str(BENCHMARKS / f"{name}.py")]
    environment = {**os.environ, "COLUMNS": "110", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="")
    print(f"   {time.monotonic() - began:.0f} s\n", flush=True)
    if done.returncode not in (0, 1) or not done.stdout.strip():
        print(f"{name} failed with status {done.returncode}; its page is left as it is", file=sys.stderr)
        return False
    (RESULTS / f"{name}.md").write_text(page(name, done.stdout, load))
    return done.returncode == 0


def main() -> int:
    """Run the benchmarks that were asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(names())}; none: all of them")
    wanted = parser.parse_args().names or names()
    if unknown := sorted(set(wanted) - set(names())):
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(names())}")
    results = [run(name) for name in wanted]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
