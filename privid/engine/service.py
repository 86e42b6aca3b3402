"""The engine as the server sees it: plan, admit, run in the background, answer.

Admitted queries wait in two queues, slotted and open, each worked off by one thread in the order of admission. When a
slotted query starts and when its answer can be seen is fixed at admission from public numbers only: it starts when
the one before it must be done, and is visible when its own public schedule has passed. An answer that is ready later
than that (this host was too slow) is shown after another whole schedule, so that how late it was stays hidden.
"""

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import sqlalchemy as sa
import structlog

from privid.domain.home import Home
from privid.domain.release import Release
from privid.engine import document, journal
from privid.engine.execute import Executor
from privid.engine.lanes import Lanes
from privid.engine.plan import Plan, Planner
from privid.ledger.errors import BudgetExceeded, IllegalTransition
from privid.ledger.ledger import Ledger
from privid.ledger.policies import Policies
from privid.ledger.values import Reservation, Work
from privid.privacy import explain
from privid.video.catalog import Catalog
from privid.video.errors import StoreFailure
from privid.video.store import SegmentStore
from query_lang import QueryError
from workers.host.errors import SandboxError, Stopped

_log = structlog.get_logger("privid.engine")

_ATTEMPTS = 3
"""How often a query is run before a failure of the system is final."""
_PAUSE_SECONDS = 5.0
_DIGITS = 5
"""The largest admissible epsilon is found to so many decimal digits."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The outcome of a submission. `existing`: this request came before. `shared`: the same question did."""

    query_id: str
    existing: bool
    shared: bool


@dataclass(frozen=True, slots=True)
class QueryStatus:
    """What may be told of a query: public times, and a state that follows them. Times in microseconds."""

    query_id: str
    state: str
    submitted_us: int
    starts_us: int
    visible_us: int
    epsilon_nano: Mapping[str, int]


class Engine:
    """One per data directory. Every public method may be called from any thread."""

    def __init__(self, home: Home, database: sa.Engine, ledger: Ledger, lanes: Lanes, clock: Callable[[], int]) -> None:
        video = Catalog(database)
        self._home = home
        self._ledger = ledger
        self._clock = clock
        self._planner = Planner(database, Policies(database, clock), video, lanes, clock)
        self._executor = Executor(home, video, SegmentStore(home.video), lanes, clock)
        self._admission = threading.Lock()
        self._stopping = threading.Event()
        self._running: dict[str, threading.Event] = {}
        self._queues: dict[bool, queue.SimpleQueue[Work | None]] = {
            True: queue.SimpleQueue(),
            False: queue.SimpleQueue(),
        }
        self._threads: list[threading.Thread] = []

    # ------------------------------------------------------------------------------------------------ questions

    def explain(self, analyst_id: int, text: str, default_epsilon_nano: int) -> Mapping[str, Any]:
        """The explain document with `admissible` filled in; beside it the largest `admissible_epsilon` (of all SELECTs
        together) and the `refusals`. Touches neither video nor budget.
        """
        plan = self._planner.plan(analyst_id, text, default_epsilon_nano)
        refusals = self._ledger.would_admit(plan.certificate.charges)
        return explain.to_json(plan.certificate, plan.policies, not refusals) | {
            "admissible_epsilon": self._largest_admissible(plan) / 1e9,
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

    def submit(self, analyst_id: int, request_id: str, text: str, default_epsilon_nano: int) -> Submitted:
        """Admit a query and reserve its charge, durably, before any frame is read.

        Raises what planning raises, BudgetExceeded (with the epsilon that would be admitted) and other LedgerErrors.
        """
        plan = self._planner.plan(analyst_id, text, default_epsilon_nano)
        certificate = json.dumps(explain.to_json(plan.certificate, plan.policies, None), sort_keys=True)
        with self._admission:
            reservation = Reservation(
                analyst_id=analyst_id,
                request_id=request_id,
                text=text,
                default_epsilon_nano=default_epsilon_nano,
                cache_key=plan.cache_key,
                plan=plan.document(),
                certificate=certificate,
                charges=plan.certificate.charges,
                policy_versions={name: policy.version for name, policy in plan.policies.items()},
                visible_us=self._visible_us(plan),
            )
            try:
                reserved = self._ledger.reserve(reservation)
            except BudgetExceeded as refused:
                raise BudgetExceeded(refused.refusals, self._largest_admissible(plan)) from None
            if not reserved.existing:
                work = next(w for w in self._ledger.unfinished() if w.reservation_id == reserved.reservation_id)
                self._enqueue(work, plan)
        return Submitted(reserved.query_id, reserved.existing and not reserved.shared, reserved.shared)

    def status(self, query_id: str) -> QueryStatus:
        """Public information only. Raises UnknownQuery."""
        record = self._ledger.query(query_id)
        explained = json.loads(record.certificate)
        shared = record.reservation_id != record.id  # another query paid
        return QueryStatus(
            query_id=record.id,
            state=record.state.value,
            submitted_us=record.submitted_us,
            starts_us=max(record.submitted_us, record.visible_us - int(explained["public_time_s"] * 1e6)),
            visible_us=record.visible_us,
            epsilon_nano={
                charge["camera"]: 0 if shared else round(charge["epsilon"] * 1e9) for charge in explained["charges"]
            },
        )

    def result(self, query_id: str) -> Release | None:
        """The stored answer from its public moment on; None before, and without an answer. Raises UnknownQuery."""
        stored = self._ledger.release_of(query_id)
        if stored is None:
            return None
        release = document.decode(stored)
        record = self._ledger.query(query_id)
        if record.reservation_id == record.id:
            return release
        # The same question may have come with other aliases: whoever asked reads the answer under their own.
        plan = self._planner.again(record.text, record.default_epsilon_nano, record.plan)
        tables = [
            replace(table, columns=tuple(output.name for output in select.outputs))
            for table, select in zip(release.tables, plan.script.selects, strict=True)
        ]
        return replace(release, query=query_id, tables=tuple(tables))

    def cancel(self, query_id: str, actor: str) -> None:
        """Withdraw a query; what had not started is given back. Raises NotCancellable, UnknownQuery."""
        cancelled = self._ledger.cancel(query_id, actor=actor)
        if cancelled.stopped:
            if running := self._running.get(cancelled.reservation_id):
                running.set()
            else:
                journal.discard(self._home.spool / cancelled.reservation_id)

    def _largest_admissible(self, plan: Plan) -> int:
        """The largest total epsilon, in nano, at which the same query would be admitted now; 0 if there is none."""
        most = max(
            plan.epsilon_nano, *(policy.epsilon_nano * len(plan.script.selects) for policy in plan.policies.values())
        )
        step: int = 10 ** max(0, len(str(most)) - _DIGITS)
        low, high = 0, most // step
        while low < high:
            middle = (low + high + 1) // 2
            if self._admits(plan, Fraction(middle * step, plan.epsilon_nano)):
                low = middle
            else:
                high = middle - 1
        return low * step

    def _admits(self, plan: Plan, share: Fraction) -> bool:
        try:
            scaled = plan.scaled(share)
        except QueryError:  # too little for any noise scale
            return False
        return not self._ledger.would_admit(scaled.certificate.charges)

    # ---------------------------------------------------------------------------------------------- public times

    def _visible_us(self, plan: Plan) -> int:
        """When the answer of a query that is admitted now may be seen. Open queries: as soon as it is there."""
        now = self._clock()
        if plan.timing == "open":
            return now
        before = [work.visible_us for work in self._ledger.unfinished()]
        return max([now, *before]) + plan.certificate.public_time_us

    # ------------------------------------------------------------------------------------------------ background

    def start(self) -> None:
        """Begin to work on admitted queries, interrupted ones first, on new public schedules for what is left."""
        done_us = self._clock()
        for work in self._ledger.unfinished():
            plan = self._plan_again(work)
            if plan is None:
                continue
            if plan.timing != "open":
                done_us += self._executor.remaining_us(work.reservation_id, plan)
                if done_us > work.visible_us:
                    self._ledger.postpone(work.reservation_id, done_us)
            self._enqueue(work, plan)
        for lane, waiting in self._queues.items():
            name = "privid-open" if lane else "privid-slotted"
            thread = threading.Thread(target=self._work_off, args=(waiting,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop working; what is unfinished goes on at the next start."""
        self._stopping.set()
        for running in list(self._running.values()):
            running.set()
        for waiting in self._queues.values():
            waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _enqueue(self, work: Work, plan: Plan) -> None:
        self._queues[plan.timing == "open"].put(work)

    def _plan_again(self, work: Work) -> Plan | None:
        """The plan of admitted work; None, and the query failed, if it would no longer mean what was charged."""
        try:
            plan = self._planner.again(work.text, work.default_epsilon_nano, work.plan)
            explained = explain.to_json(plan.certificate, plan.policies, None)
        except Exception:  # noqa: BLE001 - whatever it is: the query cannot be run, and the others can
            _log.exception("an admitted query cannot be planned again", query=work.reservation_id)
        else:
            if json.loads(work.certificate)["charges"] == json.loads(json.dumps(explained))["charges"]:
                return plan
            _log.error("an admitted query would be charged otherwise now", query=work.reservation_id)
        self._give_up(work, "it cannot be planned as it was admitted")
        return None

    def _work_off(self, waiting: "queue.SimpleQueue[Work | None]") -> None:
        while (work := waiting.get()) is not None and not self._stopping.is_set():
            try:
                self._work(work)
            except Stopped:
                if not self._stopping.is_set():  # cancelled: nobody will ask for its rows again
                    journal.discard(self._home.spool / work.reservation_id)
                _log.info("stopped", query=work.reservation_id)
            except IllegalTransition:
                _log.info("no longer wanted", query=work.reservation_id)
                journal.discard(self._home.spool / work.reservation_id)
            except Exception:  # noqa: BLE001 - one query's trouble must not end the lane
                _log.exception("a query failed", query=work.reservation_id)
                self._give_up(work, "failure of the system")

    def _work(self, work: Work) -> None:
        plan = self._plan_again(work)
        if plan is None:
            return
        stop = self._running.setdefault(work.reservation_id, threading.Event())
        if self._stopping.is_set():
            stop.set()
        try:
            begin_us = self._wait_for_its_time(work, plan, stop)
            self._ledger.start(work.reservation_id)
            release = self._attempts(work, plan, begin_us, stop)
            self._publish(work, plan, release)
            journal.discard(self._home.spool / work.reservation_id)
        finally:
            self._running.pop(work.reservation_id, None)

    def _wait_for_its_time(self, work: Work, plan: Plan, stop: threading.Event) -> int:
        """When the public schedule of what is left begins; returns then. An open query begins at once."""
        if plan.timing == "open":
            return self._clock()
        needed_us = self._executor.remaining_us(work.reservation_id, plan)
        begin_us = self._ledger.query(work.reservation_id).visible_us - needed_us
        stop.wait(max(0, begin_us - self._clock()) / 1e6)
        return begin_us

    def _attempts(self, work: Work, plan: Plan, begin_us: int, stop: threading.Event) -> Release:
        """Failures of the system are tried again: finished slots are kept, and nothing has left."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._executor.run(work.reservation_id, plan, begin_us, stop)
            except Stopped:
                raise
            except (SandboxError, StoreFailure, OSError):
                _log.exception("a run failed and is tried again", query=work.reservation_id)
                stop.wait(_PAUSE_SECONDS)
                begin_us = self._clock()
        return self._executor.run(work.reservation_id, plan, begin_us, stop)

    def _publish(self, work: Work, plan: Plan, release: Release) -> None:
        """Store the answer. If its public moment has passed already, it is shown a whole schedule later."""
        if plan.timing != "open":
            visible_us = self._ledger.query(work.reservation_id).visible_us
            behind = self._clock() - visible_us
            if behind > 0:
                schedule = plan.certificate.public_time_us
                self._ledger.postpone(work.reservation_id, visible_us + -(-behind // schedule) * schedule)
        self._ledger.release(work.reservation_id, document.encode(release))

    def _give_up(self, work: Work, reason: str) -> None:
        with contextlib.suppress(IllegalTransition):
            self._ledger.fail(work.reservation_id, reason)
        journal.discard(self._home.spool / work.reservation_id)
