"""The engine as the server sees it: plan, admit, answer; `privid.engine.runner` does the work in the background.

What is told of a query follows from public numbers only. A query whose END lies in the future waits until its video is
complete: that is a fixed public delay after END, whatever has been stored by then (decision 0016).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from privid.domain.budget import Charge
from privid.domain.home import Home
from privid.domain.policy import CameraPolicy, Isolation
from privid.domain.release import Release
from privid.domain.units import NANO, SECOND
from privid.engine import document
from privid.engine.errors import CannotEnforce
from privid.engine.execute import Executor
from privid.engine.lanes import Lanes
from privid.engine.plan import Plan, Planner, Series
from privid.engine.runner import Runner
from privid.ledger.errors import BudgetExceeded, UnknownQuery
from privid.ledger.ledger import Ledger
from privid.ledger.policies import Policies
from privid.ledger.values import (
    Place,
    QueryRecord,
    Refusal,
    Renewed,
    Reservation,
    SeriesRecord,
    SeriesReservation,
    Window,
    Work,
)
from privid.ledger.watermark import Watermark
from privid.privacy import explain
from privid.video.catalog import Catalog
from privid.video.pictures import PictureStore
from privid.video.store_settings import open_store
from query_lang import QueryError

_DIGITS = 5
"""The largest admissible epsilon is found to so many decimal digits."""
DELAY_US = 60 * SECOND
"""From the END of a window in the future until it is run on what is stored."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The outcome of a submission. `existing`: this request came before. `shared`: the same question did."""

    query_id: str
    existing: bool
    shared: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """A query with EVERY: its windows over [begin_us, end_us), how many are in each state, and the next one's query."""

    every_us: int
    begin_us: int
    end_us: int
    windows: Mapping[str, int]
    next_query: str | None


@dataclass(frozen=True, slots=True)
class QueryStatus:
    """What may be told of a query: public times, and a state that follows them. Times in microseconds.

    `standing` is set for a query with EVERY, whose times are those of its next window; `place` for one of its windows.
    `note` says why a change of policy cancelled a query.
    """

    query_id: str
    state: str
    submitted_us: int
    starts_us: int
    visible_us: int
    epsilon_nano: Mapping[str, int]
    standing: Standing | None = None
    place: Place | None = None
    note: str = ""


class Engine:
    """One per data directory. Every public method may be called from any thread."""

    def __init__(
        self,
        home: Home,
        database: sa.Engine,
        ledger: Ledger,
        lanes: Lanes,
        clock: Callable[[], int],
        delay_us: int = DELAY_US,
        device: str = "cpu",
    ) -> None:
        video, pictures = Catalog(database), PictureStore(home.pictures)
        self._ledger = ledger
        self._clock = clock
        self._delay_us = delay_us
        self._planner = Planner(database, Policies(database, clock), video, pictures, lanes, clock)
        executor = Executor(home, video, open_store(home, database), pictures, lanes, clock, device)
        watermark = Watermark(home.ledger_head, database)
        self._runner = Runner(home, ledger, self._planner, executor, watermark.advance, clock)

    def start(self) -> None:
        """Begin to work on admitted queries, interrupted ones first."""
        self._runner.start()

    def stop(self) -> None:
        """Stop working; what is unfinished goes on at the next start."""
        self._runner.stop()

    # ------------------------------------------------------------------------------------------------ questions

    def explain(
        self, analyst_id: int, text: str, default_epsilon_nano: int, horizon_us: int | None = None
    ) -> Mapping[str, Any]:
        """The explain document with `admissible` filled in; beside it the largest `admissible_epsilon` (of all SELECTs
        together), the `refusals` and the largest `admissible_window` inside a refused one. Touches neither video nor
        budget.
        """
        plan = self._planner.plan(analyst_id, text, default_epsilon_nano, horizon_us)
        if isinstance(plan, Series):
            refusals = self._ledger.would_admit(plan.charges, analyst_id)
            fitting = self._largest_series(plan, refusals, analyst_id)
            walls = self._planner.walls(analyst_id, plan.windows[0])
            return _series_document(plan, not refusals, walls) | _offer(refusals, fitting, None)
        refusals = self._ledger.would_admit(plan.certificate.charges, analyst_id)
        window = self._largest_window(plan, analyst_id) if refusals else None
        walls = self._planner.walls(analyst_id, plan)
        document = explain.to_json(plan.certificate, plan.policies, not refusals, walls)
        return document | _offer(refusals, self._largest_admissible(plan, analyst_id), window)

    def price(self, text: str, default_epsilon_nano: int) -> tuple[Charge, ...]:
        """What a query would take from its cameras, for owners: whoever asks it, whatever its executables do.

        Raises QueryError.
        """
        return self._planner.price(text, default_epsilon_nano)

    def submit(
        self,
        analyst_id: int,
        request_id: str,
        text: str,
        default_epsilon_nano: int,
        horizon_us: int | None = None,
    ) -> Submitted:
        """Admit a query and reserve its charge, durably, before any frame is read; with EVERY those of all windows.

        Raises what planning raises, BudgetExceeded (with the epsilon that would be admitted) and other LedgerErrors.
        """
        plan = self._planner.plan(analyst_id, text, default_epsilon_nano, horizon_us)
        with self._runner.turn:
            self._runner.take_due()
            if isinstance(plan, Series):
                return self._submit_series(analyst_id, request_id, plan)
            standing = plan.script.end_us > self._clock()
            reservation = self._reservation(analyst_id, request_id, plan, _certificate(plan), standing=standing)
            try:
                reserved = self._ledger.reserve(reservation)
            except BudgetExceeded as refused:
                epsilon_nano = self._largest_admissible(plan, analyst_id)
                raise refused.instead(epsilon_nano, self._largest_window(plan, analyst_id)) from None
            if standing:
                self._runner.expect()
            elif not reserved.existing:
                self._runner.enqueue(reserved.reservation_id, plan)
        return Submitted(reserved.query_id, reserved.existing and not reserved.shared, reserved.shared)

    def _submit_series(self, analyst_id: int, request_id: str, plan: Series) -> Submitted:
        first = plan.windows[0]
        windows = tuple(
            Window(
                window.script.begin_us,
                window.script.end_us,
                self._reservation(analyst_id, request_id, window, _window_certificate(window), standing=True),
            )
            for window in plan.windows
        )
        asked = SeriesReservation(
            analyst_id=analyst_id,
            request_id=request_id,
            text=first.text,
            default_epsilon_nano=first.default_epsilon_nano,
            horizon_us=first.horizon_us,
            every_us=plan.every_us,
            certificate=json.dumps(_series_document(plan, None), sort_keys=True),
            windows=windows,
        )
        try:
            reserved = self._ledger.reserve_series(asked)
        except BudgetExceeded as refused:
            raise refused.instead(self._largest_series(plan, refused.refusals, analyst_id), None) from None
        self._runner.expect()
        return Submitted(reserved.series_id, reserved.existing, reserved.shared)

    def _reservation(
        self, analyst_id: int, request_id: str, plan: Plan, certificate: str, *, standing: bool
    ) -> Reservation:
        ready_us = plan.script.end_us + self._delay_us if standing else None
        return Reservation(
            analyst_id=analyst_id,
            request_id=request_id,
            text=plan.text,
            default_epsilon_nano=plan.default_epsilon_nano,
            cache_key=plan.cache_key,
            plan=plan.document(),
            certificate=certificate,
            charges=plan.certificate.charges,
            policy_versions={name: policy.version for name, policy in plan.policies.items()},
            visible_us=self._visible_us(plan, ready_us),
            ready_us=ready_us,
        )

    def status(self, query_id: str) -> QueryStatus:
        """Public information only. Raises UnknownQuery."""
        try:
            return _query_status(self._ledger.query(query_id))
        except UnknownQuery:
            return _series_status(self._ledger.series(query_id))

    def windows(self, query_id: str) -> tuple[QueryStatus, ...]:
        """The windows of a query with EVERY, in their order; none for any other."""
        return tuple(map(_query_status, self._ledger.windows(query_id)))

    def result(self, query_id: str) -> Release | None:
        """The stored answer from its public moment on; None before, and without an answer.

        Raises UnknownQuery, also for a query with EVERY, whose windows have answers.
        """
        stored = self._ledger.release_of(query_id)
        if stored is None:
            return None
        release = document.decode(stored)
        record = self._ledger.query(query_id)
        if record.reservation_id == record.id:
            return release
        # The same question may have come with other aliases: whoever asked reads the answer under their own.
        plan = self._planner.again(record.text, record.default_epsilon_nano, record.plan, record.place)
        tables = [
            replace(table, columns=tuple(output.name for output in select.outputs))
            for table, select in zip(release.tables, plan.script.selects, strict=True)
        ]
        return replace(release, query=query_id, tables=tuple(tables))

    def cancel(self, query_id: str, actor: str) -> None:
        """Withdraw a query, or all windows of one; what had not started is given back.

        Raises NotCancellable, UnknownQuery.
        """
        try:
            cancelled = self._ledger.cancel(query_id, actor=actor)
        except UnknownQuery:
            self._runner.drop(self._ledger.cancel_series(query_id, actor=actor).stopped)
        else:
            self._runner.drop([cancelled.reservation_id] if cancelled.stopped else [])

    def renew(self, work: Work, policies: Mapping[str, CameraPolicy]) -> Renewed | str:
        """What a window that has not started becomes under new policies, or why it cannot be asked under them."""
        try:
            plan = self._planner.renewed(policies, work.text, work.default_epsilon_nano, work.plan)
        except (QueryError, CannotEnforce) as refused:
            return f"{refused.message}; {refused.hint}" if refused.hint else refused.message
        longer_us = plan.certificate.public_time_us - _public_time_us(json.loads(work.certificate))
        return Renewed(
            cache_key=plan.cache_key,
            plan=plan.document(),
            certificate=_window_certificate(plan),
            charges=plan.certificate.charges,
            visible_us=work.visible_us + max(0, longer_us),
        )

    # ---------------------------------------------------------------------------------- what would be admitted

    def _largest_series(self, plan: Series, refusals: Sequence[Refusal], analyst_id: int) -> int:
        """About the largest epsilon of a window at which the same series would be admitted now; 0 if there is none.

        Searching as for one window would plan all of them many times over. Losses are in proportion to epsilon, up to
        rounding, so what is left where it is scarcest says how much would fit; that is tried.
        """
        asked = plan.windows[0].epsilon_nano
        if not refusals:
            return asked
        step: int = 10 ** max(0, len(str(asked)) - _DIGITS)
        fitting = int(asked * min(refusal.share for refusal in refusals)) // step * step
        try:
            scaled = plan.scaled(Fraction(fitting, asked))
        except QueryError:  # too little for any noise scale
            return 0
        return fitting if self._ledger.admits(scaled.charges, analyst_id) else 0

    def _largest_admissible(self, plan: Plan, analyst_id: int) -> int:
        """The largest total epsilon, in nano, at which the same query would be admitted now; 0 if there is none."""
        most = max(
            plan.epsilon_nano, *(policy.epsilon_nano * len(plan.script.selects) for policy in plan.policies.values())
        )
        step: int = 10 ** max(0, len(str(most)) - _DIGITS)
        low, high = 0, most // step
        while low < high:
            middle = (low + high + 1) // 2
            if self._admits(plan, Fraction(middle * step, plan.epsilon_nano), analyst_id):
                low = middle
            else:
                high = middle - 1
        return low * step

    def _largest_window(self, plan: Plan, analyst_id: int) -> tuple[int, int] | None:
        """The longest part of the asked window, on its grid of chunks, at which the same query would be admitted now.

        None if there is none longer than a presence period, or if the query's SPLITs have different chunks.
        """
        if plan.grid is None:
            return None
        window = self._ledger.largest_window(plan.certificate.charges, plan.grid, analyst_id)
        if window is None:
            return None
        try:
            narrowed = plan.narrowed(*window)
        except QueryError:  # the shorter window changes more than its charge
            return None
        return window if self._ledger.admits(narrowed.certificate.charges, analyst_id) else None

    def _admits(self, plan: Plan, share: Fraction, analyst_id: int) -> bool:
        try:
            scaled = plan.scaled(share)
        except QueryError:  # too little for any noise scale
            return False
        return self._ledger.admits(scaled.certificate.charges, analyst_id)

    # ---------------------------------------------------------------------------------------------- public times

    def _visible_us(self, plan: Plan, ready_us: int | None) -> int:
        """When the answer of a query that is admitted now may be seen. Open queries: as soon as it is there.

        Work that waits for its video takes its turn when that is complete; this is the earliest that it can be.
        """
        now = self._clock()
        due_us = now if ready_us is None else max(now, ready_us)
        if plan.timing == "open":
            return due_us
        return (due_us if ready_us is not None else self._runner.lane_end_us()) + plan.certificate.public_time_us


def _certificate(plan: Plan) -> str:
    return json.dumps(explain.to_json(plan.certificate, plan.policies, None), sort_keys=True)


def _window_certificate(plan: Plan) -> str:
    """The document of one window. The plans are the same in all of them, and kept with their series."""
    document = explain.to_json(plan.certificate, plan.policies, None)
    return json.dumps({key: value for key, value in document.items() if key != "plans"}, sort_keys=True)


def _series_document(
    plan: Series, admissible: bool | None, walls: Mapping[str, Isolation] | None = None
) -> dict[str, Any]:
    certificates = [window.certificate for window in plan.windows]
    return explain.series_json(plan.script, certificates, plan.windows[0].policies, admissible, walls)


def _offer(refusals: Sequence[Refusal], epsilon_nano: int, window: tuple[int, int] | None) -> dict[str, Any]:
    """What the budget says to a query: where it does not suffice, and what it would suffice for."""
    return {
        "admissible_epsilon": epsilon_nano / 1e9,
        "admissible_window": None if window is None else {"from_us": window[0], "to_us": window[1]},
        "refusals": [
            {
                "camera": refusal.camera,
                "from_us": refusal.from_us,
                "to_us": refusal.to_us,
                "left": refusal.left_nano / 1e9,
                "asked": refusal.asked_nano / 1e9,
            }
            for refusal in refusals
        ],
    }


def _query_status(record: QueryRecord) -> QueryStatus:
    explained = json.loads(record.certificate)
    shared = record.reservation_id != record.id  # another query paid
    return QueryStatus(
        query_id=record.id,
        state=record.state.value,
        submitted_us=record.submitted_us,
        starts_us=max(record.submitted_us, record.visible_us - _public_time_us(explained)),
        visible_us=record.visible_us,
        epsilon_nano={camera: 0 if shared else nano for camera, nano in _charged(explained).items()},
        place=record.place,
        note=record.cancelled_because or "",
    )


def _series_status(record: SeriesRecord) -> QueryStatus:
    explained = json.loads(record.certificate)
    return QueryStatus(
        query_id=record.id,
        state=record.state.value,
        submitted_us=record.submitted_us,
        starts_us=max(record.submitted_us, record.visible_us - _public_time_us(explained)),
        visible_us=record.visible_us,
        epsilon_nano=_charged(explained),
        standing=Standing(
            every_us=record.every_us,
            begin_us=record.begin_us,
            end_us=record.end_us,
            windows={state.value: count for state, count in record.windows.items()},
            next_query=record.next_query,
        ),
    )


def _public_time_us(explained: Mapping[str, Any]) -> int:
    return int(explained["public_time_s"] * SECOND)


def _charged(explained: Mapping[str, Any]) -> dict[str, int]:
    """The most that any moment of each camera is charged, in nano-epsilon."""
    return {charge["camera"]: round(charge["epsilon"] * NANO) for charge in explained["charges"]}
