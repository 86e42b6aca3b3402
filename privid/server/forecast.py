"""What an owner's forecast rests on: what is left of each moment, who asked about it lately, what more would fit."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import sqlalchemy as sa

from privid.database import schema
from privid.database.transactions import reading
from privid.domain.budget import Charge
from privid.domain.intervals import StepFunction
from privid.domain.loss_profile import query_profile
from privid.domain.units import SECOND
from privid.ledger import Ledger, Refusal
from privid.ledger.usage import usage
from privid.server.cameras import BudgetView, Cameras
from privid.server.clock import Clock
from privid.server.errors import Refused
from privid.server.ports import QueryEngine

DEFAULT_DAYS = 30
_MOST_DAYS = 3650
_DAY_US = 86_400 * SECOND


@dataclass(frozen=True, slots=True)
class ForecastStep:
    """Presence periods that start in [from_us, to_us): what is left, what was taken lately and by how many queries.

    A query counts where it takes more than half of its peak: windows side by side do not both count at their mark.
    """

    from_us: int
    to_us: int
    left_nano: int
    recent_nano: int
    asked: int


@dataclass(frozen=True, slots=True)
class QueryForecast:
    """A certain query: how often it would be admitted, and where one more would not."""

    times: int
    epsilon_nano: int
    window: tuple[int, int]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class ForecastView:
    """History [since_us, now_us) and its queries' peaks; `steps` without holes over what is recorded."""

    budget: BudgetView
    now_us: int
    since_us: int
    peaks_nano: tuple[int, ...]
    steps: tuple[ForecastStep, ...]
    query: QueryForecast | None


class Forecaster:
    """Reads the ledger; touches neither video nor budget."""

    def __init__(
        self, database: sa.Engine, clock: Clock, cameras: Cameras, ledger: Ledger, engine: QueryEngine
    ) -> None:
        self._database = database
        self._clock = clock
        self._cameras = cameras
        self._ledger = ledger
        self._engine = engine

    def forecast(self, camera: str, days: int, text: str, default_epsilon_nano: int) -> ForecastView:
        """Of one camera, from the last `days` days; an empty `text` counts no certain query. Raises Refused."""
        if not 0 <= days <= _MOST_DAYS:
            raise Refused("invalid_request", f"a history has 1 to {_MOST_DAYS} days", "ask for fewer")
        now = self._clock()
        budget = self._cameras.budget(camera, None, None)
        query = self._query(budget, text, default_epsilon_nano) if text else None
        table = schema.cameras
        with reading(self._database) as connection:
            added_us = connection.scalar(sa.select(table.c.created_us).where(table.c.name == camera)) or 0
            since = max(now - (days or DEFAULT_DAYS) * _DAY_US, added_us)
            recent = [found.spent for found in usage(connection, camera, schema.reservations.c.reserved_us >= since)]
        return ForecastView(
            budget=budget,
            now_us=now,
            since_us=since,
            peaks_nano=tuple(spent.maximum() for spent in recent),
            steps=tuple(_steps(budget, recent)),
            query=query,
        )

    def _query(self, budget: BudgetView, text: str, default_epsilon_nano: int) -> QueryForecast:
        camera, charges = budget.camera, self._engine.price(text, default_epsilon_nano)
        here = next((charge for charge in charges if charge.camera == camera and charge.losses), None)
        if here is None:
            raise Refused("invalid_request", f"the query takes nothing from {camera}", "name a camera that it reads")
        low, high = 0, 1
        while self._ledger.admits(_repeated(charges, high)):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._ledger.admits(_repeated(charges, middle)) else (low, middle)
        return QueryForecast(
            times=low,
            epsilon_nano=query_profile(here.losses, budget.policy).maximum(),
            window=(min(loss.grid.begin_us for loss in here.losses), max(loss.grid.end_us for loss in here.losses)),
            refusals=self._ledger.would_admit(_repeated(charges, low + 1)),
        )


def _repeated(charges: Iterable[Charge], times: int) -> tuple[Charge, ...]:
    """So many queries with the same charges, as one."""
    return tuple(
        Charge(
            charge.camera,
            tuple(
                replace(loss, q=loss.q * times, cap=None if loss.cap is None else loss.cap * times)
                for loss in charge.losses
            ),
        )
        for charge in charges
    )


def _steps(budget: BudgetView, recent: Iterable[StepFunction]) -> Iterable[ForecastStep]:
    """The pieces of the recording on which everything is constant."""
    taken = list(recent)
    functions = (
        budget.spent,
        StepFunction.total(taken),
        StepFunction.total(
            StepFunction.of((begin, end, int(2 * value > spent.maximum())) for begin, end, value in spent)
            for spent in taken
        ),
    )
    edges = {budget.from_us, budget.to_us}
    for function in functions:
        edges.update(edge for step in function for edge in step[:2] if budget.from_us < edge < budget.to_us)
    for begin, end in pairwise(sorted(edges)):
        spent, lately, asked = (function(begin) for function in functions)
        yield ForecastStep(begin, end, budget.policy.epsilon_nano - spent, min(lately, spent), asked)
