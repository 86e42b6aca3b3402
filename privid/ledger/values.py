"""What goes into the ledger and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from privid.domain.budget import Charge
from privid.domain.policy import CameraPolicy


class State(StrEnum):
    """The states of a reservation; see `privid.ledger.states` for what leads where."""

    RESERVED = "reserved"
    RUNNING = "running"
    RELEASED = "released"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Reservation:
    """A planned query that wants its budget.

    `request_id` is the client's: sending it again never charges twice. `cache_key` is the identity of the question
    (privacy-model.md, section 6): equal keys share one release. `policy_versions` are those that the plan rests on, one
    for each camera that is charged. `visible_us` is the public moment before which no answer is shown.
    """

    analyst_id: int
    request_id: str
    text: str
    default_epsilon_nano: int
    cache_key: str
    plan: str
    certificate: str
    charges: tuple[Charge, ...]
    policy_versions: Mapping[str, int]
    visible_us: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """What became of a submission.

    Only if `existing` is False is there new work to run, under the id `query_id`. Otherwise the request was submitted
    before, or (`shared`) the same question was, and `reservation_id` names the work that answers it.
    """

    query_id: str
    reservation_id: str
    state: State
    visible_us: int
    existing: bool
    shared: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """A time span of a camera that a query would take over its budget.

    [from_us, to_us) is video time that the query reads. Of all presence periods there, left and asked are those of
    the one that allows the smallest part of the query: `left_nano / asked_nano` of its epsilon would fit.
    """

    camera: str
    from_us: int
    to_us: int
    left_nano: int
    asked_nano: int

    @property
    def share(self) -> Fraction:
        """The part of the query's epsilon that would still be admitted here."""
        return Fraction(self.left_nano, self.asked_nano)


@dataclass(frozen=True, slots=True)
class Work:
    """A reservation that is neither released nor given up: what the engine takes up again after a restart."""

    reservation_id: str
    state: State
    analyst_id: int
    text: str
    default_epsilon_nano: int
    plan: str
    certificate: str
    reserved_us: int
    visible_us: int


@dataclass(frozen=True, slots=True)
class QueryRecord:
    """A query as its analyst may see it: released only from its public moment on, until then running."""

    id: str
    analyst_id: int
    request_id: str
    text: str
    default_epsilon_nano: int
    state: State
    submitted_us: int
    visible_us: int
    reservation_id: str
    plan: str
    certificate: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancellation did. `stopped`: nobody else waits for the work. `refunded`: its charges were returned."""

    reservation_id: str
    stopped: bool
    refunded: bool


@dataclass(frozen=True, slots=True)
class Span:
    """Presence periods that start in [from_us, to_us) spend at most `spent_nano`."""

    from_us: int
    to_us: int
    spent_nano: int


@dataclass(frozen=True, slots=True)
class PolicyPreview:
    """What a new policy version would mean for what is spent already.

    `spent_nano` is the most that any presence period has spent under the new version, `spent_before_nano` under the
    present one. `over` lists where that exceeds the new epsilon: there the guarantee is the spending, not epsilon.
    `rederived` counts old charges that become larger. `unfinished` names work planned under an earlier version.
    """

    camera: str
    policy: CameraPolicy
    replaces: int | None
    spent_nano: int
    spent_before_nano: int
    over: tuple[Span, ...]
    rederived: int
    unfinished: tuple[str, ...]
