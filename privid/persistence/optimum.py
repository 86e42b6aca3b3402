"""The best masks there are, by trying all of them: for grids of a few cells, to judge the search by."""

from itertools import combinations

import numpy as np
import numpy.typing as npt

from privid.persistence.cells import Stays, periods

MOST_CELLS = 24
"""Of a grid: a million masks take a minute."""


def optimum(found: Stays) -> npt.NDArray[np.int64]:
    """The least that the longest period can be, for each number of masked cells from 0 to all, shape (cells + 1,).

    Raises ValueError for a grid of more than MOST_CELLS cells.
    """
    cells = found.grid.rows * found.grid.columns
    if cells > MOST_CELLS:
        raise ValueError(f"a grid of {cells} cells has too many masks; take at most {MOST_CELLS} cells")
    touched = _bits(found)
    best = np.full(cells + 1, np.iinfo(np.int64).max)
    for number in range(cells + 1):
        for chosen in combinations(range(cells), number):
            bits = sum(1 << cell for cell in chosen)
            best[number] = min(best[number], periods(found, (touched & ~bits) != 0).longest_us)
            if best[number] == 0:
                return np.concatenate((best[: number + 1], np.zeros(cells - number, np.int64)))
    return best


def _bits(found: Stays) -> npt.NDArray[np.int64]:
    """The cells that each stay touches, a bit each."""
    columns = np.arange(found.grid.columns)
    rows = np.arange(found.grid.rows)
    wide = ((columns >= found.left[:, None]) & (columns < found.right[:, None])).astype(np.int64)
    high = ((rows >= found.top[:, None]) & (rows < found.bottom[:, None])).astype(np.int64)
    number = (1 << (rows[:, None] * found.grid.columns + columns)).astype(np.int64)
    return np.asarray(np.einsum("sr,sc,rc->s", high, wide, number))
