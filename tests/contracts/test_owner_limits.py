"""An analyst's own limit, and the window that a refusal offers, on both databases."""

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from privid.database.connect import open_database
from privid.database.schema import analysts
from privid.domain.budget import Grid
from privid.domain.units import NANO, SECOND
from privid.ledger import BudgetExceeded, LimitExceeded
from tests.support.ledgers import HOUR, World, add_analyst, charge


@pytest.fixture
def world(engine: sa.Engine) -> World:
    return World(engine)


def limit(world: World, analyst: int, nano: int | None) -> None:
    with world.engine.begin() as connection:
        connection.execute(analysts.update().where(analysts.c.id == analyst).values(epsilon_limit_nano=nano))


def test_a_limit_counts_all_queries_of_an_analyst_over_the_same_moments(world: World) -> None:
    limit(world, world.analyst, NANO // 2)
    world.reserve(charge(NANO * 3 // 10))
    with pytest.raises(LimitExceeded) as caught:
        world.reserve(charge(NANO * 3 // 10))
    assert caught.value.limit_nano == NANO // 2
    (refusal,) = caught.value.refusals
    assert refusal.left_nano < NANO * 3 // 10
    assert "your own limit is used up at plaza" in caught.value.message
    world.reserve(charge(NANO * 3 // 10, 2 * HOUR))
    world.reserve(charge(NANO * 2 // 10))


def test_others_are_bound_by_the_cameras_budget_only(world: World) -> None:
    other = add_analyst(world.engine, "bob")
    limit(world, world.analyst, NANO // 10)
    with pytest.raises(LimitExceeded):
        world.reserve(charge(NANO // 2))
    world.reserve(charge(NANO // 2), analyst_id=other)
    world.reserve(charge(NANO // 10))
    with pytest.raises(BudgetExceeded) as caught:
        world.reserve(charge(NANO // 2), analyst_id=other)
    assert not isinstance(caught.value, LimitExceeded)


def test_a_refunded_charge_and_a_shared_answer_do_not_count(world: World) -> None:
    other = add_analyst(world.engine, "bob")
    for analyst in (world.analyst, other):
        limit(world, analyst, NANO // 2)
    first = world.request(charge(NANO // 2))
    reserved = world.ledger.reserve(first)
    assert world.reserve(charge(NANO // 2), analyst_id=other, cache_key=first.cache_key).shared
    world.reserve(charge(NANO // 2), analyst_id=other)
    world.ledger.cancel(world.reserve(charge(NANO // 4, 3 * HOUR)).query_id, actor="analyst:1")
    world.reserve(charge(NANO // 2, 3 * HOUR))
    assert reserved.state == "reserved"


def test_what_would_be_admitted_depends_on_who_asks(world: World) -> None:
    limit(world, world.analyst, NANO // 4)
    asked = [charge(NANO // 2)]
    assert world.ledger.would_admit(asked) == ()
    assert world.ledger.would_admit(asked, world.analyst) != ()
    assert world.ledger.would_admit(asked, add_analyst(world.engine, "bob")) == ()


def test_a_limit_holds_when_two_ask_at_once(world: World, database: str) -> None:
    limit(world, world.analyst, NANO // 2)
    requests = [world.request(charge(NANO * 3 // 10)) for _ in range(6)]
    together = threading.Barrier(len(requests))
    outcomes: list[str] = []

    def ask(number: int) -> None:
        together.wait()
        try:
            world.ledger.reserve(requests[number])
        except LimitExceeded:
            outcomes.append("refused")
        else:
            outcomes.append("admitted")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["admitted"] + ["refused"] * 5


def test_the_largest_window_is_admitted_and_a_chunk_more_is_not(world: World, new_database: Callable[..., str]) -> None:
    minute = 60 * SECOND
    world.reserve(charge(NANO // 2, 20 * minute, 10 * minute))
    asked, grid = charge(NANO * 8 // 10), Grid(0, 5 * SECOND, 5 * SECOND, 720)
    found = world.ledger.largest_window([asked], grid)
    assert found is not None
    begin, end = found
    assert end == HOUR
    assert 29 * minute <= begin <= 31 * minute
    assert world.ledger.would_admit([charge(NANO * 8 // 10, begin, end - begin)]) == ()
    begin -= 5 * SECOND
    assert world.ledger.would_admit([charge(NANO * 8 // 10, begin, end - begin)]) != ()
    other = World(open_database(new_database()))
    assert other.ledger.largest_window([asked], grid) == (0, HOUR)
    other.reserve(charge(NANO))
    assert other.ledger.largest_window([asked], grid) is None
    other.engine.dispose()


def test_the_largest_window_keeps_an_analysts_limit(world: World) -> None:
    limit(world, world.analyst, NANO // 2)
    world.reserve(charge(NANO // 2, 0, HOUR // 2))
    asked, grid = charge(NANO // 2), Grid(0, 5 * SECOND, 5 * SECOND, 720)
    assert world.ledger.largest_window([asked], grid) == (0, HOUR)
    assert world.ledger.largest_window([asked], grid, world.analyst) == (HOUR // 2, HOUR)
