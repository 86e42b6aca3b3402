"""Whether a scheme's borders are what its `boundary` says (privacy-model.md, section 1, "Slots").

`hard` promises that nobody shows in two regions during one chunk, `soft` that nobody does within one frame. Both are
promises of the owner's; here recorded tracks are asked how often they would have been broken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privid.domain.policy import Boundary
from privid.domain.units import SECOND
from privid.persistence.cells import Grid, Stays, stays
from privid.persistence.tracks import Tracks

CHUNKS_US = (SECOND, 5 * SECOND, 30 * SECOND)
"""Lengths of chunks at which borders are checked."""
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Crossings:
    """What tracks say of a scheme.

    `objects` show in some region, `at_once` of them in two within one sampled moment, and `within[c]` in two so close
    in time that a chunk of c microseconds, wherever it begins, can hold both. `pairs` are the regions (positions)
    between which most objects go within the longest chunk, with how many do, most first.
    """

    names: tuple[str, ...]
    objects: int
    at_once: int
    within: Mapping[int, int]
    pairs: tuple[tuple[int, int, int], ...]

    @property
    def boundary(self) -> Boundary:
        """The strongest that no track speaks against: hard for chunks of all lengths that were looked at."""
        if not self.objects or self.at_once:
            return "none"
        return "soft" if any(self.within.values()) else "hard"

    def advice(self) -> str:
        """What to choose, in words."""
        if not self.objects:
            return "Nothing showed in these regions, so nothing is known of them: choose none."
        longest = max(self.within)
        if self.boundary == "hard":
            return (
                f"None of {self.objects} objects showed in two regions within {longest // SECOND} s. Choose hard only "
                "if a wall or a fence is the reason; a short recording may just have seen nobody cross."
            )
        worst = ", ".join(f"{self.names[i]} and {self.names[j]} ({count})" for i, j, count in self.pairs[:3])
        if self.boundary == "soft":
            held = [chunk for chunk, count in self.within.items() if not count]
            short = f" Within {max(held) // SECOND} s nobody did." if held else ""
            return (
                f"{self.within[longest]} of {self.objects} objects went from one region to another within "
                f"{longest // SECOND} s, most between {worst}; none showed in two at once.{short} Do not choose hard: "
                "soft at most, which helps chunks of one frame."
            )
        return (
            f"{self.at_once} of {self.objects} objects showed in two regions at once, most between {worst}. Choose "
            "none, or draw the border where nobody passes."
        )


def crossings(tracks: Tracks, names: Sequence[str], inside: npt.NDArray[np.bool_]) -> Crossings:
    """Check a scheme on tracks; `inside` has shape (regions, height, width), True in the region.

    An object shows in a region if its box touches a pixel of it. Raises ValueError if sizes differ.
    """
    if inside.shape[1:] != (tracks.height, tracks.width) or len(names) != len(inside):
        raise ValueError(
            f"the regions are of {inside.shape[2]}x{inside.shape[1]} pixels, the tracks of "
            f"{tracks.width}x{tracks.height}"
        )
    found = stays(tracks, Grid(tracks.width, tracks.height, 1))
    shows = np.array([found.shown(~region) > 0 for region in inside])
    seen = np.zeros(len(found.objects), np.bool_)
    seen[found.owner[shows.any(axis=0)]] = True
    # For each object and pair of regions, the least time between showing in one and in the other; 0 if at once.
    least = np.full((len(inside), len(inside), len(found.objects)), _NEVER)
    for i in range(len(inside)):
        left_at = _last_end(found, shows[i])
        for j in range(len(inside)):
            if i == j:
                continue
            apart = np.where(left_at >= 0, np.maximum(found.start_us - left_at, 0), _NEVER)
            apart[shows[i]] = 0
            low, high = min(i, j), max(i, j)
            np.minimum.at(least[low, high], found.owner[shows[j]], apart[shows[j]])
    closest = least.min(axis=(0, 1)) if len(inside) else np.full(len(found.objects), _NEVER)
    pairs = [
        (i, j, int((least[i, j] < CHUNKS_US[-1]).sum())) for i in range(len(inside)) for j in range(i + 1, len(inside))
    ]
    at_once = np.zeros(len(found.objects), np.bool_)
    at_once[found.owner[shows.sum(axis=0) > 1]] = True
    return Crossings(
        names=tuple(names),
        objects=int(seen.sum()),
        at_once=int(at_once.sum()),
        within={chunk: int((closest < chunk).sum()) for chunk in CHUNKS_US},
        pairs=tuple(sorted((pair for pair in pairs if pair[2]), key=lambda pair: -pair[2])),
    )


def _last_end(found: Stays, shown: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """For each stay, when the object's last stay up to it ended that is shown; -1 if there is none."""
    position = np.where(shown, np.arange(len(found)), -1)
    last = np.maximum.accumulate(position) if len(position) else position
    mine = last >= found.first[found.owner]
    return np.where(mine, found.end_us[last], -1)


def grid_regions(width: int, height: int, columns: int, rows: int) -> dict[str, tuple[tuple[int, int], ...]]:
    """A scheme of equal rectangles by name, `r1c1` in the upper left corner; polygons as owners draw them.

    Raises ValueError if there are more parts than pixels.
    """
    if not (1 <= columns <= width and 1 <= rows <= height):
        raise ValueError(f"a picture of {width}x{height} has no {columns}x{rows} regions")
    x = [width * i // columns for i in range(columns + 1)]
    y = [height * i // rows for i in range(rows + 1)]
    return {
        f"r{row + 1}c{column + 1}": (
            (x[column], y[row]),
            (x[column + 1], y[row]),
            (x[column + 1], y[row + 1]),
            (x[column], y[row + 1]),
        )
        for row in range(rows)
        for column in range(columns)
    }
