"""The mask search as one would write it down: everything is computed again for every cell. The same order, slowly."""

import numpy as np

from privid.persistence.cells import Stays, dwell, periods
from privid.persistence.mask_search import Rule, best_cell


def plain_search(found: Stays, rule: Rule, most_cells: int) -> tuple[list[int], list[int]]:
    """Cells in order, and the longest period after each number of them; `rule.reach` must be 1."""
    assert rule.reach == 1
    mask = np.zeros((found.grid.rows, found.grid.columns), bool)
    held = dwell(found).ravel()
    order: list[int] = []
    longest: list[int] = []
    while True:
        left = found.shown(mask)
        shown = periods(found, left > 0, rule.bridge_us)
        longest.append(shown.longest_us)
        if shown.longest_us == 0 or len(order) == most_cells:
            return order, longest
        one = int(np.argmax(shown.end_us - shown.start_us))
        within = (found.owner == shown.owner[one]) & (found.start_us >= shown.start_us[one])
        of = np.flatnonzero(within & (found.end_us <= shown.end_us[one]) & (left > 0))
        order.append(best_cell(found, left, of, mask.ravel(), held, rule.power))
        mask.ravel()[order[-1]] = True
