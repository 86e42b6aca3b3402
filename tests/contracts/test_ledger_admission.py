"""Admission by the rule of privacy-model.md, section 5, on both databases."""

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from privid.database.connect import open_database
from privid.domain.budget import Charge, Grid, Loss
from privid.domain.intervals import StepFunction
from privid.domain.policy import CameraPolicy, MaskPolicy
from privid.domain.units import NANO, SECOND
from privid.ledger import BudgetExceeded, NoPolicy, PolicyChanged, RequestIdReused, State, UnknownCamera, UnknownMask
from tests.support.ledgers import HOUR, PLAIN, World, add_analyst, add_camera, all_steps, charge, losses

MASKED = replace(PLAIN, masks=MappingProxyType({"benches": MaskPolicy(10 * SECOND, 2)}))


@pytest.fixture
def world(engine: sa.Engine) -> World:
    return World(engine)


def refused(world: World, *charges: Charge) -> BudgetExceeded:
    with pytest.raises(BudgetExceeded) as caught:
        world.reserve(*charges)
    return caught.value


def test_a_query_of_the_whole_budget_is_admitted_once(world: World) -> None:
    reserved = world.reserve(charge(NANO))
    assert (reserved.state, reserved.existing, reserved.shared) == (State.RESERVED, False, False)
    assert reserved.reservation_id == reserved.query_id
    assert world.most_spent() == NANO - NANO % 7
    refused(world, charge(10))


def test_budgets_add_up_to_the_last_nano(world: World) -> None:
    policy = replace(PLAIN, rho_us=5 * SECOND)
    world.policies.put("plaza", policy, actor="owner:olga")
    world.reserve(charge(NANO // 2, policy=policy))
    refused(world, charge(NANO // 2 + 2, policy=policy))
    world.reserve(charge(NANO // 2, policy=policy))
    assert world.most_spent() == NANO


def test_adjacent_windows_of_one_grid_all_have_the_full_budget(world: World) -> None:
    for hour in (0, 2, 1, 3):
        world.reserve(charge(NANO, hour * HOUR))
    assert world.most_spent() == NANO - NANO % 7


def test_an_overlap_of_two_microseconds_is_refused(world: World) -> None:
    # rho is a multiple of the chunk: one microsecond fits into the rounding to whole microseconds, two do not.
    world.reserve(charge(NANO, 0))
    assert world.ledger.would_admit([charge(NANO, HOUR - 1)]) == ()
    refusal = refused(world, charge(NANO, HOUR - 2)).refusals[0]
    assert refusal.camera == "plaza"
    assert refusal.from_us >= HOUR - 2
    assert refusal.to_us <= HOUR + 30 * SECOND


def test_the_same_moments_under_another_grid_share_the_budget(world: World) -> None:
    world.reserve(charge(NANO * 6 // 10, chunk_us=5 * SECOND))
    refused(world, charge(NANO // 2, chunk_us=7 * SECOND))
    world.reserve(charge(NANO * 4 // 10, chunk_us=7 * SECOND))
    assert world.most_spent() <= NANO


def test_a_refusal_names_the_part_of_the_window_that_is_used_up(world: World) -> None:
    minutes = 60 * SECOND
    world.reserve(charge(NANO // 2, 10 * minutes, 40 * minutes))
    error = refused(world, charge(NANO * 8 // 10, 0, HOUR))
    (refusal,) = error.refusals
    # The edges are off by less than a presence period: some that begin outside still see enough chunks of both.
    assert abs(refusal.from_us - 10 * minutes) <= 30 * SECOND
    assert abs(refusal.to_us - 50 * minutes) <= 30 * SECOND
    assert refusal.left_nano == NANO - (NANO // 2 - NANO // 2 % 7)
    assert refusal.asked_nano == NANO * 8 // 10 // 7 * 7
    assert "plaza 1970-01-01T00:09:40Z to 1970-01-01T00:50:20Z" in str(error)
    assert "0.5 left there, 0.8 asked" in str(error)
    admitted = int(NANO * 8 // 10 * refusal.share)
    assert NANO * 5 // 10 - 10 <= admitted <= NANO * 5 // 10 + 10
    world.reserve(charge(admitted - 10, 0, HOUR))


def test_two_used_up_spans_are_two_refusals_in_order(world: World) -> None:
    minutes = 60 * SECOND
    world.reserve(charge(NANO, 40 * minutes, 5 * minutes))
    world.reserve(charge(NANO, 10 * minutes, 5 * minutes))
    refusals = refused(world, charge(1_000, 0, HOUR)).refusals
    assert [(r.from_us + 30 * SECOND) // (5 * minutes) for r in refusals] == [2, 8]


def test_would_admit_agrees_with_reserve_and_writes_nothing(world: World) -> None:
    world.reserve(charge(NANO // 2))
    before = all_steps(world.engine)
    assert world.ledger.would_admit([charge(NANO // 2)]) == ()
    assert world.ledger.would_admit([charge(NANO)]) == refused(world, charge(NANO)).refusals
    assert all_steps(world.engine) == before
    assert world.ledger.would_admit([]) == ()


def test_a_refused_query_leaves_nothing_but_an_audit_entry(world: World) -> None:
    world.add_camera("bridge", PLAIN)
    world.reserve(charge(NANO))
    before = all_steps(world.engine)
    request = world.request(charge(NANO), Charge("bridge", (losses(NANO),)))
    with pytest.raises(BudgetExceeded):
        world.ledger.reserve(request)
    assert all_steps(world.engine) == before
    assert len(world.ledger.queries()) == 1
    with world.engine.connect() as connection:
        last = connection.exec_driver_sql("SELECT event FROM audit_log ORDER BY seq DESC LIMIT 1").scalar()
    assert last == "query.refused"


def test_each_camera_pays_its_own_share(world: World) -> None:
    world.add_camera("bridge", replace(PLAIN, epsilon_nano=NANO // 10))
    world.reserve(charge(NANO), Charge("bridge", (losses(NANO // 20),)))
    assert world.most_spent("plaza") == NANO - NANO % 7
    assert world.most_spent("bridge") == NANO // 20 - NANO // 20 % 7
    both = refused(world, charge(NANO), Charge("bridge", (losses(NANO // 10),))).refusals
    assert [refusal.camera for refusal in both] == ["bridge", "plaza"]


def test_two_sources_of_one_camera_add_in_one_query(world: World) -> None:
    twice = Charge("plaza", (losses(NANO * 6 // 10), losses(NANO * 6 // 10)))
    refused(world, twice)
    half = losses(NANO // 2)
    world.reserve(Charge("plaza", (half,)), Charge("plaza", (half,)))
    assert world.most_spent() == 2 * (NANO // 2 - NANO // 2 % 7)


def test_every_region_of_a_chunk_is_charged(world: World) -> None:
    grid = Grid(0, 5 * SECOND, 5 * SECOND, 720, slots_per_chunk=3)
    world.reserve(Charge("plaza", (Loss("none", NANO // 21, None, grid),)))
    assert world.most_spent() == NANO // 21 * 21


def test_a_cap_bounds_what_is_charged(world: World) -> None:
    grid = Grid(0, 5 * SECOND, 5 * SECOND, 720)
    world.reserve(Charge("plaza", (Loss("none", NANO, NANO // 4, grid),)))
    assert world.most_spent() == NANO // 4


def test_losses_of_all_masks_add_wherever_in_a_period_they_lie(world: World) -> None:
    world.policies.put("plaza", MASKED, actor="owner:olga")
    minute = {"policy": MASKED, "length_us": 60 * SECOND}
    world.reserve(charge(NANO * 7 // 10, 0, **minute))
    # A period that begins at 40 s shows 4 of 7 unmasked chunks, and later a whole masked segment of 10 s.
    refused(world, charge(NANO * 7 // 10, 60 * SECOND, mask="benches", **minute))
    world.reserve(charge(NANO * 7 // 10, 65 * SECOND, mask="benches", **minute))
    assert NANO - 100 < world.most_spent() <= NANO


def test_masked_windows_side_by_side_compose_in_parallel(world: World) -> None:
    world.policies.put("plaza", MASKED, actor="owner:olga")
    for hour in range(3):
        world.reserve(charge(NANO, hour * HOUR, policy=MASKED, mask="benches"))
    assert world.most_spent() == NANO // 6 * 6


def test_spent_and_remaining_over_a_window(world: World) -> None:
    world.reserve(charge(NANO // 2))
    spent = world.ledger.spent("plaza", 100 * SECOND, 200 * SECOND)
    value = NANO // 2 // 7 * 7
    assert spent == StepFunction.of([(100 * SECOND, 200 * SECOND, value)])
    left = world.ledger.remaining("plaza", -HOUR, 2 * HOUR)
    assert left(-HOUR) == left(2 * HOUR - 1) == NANO
    assert left(0) < NANO
    assert left(HOUR // 2) == NANO - value
    assert left(2 * HOUR) == 0
    assert world.ledger.spent_span("plaza") == (-60 * SECOND + 1, HOUR)
    assert not world.ledger.spent("plaza", *[-10 * HOUR, -60 * SECOND + 1])


def test_a_query_that_reads_only_public_numbers_costs_nothing(world: World) -> None:
    assert not world.reserve().existing
    assert all_steps(world.engine) == []


def test_the_same_request_is_the_same_query(world: World) -> None:
    request = world.request(charge(NANO))
    first = world.ledger.reserve(request)
    again = world.ledger.reserve(request)
    assert again == replace(first, existing=True)
    assert world.most_spent() == NANO - NANO % 7
    assert len(world.ledger.queries()) == 1


@pytest.mark.parametrize("changed", [{"text": "SELECT other"}, {"default_epsilon_nano": 5}])
def test_a_request_id_with_another_question_is_refused(world: World, changed: dict[str, object]) -> None:
    request = world.request(charge(10_000))
    world.ledger.reserve(request)
    with pytest.raises(RequestIdReused, match="choose a new request id"):
        world.ledger.reserve(replace(request, **changed))  # type: ignore[arg-type]
    other = replace(request, analyst_id=add_analyst(world.engine, "bob"), cache_key="b" * 64)
    assert not world.ledger.reserve(other).existing


@pytest.mark.parametrize("state", [State.RESERVED, State.RUNNING, State.RELEASED])
def test_the_same_question_is_free_whoever_asks(world: World, state: State) -> None:
    first = world.reserve(charge(NANO), cache_key="same")
    if state is not State.RESERVED:
        world.ledger.start(first.query_id)
    if state is State.RELEASED:
        world.ledger.release(first.query_id, '{"answer": 42}')
        world.clock.now = first.visible_us
    bob = add_analyst(world.engine, "bob")
    again = world.reserve(charge(NANO), cache_key="same", analyst_id=bob)
    assert (again.existing, again.shared, again.state) == (True, True, state)
    assert again.reservation_id == first.query_id != again.query_id
    assert world.most_spent() == NANO - NANO % 7
    assert world.ledger.release_of(again.query_id) == ('{"answer": 42}' if state is State.RELEASED else None)
    if state is State.RESERVED:
        assert [work.reservation_id for work in world.ledger.unfinished()] == [first.query_id]


def test_a_question_that_was_cancelled_is_charged_again(world: World) -> None:
    first = world.reserve(charge(NANO // 2), cache_key="same")
    world.ledger.start(first.query_id)
    world.ledger.cancel(first.query_id, actor="analyst:ana")
    again = world.reserve(charge(NANO // 2), cache_key="same")
    assert not again.existing
    assert world.most_spent() == 2 * (NANO // 2 // 7 * 7)


def test_a_plan_under_an_old_policy_is_refused(world: World) -> None:
    request = world.request(charge(10_000))
    world.policies.put("plaza", replace(PLAIN, K=2), actor="owner:olga")
    with pytest.raises(PolicyChanged, match=r"from version 1 to 2.*submit it again"):
        world.ledger.reserve(request)
    with pytest.raises(PolicyChanged):
        world.ledger.reserve(replace(request, policy_versions={}))


def test_cameras_policies_and_masks_must_exist(world: World) -> None:
    add_camera(world.engine, "bare")
    with pytest.raises(UnknownCamera, match="'tower'"):
        world.reserve(Charge("tower", ()), versions={"tower": 1})
    with pytest.raises(NoPolicy, match="privid-admin policy set bare"):
        world.reserve(Charge("bare", ()), versions={"bare": 1})
    with pytest.raises(UnknownMask, match="'trees'"):
        world.reserve(Charge("plaza", (replace(losses(NANO), mask="trees"),)))
    for call in (world.ledger.spent, world.ledger.remaining):
        with pytest.raises(UnknownCamera):
            call("tower", 0, 1)
        with pytest.raises(NoPolicy):
            call("bare", 0, 1)


def test_k_multiplies_every_charge(world: World) -> None:
    policy = CameraPolicy(epsilon_nano=NANO, rho_us=30 * SECOND, K=3)
    world.policies.put("plaza", policy, actor="owner:olga")
    world.reserve(charge(NANO, policy=policy))
    assert world.most_spent() == NANO // 21 * 21


def test_admission_looks_up_what_it_needs_and_scans_nothing(tmp_path: Path) -> None:
    """A scan of a growing table would make admission slower with every query that was ever asked.

    On SQLite only: PostgreSQL chooses its plans by statistics that a small database does not have.
    """
    world = World(open_database(tmp_path / "privid.sqlite3"))
    statements: list[tuple[str, object]] = []
    event.listen(
        world.engine, "before_cursor_execute", lambda c, cur, sql, params, *_: statements.append((sql, params))
    )
    query_id = world.reserve(charge(NANO)).query_id
    world.ledger.unfinished()
    world.ledger.cancel(query_id, actor="analyst:ana")
    plans = {}
    with world.engine.connect() as connection:
        cursor = connection.connection.cursor()
        for sql, params in list(statements):
            if not sql.startswith(("BEGIN", "PRAGMA")):
                one = params[0] if isinstance(params, list) else params
                plans[sql] = [row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {sql}", one)]
    assert len(plans) > 15
    allowed = ("audit_head", "ix_reservations_unfinished")
    assert [
        (sql, plan) for sql, plan in plans.items() if any("SCAN" in p and not p.endswith(allowed) for p in plan)
    ] == []
