"""Charges leave one ledger and come into another one, and only ever add, on both databases."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from privid.database.connect import open_database
from privid.database.schema import queries, reservations
from privid.database.transactions import reading
from privid.domain.intervals import StepFunction
from privid.domain.units import NANO, SECOND
from privid.ledger import RecordDiffers, State, UnknownAnalyst, UnknownMask
from privid.ledger.archive import Archive, Record
from privid.ledger.consistency import problems
from privid.ledger.usage import usage
from tests.support.ledgers import HOUR, PLAIN, World, add_analyst, all_steps, charge

CERTIFICATE = '{"public_time_s": 0, "charges": []}'


@pytest.fixture
def world(engine: sa.Engine) -> World:
    return World(engine)


@pytest.fixture
def other(new_database: Callable[..., str]) -> Iterator[World]:
    engine = open_database(new_database())
    yield World(engine)
    engine.dispose()


def archive(world: World) -> Archive:
    return Archive(world.engine, world.clock)


def all_records(world: World, page: int = 2) -> list[Record]:
    found: list[Record] = []
    after = (-1, "")
    while records := archive(world).page(after, page):
        found += records
        after = (records[-1].reserved_us, records[-1].query_id)
    return found


def take(world: World, records: list[Record]) -> tuple[int, int]:
    taken = archive(world).take(records, actor="owner:olga", source="test")
    with reading(world.engine) as connection:
        assert problems(connection) == ()
    return len(taken.added), taken.known


def test_everything_in_force_arrives_once_and_counts_the_same(world: World, other: World) -> None:
    for number in range(5):
        world.reserve(charge(NANO // 10, number * HOUR // 2), certificate=CERTIFICATE)
        world.clock.now += SECOND
    world.ledger.cancel(world.reserve(charge(NANO // 10, 9 * HOUR)).query_id, actor="analyst:1")
    records = all_records(world)
    assert [len(record.charges) for record in records] == [1] * 5
    preview = archive(other).preview(records)
    assert (len(preview.added), preview.known, all_steps(other.engine)) == (5, 0, [])
    assert take(other, records) == (5, 0)
    assert all_steps(other.engine) == all_steps(world.engine)
    assert take(other, records) == (0, 5)
    assert all_steps(other.engine) == all_steps(world.engine)
    assert other.ledger.unfinished() == ()
    assert {query.state for query in other.ledger.queries()} == {State.FAILED}


def test_the_larger_terms_of_both_sides_count(world: World, other: World) -> None:
    world.reserve(charge(NANO // 10), certificate=CERTIFICATE)
    other.policies.put("plaza", replace(PLAIN, K=2), actor="owner:olga")
    take(other, all_records(world))
    assert other.most_spent() == 2 * world.most_spent()


def test_what_had_started_is_taken_again_where_it_was_returned(world: World) -> None:
    query_id = world.reserve(charge(NANO // 2), certificate=CERTIFICATE).query_id
    before = all_records(world)
    (started,) = [replace(record, state=State.RUNNING) for record in before]
    world.ledger.cancel(query_id, actor="analyst:1")
    assert world.most_spent() == 0
    assert take(world, before) == (0, 1)  # it had not started there either
    assert world.most_spent() == 0
    assert take(world, [started]) == (1, 0)
    assert world.most_spent() == NANO // 2 // 7 * 7
    assert take(world, [started]) == (0, 1)


def test_a_record_that_differs_or_refers_to_nobody_is_refused_as_a_whole(world: World, other: World) -> None:
    world.reserve(charge(NANO // 10), certificate=CERTIFICATE)
    (record,) = all_records(world)
    loss = record.charges[0].loss
    smaller = replace(record, charges=(replace(record.charges[0], loss=replace(loss, q=loss.q - 1)),))
    with pytest.raises(RecordDiffers):
        take(world, [smaller])
    fresh = replace(record, query_id="0" * 32)
    with pytest.raises(UnknownAnalyst):
        take(other, [record, replace(fresh, analyst="nobody")])
    masked = replace(fresh, charges=(replace(record.charges[0], loss=replace(loss, mask="gone")),))
    with pytest.raises(UnknownMask):
        take(other, [record, masked])
    assert all_steps(other.engine) == []


def test_usage_is_what_each_query_takes_alone(world: World) -> None:
    bob = add_analyst(world.engine, "bob")
    first = world.reserve(charge(NANO // 10)).query_id
    world.clock.now += SECOND
    second = world.reserve(charge(NANO // 5, HOUR), analyst_id=bob).query_id
    world.ledger.cancel(world.reserve(charge(NANO // 10, 5 * HOUR)).query_id, actor="analyst:1")
    with reading(world.engine) as connection:
        found = list(usage(connection, "plaza"))
        late = list(usage(connection, "plaza", reservations.c.reserved_us >= world.clock.now))
        his = list(usage(connection, "plaza", queries.c.analyst_id == bob))
    assert [one.query_id for one in found] == [first, second]
    assert [one.query_id for one in late] == [second] == [one.query_id for one in his]
    span = world.ledger.spent_span("plaza")
    assert span is not None
    assert StepFunction.total(one.spent for one in found) == world.ledger.spent("plaza", *span)
