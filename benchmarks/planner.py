"""How long planning takes: a query of 12 operators over 10 tables, parsed, compiled, and explained with its charges.

Prints a table and writes benchmarks/out/planner.json. CPU milliseconds, the best of the rounds. Exit status 1 if a
target is missed: 20 ms for parsing, 80 ms for everything.

    python benchmarks/planner.py [--rounds 20]
"""

import argparse
import json
import sys
import time
from pathlib import Path

from privid.domain.policy import CameraPolicy
from privid.domain.units import NANO, SECOND
from privid.privacy.certificate import certify
from privid.privacy.explain import to_json
from query_lang import CameraSchema, Catalog, compile_script
from query_lang.dialect import parse

OUT = Path(__file__).resolve().parent / "out"
TARGETS = {"parse": 20.0, "parse, compile, certify, explain": 80.0}
TABLES = 10


def query() -> str:
    """Nine joins of ten groupings, a filter, and two aggregates."""
    text = "".join(
        f"SPLIT plaza BEGIN 2026-12-01T08:00:00Z END 2026-12-08T08:00:00Z BY TIME 5sec INTO c{i};"
        f"PROCESS c{i} USING 'p.py' TIMEOUT 1sec PRODUCING 10 ROWS "
        f'WITH SCHEMA (plate:STRING="", speed:NUMBER=0) INTO t{i};'
        for i in range(TABLES)
    )
    joins = " ".join(
        f"JOIN (SELECT plate, SUM(RANGE(speed, 0, 9)) AS n{i} FROM t{i} GROUP BY plate) AS a{i} "
        f"ON a0.plate = a{i}.plate"
        for i in range(1, TABLES)
    )
    first = "(SELECT plate, COUNT(*) AS n0 FROM t0 WHERE speed > 3 GROUP BY plate) AS a0"
    return f"{text}SELECT COUNT(*), AVG(RANGE(n0 + n9, 0, 99)) FROM {first} {joins} WHERE n1 > 2;"


def main() -> int:
    """Run the benchmark."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=20)
    rounds = options.parse_args().rounds
    text = query()
    names = Catalog({"plaza": CameraSchema("plaza")})
    policies = {"plaza": CameraPolicy(epsilon_nano=10 * NANO, rho_us=30 * SECOND, K=2)}
    steps = {
        "parse": lambda: parse(text),
        "parse, compile": lambda: compile_script(text, names),
        "parse, compile, certify, explain": lambda: to_json(
            certify(compile_script(text, names), policies, NANO), policies, None
        ),
    }
    best = {}
    for name, step in steps.items():
        times = []
        for _ in range(rounds):
            start = time.process_time()
            step()
            times.append(1000 * (time.process_time() - start))
        best[name] = min(times)
    print(f"{'step':36} {'CPU ms':>8} {'target':>8}")
    for name, value in best.items():
        print(f"{name:36} {value:8.1f} {TARGETS.get(name, ''):>8}")
    OUT.mkdir(exist_ok=True)
    (OUT / "planner.json").write_text(json.dumps({"cpu_ms": best, "targets": TARGETS}, indent=2) + "\n")
    return int(any(best[name] > target for name, target in TARGETS.items()))


if __name__ == "__main__":
    sys.exit(main())
