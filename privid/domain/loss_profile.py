"""The loss of releases as functions of time (privacy-model.md, section 5). Pure integer arithmetic.

Times are microseconds, losses nano-epsilon. Two kinds of function appear:

- a *loss function* of t, the start of one visible segment: `lam` of one release, `L_m`, the sum under one mask;
- a *spending function* of tau, the start of one presence period: `spent`.
"""

from collections.abc import Iterable, Mapping

from privid.domain.budget import Grid, Loss
from privid.domain.intervals import StepFunction
from privid.domain.policy import CameraPolicy


def loss_function(loss: Loss, segment_us: int) -> StepFunction:
    """lam(t): what a visible segment of at most `segment_us` (rho_m) that starts at t loses to one release.

    min(q * touched(t), cap), where touched(t) counts slots, g for each chunk that meets [t, t + rho_m), filled to its
    maximum between the first and the last t that reach it. At most 2 * Mc - 1 steps.

    A chunk [b, b + c) is touched by exactly the integers t in [b - rho_m + 1, b + c). While t rises, chunks begin to be
    touched one by one until the first of them is left behind; by then their number is the largest there is, because
    no window of its length holds more points of the grid than one with a point at its edge. So before the maximum is
    first reached chunks only arrive, and by symmetry after it was last reached they only leave.
    """
    if segment_us <= 0:
        raise ValueError("a segment is longer than 0")
    slot_loss = loss.q * loss.grid.slots_per_chunk
    if slot_loss == 0 or loss.cap == 0:
        return StepFunction()
    chunks = most_touched(loss.grid, segment_us)
    peak = slot_loss * chunks
    if loss.cap is not None and loss.cap < peak:
        peak = loss.cap
        chunks = -(-peak // slot_loss)

    def arrival(chunk: int) -> int:
        return loss.grid.begin_us + chunk * loss.grid.period_us - segment_us + 1

    def departure(chunk: int) -> int:
        return loss.grid.begin_us + chunk * loss.grid.period_us + loss.grid.chunk_us

    last = loss.grid.count - 1
    rise = [(arrival(n - 1), arrival(n), slot_loss * n) for n in range(1, chunks)]
    top = (arrival(chunks - 1), departure(last - chunks + 1), peak)
    fall = [(departure(last - n), departure(last - n + 1), slot_loss * n) for n in range(chunks - 1, 0, -1)]
    return StepFunction.of((*rise, top, *fall))


def most_touched(grid: Grid, segment_us: int) -> int:
    """The most chunks that one segment of at most `segment_us` touches, segments starting at whole microseconds.

    Never more than `Grid.touched_chunks`, which allows for any real start.
    """
    return min(grid.count, (segment_us + grid.chunk_us - 2) // grid.period_us + 1)


def spending(losses: Mapping[str, StepFunction], segment_us: Mapping[str, int], rho_us: int) -> StepFunction:
    """spent(tau) = sum over masks of max { L_m(t) : tau <= t <= tau + rho - rho_m }.

    `losses` gives each mask's K * k_m * L_m, `segment_us` its rho_m (not above `rho_us`).
    """
    return StepFunction.total(function.windowed_maximum(rho_us - segment_us[mask]) for mask, function in losses.items())


def weighted_losses(losses: Iterable[Loss], policy: CameraPolicy) -> dict[str, StepFunction]:
    """K * k_m * (sum of lam) of these releases for each mask that they use, under one policy."""
    by_mask: dict[str, list[StepFunction]] = {}
    for loss in losses:
        by_mask.setdefault(loss.mask, []).append(loss_function(loss, policy.under(loss.mask).rho_us))
    return {
        mask: StepFunction.total(functions).scale(policy.K * policy.under(mask).segments)
        for mask, functions in by_mask.items()
    }


def query_profile(losses: Iterable[Loss], policy: CameraPolicy) -> StepFunction:
    """`spent` over presence-period starts in a ledger that holds only these releases: a query's charge profile."""
    weighted = weighted_losses(losses, policy)
    return spending(weighted, {mask: policy.under(mask).rho_us for mask in weighted}, policy.rho_us)
