"""A ledger with cameras, analysts and a clock that tests move."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

import sqlalchemy as sa

from privid.database.schema import analysts, cameras
from privid.domain.budget import Charge, Grid, Loss
from privid.domain.policy import CameraPolicy
from privid.domain.units import NANO, SECOND
from privid.ledger import Ledger, Policies, Reservation, Reserved

HOUR = 3_600 * SECOND
PLAIN = CameraPolicy(epsilon_nano=NANO, rho_us=30 * SECOND, K=1)
"""Budget 1, presence of 30 s, once."""


def add_camera(engine: sa.Engine, name: str) -> None:
    with engine.begin() as connection:
        connection.execute(cameras.insert(), {"name": name, "timezone": "UTC", "created_us": 0})


def add_analyst(engine: sa.Engine, name: str) -> int:
    with engine.begin() as connection:
        row = {"name": name, "token_hash": name, "created_us": 0}
        return int(connection.execute(analysts.insert(), row).inserted_primary_key[0])


@dataclass
class Clock:
    now: int = 1_000_000 * SECOND

    def __call__(self) -> int:
        return self.now


@dataclass
class World:
    """One camera `plaza` under PLAIN and one analyst to begin with."""

    engine: sa.Engine
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.engine, self.clock)
        self.policies = Policies(self.engine, self.clock)
        self.analyst = add_analyst(self.engine, "ana")
        self.numbers = count()
        self.add_camera("plaza", PLAIN)

    def add_camera(self, name: str, policy: CameraPolicy) -> None:
        add_camera(self.engine, name)
        self.policies.put(name, policy, actor="owner:olga")

    def request(self, *charges: Charge, versions: dict[str, int] | None = None, **changed: object) -> Reservation:
        """A reservation of a question of its own, under the current policies."""
        number = next(self.numbers)
        given: dict[str, object] = {
            "analyst_id": self.analyst,
            "request_id": f"request-{number}",
            "text": f"SELECT {number}",
            "default_epsilon_nano": NANO,
            "cache_key": f"{number:064d}",
            "plan": "{}",
            "certificate": "{}",
            "charges": charges,
            "policy_versions": versions or {c.camera: self.policies.current(c.camera).version for c in charges},
            "visible_us": self.clock.now + 60 * SECOND,
        }
        return Reservation(**(given | changed))  # type: ignore[arg-type]

    def reserve(self, *charges: Charge, **changed: object) -> Reserved:
        return self.ledger.reserve(self.request(*charges, **changed))  # type: ignore[arg-type]

    def most_spent(self, camera: str = "plaza") -> int:
        span = self.ledger.spent_span(camera)
        return self.ledger.spent(camera, *span).maximum() if span else 0


def losses(
    epsilon_nano: int,
    begin_us: int = 0,
    length_us: int = HOUR,
    *,
    policy: CameraPolicy = PLAIN,
    chunk_us: int = 5 * SECOND,
    mask: str = "none",
) -> Loss:
    """The loss of a release calibrated to `epsilon_nano` over a window of chunks side by side."""
    grid = Grid(begin_us, chunk_us, chunk_us, length_us // chunk_us)
    terms = policy.under(mask)
    return Loss(mask, epsilon_nano // (policy.K * terms.segments * grid.touched_slots(terms.rho_us)), None, grid)


def charge(epsilon_nano: int, begin_us: int = 0, length_us: int = HOUR, **rest: object) -> Charge:
    """A charge to `plaza` alone."""
    return Charge("plaza", (losses(epsilon_nano, begin_us, length_us, **rest),))  # type: ignore[arg-type]


def all_steps(engine: sa.Engine) -> list[tuple[object, ...]]:
    """Everything that is stored as loss."""
    with engine.connect() as connection:
        rows: Iterable[sa.Row[tuple[object, ...]]] = connection.execute(
            sa.text("SELECT camera_id, mask, from_us, to_us, loss_nano FROM loss_steps ORDER BY 1, 2, 3")
        )
        return [tuple(row) for row in rows]
