"""Which cells to mask so that nobody shows for long: an order of cells, and what each number of them achieves.

After the mask search of the paper (Cangialosi et al., Privid, NSDI 2022, appendix of the extended version): one cell
after the other is removed, always the one that lowers the longest presence most. Removing one cell alone lowers hardly
ever anything, because a box shows while any of its cells does; so the presence of each moment is divided among the
cells that still show it, and the cell is removed that holds the most of the longest period. Where one cell is all that
shows an object, that is the paper's rule; elsewhere it works towards hiding what takes the fewest cells for its time.

Nothing is computed again that a cell does not touch. For each stay the number of its cells that still show is kept; an
index by tiles of the grid finds the stays that touch a cell; an object's periods are computed again only when one of
its stays has vanished, and a heap of the objects' longest periods is put right only at its top.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privid.domain.units import SECOND
from privid.persistence.cells import Grid, Mask, Stays, dwell, periods, spread

TILE = 4
"""Cells of a side of the index's tiles: smaller ones find fewer stays in vain, and take more memory."""
ROOM = 200
"""An exchange may mask so many cells more than are allowed, before it shows others again."""
WORK = 600
"""So many cells are looked at again, in all, for one exchange: on a large grid that leaves only the best first cell."""
EFFORT = 40_000
"""So many cells are looked at again, in all, to improve one mask; beyond that, minutes gain tenths of a second."""
FEW = 16
"""Masks of at most so many cells are also looked for from the start, in all ways; of more there are too many."""
CHOICES = 20_000_000
"""So many stays, in all, are looked at for that: a few seconds."""
_UNIT = 1000
"""A microsecond of presence in so many parts, so that shares are whole numbers and sums of them are exact."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How the presence is divided among the cells that show it.

    By how many there are still, to this `power`: a higher one prefers what is nearly hidden already. Of all objects
    whose longest period is at least `reach` of the longest, not of that one alone: less than 1 looks further ahead.
    Whoever is hidden for at most `bridge_us` counts as shown: what blinks is not hidden, it only takes more
    segments to say when it shows.
    """

    power: int = 1
    reach: float = 1.0
    bridge_us: int = 10 * SECOND


RULES = (Rule(), Rule(power=2), Rule(reach=0.8), Rule(bridge_us=60 * SECOND))
"""Whoever wants a good mask tries all of these and takes the best: none of them is the best everywhere."""
MOST_OBJECTS = 32
"""No more objects are looked at for one cell."""


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """Cells in the order in which to mask them, as row * columns + column; and what each number of them leaves.

    `longest_us[n]` is the longest period that shows, by the rule's bridge, once the first n cells are masked, shape
    (len(order) + 1,).
    """

    grid: Grid
    rule: Rule
    order: npt.NDArray[np.int32]
    longest_us: npt.NDArray[np.int64]

    def mask(self, cells: int) -> Mask:
        """The mask of the first `cells` cells."""
        found = np.zeros(self.grid.rows * self.grid.columns, np.bool_)
        found[self.order[:cells]] = True
        return found.reshape(self.grid.rows, self.grid.columns)

    def cells_for(self, longest_us: int) -> int | None:
        """How many cells it takes until no period is longer; None if none of the masks found does that."""
        reached = np.flatnonzero(self.longest_us <= longest_us)
        return int(reached[0]) if len(reached) else None


def search(
    found: Stays,
    rule: Rule = RULES[0],
    most_cells: int | None = None,
    report: Callable[[int], object] = lambda _: None,
) -> Search:
    """The order of cells until nothing shows, or until `most_cells` are masked.

    `report` is told how many cells are masked, as often as there is one more.
    """
    state = Showing(found, rule.bridge_us)
    order: list[int] = []
    longest = [state.longest_us]
    for cell in _steps(state, rule):
        order.append(cell)
        longest.append(state.longest_us)
        report(len(order))
        if len(order) == most_cells:
            break
    return Search(found.grid, rule, np.array(order, np.int32), np.array(longest, np.int64))


def _steps(state: "Showing", rule: Rule) -> Iterator[int]:
    """Mask one cell after the other, until nothing shows."""
    held = dwell(state.found).ravel()
    while state.longest_us:
        cell = best_cell(state.found, state.left, state.critical(rule.reach), state.masked, held, rule.power)
        state.mask(cell)
        yield cell


def best_cell(
    found: Stays,
    left: npt.NDArray[np.int64],
    stays_of_it: npt.NDArray[np.int64],
    masked: npt.NDArray[np.bool_],
    held: npt.NDArray[np.float64],
    power: int = 1,
) -> int:
    """The cell that holds most of the periods whose stays these are; of several the one that most time is spent in.

    `left` counts the cells of each stay that show, `masked` and `held` (time spent) are by cell, of shape (cells,).
    """
    grid = found.grid
    x, y = int(found.left[stays_of_it].min()), int(found.top[stays_of_it].min())
    box = (x, y, int(found.right[stays_of_it].max()), int(found.bottom[stays_of_it].max()))
    lengths = found.end_us[stays_of_it] - found.start_us[stays_of_it]
    shares = spread(found, stays_of_it, (lengths * _UNIT // left[stays_of_it] ** power).astype(np.float64), box)
    part = (slice(y, box[3]), slice(x, box[2]))
    shape = (grid.rows, grid.columns)
    shares[masked.reshape(shape)[part]] = -1
    best = np.flatnonzero(shares == shares.max())
    rows, columns = np.divmod(best, shares.shape[1])
    cells = (rows + y) * grid.columns + columns + x
    return int(cells[np.argmax(held[cells])])


class Showing:
    """What shows of all objects while cells are masked and unmasked one by one.

    `left` is how many cells of each stay show, `masked` is by cell.
    """

    def __init__(self, found: Stays, bridge_us: int = 0) -> None:
        self.found = found
        self._bridge_us = max(bridge_us, found.tolerance_us)
        grid = found.grid
        self.masked = np.zeros(grid.rows * grid.columns, np.bool_)
        self.left = found.shown(np.zeros((grid.rows, grid.columns), np.bool_))
        self._tiles = _tiles(found)
        self._witness = np.full(len(self.masked), -1, np.int32)
        self._longest = np.zeros(len(found.objects), np.int64)
        shown = periods(found, self.left > 0, self._bridge_us)
        np.maximum.at(self._longest, shown.owner, shown.end_us - shown.start_us)
        self._heap = [(-int(length), i) for i, length in enumerate(self._longest)]
        heapq.heapify(self._heap)

    @property
    def longest_us(self) -> int:
        """The longest period that shows; 0 if nothing does."""
        while self._heap and -self._heap[0][0] != self._longest[self._heap[0][1]]:
            heapq.heappop(self._heap)
        return -self._heap[0][0] if self._heap else 0

    def critical(self, reach: float = 1.0) -> npt.NDArray[np.int64]:
        """The visible stays of the longest period, of several the first object's; and of those that `reach` it.

        These are the longest one of each object whose longest is at least `reach` of it, of the first MOST_OBJECTS.
        """
        longest = self.longest_us
        if reach == 1:
            return self._stays_of_longest(self._heap[0][1])
        near = np.flatnonzero(self._longest >= reach * longest)
        near = near[np.argsort(-self._longest[near], kind="stable")[:MOST_OBJECTS]]
        return np.concatenate([self._stays_of_longest(int(owner)) for owner in near])

    def _stays_of_longest(self, owner: int) -> npt.NDArray[np.int64]:
        visible, first, last = self._periods(owner)
        one = int(np.argmax(self.found.end_us[visible[last]] - self.found.start_us[visible[first]]))
        return np.asarray(visible[first[one] : last[one] + 1])

    def mask(self, cell: int) -> None:
        """Mask a cell that shows."""
        touched = self._touching(cell)
        self.masked[cell] = True
        self.left[touched] -= 1
        self._again(touched[self.left[touched] == 0])

    def unmask(self, cell: int) -> None:
        """Show a masked cell again."""
        touched = self._touching(cell)
        self.masked[cell] = False
        self.left[touched] += 1
        self._again(touched[self.left[touched] == 1])

    def would_show(self, cell: int, most_us: int) -> bool:
        """Whether some period would be longer than `most_us` if a masked cell showed again.

        The object that it was for the last time is asked first: mostly it is the same one again.
        """
        witness = self._witness[cell]
        if witness >= 0:
            own = np.arange(self.found.first[witness], self.found.first[witness + 1])
            if self._longest_with(self._covering(own, cell))[0] > most_us:
                return True
        longest, self._witness[cell] = self._longest_with(self._touching(cell))
        return longest > most_us

    def _longest_with(self, touched: npt.NDArray[np.int64]) -> tuple[int, int]:
        """The longest period of all objects some of whose hidden stays, of these, showed; and whose. Else 0 and -1."""
        found = self.found
        back = touched[self.left[touched] == 0]
        if not len(back):
            return 0, -1
        owners = np.unique(found.owner[back])
        begin, count = found.first[owners], found.first[owners + 1] - found.first[owners]
        theirs = np.arange(count.sum()) + np.repeat(begin - np.cumsum(count) + count, count)
        self.left[back] = 1
        visible = theirs[self.left[theirs] > 0]
        self.left[back] = 0
        first, last = self._divided(visible)
        lengths = found.end_us[visible[last]] - found.start_us[visible[first]]
        longest = int(np.argmax(lengths))
        return int(lengths[longest]), int(found.owner[visible[first[longest]]])

    def _touching(self, cell: int) -> npt.NDArray[np.int64]:
        columns = self.found.grid.columns
        row, column = divmod(cell, columns)
        near = self._tiles[row // TILE * (-(-columns // TILE)) + column // TILE]
        return self._covering(near, cell)

    def _covering(self, near: npt.NDArray[np.signedinteger], cell: int) -> npt.NDArray[np.int64]:
        """Those of some stays that touch a cell."""
        found = self.found
        row, column = divmod(cell, found.grid.columns)
        touching = (
            (found.left[near] <= column)
            & (column < found.right[near])
            & (found.top[near] <= row)
            & (row < found.bottom[near])
        )
        return np.asarray(near[touching], np.int64)

    def _again(self, changed: npt.NDArray[np.int64]) -> None:
        for owner in np.unique(self.found.owner[changed]):
            length = self._longest_of(owner)
            if length != self._longest[owner]:
                self._longest[owner] = length
                heapq.heappush(self._heap, (-length, int(owner)))

    def _longest_of(self, owner: int) -> int:
        visible, first, last = self._periods(owner)
        return int((self.found.end_us[visible[last]] - self.found.start_us[visible[first]]).max(initial=0))

    def _periods(self, owner: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """An object's visible stays, and the positions among them of the first and last of each of its periods."""
        begin, end = self.found.first[owner], self.found.first[owner + 1]
        visible = np.flatnonzero(self.left[begin:end]) + begin
        return visible, *self._divided(visible)

    def _divided(self, visible: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The positions among visible stays, of whole objects, of the first and last of each period."""
        found = self.found
        ahead, behind = visible[1:], visible[:-1]
        breaks = np.flatnonzero(
            (found.start_us[ahead] - found.end_us[behind] > self._bridge_us)
            | (found.presence[ahead] != found.presence[behind])
        )
        edge = len(visible) - 1
        first = np.concatenate(([0], breaks + 1)) if edge >= 0 else breaks
        return first, np.concatenate((breaks, [edge])) if edge >= 0 else breaks


def _tiles(found: Stays) -> list[npt.NDArray[np.int32]]:
    """For each tile of the grid, row by row, the stays that reach into it."""
    across, down = -(-found.grid.columns // TILE), -(-found.grid.rows // TILE)
    left, right = found.left // TILE, (found.right - 1) // TILE
    top, bottom = found.top // TILE, (found.bottom - 1) // TILE
    wide, high = right - left + 1, bottom - top + 1
    count = wide * high
    stay = np.repeat(np.arange(len(found), dtype=np.int32), count)
    within = np.arange(count.sum(), dtype=np.int64) - np.repeat(np.cumsum(count, dtype=np.int64) - count, count)
    tile = (
        (np.repeat(top, count) + within // np.repeat(wide, count)) * across
        + np.repeat(left, count)
        + within % np.repeat(wide, count)
    ).astype(np.int32)
    del within
    order = np.argsort(tile, kind="stable")
    return np.split(stay[order], np.cumsum(np.bincount(tile, minlength=across * down))[:-1])


def improved(found: Stays, mask: Mask, budget: int, bridge_us: int = 0) -> Mask:
    """A mask under which the longest period is no longer, and shorter if exchanges within `budget` cells find it.

    An order of cells never takes back what later cells made superfluous. Here cells are added until the longest period
    is shorter, and then all are shown again that are not needed for that, those first that the least time is spent in;
    as long as that takes at most `budget` cells. The first cell added is the best one, or, while that is cheap,
    any other of the longest period. It ends when none helps, or after EFFORT. Masks of FEW cells are then compared with
    all others of so many cells, as far as CHOICES go.
    """
    state = Showing(found, bridge_us)
    for cell in np.flatnonzero(mask):
        state.mask(int(cell))
    held = dwell(found).ravel()
    _prune(state, held, state.longest_us)
    looked_at = 0
    while state.longest_us and looked_at < EFFORT and _exchange(state, held, budget):
        looked_at += int(state.masked.sum())
    best = state.masked.reshape(mask.shape)
    return _best_of_few(found, best, state.longest_us, budget, bridge_us) if budget <= FEW else best


def _exchange(state: Showing, held: npt.NDArray[np.float64], budget: int) -> bool:
    """Make the longest period shorter with at most `budget` cells. Leaves the state as it was if that fails."""
    longest, before = state.longest_us, state.masked.copy()
    tries = max(1, WORK // (budget + min(ROOM, len(before))))
    for first in _cells_of(state, state.critical(), held)[:tries]:
        state.mask(first)
        while state.longest_us >= longest and state.masked.sum() < budget + ROOM:
            state.mask(best_cell(state.found, state.left, state.critical(), state.masked, held))
        if state.longest_us < longest:
            _prune(state, held, longest - 1)
            if state.masked.sum() <= budget:
                return True
        for cell in np.flatnonzero(state.masked & ~before):
            state.unmask(int(cell))
        for cell in np.flatnonzero(before & ~state.masked):
            state.mask(int(cell))
    return False


def _best_of_few(found: Stays, best: Mask, longest_us: int, budget: int, bridge_us: int) -> Mask:
    """A mask of at most `budget` cells with the shortest longest period; `best`, which has `longest_us`, if none is.

    A better mask hides some stay of the longest period that shows without it, then some stay of the longest one that is
    left, and so on. Every choice of these stays is tried, those of the fewest cells first, until CHOICES are spent.
    """
    mask = np.zeros_like(best)
    tried: set[bytes] = set()

    def look() -> None:
        nonlocal best, longest_us
        tried.add(mask.tobytes())
        visible = found.shown(mask) > 0
        shown = periods(found, visible, bridge_us)
        if shown.longest_us < longest_us:
            best, longest_us = mask.copy(), shown.longest_us
        if not longest_us:
            return
        one = int(np.argmax(shown.end_us - shown.start_us))
        of = visible & (found.presence == shown.presence[one])
        of &= (found.start_us >= shown.start_us[one]) & (found.end_us <= shown.end_us[one])
        room = budget - int(mask.sum())
        for cells in _least_to_hide(found, mask, np.flatnonzero(of)):
            if len(cells) > room or len(tried) * len(found) > CHOICES or not longest_us:
                return
            mask.ravel()[cells] = True
            if mask.tobytes() not in tried:
                look()
            mask.ravel()[cells] = False

    if longest_us:
        look()
    return best


def _least_to_hide(found: Stays, mask: Mask, of: npt.NDArray[np.int64]) -> list[list[int]]:
    """The cells that are missing to hide one of some stays, fewest first; without those that hide another one, too."""
    areas = np.unique(np.stack([found.left[of], found.top[of], found.right[of], found.bottom[of]], axis=1), axis=0)
    ways = set[frozenset[int]]()
    for left, top, right, bottom in areas.tolist():
        rows, columns = np.nonzero(~mask[top:bottom, left:right])
        ways.add(frozenset(((rows + top) * found.grid.columns + columns + left).tolist()))
    ordered = sorted(ways, key=lambda way: (len(way), sorted(way)))
    return [sorted(way) for number, way in enumerate(ordered) if not any(other < way for other in ordered[:number])]


def _cells_of(state: Showing, of: npt.NDArray[np.int64], held: npt.NDArray[np.float64]) -> list[int]:
    """The cells that show of some stays: first the one that the search would take, then those that hold most time."""
    grid, found = state.found.grid, state.found
    whole = (0, 0, grid.columns, grid.rows)
    touched = spread(found, of, np.ones(len(of)), whole).ravel() > 0
    cells = np.flatnonzero(touched & ~state.masked)
    first = best_cell(found, state.left, of, state.masked, held)
    return [first, *(int(cell) for cell in cells[np.argsort(-held[cells], kind="stable")] if cell != first)]


def _prune(state: Showing, held: npt.NDArray[np.float64], most_us: int) -> None:
    """Show every cell again without which no period is longer than `most_us`."""
    cells = np.flatnonzero(state.masked)
    for cell in cells[np.argsort(held[cells], kind="stable")]:
        if not state.would_show(int(cell), most_us):
            state.unmask(int(cell))
