"""The adversary of test_ledger_adversary.py is worth something: it catches every mistake that is planted in the ledger.

Each is one that somebody could make, or that an earlier reading of privacy-model.md, section 5, did make.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from privid.database.connect import open_database
from privid.domain.budget import Loss
from privid.domain.intervals import StepFunction
from privid.domain.loss_profile import loss_function, spending
from privid.ledger import Ledger, admission, books, steps
from privid.ledger.books import Book
from privid.ledger.rows import CountedLoss
from tests.support.ledger_worlds import Figures, never_over_epsilon, never_over_what_it_says
from tests.support.ledgers import World

MOST_WORLDS = 400

Patch = pytest.MonkeyPatch


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    engine: sa.Engine = open_database(tmp_path / "privid.sqlite3")
    yield World(engine)
    engine.dispose()


def everywhere(patch: Patch, right: Callable[..., object], wrong: Callable[..., object]) -> None:
    """Put a function in the place of another in every module of the ledger that imported it."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("privid.ledger", "privid.domain")):
            for attribute, value in list(vars(module).items()):
                if value is right:
                    patch.setattr(module, attribute, wrong)


def chunks_instead_of_slots(patch: Patch) -> None:
    """A region scheme costs g slots for each chunk."""
    everywhere(
        patch,
        loss_function,
        lambda loss, segment_us: loss_function(replace(loss, grid=replace(loss.grid, slots_per_chunk=1)), segment_us),
    )


def largest_instead_of_sum_over_sources(patch: Patch) -> None:
    """Two sources of one camera are two losses."""

    def weigh(book: Book, losses: Iterable[Loss]) -> dict[str, StepFunction]:
        largest: dict[str, Loss] = {}
        for loss in losses:
            largest[loss.mask] = max(loss, largest.get(loss.mask, loss), key=lambda loss: loss.q)
        return admission_weigh(book, largest.values())

    admission_weigh = admission.weigh
    everywhere(patch, admission.weigh, weigh)


def presence_periods_forgotten(patch: Patch) -> None:
    """K periods see K times as much."""
    patch.setattr(Book, "weight", lambda book, mask: book.terms[mask].segments)


def segments_of_a_mask_forgotten(patch: Patch) -> None:
    """k_m segments in one period see k_m times as much."""
    patch.setattr(Book, "weight", lambda book, mask: book.policy.K)


def begins_a_microsecond_late(patch: Patch) -> None:
    """A segment is half-open: [t, t + rho) touches a chunk from t = begin - rho + 1 on."""
    everywhere(
        patch,
        loss_function,
        lambda loss, segment_us: StepFunction.of(
            (step.from_us + (number == 0), step.to_us, step.value)
            for number, step in enumerate(loss_function(loss, segment_us))
        ),
    )


def ends_a_microsecond_early(patch: Patch) -> None:
    """A chunk is half-open: [b, b + c) is touched by a segment that starts at b + c - 1."""

    def wrong(loss: Loss, segment_us: int) -> StepFunction:
        found = loss_function(loss, segment_us).steps
        last = len(found) - 1
        return StepFunction.of((s.from_us, s.to_us - (number == last), s.value) for number, s in enumerate(found))

    everywhere(patch, loss_function, wrong)


def mask_offset_forgotten(patch: Patch) -> None:
    """A masked segment may lie anywhere in its period, up to rho - rho_m after its start."""
    everywhere(
        patch,
        spending,
        lambda losses, segment_us, rho_us: spending(losses, dict.fromkeys(segment_us, rho_us), rho_us),
    )


def mask_offset_a_microsecond_short(patch: Patch) -> None:
    """Both ends of [tau, tau + rho - rho_m] count."""
    everywhere(
        patch,
        spending,
        lambda losses, segment_us, rho_us: spending(
            losses, {mask: min(length + 1, rho_us) for mask, length in segment_us.items()}, rho_us
        ),
    )


def largest_instead_of_sum_over_masks(patch: Patch) -> None:
    """What one event loses under different masks adds."""

    def wrong(losses: Mapping[str, StepFunction], segment_us: Mapping[str, int], rho_us: int) -> StepFunction:
        every = [spending({mask: function}, segment_us, rho_us) for mask, function in losses.items()]
        edges = sorted({edge for function in every for step in function for edge in step[:2]})
        return StepFunction.of(
            (begin, end, max(function(begin) for function in every))
            for begin, end in zip(edges, edges[1:], strict=False)
        )

    everywhere(patch, spending, wrong)


def started_work_refunded(patch: Patch) -> None:
    """What has started may have shown something: its charge stays."""
    patch.setattr(Ledger, "start", lambda ledger, reservation_id: True)


def only_one_camera_charged(patch: Patch) -> None:
    """Every camera that a query reads pays its share."""

    def wrong(connection: sa.Connection, names: Iterable[str]) -> dict[str, Book]:
        return dict(list(right(connection, names).items())[:1])

    right = books.read
    patch.setattr(books, "read", wrong)


def admitted_without_looking_at_what_is_spent(patch: Patch) -> None:
    """Each query fits alone; together they do not."""
    patch.setattr(steps, "read", lambda connection, camera_id, mask, from_us, to_us: StepFunction())
    patch.setattr(steps, "add", lambda connection, camera_id, mask, change: None)


def old_charges_keep_their_segments(patch: Patch) -> None:
    """With a longer rho a segment touches more chunks, of old queries too."""
    patch.setattr(
        CountedLoss,
        "under",
        lambda charge, terms, K: replace(charge, weight=max(charge.weight, K * terms.segments)),  # noqa: N803
    )


def old_charges_keep_their_weight(patch: Patch) -> None:
    """With a larger K or k_m an event is seen more often, in old queries too."""
    right = CountedLoss.under
    patch.setattr(
        CountedLoss, "under", lambda charge, terms, K: replace(right(charge, terms, K), weight=charge.weight)  # noqa: N803
    )  # fmt: skip


def caps_survive_longer_segments(patch: Patch) -> None:
    """A cap is a bound for segments as long as they were when it was certified."""
    right = CountedLoss.under
    patch.setattr(
        CountedLoss, "under", lambda charge, terms, K: replace(right(charge, terms, K), cap_holds=charge.cap_holds)  # noqa: N803
    )  # fmt: skip


def deleted_masks_forgotten(patch: Patch) -> None:
    """What was lost under a mask that is gone is still lost."""
    in_policy = property(lambda book: {mask: book.policy.under(mask).rho_us for mask in ("none", *book.policy.masks)})
    patch.setattr(Book, "segment_us", in_policy)


IN_ADMISSION = (
    chunks_instead_of_slots,
    largest_instead_of_sum_over_sources,
    presence_periods_forgotten,
    segments_of_a_mask_forgotten,
    begins_a_microsecond_late,
    ends_a_microsecond_early,
    mask_offset_forgotten,
    mask_offset_a_microsecond_short,
    largest_instead_of_sum_over_masks,
    started_work_refunded,
    only_one_camera_charged,
    admitted_without_looking_at_what_is_spent,
)
IN_CHANGES = (
    old_charges_keep_their_segments,
    old_charges_keep_their_weight,
    caps_survive_longer_segments,
    deleted_masks_forgotten,
)


def worlds_until_caught(play: Callable[[World, int], Figures], world: World) -> int | None:
    """How many worlds the adversary needs; None if it finds nothing."""
    for seed in range(MOST_WORLDS):
        try:
            play(world, seed)
        except AssertionError:
            return seed + 1
    return None


@pytest.mark.parametrize("fault", IN_ADMISSION)
def test_a_fault_of_admission_is_caught(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Patch], None]
) -> None:
    fault(monkeypatch)
    assert worlds_until_caught(never_over_epsilon, world) is not None


@pytest.mark.parametrize("fault", IN_CHANGES)
def test_a_fault_in_changes_of_policy_is_caught(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Patch], None]
) -> None:
    fault(monkeypatch)
    assert worlds_until_caught(never_over_what_it_says, world) is not None
