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
    for each camera that is charged. `visible_us` is the public moment before which no answer is shown. `ready_us` is
    when its video is complete, for work that waits for it.
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
    ready_us: int | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a series: the video that it reads, and its reservation."""

    begin_us: int
    end_us: int
    reservation: Reservation


@dataclass(frozen=True, slots=True)
class SeriesReservation:
    """A query with EVERY that wants the budget of all its windows at once.

    Reservations of windows carry the request id of the whole; `certificate` is the explain document of all windows.
    """

    analyst_id: int
    request_id: str
    text: str
    default_epsilon_nano: int
    horizon_us: int | None
    every_us: int
    certificate: str
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class SeriesReserved:
    """What became of a series. `existing`: the request came before. `shared`: every window was paid for already."""

    series_id: str
    existing: bool
    shared: bool


@dataclass(frozen=True, slots=True)
class SeriesRecord:
    """A series as its analyst may see it: how many windows are in each public state, and what comes next.

    `begin_us` to `end_us` is the video that all its windows read; `visible_us` the public moment of the next window, of
    the last one when nothing comes any more.
    """

    id: str
    analyst_id: int
    request_id: str
    text: str
    default_epsilon_nano: int
    every_us: int
    begin_us: int
    end_us: int
    submitted_us: int
    visible_us: int
    certificate: str
    windows: Mapping[State, int]
    next_query: str | None

    @property
    def state(self) -> State:
        """Reserved until a window starts; then running until none comes any more; then what is best among them."""
        if self.next_query is not None:
            return State.RESERVED if set(self.windows) == {State.RESERVED} else State.RUNNING
        return next(s for s in (State.RELEASED, State.FAILED, State.CANCELLED) if s in self.windows)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a window stands in its series: `position` from 0, and the video that it reads.

    `horizon_us` is that of the series' request.
    """

    series_id: str
    position: int
    begin_us: int
    end_us: int
    horizon_us: int | None


@dataclass(frozen=True, slots=True)
class SeriesCancelled:
    """What withdrawing a series did: the work that nobody waits for any more, and how much of it was refunded."""

    stopped: tuple[str, ...]
    refunded: int


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
    """A reservation that is neither released nor given up: what the engine takes up again after a restart.

    `ready_us` is when its video is complete; None where it was when the query came.
    """

    reservation_id: str
    state: State
    analyst_id: int
    text: str
    default_epsilon_nano: int
    plan: str
    certificate: str
    reserved_us: int
    visible_us: int
    ready_us: int | None

    @property
    def due_us(self) -> int:
        """From when on it takes its turn."""
        return self.reserved_us if self.ready_us is None else max(self.reserved_us, self.ready_us)


@dataclass(frozen=True, slots=True)
class Renewed:
    """What waiting work becomes under a new policy: the fields of its reservation that change."""

    cache_key: str
    plan: str
    certificate: str
    charges: tuple[Charge, ...]
    visible_us: int


@dataclass(frozen=True, slots=True)
class QueryRecord:
    """A query as its analyst may see it: released only from its public moment on, until then running.

    `place` is set for the windows of a series, `cancelled_because` where a change of policy cancelled it.
    """

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
    place: Place | None
    cancelled_because: str | None


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
    `rederived` counts old charges that become larger. `unfinished` names work planned under an earlier version, which
    goes on; of standing windows that have not started, `renewed` are admitted anew and `cancelled` no longer fit.
    """

    camera: str
    policy: CameraPolicy
    replaces: int | None
    spent_nano: int
    spent_before_nano: int
    over: tuple[Span, ...]
    rederived: int
    unfinished: tuple[str, ...]
    renewed: int
    cancelled: int
