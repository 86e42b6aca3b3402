"""The largest part of a refused window that would be admitted: what an analyst may ask instead.

A window is a run of chunks of one grid. Only windows are looked at that hold a presence period and a chunk at each of
its ends, so that a segment touches as many of their chunks as it can touch at all: then a smaller window of the same
charge adds nowhere more (privacy-model.md, section 5), and whatever fits keeps fitting when it shrinks.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from privid.domain.budget import Charge, Grid, Loss
from privid.domain.intervals import StepFunction
from privid.ledger import admission
from privid.ledger.books import Book

_MOST_CHECKS = 500
"""Of windows in one search; what is found by then is named, if a refused window is that ragged."""


@dataclass(frozen=True, slots=True)
class Account:
    """One limit that a query has to keep: the losses it adds to a camera, and what is stored against `book`."""

    book: Book
    charge: Charge
    stored: Mapping[str, StepFunction]

    def over(
        self, window: tuple[int, int] | None = None, among: Iterable[tuple[int, int]] | None = None
    ) -> Iterator[tuple[int, int]]:
        """Where presence periods start that the charge, or its part inside a window of time, would take too far."""
        losses = self.charge.losses if window is None else tuple(_inside(self.charge.losses, *window))
        return admission.over(self.book, admission.weigh(self.book, losses), self._read, among)

    def _read(self, mask: str, from_us: int, to_us: int) -> StepFunction:
        steps = self.stored.get(mask, StepFunction()).steps
        first = bisect_right(steps, from_us, key=lambda step: step.to_us)
        last = bisect_right(steps, to_us - 1, key=lambda step: step.from_us)
        return StepFunction(steps[first:last])


def least_chunks(grid: Grid, rho_us: int) -> int:
    """The fewest chunks of a window that is looked at; all chunks of a grid that has fewer."""
    return min(grid.count, -(-(rho_us + grid.chunk_us) // grid.period_us) + 1)


def largest_window(grid: Grid, accounts: Iterable[Account]) -> tuple[int, int] | None:
    """[begin, end) in time of the longest run of the grid's chunks whose part of the charge all accounts admit.

    None if no run of at least `least_chunks` fits.
    """
    search = _Search(grid, tuple(accounts))
    found = search.longest()
    return None if found is None else search.time(*found)


class _Search:
    """A window is (first chunk, one after the last chunk)."""

    def __init__(self, grid: Grid, accounts: tuple[Account, ...]) -> None:
        self._grid = grid
        self._rho_us = max((account.book.policy.rho_us for account in accounts), default=0)
        self._least = least_chunks(grid, self._rho_us)
        self._checks = 0
        # A smaller window adds nowhere more than the whole one, so only here can it be refused.
        self._tight = [
            (account, StepFunction.of((*span, 1) for span in account.over()).support) for account in accounts
        ]

    def time(self, first: int, end: int) -> tuple[int, int]:
        """Of a window, its begin and end."""
        begin_us = self._grid.begin_us + first * self._grid.period_us
        return begin_us, begin_us + (end - first - 1) * self._grid.period_us + self._grid.chunk_us

    def longest(self) -> tuple[int, int] | None:
        """The longest window that fits."""
        best: tuple[int, int] | None = None
        for first, end in sorted(self._between_tight_places(), key=lambda window: window[0] - window[1]):
            wanted = self._least if best is None else best[1] - best[0] + 1
            if end - first < wanted or self._checks >= _MOST_CHECKS:
                break
            best = self._longest_in(first, end, wanted) or best
        return best

    def _between_tight_places(self) -> Iterator[tuple[int, int]]:
        """Windows that contain every one that could fit.

        From a chunk after its beginning to a chunk and rho before its end, a window adds what the whole one adds. A
        tight place in there is over the limit for both, so a window that fits has all of that between two of them.
        """
        grid = self._grid
        tight = StepFunction.total(StepFunction.of((*span, 1) for span in spans) for _, spans in self._tight).support
        edges = [(grid.begin_us, grid.begin_us), *tight, (grid.end_us, grid.end_us)]
        for (_, after), (before, _) in pairwise(edges):
            first = max(0, -(-(after - grid.chunk_us + 1 - grid.begin_us) // grid.period_us))
            end = min(grid.count, (before + self._rho_us - 2 - grid.begin_us) // grid.period_us + 1)
            if end - first >= self._least:
                yield first, end

    def _longest_in(self, first: int, end: int, wanted: int) -> tuple[int, int] | None:
        """The longest window of at least `wanted` chunks inside another one."""
        found: tuple[int, int] | None = None
        while end - first >= wanted and self._checks < _MOST_CHECKS:
            if not self._fits(first, first + wanted):
                first = self._first_that_fits(first + 1, first + wanted)
                continue
            low, high = first + wanted, end
            while low < high:
                middle = (low + high + 1) // 2
                low, high = (middle, high) if self._fits(first, middle) else (low, middle - 1)
            found = (first, low)
            wanted = low - first + 1
        return found

    def _first_that_fits(self, first: int, end: int) -> int:
        """The smallest first chunk with which a window that ends at `end` fits: no window beyond it begins earlier."""
        low, high = first, max(first, end - self._least + 1)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._fits(middle, end) else (middle + 1, high)
        return low

    def _fits(self, first: int, end: int) -> bool:
        self._checks += 1
        begin_us, end_us = self.time(first, end)
        for account, tight in self._tight:
            reach = (begin_us - account.book.policy.rho_us, end_us)
            among = [(max(a, reach[0]), min(b, reach[1])) for a, b in tight if a < reach[1] and b > reach[0]]
            if among and next(account.over((begin_us, end_us), among), None) is not None:
                return False
        return True


def _inside(losses: Iterable[Loss], begin_us: int, end_us: int) -> Iterator[Loss]:
    """The same losses for the chunks inside [begin, end) only."""
    for loss in losses:
        grid = loss.grid
        first = max(0, -(-(begin_us - grid.begin_us) // grid.period_us))
        last = min(grid.count - 1, (end_us - grid.begin_us - grid.chunk_us) // grid.period_us)
        if first <= last:
            yield replace(
                loss, grid=replace(grid, begin_us=grid.begin_us + first * grid.period_us, count=last - first + 1)
            )
