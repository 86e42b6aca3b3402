"""The ledger against a brute-force adversary in random small worlds (privacy-model.md, section 8, item 3).

Each world has up to three cameras, K up to 3, up to two masks with up to three segments a period, strides, regions,
caps, queries of several sources, standing queries as series of windows, cancellations and failures before and after the
start, and in the second kind changes of policy. Events are counted slot by slot, in sets of microseconds.

`lost` is the largest share of epsilon that any event was found to lose: never over 1, except where the owner changed a
policy to less than was spent already, and then never over what the ledger says. `spent` is the smallest share that a
greedy workload used up at most in a world: at least 0.99.

Prints a table and writes benchmarks/out/ledger_adversary.json. Exit status 1 if the ledger is wrong in any world.

    python benchmarks/ledger_adversary.py [--worlds 2500]
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from functools import reduce
from operator import add
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from privid.database.connect import open_database
from privid.database.transactions import reading
from privid.ledger.consistency import problems
from tests.support.ledger_worlds import KINDS, Figures
from tests.support.ledgers import World

OUT = Path(__file__).resolve().parent / "out" / "ledger_adversary.json"
SHARES = {"queries and series": 0.7, "with changes of policy": 0.2, "greedy, one mask": 0.1}
FIRST_SEED = 100_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=2_500, help="how many, of all kinds together")
    arguments = parser.parse_args()
    found: dict[str, Figures] = {}
    names = ("worlds", "admitted", "refused", "refunded", "changes", "lost", "spent")
    print(f"{'kind of world':<24}" + "".join(f"{name:>10}" for name in names), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(Path(folder) / "privid.sqlite3")
        world = World(engine)
        try:
            for kind, play in KINDS.items():
                count = round(arguments.worlds * SHARES[kind])
                found[kind] = reduce(add, (play(world, seed) for seed in range(FIRST_SEED, FIRST_SEED + count)))
                print(line(kind, found[kind]), flush=True)
            with reading(engine) as connection:
                assert problems(connection) == (), problems(connection)
        except AssertionError as error:
            print(f"The ledger is wrong: {error}")
            return 1
        finally:
            engine.dispose()
    print("never over epsilon; the stored losses are the sum of the charges, to the last nano")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({kind: asdict(figures) for kind, figures in found.items()}, indent=2) + "\n")
    return 0


def line(kind: str, figures: Figures) -> str:
    counts = (figures.worlds, figures.admitted, figures.refused, figures.refunded, figures.changes)
    spent = f"{figures.spent:>10.4f}" if kind.startswith("greedy") else f"{'':>10}"
    return f"{kind:<24}" + "".join(f"{count:>10,}" for count in counts) + f"{figures.lost:>10.4f}{spent}"


if __name__ == "__main__":
    sys.exit(main())
