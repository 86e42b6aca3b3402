"""Runs admitted queries in the background, each when its turn has come.

Admitted queries wait in two queues, slotted and open, each worked off by one thread in the order in which they became
due: at once, or when the video of a standing query is complete. When a slotted query starts and when its answer can be
seen follows from public numbers only: it starts when the one before it must be done, and is visible when its own public
schedule has passed. An answer that is ready later than that (this host was too slow) is shown after another whole
schedule, so that how late it was stays hidden.
"""

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Iterable

import structlog

from privid.domain.home import Home
from privid.domain.release import Release
from privid.domain.units import SECOND
from privid.engine import document, journal
from privid.engine.execute import Executor
from privid.engine.plan import Plan, Planner
from privid.ledger.errors import IllegalTransition, UnknownQuery
from privid.ledger.ledger import Ledger
from privid.ledger.values import Work
from privid.privacy import explain
from privid.video.errors import StoreFailure
from workers.host.errors import SandboxError, Stopped

_log = structlog.get_logger("privid.engine")

_ATTEMPTS = 3
"""How often a query is run before a failure of the system is final."""
_PAUSE_SECONDS = 5.0
_LONGEST_WAIT_SECONDS = 60.0
"""Between two looks at the clock, which may be set while nothing is due."""


class Runner:
    """The two lanes. Every public method may be called from any thread.

    `turn` guards who takes which turn: whoever admits a query holds it until `enqueue` or `take_due`. `released` is
    called after every release.
    """

    def __init__(
        self,
        home: Home,
        ledger: Ledger,
        planner: Planner,
        executor: Executor,
        released: Callable[[], None],
        clock: Callable[[], int],
    ) -> None:
        self.turn = threading.Lock()
        self._home = home
        self._ledger = ledger
        self._planner = planner
        self._executor = executor
        self._released = released
        self._clock = clock
        self._stopping = threading.Event()
        self._changed = threading.Event()
        self._queued: set[str] = set()
        self._running: dict[str, threading.Event] = {}
        self._queues: dict[bool, queue.SimpleQueue[str | None]] = {
            True: queue.SimpleQueue(),
            False: queue.SimpleQueue(),
        }
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to work: on what a restart has interrupted first, on new public schedules for what is left."""
        with self.turn:
            self.take_due()
        lanes = (("privid-open", self._queues[True]), ("privid-slotted", self._queues[False]))
        self._threads = [
            threading.Thread(target=self._work_off, args=(waiting,), name=name, daemon=True) for name, waiting in lanes
        ]
        self._threads.append(threading.Thread(target=self._await_video, name="privid-standing", daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop working; what is unfinished goes on at the next start."""
        self._stopping.set()
        self._changed.set()
        for running in list(self._running.values()):
            running.set()
        for waiting in self._queues.values():
            waiting.put(None)
        for thread in self._threads:
            thread.join()

    def lane_end_us(self) -> int:
        """When the slotted lane is free for whatever is admitted now. With `turn` held, after `take_due`."""
        now = self._clock()
        return max([now, *(work.visible_us for work in self._ledger.unfinished(now))])

    def take_due(self) -> None:
        """Queue whatever is due and not queued yet, each on a public schedule after those before it. With `turn` held.

        Whether some video came late, or never, changes nothing: it runs on what is stored.
        """
        now = self._clock()
        due = sorted(self._ledger.unfinished(now), key=lambda work: (work.due_us, work.reserved_us))
        end_us = max([now, *(work.visible_us for work in due if work.reservation_id in self._queued)])
        for work in due:
            if work.reservation_id in self._queued or (plan := self._plan_again(work)) is None:
                continue
            if plan.timing != "open":
                end_us += self._executor.remaining_us(work.reservation_id, plan)
                if end_us > work.visible_us:
                    self._ledger.postpone(work.reservation_id, end_us)
            self.enqueue(work.reservation_id, plan)

    def enqueue(self, reservation_id: str, plan: Plan) -> None:
        """Give admitted work the next turn of its lane. With `turn` held."""
        self._queued.add(reservation_id)
        self._queues[plan.timing == "open"].put(reservation_id)

    def expect(self) -> None:
        """Look again for what is due next: something was admitted that waits for its video."""
        self._changed.set()

    def drop(self, reservation_ids: Iterable[str]) -> None:
        """Stop work that was cancelled."""
        for reservation_id in reservation_ids:
            if running := self._running.get(reservation_id):
                running.set()
            else:
                journal.discard(self._home.spool / reservation_id)

    # ------------------------------------------------------------------------------------------------ background

    def _await_video(self) -> None:
        while not self._stopping.is_set():
            self._changed.clear()
            wait_seconds = _LONGEST_WAIT_SECONDS
            try:
                with self.turn:
                    self.take_due()
                now = self._clock()
                following = self._ledger.next_due(now)
                if following is not None:
                    wait_seconds = min(wait_seconds, (following - now) / SECOND)
            except Exception:  # noqa: BLE001 - standing queries must go on when the database is back
                _log.exception("standing queries could not be looked at")
            self._changed.wait(wait_seconds)

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
        self._give_up(work.reservation_id, "it cannot be planned as it was admitted")
        return None

    def _work_off(self, waiting: "queue.SimpleQueue[str | None]") -> None:
        while (reservation_id := waiting.get()) is not None and not self._stopping.is_set():
            try:
                self._work(reservation_id)
            except Stopped:
                if not self._stopping.is_set():  # cancelled: nobody will ask for its rows again
                    journal.discard(self._home.spool / reservation_id)
                _log.info("stopped", query=reservation_id)
            except (IllegalTransition, UnknownQuery):
                _log.info("no longer wanted", query=reservation_id)
                journal.discard(self._home.spool / reservation_id)
            except Exception:  # noqa: BLE001 - one query's trouble must not end the lane
                _log.exception("a query failed", query=reservation_id)
                self._give_up(reservation_id, "failure of the system")
            finally:
                self._queued.discard(reservation_id)

    def _work(self, reservation_id: str) -> None:
        work = self._ledger.work(reservation_id)
        plan = self._plan_again(work)
        if plan is None:
            return
        stop = self._running.setdefault(reservation_id, threading.Event())
        if self._stopping.is_set():
            stop.set()
        try:
            begin_us = self._wait_for_its_time(reservation_id, plan, stop)
            self._ledger.start(reservation_id)
            started = self._ledger.work(reservation_id)
            if started.plan != work.plan:  # a new policy came while it waited; from its start on none can change it
                plan = self._plan_again(started)
                begin_us = self._clock()
            if plan is not None:
                self._publish(reservation_id, plan, self._attempts(reservation_id, plan, begin_us, stop))
                journal.discard(self._home.spool / reservation_id)
        finally:
            self._running.pop(reservation_id, None)

    def _wait_for_its_time(self, reservation_id: str, plan: Plan, stop: threading.Event) -> int:
        """When the public schedule of what is left begins; returns then. An open query begins at once.

        Raises Stopped.
        """
        begin_us = self._clock()
        if plan.timing != "open":
            needed_us = self._executor.remaining_us(reservation_id, plan)
            begin_us = self._ledger.work(reservation_id).visible_us - needed_us
            stop.wait(max(0, begin_us - self._clock()) / SECOND)
        if stop.is_set():
            raise Stopped()
        return begin_us

    def _attempts(self, reservation_id: str, plan: Plan, begin_us: int, stop: threading.Event) -> Release:
        """Failures of the system are tried again: finished slots are kept, and nothing has left."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._executor.run(reservation_id, plan, begin_us, stop)
            except Stopped:
                raise
            except (SandboxError, StoreFailure, OSError):
                _log.exception("a run failed and is tried again", query=reservation_id)
                stop.wait(_PAUSE_SECONDS)
                begin_us = self._clock()
        return self._executor.run(reservation_id, plan, begin_us, stop)

    def _publish(self, reservation_id: str, plan: Plan, release: Release) -> None:
        """Store the answer. If its public moment has passed already, it is shown a whole schedule later."""
        if plan.timing != "open":
            visible_us = self._ledger.work(reservation_id).visible_us
            behind = self._clock() - visible_us
            if behind > 0:
                schedule = plan.certificate.public_time_us
                self._ledger.postpone(reservation_id, visible_us + -(-behind // schedule) * schedule)
        self._ledger.release(reservation_id, document.encode(release))
        self._released()

    def _give_up(self, reservation_id: str, reason: str) -> None:
        with contextlib.suppress(IllegalTransition):
            self._ledger.fail(reservation_id, reason)
        journal.discard(self._home.spool / reservation_id)
