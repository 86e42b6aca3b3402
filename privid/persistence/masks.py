"""What masks achieve, measured: for how long and how often an object still shows (privacy-model.md, section 1).

A mask's terms are `rho_m`, the longest segment that shows, and `k_m`, the most segments of one presence period. Both
cost noise, and one buys the other: a short time in hiding can be counted as shown, which makes a longer segment of two.
So a mask has several terms that hold, and the ones that need the least noise are proposed.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from privid.domain.units import SECOND
from privid.persistence.cells import Grid, Mask, Stays, periods, stays
from privid.persistence.mask_search import Search, improved
from privid.persistence.tracks import Tracks

CHUNK_US = 5 * SECOND
"""Terms are compared at chunks of this length."""
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""The best mask within each of these parts of the picture is a candidate to suggest."""
GAIN = 0.9
"""A larger mask is suggested only if it leaves less than this part of the noise under the one before."""
_STEP_US = 50_000
"""Of what is rounded up: a promise of 12.05 s reads better than one of 12.013 s. From a minute on it is a second."""
_CELLS = re.compile(r"(\d{1,5}),(\d{1,5})(?:-(\d{1,5}),(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Terms:
    """At most `segments` segments of at most `rho_us` each; both 0 if nothing shows at all."""

    rho_us: int
    segments: int

    @property
    def touched(self) -> int:
        """Chunks of CHUNK_US that a presence can touch: what noise grows with (privacy-model.md, section 1)."""
        return self.segments * (-(-self.rho_us // CHUNK_US) + 1)

    def safer(self, factor: float) -> "Terms":
        """The same with segments longer by a factor of at least 1, rounded up."""
        return Terms(round_up(self.rho_us * factor), self.segments)


def round_up(duration_us: float) -> int:
    """The next multiple of 50 ms; of a second where it is a minute or more."""
    step_us = _STEP_US if duration_us < 60 * SECOND else SECOND
    return -int(-duration_us // step_us) * step_us


def terms(found: Stays, mask: Mask) -> tuple[Terms, ...]:
    """What holds under a mask of the stays' grid: longer and longer segments, of which there are fewer and fewer.

    The first has the longest period and the most periods as they are; the others count what is hidden for longer and
    longer, by factors of two, as shown.
    """
    visible = found.shown(mask) > 0
    held: list[Terms] = []
    bridge_us = max(found.tolerance_us, _STEP_US)
    while not held or held[-1].segments > 1:
        shown = periods(found, visible, bridge_us if held else 0)
        one = Terms(shown.longest_us, shown.most)
        if not held or one.segments < held[-1].segments:
            held.append(one)
        bridge_us *= 2
    return tuple(held)


def best(choice: Iterable[Terms]) -> Terms:
    """The terms that touch the fewest chunks; of several the shortest."""
    return min(choice, key=lambda one: (one.touched, one.rho_us))


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A mask and what holds under it. `hidden` has shape (height, width); True is hidden.

    `share` is the part of the picture that it hides; `unseen` the part of the objects that nothing shows of any more.
    """

    name: str
    hidden: Mask
    share: float
    held: tuple[Terms, ...]
    unseen: float

    @property
    def terms(self) -> Terms:
        """The best of those that hold."""
        return best(self.held)


def measure(tracks: Tracks, name: str, hidden: Mask, tolerance_us: int) -> Measured:
    """What a mask of any shape achieves on tracks, pixel by pixel. Raises ValueError if it is of another size."""
    if hidden.shape != (tracks.height, tracks.width):
        raise ValueError(
            f"the mask {name} is of {hidden.shape[1]}x{hidden.shape[0]} pixels, the tracks of "
            f"{tracks.width}x{tracks.height}"
        )
    return _measured(stays(tracks, Grid(tracks.width, tracks.height, 1), tolerance_us), name, hidden, hidden)


def _measured(found: Stays, name: str, mask: Mask, hidden: Mask) -> Measured:
    shown = np.zeros(len(found.objects), np.bool_)
    shown[found.owner[found.shown(mask) > 0]] = True
    unseen = 1 - float(shown.mean()) if len(shown) else 0.0
    return Measured(name, hidden, float(hidden.mean()), terms(found, mask), unseen)


def suggest(found: Stays, orders: Sequence[Search], shares: Sequence[float] = SHARES) -> list[Measured]:
    """Masks worth a look, from small to large: within each part of the picture the one with the least noise.

    Named after the part that they may hide, such as `hides_5`. Masks that hardly gain anything over a smaller one are
    left out. The periods are measured on the grid; a mask of whole cells shows the same of them pixel by pixel.
    """
    grid = found.grid
    least = best(terms(found, np.zeros((grid.rows, grid.columns), np.bool_))).touched
    suggested: list[Measured] = []
    for share in shares:
        name = f"hides_{100 * share:g}".replace(".", "_")
        masks = [fewest(found, order, int(share * grid.rows * grid.columns)) for order in orders]
        tried = [_measured(found, name, mask, grid.pixels(mask)) for mask in masks]
        one = min(tried, key=lambda one: (one.terms.touched, one.terms.rho_us, one.share))
        if one.terms.rho_us and one.terms.touched <= GAIN * least:
            suggested.append(one)
            least = one.terms.touched
    return suggested


def fewest(found: Stays, order: Search, cells: int) -> Mask:
    """A mask of at most `cells` cells from an order of them, improved."""
    # Cells behind the last step that shortened the longest period hide nobody yet.
    steps = np.flatnonzero(np.diff(order.longest_us[: cells + 1]) < 0) + 1
    return improved(found, order.mask(int(steps[-1]) if len(steps) else 0), cells, order.rule.bridge_us)


def whole_cells(hidden: Mask, grid: Grid) -> Mask:
    """The cells that a mask of pixels hides whole, shape (rows, columns)."""
    rows, columns = (np.arange(0, size, grid.cell) for size in hidden.shape)
    return np.asarray(np.logical_and.reduceat(np.logical_and.reduceat(hidden, rows, axis=0), columns, axis=1))


def cells_of(text: str, grid: Grid) -> Mask:
    """A mask as command lines write it: `COLUMN,ROW` or `COLUMN,ROW-COLUMN,ROW` for a rectangle, apart by blanks.

    Cells are counted from 0 in the upper left corner. Raises ValueError.
    """
    mask = np.zeros((grid.rows, grid.columns), np.bool_)
    for part in text.split():
        match = _CELLS.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is no cell; write COLUMN,ROW or COLUMN,ROW-COLUMN,ROW, such as 3,4-7,9")
        x0, y0 = int(match[1]), int(match[2])
        x1, y1 = (int(match[3]), int(match[4])) if match[3] else (x0, y0)
        if not (x0 <= x1 < grid.columns and y0 <= y1 < grid.rows):
            raise ValueError(f"{part} is outside the grid of {grid.columns}x{grid.rows} cells, or turned around")
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
    if not mask.any():
        raise ValueError("no cells are named")
    return mask
