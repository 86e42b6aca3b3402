"""The life of a reservation: every transition, what is returned, and what an analyst sees of it."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from privid.database.transactions import reading
from privid.domain.units import NANO, SECOND
from privid.ledger import IllegalTransition, NotCancellable, State, UnknownQuery
from privid.ledger.consistency import problems
from privid.ledger.states import FOLLOWERS
from tests.support.ledgers import HOUR, World, add_analyst, all_steps, charge


@pytest.fixture
def world(engine: sa.Engine) -> World:
    return World(engine)


@pytest.fixture(autouse=True)
def _consistent(engine: sa.Engine) -> object:
    yield
    with reading(engine) as connection:
        assert problems(connection) == ()


def state_of(world: World, reservation_id: str) -> State:
    with world.engine.connect() as connection:
        query = sa.text("SELECT state FROM reservations WHERE id = :id")
        return State(connection.scalar(query, {"id": reservation_id}))


def bring_to(world: World, state: State) -> str:
    """A reservation in `state`, reached as it would be."""
    reservation_id = world.reserve(charge(NANO // 2)).query_id
    if state in (State.RUNNING, State.RELEASED):
        world.ledger.start(reservation_id)
    if state is State.RELEASED:
        world.ledger.release(reservation_id, "{}")
    if state is State.CANCELLED:
        world.ledger.cancel(reservation_id, actor="analyst:ana")
    if state is State.FAILED:
        world.ledger.fail(reservation_id, "disk")
    assert state_of(world, reservation_id) is state
    return reservation_id


ACTIONS: dict[State, Callable[[World, str], object]] = {
    State.RUNNING: lambda world, query: world.ledger.start(query),
    State.RELEASED: lambda world, query: world.ledger.release(query, "{}"),
    State.CANCELLED: lambda world, query: world.ledger.cancel(query, actor="analyst:ana"),
    State.FAILED: lambda world, query: world.ledger.fail(query, "disk"),
}


@pytest.mark.parametrize("wanted", ACTIONS)
@pytest.mark.parametrize("present", State)
def test_every_arrow_of_the_diagram_and_no_other(world: World, present: State, wanted: State) -> None:
    reservation_id = bring_to(world, present)
    steps = all_steps(world.engine)
    if present is State.RELEASED:
        world.clock.now += HOUR
    if wanted in FOLLOWERS[present]:
        ACTIONS[wanted](world, reservation_id)
        assert state_of(world, reservation_id) is wanted
    elif present is wanted is State.RUNNING:
        assert world.ledger.start(reservation_id) is False
    else:
        with pytest.raises((IllegalTransition, NotCancellable), match=f"is {present}"):
            ACTIONS[wanted](world, reservation_id)
        assert state_of(world, reservation_id) is present
    returned = present is State.RESERVED and wanted in (State.CANCELLED, State.FAILED)
    assert all_steps(world.engine) == ([] if returned else steps)


def test_a_refund_is_exactly_what_was_charged(world: World) -> None:
    world.reserve(charge(NANO // 3, 0))
    before = all_steps(world.engine)
    for begin in (-HOUR, HOUR // 2, 10 * HOUR):
        overlapping = world.reserve(charge(NANO // 3, begin), charge(NANO // 4, begin + 7))
        assert all_steps(world.engine) != before
        assert world.ledger.cancel(overlapping.query_id, actor="analyst:ana").refunded
        assert all_steps(world.engine) == before


def test_what_started_is_not_returned(world: World) -> None:
    for end in (lambda q: world.ledger.cancel(q, actor="x").refunded, lambda q: world.ledger.fail(q, "disk")):
        query_id = world.reserve(charge(NANO // 4)).query_id
        world.ledger.start(query_id)
        steps = all_steps(world.engine)
        assert end(query_id) is False
        assert all_steps(world.engine) == steps


def test_the_answer_is_stored_once(world: World) -> None:
    reserved = world.reserve(charge(NANO))
    world.ledger.start(reserved.query_id)
    world.ledger.release(reserved.query_id, '{"answer": 1}')
    with pytest.raises(IllegalTransition):
        world.ledger.release(reserved.query_id, '{"answer": 2}')
    world.clock.now = reserved.visible_us
    assert world.ledger.release_of(reserved.query_id) == '{"answer": 1}'


def test_an_answer_shows_nothing_before_its_public_moment(world: World) -> None:
    early = world.reserve(charge(NANO // 2))
    late = world.reserve(charge(NANO // 2))
    for reserved in (early, late):
        world.ledger.start(reserved.query_id)
    world.ledger.release(early.query_id, "{}")
    world.clock.now = early.visible_us - 1
    assert world.ledger.release_of(early.query_id) is None
    assert {world.ledger.query(q.query_id).state for q in (early, late)} == {State.RUNNING}
    # Cancelling works alike whether the answer is there or not.
    for reserved in (early, late):
        world.ledger.cancel(reserved.query_id, actor="analyst:ana")
        assert world.ledger.query(reserved.query_id).state is State.CANCELLED
    world.clock.now = early.visible_us
    assert world.ledger.release_of(early.query_id) is None
    again = world.reserve(charge(NANO // 2), cache_key=f"{0:064d}")
    assert world.ledger.release_of(again.query_id) == "{}"


def test_the_public_moment_only_moves_later_and_only_before_the_end(world: World) -> None:
    reserved = world.reserve(charge(NANO))
    world.ledger.postpone(reserved.query_id, reserved.visible_us - 5)
    assert world.ledger.query(reserved.query_id).visible_us == reserved.visible_us
    world.ledger.start(reserved.query_id)
    world.ledger.postpone(reserved.query_id, reserved.visible_us + 5)
    assert world.ledger.query(reserved.query_id).visible_us == reserved.visible_us + 5
    world.ledger.release(reserved.query_id, "{}")
    with pytest.raises(IllegalTransition):
        world.ledger.postpone(reserved.query_id, reserved.visible_us + 10)


def test_shared_work_goes_on_until_nobody_waits_for_it(world: World) -> None:
    bob = add_analyst(world.engine, "bob")
    first = world.reserve(charge(NANO), cache_key="same")
    second = world.reserve(charge(NANO), cache_key="same", analyst_id=bob)
    steps = all_steps(world.engine)
    cancelled = world.ledger.cancel(first.query_id, actor="analyst:ana")
    assert (cancelled.stopped, cancelled.refunded) == (False, False)
    assert world.ledger.query(first.query_id).state is State.CANCELLED
    assert world.ledger.query(second.query_id).state is State.RESERVED
    assert all_steps(world.engine) == steps
    assert [work.reservation_id for work in world.ledger.unfinished()] == [first.query_id]
    cancelled = world.ledger.cancel(second.query_id, actor="analyst:bob")
    assert (cancelled.stopped, cancelled.refunded) == (True, True)
    assert all_steps(world.engine) == []
    assert world.ledger.unfinished() == ()


def test_a_cancelled_query_can_join_the_shared_work_again(world: World) -> None:
    first = world.reserve(charge(NANO), cache_key="same")
    second = world.reserve(charge(NANO), cache_key="same")
    world.ledger.cancel(first.query_id, actor="analyst:ana")
    third = world.reserve(charge(NANO), cache_key="same")
    assert third.reservation_id == second.reservation_id == first.query_id
    world.ledger.start(first.query_id)
    world.ledger.release(first.query_id, "{}")
    world.clock.now = first.visible_us
    assert [world.ledger.release_of(q.query_id) for q in (first, second, third)] == [None, "{}", "{}"]


def test_a_query_is_cancelled_once(world: World) -> None:
    query_id = world.reserve(charge(NANO)).query_id
    world.ledger.cancel(query_id, actor="analyst:ana")
    with pytest.raises(NotCancellable, match="is cancelled"):
        world.ledger.cancel(query_id, actor="analyst:ana")


def test_unfinished_work_comes_back_in_order_with_all_that_is_needed(world: World) -> None:
    reserved = []
    for number in range(4):
        world.clock.now += SECOND
        reserved.append(world.reserve(charge(1_000), plan=f'{{"plan": {number}}}').query_id)
    world.ledger.start(reserved[2])
    world.ledger.cancel(reserved[0], actor="analyst:ana")
    work = world.ledger.unfinished()
    assert [w.reservation_id for w in work] == reserved[1:]
    assert [w.state for w in work] == [State.RESERVED, State.RUNNING, State.RESERVED]
    assert (work[0].plan, work[0].text, work[0].analyst_id) == ('{"plan": 1}', "SELECT 1", world.analyst)


def test_queries_are_listed_newest_first_and_by_analyst(world: World) -> None:
    bob = add_analyst(world.engine, "bob")
    ids = []
    for analyst in (world.analyst, bob, world.analyst):
        world.clock.now += 1
        ids.append(world.reserve(charge(1_000), analyst_id=analyst).query_id)
    assert [query.id for query in world.ledger.queries()] == ids[::-1]
    assert [query.id for query in world.ledger.queries(bob)] == [ids[1]]
    assert [query.id for query in world.ledger.queries(limit=2)] == [ids[2], ids[1]]


@pytest.mark.parametrize("method", ["start", "query", "release_of"])
def test_an_unknown_query_is_named(world: World, method: str) -> None:
    with pytest.raises(UnknownQuery, match="no query 'nosuch'"):
        getattr(world.ledger, method)("nosuch")
    with pytest.raises(UnknownQuery):
        world.ledger.cancel("nosuch", actor="x")
    with pytest.raises(UnknownQuery):
        world.ledger.release("nosuch", "{}")
