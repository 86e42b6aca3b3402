"""What the services need of the rest of the system, so that they can be tested without it."""

from collections.abc import Mapping
from typing import Any, Protocol

from privid.domain.budget import Charge
from privid.domain.release import Release
from privid.ledger.values import Place


class Submitted(Protocol):
    """The outcome of a submission."""

    @property
    def query_id(self) -> str:
        """Of the query that answers the request."""

    @property
    def existing(self) -> bool:
        """This request id had been submitted before."""

    @property
    def shared(self) -> bool:
        """An identical query had been charged before; this one is free."""


class Standing(Protocol):
    """The windows of a query with EVERY."""

    @property
    def every_us(self) -> int:
        """The length of one."""

    @property
    def begin_us(self) -> int:
        """Where the first begins."""

    @property
    def end_us(self) -> int:
        """Where the last ends."""

    @property
    def windows(self) -> Mapping[str, int]:
        """How many are in each state."""

    @property
    def next_query(self) -> str | None:
        """The query of the window whose answer comes next; None if none comes any more."""


class QueryStatus(Protocol):
    """What may be told of a query: public times and a state that follows them."""

    @property
    def query_id(self) -> str:
        """Of the query."""

    @property
    def state(self) -> str:
        """`reserved`, `running`, `released`, `cancelled` or `failed`; never `released` before `visible_us`."""

    @property
    def submitted_us(self) -> int:
        """When it was admitted."""

    @property
    def starts_us(self) -> int:
        """When its first slot starts on the public grid."""

    @property
    def visible_us(self) -> int:
        """When its answer may be read."""

    @property
    def epsilon_nano(self) -> Mapping[str, int]:
        """What it takes from each camera at most, by camera."""

    @property
    def standing(self) -> Standing | None:
        """The windows of a query with EVERY; None for any other."""

    @property
    def place(self) -> Place | None:
        """Where a window of such a query stands; None for any other."""

    @property
    def note(self) -> str:
        """Why a change of policy cancelled it; empty if none did."""


class QueryEngine(Protocol):
    """`privid.engine.service.Engine`. Methods may block; they are called from threads."""

    def explain(
        self, analyst_id: int, text: str, default_epsilon_nano: int, horizon_us: int | None = None
    ) -> Mapping[str, Any]:
        """The document of query-language.md, `admissible` filled in."""

    def price(self, text: str, default_epsilon_nano: int) -> tuple[Charge, ...]:
        """What a query would take, whoever asks it."""

    def submit(
        self,
        analyst_id: int,
        request_id: str,
        text: str,
        default_epsilon_nano: int,
        horizon_us: int | None = None,
    ) -> Submitted:
        """Admit and reserve."""

    def status(self, query_id: str) -> QueryStatus:
        """Public information only."""

    def windows(self, query_id: str) -> tuple[QueryStatus, ...]:
        """The windows of a query with EVERY, in their order; none for any other."""

    def result(self, query_id: str) -> Release | None:
        """None before the query's public time, and while there is no release."""

    def cancel(self, query_id: str, actor: str) -> None:
        """Give back what has not started."""

    def start(self) -> None:
        """Begin to work on admitted queries, unfinished ones first."""

    def stop(self) -> None:
        """Stop working; what is unfinished resumes at the next start."""
