"""What is true of a scene: each thing's presence periods and boxes, and with them rho and K."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from privid.persistence.tracks import Tracks
from privid.testing.scenes.model import Scene

Periods = tuple[tuple[int, int], ...]
"""Half-open intervals of time, in order."""


@dataclass(frozen=True, slots=True)
class Truth:
    """When each thing, by its number, was in view. A moment behind a lamp post does not end a period: leaving does."""

    scene: str
    start_us: int
    end_us: int
    periods: dict[int, Periods]
    kinds: dict[int, str]

    @property
    def rho_us(self) -> int:
        """The longest period; 0 if nothing was in view."""
        return max((end - begin for found in self.periods.values() for begin, end in found), default=0)

    @property
    def K(self) -> int:  # noqa: N802  the model's name
        """The most periods of one thing."""
        return max(map(len, self.periods.values()), default=0)

    def unprotected(self, rho_us: int, times: int) -> list[int]:
        """The things that are in view outside of any `times` intervals of rho_us each (privacy-model.md, section 1)."""
        return [number for number, found in self.periods.items() if _intervals_needed(found, rho_us) > times]


def _intervals_needed(periods: Sequence[tuple[int, int]], rho_us: int) -> int:
    """The least number of intervals of rho_us that cover the periods: each begins where the next uncovered one does."""
    needed, covered = 0, 0
    for begin, end in periods:
        begin = begin if not needed else max(begin, covered)
        if begin < end:
            more = -(-(end - begin) // rho_us)
            needed += more
            covered = begin + more * rho_us
    return needed


def ground_truth(scene: Scene, sample_us: int = 200_000) -> Truth:
    """What frames taken every `sample_us` from the start can show; each shows until the next."""
    times = np.arange(scene.start_us, scene.end_us, sample_us)
    periods: dict[int, Periods] = {}
    for thing in scene.things:
        found = []
        for visit in thing.visits:
            near = times[(times >= visit.times_us[0]) & (times <= visit.times_us[-1])]
            seen = near[scene.boxes(thing, visit, near)[1]]
            if len(seen):
                found.append((int(seen[0]), int(seen[-1]) + sample_us))
        if found:
            periods[thing.number] = tuple(found)
    kinds: dict[int, str] = {thing.number: thing.kind for thing in scene.things if thing.number in periods}
    return Truth(scene.name, scene.start_us, scene.end_us, periods, kinds)


def true_tracks(scene: Scene, sample_us: int = 200_000) -> Tracks:
    """The boxes of all that can be seen, cut to the picture; a thing's number is its track, over all of its visits."""
    times = np.arange(scene.start_us, scene.end_us, sample_us)
    numbers, moments, boxes = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)], [np.zeros((0, 4))]
    for thing in scene.things:
        for visit in thing.visits:
            first, last = np.searchsorted(times, [visit.times_us[0], visit.times_us[-1] + 1])
            box, there = scene.boxes(thing, visit, times[first:last])
            moments.append(times[first:last][there])
            boxes.append(box[there])
            numbers.append(np.full(len(moments[-1]), thing.number, np.int32))
    box = np.concatenate(boxes)
    x0, y0, x1, y1 = np.clip(box, 0, [scene.width, scene.height, scene.width, scene.height]).astype(np.float32).T
    return Tracks(
        np.concatenate(numbers),
        np.concatenate(moments),
        x0,
        y0,
        x1,
        y1,
        np.ones(len(box), np.float32),
        scene.width,
        scene.height,
        scene.start_us,
        scene.end_us,
        sample_us,
    )


def save_truth(truth: Truth, path: Path) -> None:
    """Write it as JSON. Raises OSError."""
    things = [
        {"number": number, "kind": truth.kinds[number], "periods_us": [list(period) for period in found]}
        for number, found in truth.periods.items()
    ]
    document = {
        "scene": truth.scene,
        "start_us": truth.start_us,
        "end_us": truth.end_us,
        "rho_us": truth.rho_us,
        "K": truth.K,
        "things": things,
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def load_truth(path: Path) -> Truth:
    """Read what `save_truth` wrote. Raises OSError, ValueError, KeyError."""
    document = json.loads(path.read_text(encoding="utf-8"))
    periods = {one["number"]: tuple((begin, end) for begin, end in one["periods_us"]) for one in document["things"]}
    kinds = {one["number"]: one["kind"] for one in document["things"]}
    return Truth(document["scene"], document["start_us"], document["end_us"], periods, kinds)
