"""Standing queries: windows reserved together, given back one by one, admitted anew under a new policy."""

import random
import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa

from privid.database.transactions import reading
from privid.domain.budget import Charge, Grid, Loss
from privid.domain.policy import CameraPolicy
from privid.domain.units import NANO, SECOND
from privid.ledger import (
    BudgetExceeded,
    LimitExceeded,
    NotCancellable,
    Policies,
    PolicyChanged,
    RequestIdReused,
    SeriesReservation,
    StalePreview,
    State,
    UnknownQuery,
    Window,
    Work,
)
from privid.ledger.consistency import problems
from privid.ledger.renewal import Renew
from privid.ledger.values import Renewed
from tests.support.ledgers import HOUR, PLAIN, World, all_steps

DELAY = 60 * SECOND
CHUNK = 5 * SECOND


@pytest.fixture
def world(engine: sa.Engine) -> World:
    return World(engine)


@pytest.fixture(autouse=True)
def _sound(world: World) -> object:
    yield
    with reading(world.engine) as connection:
        assert problems(connection) == ()


def rate(epsilon_nano: int, policy: CameraPolicy = PLAIN) -> int:
    """q of a window of a series: Mc without N, no cap."""
    return epsilon_nano // (policy.K * -(-(policy.rho_us + CHUNK) // CHUNK))


def charged(begin_us: int, epsilon_nano: int = NANO, policy: CameraPolicy = PLAIN, every_us: int = HOUR) -> Charge:
    return Charge(
        "plaza", (Loss("none", rate(epsilon_nano, policy), None, Grid(begin_us, CHUNK, CHUNK, every_us // CHUNK)),)
    )


def series(
    world: World,
    count: int = 24,
    *,
    epsilon_nano: int = NANO,
    begin_us: int | None = None,
    every_us: int = HOUR,
    key: str = "k",
    **changed: object,
) -> SeriesReservation:
    """Windows that begin now, whose keys tell their begin."""
    begin_us = world.clock.now if begin_us is None else begin_us
    windows = []
    for number in range(count):
        start = begin_us + number * every_us
        reservation = world.request(
            charged(start, epsilon_nano, every_us=every_us),
            cache_key=f"{key}{start}",
            plan=f'{{"begin_us": {start}}}',
            ready_us=start + every_us + DELAY,
            visible_us=start + every_us + 2 * DELAY,
        )
        windows.append(Window(start, start + every_us, reservation))
    given: dict[str, object] = {
        "analyst_id": world.analyst,
        "request_id": f"series-{next(world.numbers)}",
        "text": "SPLIT ... EVERY 1 hour",
        "default_epsilon_nano": NANO,
        "horizon_us": None,
        "every_us": every_us,
        "certificate": "{}",
        "windows": tuple(windows),
    }
    return SeriesReservation(**(given | changed))  # type: ignore[arg-type]


# --- admission ----------------------------------------------------------------------------------------------


def test_adjacent_windows_fit_at_the_full_epsilon(world: World) -> None:
    reserved = world.ledger.reserve_series(series(world))
    assert world.most_spent() == rate(NANO) * 7 <= NANO
    record = world.ledger.series(reserved.series_id)
    assert (record.windows, record.state) == ({State.RESERVED: 24}, State.RESERVED)
    assert (record.begin_us, record.end_us) == (world.clock.now, world.clock.now + 24 * HOUR)
    windows = world.ledger.windows(reserved.series_id)
    assert [window.place.position for window in windows if window.place] == list(range(24))
    assert record.next_query == windows[0].id
    assert record.visible_us == windows[0].visible_us


@pytest.mark.parametrize("every_us", [CHUNK, 3 * CHUNK, 6 * CHUNK, 40 * CHUNK])
def test_windows_of_any_length_share_the_budget_at_their_marks(world: World, every_us: int) -> None:
    world.ledger.reserve_series(series(world, 20, every_us=every_us))
    assert world.most_spent() == rate(NANO) * 7


def test_all_windows_or_none(world: World) -> None:
    begin = world.clock.now
    world.reserve(charged(begin + 5 * HOUR, 1))
    before = all_steps(world.engine)
    world.reserve(charged(begin + 5 * HOUR, NANO // 2))
    after = all_steps(world.engine)
    assert before != after
    with pytest.raises(BudgetExceeded) as refused:
        world.ledger.reserve_series(series(world))
    assert [(r.from_us - begin) // HOUR for r in refused.value.refusals] == [4]
    assert all_steps(world.engine) == after
    assert len(world.ledger.unfinished()) == 2
    assert world.ledger.reserve_series(series(world, epsilon_nano=NANO // 2)).existing is False


def test_the_same_request_is_the_same_series(world: World) -> None:
    asked = series(world)
    first = world.ledger.reserve_series(asked)
    assert world.ledger.reserve_series(asked) == replace(first, existing=True)
    assert len(world.ledger.unfinished()) == 24
    for changed in ({"text": "another"}, {"default_epsilon_nano": 1}, {"horizon_us": 7}):
        with pytest.raises(RequestIdReused):
            world.ledger.reserve_series(replace(asked, **changed))  # type: ignore[arg-type]
    with pytest.raises(RequestIdReused):
        world.reserve(charged(0, 1), request_id=asked.request_id)
    world.reserve(charged(0, 1), request_id="a-single-one")
    with pytest.raises(RequestIdReused):
        world.ledger.reserve_series(replace(asked, request_id="a-single-one"))


def test_a_longer_horizon_pays_for_the_new_windows_only(world: World) -> None:
    short = world.ledger.reserve_series(series(world, 3))
    long = world.ledger.reserve_series(series(world, 5))
    assert (short.shared, long.shared) == (False, False)
    assert world.most_spent() == rate(NANO) * 7
    assert len(world.ledger.unfinished()) == 5
    again = world.ledger.reserve_series(series(world, 5))
    assert again.shared
    # Withdrawing one leaves to the others what they share.
    assert world.ledger.cancel_series(long.series_id, actor="analyst:1").stopped == ()
    assert world.ledger.cancel_series(short.series_id, actor="analyst:1").stopped == ()
    assert len(world.ledger.cancel_series(again.series_id, actor="analyst:1").stopped) == 5
    assert all_steps(world.engine) == []


def test_a_plan_of_another_policy_version_is_refused(world: World) -> None:
    asked = series(world, 2)
    world.policies.put("plaza", replace(PLAIN, epsilon_nano=2 * NANO), actor="owner:olga")
    with pytest.raises(PolicyChanged):
        world.ledger.reserve_series(asked)


def test_the_analysts_own_limit_counts(world: World) -> None:
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE analysts SET epsilon_limit_nano = 400000000"))
    with pytest.raises(LimitExceeded):
        world.ledger.reserve_series(series(world, 2))
    assert all_steps(world.engine) == []
    world.ledger.reserve_series(series(world, 2, epsilon_nano=NANO * 2 // 5))


# --- life ---------------------------------------------------------------------------------------------------


def test_cancelling_returns_exactly_what_has_not_started(world: World) -> None:
    reserved = world.ledger.reserve_series(series(world, 4))
    first, second, *_ = world.ledger.windows(reserved.series_id)
    world.ledger.start(first.id)
    world.ledger.release(first.id, "{}")
    world.ledger.start(second.id)
    world.clock.now = first.visible_us
    cancelled = world.ledger.cancel_series(reserved.series_id, actor="analyst:1")
    assert (len(cancelled.stopped), cancelled.refunded) == (3, 2)
    shown = [window.state for window in world.ledger.windows(reserved.series_id)]
    assert shown == [State.RELEASED, State.CANCELLED, State.CANCELLED, State.CANCELLED]
    kept = world.ledger.spent("plaza", 0, world.clock.now + 9 * HOUR)
    # What the first two add stays, and nothing else.
    assert second.place is not None
    assert kept.span is not None
    assert kept.span[1] == second.place.end_us
    record = world.ledger.series(reserved.series_id)
    assert (record.state, record.next_query) == (State.RELEASED, None)
    with pytest.raises(NotCancellable):
        world.ledger.cancel_series(reserved.series_id, actor="analyst:1")
    with pytest.raises(UnknownQuery):
        world.ledger.cancel_series("nothing", actor="analyst:1")


def test_one_window_can_be_cancelled_or_fail_by_itself(world: World) -> None:
    reserved = world.ledger.reserve_series(series(world, 3))
    first, second, third = world.ledger.windows(reserved.series_id)
    assert world.ledger.cancel(first.id, actor="analyst:1").refunded
    assert world.ledger.fail(second.id, "no disk")
    record = world.ledger.series(reserved.series_id)
    assert record.windows == {State.CANCELLED: 1, State.FAILED: 1, State.RESERVED: 1}
    assert record.next_query == third.id


def test_the_answer_of_a_late_window_still_comes_before_those_that_wait_for_it(world: World) -> None:
    reserved = world.ledger.reserve_series(series(world, 3))
    first, _, third = world.ledger.windows(reserved.series_id)
    assert world.ledger.start(first.id)
    world.ledger.postpone(first.id, third.visible_us + HOUR)
    record = world.ledger.series(reserved.series_id)
    assert (record.next_query, record.visible_us) == (first.id, third.visible_us + HOUR)


def test_work_is_due_when_its_video_is_complete(world: World) -> None:
    begin = world.clock.now
    world.ledger.reserve_series(series(world, 3))
    now = world.reserve(charged(0, 1)).query_id
    assert [work.reservation_id for work in world.ledger.unfinished(world.clock.now)] == [now]
    assert world.ledger.next_due(world.clock.now) == begin + HOUR + DELAY
    world.clock.now = begin + 2 * HOUR + DELAY
    due = sorted(world.ledger.unfinished(world.clock.now), key=lambda work: work.due_us)
    assert [work.due_us - begin for work in due] == [0, HOUR + DELAY, 2 * HOUR + DELAY]
    assert world.ledger.next_due(world.clock.now) == begin + 3 * HOUR + DELAY
    assert world.ledger.work(now).ready_us is None
    with pytest.raises(UnknownQuery):
        world.ledger.work("nothing")


# --- a new policy -------------------------------------------------------------------------------------------


def planner(world: World, epsilon_nano: int) -> Renew:
    """Plans the window that a work's plan names, as `series` does, under the new policy."""

    def renew(work: Work, policies: object) -> Renewed | str:
        begin = int(work.plan.split(":")[1].strip(" }"))
        policy = policies["plaza"]  # type: ignore[index]
        return Renewed(
            cache_key=f"v{policy.version}-{begin}",
            plan=work.plan,
            certificate='{"renewed": true}',
            charges=(charged(begin, epsilon_nano, policy),),
            visible_us=work.visible_us,
        )

    return renew


def test_waiting_windows_are_planned_again_and_keep_their_epsilon(world: World) -> None:
    reserved = world.ledger.reserve_series(series(world, 4))
    first = world.ledger.windows(reserved.series_id)[0]
    world.ledger.start(first.id)
    policies = Policies(world.engine, world.clock, planner(world, NANO))
    longer = replace(PLAIN, rho_us=60 * SECOND, epsilon_nano=2 * NANO)
    preview = policies.preview("plaza", longer)
    assert (preview.renewed, preview.cancelled, preview.unfinished) == (3, 0, (first.id,))
    policies.put("plaza", longer, actor="owner:olga", confirmed=preview)
    # The one that had started keeps its q under the longer rho; the others have a smaller one, with 13 chunks touched.
    begin = world.clock.now
    assert world.ledger.spent("plaza", begin + 10 * CHUNK, begin + 11 * CHUNK).maximum() == rate(NANO) * 13
    later = begin + 2 * HOUR
    assert world.ledger.spent("plaza", later, later + CHUNK).maximum() == rate(NANO, longer) * 13
    assert [window.certificate for window in world.ledger.windows(reserved.series_id)][1:] == ['{"renewed": true}'] * 3
    assert world.ledger.cancel_series(reserved.series_id, actor="analyst:1").refunded == 3


def test_windows_that_no_longer_fit_are_cancelled_in_order_and_say_why(world: World) -> None:
    """Two series of half the budget; under half of it the one that came first stays."""
    first = world.ledger.reserve_series(series(world, 3, epsilon_nano=NANO // 2, key="a"))
    begin_us, world.clock.now = world.clock.now, world.clock.now + 1
    second = world.ledger.reserve_series(series(world, 3, epsilon_nano=NANO // 2, begin_us=begin_us, key="b"))

    def renew(work: Work, policies: object) -> Renewed | str:
        renewed = planner(world, NANO // 2)(work, policies)  # type: ignore[arg-type]
        assert isinstance(renewed, Renewed)
        return replace(renewed, cache_key=renewed.cache_key + work.reservation_id[:8])

    policies = Policies(world.engine, world.clock, renew)
    half = replace(PLAIN, epsilon_nano=NANO // 2)
    preview = policies.preview("plaza", half)
    assert (preview.renewed, preview.cancelled, preview.over) == (3, 3, ())
    policies.put("plaza", half, actor="owner:olga", confirmed=preview)
    assert {window.state for window in world.ledger.windows(first.series_id)} == {State.RESERVED}
    gone = world.ledger.windows(second.series_id)
    assert {window.state for window in gone} == {State.CANCELLED}
    notes = {window.cancelled_because for window in gone}
    assert all(note and note.startswith("policy version 2 of plaza: the budget is used up at plaza") for note in notes)
    assert world.most_spent() == rate(NANO // 2) * 7


def test_windows_that_become_the_same_question_are_asked_once(world: World) -> None:
    world.ledger.reserve_series(series(world, 2, epsilon_nano=NANO // 2, key="a"))
    world.ledger.reserve_series(series(world, 2, epsilon_nano=NANO // 2, key="b"))
    policies = Policies(world.engine, world.clock, planner(world, NANO // 2))
    assert policies.preview("plaza", PLAIN).cancelled == 2
    policies.put("plaza", PLAIN, actor="owner:olga")
    assert len(world.ledger.unfinished()) == 2


def test_more_cancelled_windows_than_were_confirmed_need_another_look(world: World) -> None:
    half = replace(PLAIN, epsilon_nano=NANO // 2)
    preview = world.policies.preview("plaza", half)
    reserved = world.ledger.reserve_series(series(world, 2))
    with pytest.raises(StalePreview):
        world.policies.put("plaza", half, actor="owner:olga", confirmed=preview)
    # A ledger without an engine cannot plan: nothing waits through a change.
    assert world.policies.preview("plaza", PLAIN).cancelled == 2
    world.policies.put("plaza", half, actor="owner:olga")
    assert {window.state for window in world.ledger.windows(reserved.series_id)} == {State.CANCELLED}
    assert all_steps(world.engine) == []


def test_random_lives_keep_the_books_in_order(world: World) -> None:
    """Series, starts, cancels and policies in any order: the books stay right, and what never started returns."""
    dice = random.Random(20_261_122)
    policies = Policies(world.engine, world.clock, planner(world, NANO // 3))
    rhos = (30 * SECOND, 45 * SECOND, 60 * SECOND)
    asked: list[str] = []
    started = 0
    for _ in range(60):
        world.clock.now += HOUR // 7
        match dice.randrange(5):
            case 0 | 1:
                wanted = series(
                    world,
                    dice.randrange(1, 6),
                    epsilon_nano=NANO // 3,
                    begin_us=world.clock.now // HOUR * HOUR + dice.randrange(3) * HOUR,
                    key=f"v{policies.current('plaza').version}-",
                )
                policy = policies.current("plaza")
                windows = tuple(
                    replace(w, reservation=replace(w.reservation, charges=(charged(w.begin_us, NANO // 3, policy),)))
                    for w in wanted.windows
                )
                try:
                    asked.append(world.ledger.reserve_series(replace(wanted, windows=windows)).series_id)
                except BudgetExceeded:
                    continue
            case 2 if asked:
                chosen = dice.choice(asked)
                waiting = [w for w in world.ledger.windows(chosen) if w.state is State.RESERVED]
                if waiting:
                    world.ledger.start(waiting[0].reservation_id)
                    started += 1
            case 3 if asked:
                try:
                    world.ledger.cancel_series(asked.pop(dice.randrange(len(asked))), actor="analyst:1")
                except NotCancellable:
                    continue
            case 4:
                policies.put("plaza", replace(PLAIN, rho_us=dice.choice(rhos)), actor="owner:olga")
        with reading(world.engine) as connection:
            assert problems(connection) == ()
    assert started > 3
    for one in asked:
        try:
            world.ledger.cancel_series(one, actor="analyst:1")
        except NotCancellable:
            continue
    with world.engine.connect() as connection:
        kept = connection.scalars(
            sa.text(
                "SELECT DISTINCT state FROM reservations JOIN charges ON reservation_id = reservations.id"
                " WHERE refunded_us IS NULL"
            )
        ).all()
    assert kept == ["cancelled"]  # withdrawn after they had started


def test_many_threads_reserve_one_series_once(world: World) -> None:
    asked = series(world, 6)
    found: list[object] = []

    def reserve() -> None:
        found.append(world.ledger.reserve_series(asked).series_id)

    threads = [threading.Thread(target=reserve) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(world.ledger.unfinished()) == 6
    assert world.most_spent() == rate(NANO) * 7
