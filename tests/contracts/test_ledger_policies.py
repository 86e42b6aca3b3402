"""Versions of a policy, and what they do to charges that are there already (privacy-model.md, section 5)."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType

import pytest
import sqlalchemy as sa

from privid.database.transactions import reading
from privid.domain.budget import Charge, Grid, Loss
from privid.domain.loss_profile import loss_function
from privid.domain.policy import CameraPolicy, MaskPolicy, RegionScheme
from privid.domain.units import NANO, SECOND
from privid.ledger import (
    BudgetExceeded,
    NoPolicy,
    Policies,
    PolicyOverspent,
    SchemeChanged,
    StalePreview,
    UnknownCamera,
    UnknownMask,
)
from privid.ledger.consistency import problems
from tests.support.ledgers import HOUR, PLAIN, World, add_camera, all_steps, charge, losses

S = SECOND


def masked(rho_us: int = 10 * S, segments: int = 1, **rest: object) -> CameraPolicy:
    masks = MappingProxyType({"benches": MaskPolicy(rho_us, segments)})
    return replace(PLAIN, masks=masks, **rest)  # type: ignore[arg-type]


@pytest.fixture
def world(engine: sa.Engine) -> Iterator[World]:
    yield World(engine)
    with reading(engine) as connection:
        assert problems(connection) == ()


def put(world: World, policy: CameraPolicy) -> CameraPolicy:
    """As an owner who reads the preview and agrees."""
    return world.policies.put("plaza", policy, actor="owner:olga", confirmed=world.policies.preview("plaza", policy))


def test_versions_are_kept_and_read_back_exactly(world: World) -> None:
    full = CameraPolicy(
        epsilon_nano=123_456_789,
        rho_us=90 * S + 1,
        K=4,
        fps=Fraction(30_000, 1_001),
        width=768,
        height=576,
        timezone="Europe/Zurich",
        timing="open",
        slot_cores=2,
        isolation="exec",
        masks=MappingProxyType({"bänke": MaskPolicy(12 * S, 3)}),
        regions=MappingProxyType({"lanes": RegionScheme(("north", "south"), "hard")}),
    )
    stored = put(world, full)
    assert stored == replace(full, version=2)
    assert world.policies.current("plaza") == stored
    assert world.policies.versions("plaza") == (PLAIN, stored)
    add_camera(world.engine, "bare")
    assert world.policies.versions("bare") == ()
    assert world.policies.all_current() == {"plaza": stored}


def test_cameras_must_exist_and_have_a_policy(world: World) -> None:
    add_camera(world.engine, "bare")
    with pytest.raises(NoPolicy):
        world.policies.current("bare")
    for call in (world.policies.current, world.policies.versions):
        with pytest.raises(UnknownCamera):
            call("tower")
    with pytest.raises(UnknownCamera):
        world.policies.put("tower", PLAIN, actor="owner:olga")


def test_no_policies_at_all(engine: sa.Engine) -> None:
    assert Policies(engine, lambda: 0).all_current() == {}


def test_a_longer_rho_derives_old_charges_again(world: World) -> None:
    world.reserve(charge(NANO // 2))
    q = NANO // 2 // 7
    longer = replace(PLAIN, rho_us=60 * S)
    preview = world.policies.preview("plaza", longer)
    assert (preview.rederived, preview.spent_before_nano, preview.spent_nano) == (1, 7 * q, 13 * q)
    assert preview.over == ()
    put(world, longer)
    assert world.most_spent() == 13 * q
    assert world.ledger.would_admit([charge(NANO // 2, policy=longer)]) != ()


def test_a_shorter_rho_leaves_old_charges_as_they_are_and_new_ones_are_small(world: World) -> None:
    world.reserve(charge(NANO // 2))
    steps = all_steps(world.engine)
    shorter = put(world, replace(PLAIN, rho_us=5 * S))
    assert all_steps(world.engine) == steps
    world.reserve(charge(NANO // 2, policy=shorter))
    assert world.most_spent() == 7 * (NANO // 14) + 2 * (NANO // 4)


def test_back_to_the_old_rho_derives_only_what_was_charged_meanwhile(world: World) -> None:
    world.reserve(charge(NANO // 2))
    shorter = put(world, replace(PLAIN, rho_us=5 * S))
    world.reserve(charge(NANO // 4, 0, policy=shorter))
    preview = world.policies.preview("plaza", PLAIN)
    assert preview.rederived == 1
    put(world, PLAIN)
    assert world.most_spent() == 7 * (NANO // 14) + 7 * (NANO // 8)


@pytest.mark.parametrize(
    ("before", "after", "factor"),
    [
        (PLAIN, replace(PLAIN, K=3), 3),
        (replace(PLAIN, K=3), PLAIN, 1),
        (replace(PLAIN, K=2), replace(PLAIN, K=3), Fraction(3, 2)),
    ],
)
def test_more_presence_periods_multiply_and_fewer_return_nothing(
    world: World, before: CameraPolicy, after: CameraPolicy, factor: Fraction
) -> None:
    put(world, before)
    world.reserve(charge(NANO // 4, policy=before))
    spent = world.most_spent()
    put(world, after)
    assert world.most_spent() == spent * factor


def test_more_segments_under_a_mask_multiply(world: World) -> None:
    put(world, masked(segments=1))
    world.reserve(charge(NANO // 4, policy=masked(), mask="benches"))
    spent = world.most_spent()
    put(world, masked(segments=3))
    assert world.most_spent() == 3 * spent
    put(world, masked(segments=2))
    assert world.most_spent() == 3 * spent


def test_longer_segments_drop_the_cap(world: World) -> None:
    put(world, masked())
    grid = Grid(0, 5 * S, 5 * S, 720)
    world.reserve(Charge("plaza", (Loss("benches", 1_000, 1_500, grid),)))
    assert world.most_spent() == 1_500
    put(world, replace(masked(), K=2))
    assert world.most_spent() == 3_000
    put(world, replace(masked(rho_us=15 * S), K=2))
    assert world.most_spent() == 2 * 4 * 1_000


def test_a_deleted_mask_stays_in_what_is_spent(world: World) -> None:
    put(world, masked(segments=2))
    world.reserve(charge(NANO, policy=masked(segments=2), mask="benches"))
    spent = world.most_spent()
    put(world, PLAIN)
    assert world.most_spent() == spent
    with pytest.raises(BudgetExceeded):
        world.reserve(charge(NANO // 10))
    with pytest.raises(UnknownMask):
        world.reserve(charge(1_000, policy=masked(), mask="benches"))
    # Its terms go on: more presence periods still multiply its k_m.
    put(world, replace(PLAIN, K=2))
    assert world.most_spent() == 2 * spent


def test_a_deleted_mask_has_segments_no_longer_than_rho(world: World) -> None:
    put(world, masked(rho_us=20 * S))
    world.reserve(charge(NANO // 4, policy=masked(rho_us=20 * S), mask="benches"))
    stored = all_steps(world.engine)
    put(world, replace(PLAIN, rho_us=10 * S))
    assert all_steps(world.engine) == stored
    # rho - rho_m is now 0: a period sees what begins where it begins.
    assert world.ledger.spent_span("plaza") == (stored[0][2] - 10 * S, stored[-1][3])  # type: ignore[operator]
    assert world.ledger.spent("plaza", -HOUR, HOUR).span == (stored[0][2], HOUR)
    put(world, replace(PLAIN, rho_us=30 * S))
    assert world.ledger.spent("plaza", -HOUR, HOUR).span == (stored[0][2] - 10 * S, HOUR)  # type: ignore[operator]


def test_a_mask_comes_back_with_its_old_charges(world: World) -> None:
    put(world, masked())
    world.reserve(charge(NANO // 2, policy=masked(), mask="benches"))
    spent = world.most_spent()
    put(world, PLAIN)
    put(world, masked(segments=2))
    assert world.most_spent() == 2 * spent


def test_less_epsilon_than_is_spent_must_be_confirmed(world: World) -> None:
    world.reserve(charge(NANO // 2))
    spent = world.most_spent()
    less = replace(PLAIN, epsilon_nano=NANO // 4)
    with pytest.raises(PolicyOverspent, match=r"has already spent 0\.5 of its 0\.25, so its guarantee is 0\.5"):
        world.policies.put("plaza", less, actor="owner:olga")
    assert world.policies.current("plaza") == PLAIN
    preview = world.policies.preview("plaza", less)
    assert preview.spent_nano == spent
    assert {span.spent_nano <= spent for span in preview.over} == {True}
    assert preview.over[0].from_us < 0 < preview.over[0].to_us
    world.policies.put("plaza", less, actor="owner:olga", confirmed=preview)
    assert world.ledger.remaining("plaza", HOUR // 2, HOUR // 2 + 1).maximum() == 0
    assert world.ledger.remaining("plaza", HOUR // 2, HOUR // 2 + 1)(HOUR // 2) == NANO // 4 - spent
    refused = world.ledger.would_admit([charge(NANO // 100, policy=less)])
    assert [refusal.left_nano for refusal in refused] == [0]
    # Where nothing was spent, the new budget is there.
    world.reserve(charge(NANO // 4, 10 * HOUR))


def test_where_it_is_overspent_even_a_query_that_changes_no_maximum_is_refused(world: World) -> None:
    put(world, masked())
    world.reserve(charge(NANO // 2, 0, 20 * S, policy=masked(), mask="benches"))
    put(world, masked(epsilon_nano=NANO // 4))
    # Its own segments lie beside the maximum, in periods that see both.
    small = charge(1_000, 20 * S, 5 * S, policy=masked(), mask="benches")
    assert [refusal.asked_nano > 0 for refusal in world.ledger.would_admit([small])] == [True]


def test_a_preview_must_still_hold_when_it_is_confirmed(world: World) -> None:
    less = replace(PLAIN, epsilon_nano=NANO // 4)
    world.reserve(charge(NANO // 2))
    preview = world.policies.preview("plaza", less)
    with pytest.raises(StalePreview):
        world.policies.put("plaza", replace(less, K=2), actor="owner:olga", confirmed=preview)
    world.reserve(charge(NANO // 4))
    with pytest.raises(StalePreview, match="look at a new preview"):
        world.policies.put("plaza", less, actor="owner:olga", confirmed=preview)
    put(world, replace(PLAIN, epsilon_nano=2 * NANO))
    with pytest.raises(StalePreview):
        world.policies.put("plaza", less, actor="owner:olga", confirmed=preview)


def test_a_preview_writes_nothing(world: World) -> None:
    world.reserve(charge(NANO // 2))
    steps = all_steps(world.engine)
    world.policies.preview("plaza", replace(PLAIN, rho_us=HOUR, K=9))
    assert all_steps(world.engine) == steps
    assert world.policies.versions("plaza") == (PLAIN,)


def test_refunds_after_a_change_return_what_was_derived_again(world: World) -> None:
    world.reserve(charge(NANO // 10, HOUR // 2))
    put(world, replace(PLAIN, rho_us=60 * S, K=2))
    alone = all_steps(world.engine)
    put(world, PLAIN)
    query = world.reserve(charge(NANO // 10))
    put(world, replace(PLAIN, rho_us=60 * S, K=2))
    assert all_steps(world.engine) != alone
    world.ledger.cancel(query.query_id, actor="analyst:ana")
    assert all_steps(world.engine) == alone


def test_the_preview_names_work_that_was_planned_before(world: World) -> None:
    first, second, third = (world.reserve(charge(1_000)).query_id for _ in range(3))
    world.ledger.start(first)
    world.ledger.start(second)
    world.ledger.release(second, "{}")
    assert set(world.policies.preview("plaza", PLAIN).unfinished) == {first, third}


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        (("a", "b"), ("a", "b"), True),
        (("a", "b"), ("a", "b", "c"), False),
        (("a", "b"), ("b", "a"), False),
    ],
)
def test_a_region_scheme_keeps_its_names(world: World, old: tuple[str], new: tuple[str], allowed: bool) -> None:
    put(world, replace(PLAIN, regions=MappingProxyType({"lanes": RegionScheme(old, "soft")})))
    put(world, PLAIN)
    changed = replace(PLAIN, regions=MappingProxyType({"lanes": RegionScheme(new, "soft")}))
    if allowed:
        put(world, changed)
    else:
        with pytest.raises(SchemeChanged, match="another scheme needs another name"):
            put(world, changed)


def test_a_region_boundary_only_becomes_stricter(world: World) -> None:
    def scheme(boundary: str) -> CameraPolicy:
        regions = MappingProxyType({"lanes": RegionScheme(("a", "b"), boundary)})  # type: ignore[arg-type]
        return replace(PLAIN, regions=regions)

    put(world, scheme("none"))
    put(world, scheme("hard"))
    with pytest.raises(SchemeChanged):
        put(world, scheme("soft"))


def test_derived_charges_are_the_losses_of_the_new_policy(world: World) -> None:
    """Both ways of getting there give the same function, for everything without a cap."""
    world.add_camera("bridge", replace(PLAIN, rho_us=45 * S, K=2))
    for begin, share in ((0, 10), (HOUR // 2, 20), (3 * HOUR, 5)):
        loss = losses(NANO // share, begin)
        world.reserve(Charge("plaza", (loss,)))
        world.reserve(Charge("bridge", (loss,)))
        assert loss_function(loss, 45 * S) != loss_function(loss, 30 * S)
    put(world, replace(PLAIN, rho_us=45 * S, K=2))
    one, other = ([step[1:] for step in all_steps(world.engine) if step[0] == camera] for camera in (1, 2))
    assert one == other
