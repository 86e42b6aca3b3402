"""An attack on the privacy calculus: how much of every claim is ever reached, and that none is exceeded.

Random plans of up to six operators over random tables, with releases on top, are run on the real engine with random
rows; then one slot, or all slots that one segment touches, are changed, again and again by hill climbing towards larger
changes. Beside it stand the constructed pairs of worlds of the tests, which know the rules. The numbers are shares of
the claim: of r and net (one slot), of R and the net of a segment, of w (one slot), and of the cap, or M*w without one.
A share above 1 is an error in the calculus, and ends the run with a failure.

Prints a table and writes benchmarks/out/attack.json. Exit status 1 if a claim is exceeded, or if a constructed pair
reaches less than 95 % of its own.

    python benchmarks/attack.py [--pairs 10000] [--seconds 900] [--seed 1000000]
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.attack import Record, attack
from tests.support.pairs import RELATIONS, RELEASES, check_relation, check_release

OUT = Path(__file__).resolve().parent / "out" / "attack.json"
LEAST_SHARE = Fraction(95, 100)
CLAIMS = ("r", "net", "R", "net_segment", "w", "cap or M*w")
STEPS = 20


def constructed() -> Record:
    """The pairs of the tests."""
    record = Record()
    for pair in RELATIONS.values():
        rule = pair.certified()[1].selects[0].input.rule
        for claim, reached in check_relation(pair).items():
            record.note(rule, claim, reached.moved, reached.claimed)
    for pair in RELEASES.values():
        call = pair.certified()[1].selects[0].releases[0].sensitivity
        reached = check_release(pair)
        claim = "w" if len(pair.slots) == 1 else "cap or M*w"
        record.note(f"{call.call.function.value}: {call.method.value}", claim, reached.moved, reached.claimed)
    return record


def table(found: Record, built: Record) -> Iterable[str]:
    """One line for each rule: the largest share that random worlds reach, and that constructed ones do."""
    yield f"{'':68}" + "".join(f"{claim:>12}" for claim in CLAIMS)
    for rule in sorted({rule for rule, _ in (*found.reached, *built.reached)}):
        cells = []
        for claim in CLAIMS:
            shares = [
                f"{float(r.reached[rule, claim]):.2f}" if (rule, claim) in r.reached else "-" for r in (found, built)
            ]
            cells.append("" if shares == ["-", "-"] else "/".join(shares))
        yield f"{rule[:67]:68}" + "".join(f"{cell:>12}" for cell in cells)


def main() -> int:
    """Run the attack."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--pairs", type=int, default=10_000, help="neighbour pairs")
    options.add_argument("--seconds", type=float, default=900, help="at most")
    options.add_argument("--seed", type=int, default=1_000_000, help="of the first plan")
    given = options.parse_args()
    built = constructed()
    record = Record()
    seed, began = given.seed, time.monotonic()
    failure = None
    while record.pairs < given.pairs and time.monotonic() - began < given.seconds:
        try:
            attack(seed, STEPS, record)
        except AssertionError as error:
            failure = f"the plan of seed {seed}: {error}"
            break
        seed += 1
    least = min(built.reached.values())
    print(f"plans attacked           {record.plans:,} (and {record.refused:,} refused as unbounded)")
    print(f"neighbour pairs          {record.pairs:,} in {time.monotonic() - began:.0f} s; seeds from {given.seed}")
    print(f"claims exceeded          {failure or 'none'}")
    print(f"constructed pairs        {len(RELATIONS) + len(RELEASES)}; the least share of a claim {float(least):.3f}")
    print("\nlargest share of a claim that is reached, random/constructed\n")
    print("\n".join(table(record, built)))
    OUT.parent.mkdir(exist_ok=True)
    document = {
        "plans": record.plans,
        "refused": record.refused,
        "pairs": record.pairs,
        "failure": failure,
        "random": {f"{rule}: {claim}": float(share) for (rule, claim), share in sorted(record.reached.items())},
        "constructed": {f"{rule}: {claim}": float(share) for (rule, claim), share in sorted(built.reached.items())},
    }
    OUT.write_text(json.dumps(document, indent=2) + "\n")
    return int(failure is not None or least < LEAST_SHARE)


if __name__ == "__main__":
    sys.exit(main())
