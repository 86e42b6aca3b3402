"""How long the mask search takes, against recomputing everything for every cell, and how much memory it needs.

Large: 10,000 objects over a view of 1920x1080 with cells of 10 pixels (20,736 cells), all four rules, masked until 40 %
of the view is. Small: fewer objects and cells, both ways; their orders must be the same. Per cell both ways look at the
same thing, so the ratio grows with the number of objects: the plain way looks at all of them for every cell.

Prints a table and writes benchmarks/out/masks.json. Exit status 1 if the orders differ, if the large search takes over
10 minutes of CPU or 2 GB, or if the ratio is under 4; runs on two busy cores have shown 4.5 to 6.9.

    python benchmarks/masks.py [--objects 10000]
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

from privid.domain.units import SECOND
from privid.persistence.cells import Grid, Stays, stays
from privid.persistence.mask_search import RULES, search
from privid.persistence.masks import suggest
from privid.persistence.tracks import Tracks
from tests.support.plain_masks import plain_search
from tests.support.trajectories import walks

OUT = Path(__file__).resolve().parent / "out"
WIDTH, HEIGHT, CELL = 1920, 1080, 10
MOST_S, MOST_MB, LEAST_RATIO = 600.0, 2000.0, 4.0
TOLERANCE_US = 2 * SECOND
SMALL_CELLS = 300


def day(objects: int) -> Tracks:
    """So many walks over twelve hours, five boxes a second."""
    return walks(
        1, objects, width=WIDTH, height=HEIGHT, size=(40.0, 95.0), stay_s=90.0, seconds=12 * 3600.0, sample_us=200_000
    )


def memory_mb() -> float:
    """The most that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def large(objects: int) -> dict[str, float]:
    """Seconds of CPU of each part of the search at full size."""
    tracks = day(objects)
    start = time.process_time()
    found = stays(tracks, Grid(WIDTH, HEIGHT, CELL), TOLERANCE_US)
    cells = found.grid.rows * found.grid.columns
    times = {"boxes": float(len(tracks)), "stays": float(len(found)), "cells": float(cells)}
    del tracks
    orders = []
    for rule in RULES:
        began = time.process_time()
        orders.append(search(found, rule, cells * 2 // 5))
        name = f"order, {rule.power} {rule.reach:g} {rule.bridge_us // SECOND}s"
        times[name] = time.process_time() - began
        print(f"  {name:24} {times[name]:10.1f} s CPU", flush=True)
    began = time.process_time()
    suggested = suggest(found, orders)
    times["masks suggested"] = time.process_time() - began
    times["all"] = time.process_time() - start
    times["megabytes"] = memory_mb()
    times["masks"] = float(len(suggested))
    return times


def small(found: Stays) -> tuple[float, float, bool]:
    """Seconds of the search and of the plain one for the same cells, and whether they agree."""
    start = time.process_time()
    got = search(found, RULES[0], SMALL_CELLS)
    quick = time.process_time() - start
    start = time.process_time()
    order, longest = plain_search(found, RULES[0], SMALL_CELLS)
    return quick, time.process_time() - start, got.order.tolist() == order and got.longest_us.tolist() == longest


def main() -> int:
    """Run the benchmark."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--objects", type=int, default=10_000)
    objects = options.parse_args().objects
    found = stays(day(objects // 4), Grid(WIDTH, HEIGHT, CELL), TOLERANCE_US)
    quick, plain, same = small(found)
    ratio = plain / quick
    print(f"{objects // 4} objects, {len(found)} stays, the first {SMALL_CELLS} cells")
    print(f"  {'this search':24} {quick:10.2f} s CPU")
    print(f"  {'computing all again':24} {plain:10.2f} s CPU   {ratio:.0f} times, the same order: {same}", flush=True)
    del found
    print(f"{objects} objects, 20,736 cells")
    times = large(objects)
    for name in ("masks suggested", "all"):
        print(f"  {name:24} {times[name]:10.1f} s CPU")
    print(f"  of {times['boxes']:.0f} boxes, {times['stays']:.0f} stays")
    print(f"  {'most memory':24} {times['megabytes']:10.0f} MB   {times['masks']:.0f} masks suggested")
    OUT.mkdir(exist_ok=True)
    document = {"small": {"quick_s": quick, "plain_s": plain, "ratio": ratio, "same": same}, "large": times}
    (OUT / "masks.json").write_text(json.dumps(document, indent=2) + "\n")
    missed = not same or ratio < LEAST_RATIO or times["all"] > MOST_S or times["megabytes"] > MOST_MB
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
