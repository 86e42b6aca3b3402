"""Admission: whether a charge fits, and where it does not (privacy-model.md, section 5)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise

from privid.domain.budget import Charge, Grid, Loss
from privid.domain.intervals import StepFunction
from privid.domain.loss_profile import loss_function, spending
from privid.ledger.books import Book
from privid.ledger.errors import UnknownMask
from privid.ledger.values import Refusal

ReadLoss = Callable[[str, int, int], StepFunction]
"""The stored K * k_m * L_m of a mask, complete at least on the half-open interval given."""


def weigh(book: Book, losses: Iterable[Loss]) -> dict[str, StepFunction]:
    """K * k_m * (sum of lam) for each mask that these releases use, under the policy in force.

    Raises UnknownMask for a mask that is not in it; one that was deleted takes no more charges.
    """
    by_mask: dict[str, list[StepFunction]] = {}
    for loss in losses:
        try:
            terms = book.policy.under(loss.mask)
        except KeyError:
            raise UnknownMask(book.camera, loss.mask) from None
        by_mask.setdefault(loss.mask, []).append(loss_function(loss, terms.rho_us))
    return {mask: StepFunction.total(functions).scale(book.weight(mask)) for mask, functions in by_mask.items()}


def spent(book: Book, read: ReadLoss, from_us: int, to_us: int) -> StepFunction:
    """spent(tau) for presence periods that start in [from_us, to_us)."""
    return spending(_losses(book, read, from_us, to_us), book.segment_us, book.policy.rho_us).restrict(from_us, to_us)


def refusals(book: Book, charge: Charge, added: Mapping[str, StepFunction], read: ReadLoss) -> Iterator[Refusal]:
    """Every span where the charge does not fit: spent(tau) must be <= epsilon for every tau where it adds anything."""
    rho_us, lengths = book.policy.rho_us, book.segment_us
    alone = spending(added, lengths, rho_us)
    exceeded: list[tuple[int, int, int, int]] = []
    for from_us, to_us in alone.support:
        stored = _losses(book, read, from_us, to_us)
        after = _with(book, stored, added).restrict(from_us, to_us)
        if after.maximum() <= book.policy.epsilon_nano:
            continue
        before = spending(stored, lengths, rho_us).restrict(from_us, to_us)
        for start, stop in _pieces(from_us, to_us, before, after, alone):
            if after(start) > book.policy.epsilon_nano:
                left = max(0, book.policy.epsilon_nano - before(start))
                # Where a mask's maximum lies elsewhere the sum may not grow; the charge counts all the same.
                exceeded.append((start, stop, left, after(start) - before(start) or alone(start)))
    yield from _as_video_time(book, [loss.grid for loss in charge.losses], exceeded)


def over(
    book: Book, added: Mapping[str, StepFunction], read: ReadLoss, among: Iterable[tuple[int, int]] | None = None
) -> Iterator[tuple[int, int]]:
    """Where presence periods start that would be refused, without a word about how much; only `among`, if given.

    The same rule as `refusals`: there is none exactly if there is no refusal.
    """
    alone = spending(added, book.segment_us, book.policy.rho_us)
    for from_us, to_us in alone.support if among is None else _common(alone.support, among):
        after = _with(book, _losses(book, read, from_us, to_us), added).restrict(from_us, to_us)
        yield from (step[:2] for step in after if step.value > book.policy.epsilon_nano)


def _with(book: Book, stored: Mapping[str, StepFunction], added: Mapping[str, StepFunction]) -> StepFunction:
    """spent(tau) with these losses included."""
    joint = {mask: function + added.get(mask, StepFunction()) for mask, function in stored.items()}
    return spending(joint, book.segment_us, book.policy.rho_us)


def _common(spans: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What two unions of intervals have in common."""
    both = StepFunction.total(StepFunction.of((*span, 1) for span in union) for union in (spans, others))
    yield from (step[:2] for step in both if step.value == 2)


def _losses(book: Book, read: ReadLoss, from_us: int, to_us: int) -> dict[str, StepFunction]:
    """Every mask's loss function as far as presence periods that start in [from_us, to_us) can see it."""
    return {mask: read(mask, from_us, to_us + book.policy.rho_us - length) for mask, length in book.segment_us.items()}


def _pieces(from_us: int, to_us: int, *functions: StepFunction) -> Iterator[tuple[int, int]]:
    """The pieces of [from_us, to_us) on which all functions are constant."""
    edges = {from_us, to_us}
    for function in functions:
        edges.update(edge for step in function for edge in step[:2] if from_us < edge < to_us)
    yield from pairwise(sorted(edges))


def _as_video_time(
    book: Book, grids: Iterable[Grid], exceeded: Iterable[tuple[int, int, int, int]]
) -> Iterator[Refusal]:
    """What people understand: not when presence periods start, but which part of the query's own windows they show."""
    windows = StepFunction.total(StepFunction.of([(grid.begin_us, grid.end_us, 1)]) for grid in grids).support
    spans: list[Refusal] = []
    for start, stop, left, asked in exceeded:
        for begin, end in windows:
            from_us, to_us = max(start, begin), min(stop - 1 + book.policy.rho_us, end)
            if from_us < to_us:
                spans.append(Refusal(book.camera, from_us, to_us, left, asked))
    spans.sort(key=lambda span: span.from_us)
    joined: Refusal | None = None
    for span in spans:
        if joined is None or span.from_us > joined.to_us:
            if joined is not None:
                yield joined
            joined = span
        else:
            tighter = min(joined, span, key=lambda refusal: refusal.share)
            joined = Refusal(
                book.camera, joined.from_us, max(joined.to_us, span.to_us), tighter.left_nano, tighter.asked_nano
            )
    if joined is not None:
        yield joined
