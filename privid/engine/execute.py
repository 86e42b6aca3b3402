"""Runs one admitted query: frames to slots, slots to rows, rows to a release (privacy-model.md, section 6).

Nothing here decides what may be learnt: the plan fixed that before the first frame was read. Rows of finished slots
are kept in a journal, so whatever ends a run early (a crash, a stop, a failure of the sandbox) costs no slot twice.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from privid.domain.home import Home
from privid.domain.release import Release
from privid.domain.schedule import PublicSchedule
from privid.engine import release, tables
from privid.engine.aggregate import EngineSettings
from privid.engine.journal import Row, SlotJournal
from privid.engine.lanes import Lanes
from privid.engine.plan import Plan
from privid.engine.slots import slots, table_spec
from privid.video.catalog import Catalog
from privid.video.pictures import PictureStore
from privid.video.store import SegmentStore
from query_lang.logical import Process
from workers.host import backends
from workers.host.errors import SlotsLate
from workers.host.pool import ExecutableSpec, LocalPool
from workers.inference.spec import ModelSpec

_log = structlog.get_logger("privid.engine")

RELATIONAL_MEMORY = 256 * 2**20
"""For the relational part, so that the server stays small whatever a query joins."""


@dataclass(frozen=True, slots=True)
class Executor:
    """What running a query needs of this host."""

    home: Home
    video: Catalog
    store: SegmentStore
    pictures: PictureStore
    lanes: Lanes
    clock: Callable[[], int]
    device: str

    def remaining_us(self, query_id: str, plan: Plan) -> int:
        """The public time that the slots without rows need, counted from now."""
        total = 0
        for position, process in enumerate(plan.script.processes):
            with SlotJournal(self._spool(query_id, position)) as journal:
                missing = _slot_count(process, plan) - len(journal.rows)
            total += _schedule(process, plan, missing).duration_us if missing else 0
        return total

    def run(self, query_id: str, plan: Plan, begin_us: int, stop: threading.Event) -> Release:
        """Every slot that has no rows yet, on public schedules one after the other from `begin_us` on; then the answer.

        Raises Stopped if `stop` was set, SandboxError, StoreFailure or OSError for failures of the system; after any
        of them it can be run again.
        """
        rows = {}
        for position, process in enumerate(plan.script.processes):
            with SlotJournal(self._spool(query_id, position)) as journal:
                schedule = _schedule(process, plan, _slot_count(process, plan) - len(journal.rows))
                self._process(query_id, process, plan, journal, begin_us, stop)
                rows[process.name] = tables.build(process, journal.rows, plan.certificate.bases[process.name].regions)
            begin_us += schedule.duration_us if schedule.slots else 0
        # What does not fit into memory goes where the rows lie already, and is deleted with them.
        settings = EngineSettings(memory_bytes=RELATIONAL_MEMORY, spill=self.home.spool / query_id / "spill")
        answers = release.answer(plan.script, plan.certificate, rows, settings)
        return Release(query_id, self.clock(), answers, plan.certificate.values_only)

    def _process(
        self,
        query_id: str,
        process: Process,
        plan: Plan,
        journal: SlotJournal,
        begin_us: int,
        stop: threading.Event,
    ) -> None:
        """Fill the journal."""
        # For the decoder, longer each time: there must be progress on any host.
        head_start_us = _schedule(process, plan, 0).setup_us
        while missing := [slot for slot in range(_slot_count(process, plan)) if slot not in journal.rows]:
            try:
                self._slots(query_id, process, plan, missing, journal, begin_us, stop)
            except SlotsLate as late:
                # Our decoder was too slow for the whole reserve. Another schedule for what is left costs time, but no
                # slot has moved and no rows are invented.
                _log.warning("slots late", query=query_id, table=process.name, slots=late.count)
                begin_us = self.clock() + head_start_us
                head_start_us *= 2

    def _slots(
        self,
        query_id: str,
        process: Process,
        plan: Plan,
        missing: list[int],
        journal: SlotJournal,
        begin_us: int,
        stop: threading.Event,
    ) -> None:
        def finished(slot: int, rows: tuple[Row, ...]) -> None:
            journal.append(slot, rows)
            _log.debug("slot finished", query=query_id, table=process.name, slot=slot)

        spec = self._executable(process, plan.executables)
        policy = plan.policies[process.split.camera]
        cores = self.lanes.cores(plan.timing, plan.slot_cores(process))
        first_us = begin_us + _schedule(process, plan, 0).setup_us - self.clock()
        start_ns = None if plan.timing == "open" else time.monotonic_ns() + first_us * 1000
        backend = backends.choose(policy.isolation, program=spec.is_program).name
        with LocalPool(spec, plan.timing, cores, backend=backend) as pool:
            pool.run(
                slots(self.video, self.store, self.pictures, process.split, policy, frozenset(missing), spec.colour),
                len(missing),
                finished,
                reserve_turns=_schedule(process, plan, len(missing)).reserve_turns,
                start_ns=start_ns,
                stop=stop,
            )

    def _executable(self, process: Process, pinned: Mapping[str, str]) -> ExecutableSpec:
        sha256, model = pinned[process.executable], None
        source = (self.home.executables / sha256).read_bytes()
        if process.model is not None:
            content = (self.home.executables / pinned[process.model]).read_bytes()
            model = ModelSpec(content, self.device, process.calls)
        return ExecutableSpec(sha256, source, table_spec(process), process.timeout_us, model=model)

    def _spool(self, query_id: str, position: int) -> Path:
        return self.home.spool / query_id / f"{position}.rows"


def _slot_count(process: Process, plan: Plan) -> int:
    return plan.certificate.bases[process.name].slots


def _schedule(process: Process, plan: Plan, slots: int) -> PublicSchedule:
    model = process.model is not None
    return PublicSchedule(slots, plan.slot_cores(process), process.timeout_us, process.max_rows, model)
