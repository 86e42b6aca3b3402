"""What a forecast rests on, as both databases give it: moments, who asked about them lately, how often a query fits."""

from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from privid.domain.budget import Charge
from privid.domain.units import NANO, SECOND
from privid.owner.forecast import DAY_US, forecast
from privid.server.cameras import Cameras
from privid.server.errors import Refused
from privid.server.forecast import Forecaster, ForecastView
from privid.server.samples import Samples
from privid.testing.services import PretendedEngine
from privid.video.catalog import Catalog, NewSegment
from privid.video.frame_index import FrameIndex
from tests.support.ledgers import HOUR, World, charge

WHOLE = 4 * HOUR


class Pricing(PretendedEngine):
    """Prices whatever is asked as half of the first hour."""

    def price(self, text: str, default_epsilon_nano: int) -> tuple[Charge, ...]:
        return (charge(NANO // 2),)


@pytest.fixture
def world(engine: sa.Engine) -> World:
    made = World(engine)
    ticks = np.arange(WHOLE // SECOND, dtype=np.int64)
    index = FrameIndex(ticks * SECOND, ticks, ticks[:1], ticks[:1])
    Catalog(engine).add_segments("plaza", [NewSegment("plaza/0.mp4", WHOLE, index, 8, 8, "h264", 1, "cut")])
    made.clock.now = 100 * DAY_US
    return made


def view(world: World, days: int = 30, text: str = "") -> ForecastView:
    cameras = Cameras(
        world.engine, world.clock, world.policies, world.ledger, Samples(world.engine, Path(), world.clock)
    )
    return Forecaster(world.engine, world.clock, cameras, world.ledger, Pricing(world.engine)).forecast(
        "plaza", days, text, NANO
    )


def at(found: ForecastView, moment_us: int) -> tuple[int, int, int]:
    (step,) = [step for step in found.steps if step.from_us <= moment_us < step.to_us]
    return step.left_nano, step.recent_nano, step.asked


def test_moments_know_what_was_taken_lately_and_by_how_many(world: World) -> None:
    world.reserve(charge(NANO // 5))  # 60 days before the last look: not recent
    world.clock.now += 40 * DAY_US
    world.reserve(charge(NANO // 5))
    world.clock.now += 20 * DAY_US
    world.reserve(charge(NANO // 5, HOUR // 2))
    found = view(world)
    tenth = NANO // 5 // 7 * 7
    assert found.peaks_nano == (tenth, tenth)
    assert at(found, HOUR // 4) == (NANO - 2 * tenth, tenth, 1)
    assert at(found, HOUR * 3 // 4) == (NANO - 3 * tenth, 2 * tenth, 2)
    assert at(found, HOUR * 5 // 4) == (NANO - tenth, tenth, 1)
    assert at(found, 3 * HOUR) == (NANO, 0, 0)
    assert (found.steps[0].from_us, found.steps[-1].to_us) == (0, found.budget.to_us)
    told = forecast(found.peaks_nano, found.steps, found.since_us, found.now_us)
    assert told.runs_out is not None
    assert told.runs_out.first_us == found.now_us + (NANO - 3 * tenth) * 30 * DAY_US // (2 * tenth)


def test_windows_side_by_side_are_not_asked_about_twice(world: World) -> None:
    for hour in range(4):
        world.reserve(charge(NANO, hour * HOUR))
        world.clock.now += DAY_US
    found = view(world)
    assert max(step.asked for step in found.steps) == 1
    told = forecast(found.peaks_nano, found.steps, found.since_us, found.now_us)
    assert told.runs_out is None
    assert "asked about twice" in told.why_no_date


def test_a_query_is_counted_by_the_rule_of_admission(world: World) -> None:
    query = view(world, text="SELECT 1").query
    assert query is not None
    assert (query.times, query.window) == (2, (0, HOUR))
    assert query.epsilon_nano == NANO // 2 // 7 * 7
    assert query.refusals[0].camera == "plaza"
    world.reserve(charge(NANO // 2))
    again = view(world, text="SELECT 1").query
    assert again is not None
    assert again.times == 1
    with pytest.raises(Refused):
        view(world, days=10_000)
