"""Pictures of spending over years: coarser where there is too much, never smaller, the same where there is not."""

import random
from dataclasses import replace
from types import MappingProxyType

import pytest
import sqlalchemy as sa

from privid.domain.intervals import Step
from privid.domain.policy import MaskPolicy
from privid.domain.units import NANO, SECOND
from privid.ledger import steps
from tests.support.ledgers import HOUR, PLAIN, World, charge

MASKED = replace(PLAIN, masks=MappingProxyType({"benches": MaskPolicy(10 * SECOND, 2)}))


@pytest.fixture
def world(engine: sa.Engine) -> World:
    """Thirty queries with and without a mask over two days."""
    world = World(engine)
    world.policies.put("plaza", MASKED, actor="owner:olga")
    rng = random.Random(4)
    for _ in range(30):
        begin, length = rng.randrange(48 * 3_600) * SECOND, rng.randint(1, 90) * 60 * SECOND
        mask = rng.choice(["none", "benches"])
        world.reserve(charge(NANO // 200, begin, length, policy=MASKED, mask=mask))
    return world


@pytest.mark.parametrize(("from_us", "to_us"), [(-HOUR, 50 * HOUR), (7 * HOUR + 3, 31 * HOUR), (60 * HOUR, 61 * HOUR)])
def test_an_outline_has_the_largest_loss_of_each_piece(world: World, from_us: int, to_us: int) -> None:
    with world.engine.connect() as connection:
        for mask in ("none", "benches"):
            exact = steps.read(connection, 1, mask, from_us, to_us)
            for most in (1, 2, 7, 100):
                outline = steps.outline(connection, 1, most, mask, from_us, to_us)
                assert len(outline) <= most
                if len(exact) < most:
                    assert outline == exact
                    continue
                width = -(-(to_us - from_us) // most)
                for begin in range(from_us, to_us, width):
                    end = min(begin + width, to_us)
                    assert outline(begin) == outline(end - 1) == exact.restrict(begin, end).maximum()


def test_spending_is_nowhere_drawn_smaller(world: World) -> None:
    span = world.ledger.spent_span("plaza")
    assert span is not None
    exact = world.ledger.spent("plaza", *span)
    drawn = world.ledger.spent("plaza", *span, most_steps=50)
    assert 0 < len(drawn) <= 2 * 2 * 50
    missing = exact - drawn
    assert [step for step in missing if step.value > 0] == []
    assert drawn.maximum() < 2 * exact.maximum()
    assert world.ledger.spent("plaza", *span, most_steps=len(exact) * 2) == exact


def test_the_span_reaches_from_the_first_to_the_last_step_of_all_masks(world: World) -> None:
    with world.engine.connect() as connection:
        stored = [Step(*row) for row in connection.execute(sa.text("SELECT from_us, to_us, 1 FROM loss_steps"))]
        assert steps.span(connection, 1) == (min(s.from_us for s in stored), max(s.to_us for s in stored))
        assert steps.span(connection, 2) is None
