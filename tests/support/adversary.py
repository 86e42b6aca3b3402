"""Worst cases by brute force, in worlds of a few dozen microseconds (privacy-model.md, section 8).

Nothing here uses the ledger's arithmetic: chunks and segments are sets of microseconds, and losses are counted slot by
slot. An event is given by its presence periods and, for each mask, the segments in which it is visible there.
"""

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from privid.domain.budget import Grid, Loss
from privid.domain.policy import CameraPolicy, MaskPolicy


def chunks_touched(grid: Grid, start: int, length: int) -> frozenset[int]:
    """Chunks that share a microsecond with [start, start + length)."""
    return frozenset(
        i
        for i in range(grid.count)
        if not set(range(start, start + length)).isdisjoint(
            range(grid.begin_us + i * grid.period_us, grid.begin_us + i * grid.period_us + grid.chunk_us)
        )
    )


@dataclass
class Release:
    """A release as the adversary knows it: each touched slot costs q, a segment of `certified_us` at most the cap."""

    loss: Loss
    certified_us: int
    cap_holds: bool = True

    def __post_init__(self) -> None:
        self._touched: dict[tuple[int, int], frozenset[int]] = {}

    def touched(self, start: int, length: int) -> frozenset[int]:
        key = (start, length)
        if key not in self._touched:
            self._touched[key] = chunks_touched(self.loss.grid, start, length)
        return self._touched[key]

    def lost(self, segments: Iterable[tuple[int, int]]) -> int:
        """What an event visible in exactly these segments loses to this release."""
        slot = self.loss.q * self.loss.grid.slots_per_chunk
        touched = [self.touched(*segment) for segment in segments]
        lost = slot * len(frozenset().union(*touched))
        if self.loss.cap is not None and self.cap_holds:
            lost = min(lost, sum(min(slot * len(chunks), self.loss.cap) for chunks in touched))
        return lost


def worst_loss(policy: CameraPolicy, terms: dict[str, MaskPolicy], releases: Sequence[Release]) -> int:
    """The largest loss that the search finds over events: exhaustive for one period, then the best K of them.

    Never more than the true worst case, so a ledger that lets it exceed epsilon is wrong.
    """
    if not releases:
        return 0
    by_mask: dict[str, list[Release]] = {}
    for release in releases:
        by_mask.setdefault(release.loss.mask, []).append(release)
    first = min(release.loss.grid.begin_us for release in releases) - policy.rho_us
    last = max(release.loss.grid.end_us for release in releases)

    def best_in(tau: int, mask: str) -> tuple[int, tuple[tuple[int, int], ...]]:
        rho_us, segments = terms[mask].rho_us, terms[mask].segments
        starts = range(tau, tau + policy.rho_us - rho_us + 1)
        choices = itertools.combinations_with_replacement([(start, rho_us) for start in starts], segments)
        return max((sum(r.lost(choice) for r in by_mask[mask]), choice) for choice in choices)

    periods = []
    for tau in range(first, last + 1):
        found = {mask: best_in(tau, mask) for mask in by_mask}
        periods.append((sum(lost for lost, _ in found.values()), {mask: seen for mask, (_, seen) in found.items()}))
    periods.sort(key=lambda period: period[0], reverse=True)
    if policy.K == 1:
        return periods[0][0]

    def together(chosen: Iterable[dict[str, tuple[tuple[int, int], ...]]]) -> int:
        event = list(chosen)
        return sum(
            release.lost([segment for period in event for segment in period[mask]])
            for mask, found in by_mask.items()
            for release in found
        )

    event: list[dict[str, tuple[tuple[int, int], ...]]] = []
    for _ in range(policy.K):
        event.append(max((seen for _, seen in periods), key=lambda seen: together([*event, seen])))
    return together(event)


def random_policy(rng: random.Random, *, masks: bool = True) -> CameraPolicy:
    """rho up to 8, K up to 3, up to two masks with up to three segments."""
    rho = rng.randint(2, 8)
    named = {
        name: MaskPolicy(rng.randint(1, rho), rng.choice([1, 1, 2, 2, 3]))
        for name in ("a", "b")
        if masks and rng.random() < 0.6
    }
    return CameraPolicy(epsilon_nano=rng.randint(3_000, 9_000), rho_us=rho, K=rng.randint(1, 3), masks=named)


def random_loss(rng: random.Random, policy: CameraPolicy, epsilon_nano: int) -> Loss | None:
    """A release calibrated to cost an event at most `epsilon_nano` (section 4); None if that is too little."""
    mask = rng.choice(["none", *policy.masks])
    chunk = rng.randint(1, 4)
    stride = rng.choice([0, 0, rng.randint(1, 4)])
    grid = Grid(rng.randint(0, 24), chunk, chunk + stride, rng.randint(1, 6), rng.choice([1, 1, 1, 2]))
    terms = policy.under(mask)
    per_segment = epsilon_nano // (policy.K * terms.segments)
    q = per_segment // grid.touched_slots(terms.rho_us)
    if q == 0:
        return None
    if rng.random() < 0.25:
        # A cap lets q be larger: the segment's loss, not the slots', is what meets the budget.
        return Loss(mask, q * rng.randint(1, 3), per_segment, grid)
    return Loss(mask, q, None, grid)


def random_series(rng: random.Random, policy: CameraPolicy, epsilon_nano: int) -> list[Loss]:
    """The windows of a standing query, side by side on one grid, each calibrated to `epsilon_nano`; none if too little.

    As section 5 asks of a series: Mc without N, since a segment may touch chunks of two windows; no cap; the length of
    a window is a multiple of the period.
    """
    mask = rng.choice(["none", *policy.masks])
    chunk = rng.randint(1, 4)
    period = chunk + rng.choice([0, 0, rng.randint(1, 3)])
    chunks, slots = rng.randint(1, 3), rng.choice([1, 1, 2])
    terms = policy.under(mask)
    touched = slots * -(-(terms.rho_us + chunk) // period)
    q = epsilon_nano // (policy.K * terms.segments * touched)
    begin = rng.randint(0, 24)
    windows = rng.randint(2, 4) if q else 0
    return [
        Loss(mask, q, None, Grid(begin + n * chunks * period, chunk, period, chunks, slots)) for n in range(windows)
    ]
