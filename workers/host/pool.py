"""The local pool: runs slots in sandboxed guests on this machine, on the public time grid or at once.

Timing (privacy-model.md, section 7):

- `slotted`: the slot at position i starts at `start + (i // cores) * timeout`, on its own core, whatever happened
  before. A slot whose frames are not there by then leaves its time empty and runs in the reserve turns at the end; no
  other slot moves. What finds no time in the reserve is reported with `SlotsLate`, and never given default rows:
  rows must not depend on how fast our decoder is.
- `strict`: slotted with one slot at a time on the whole machine.
- `open`: slots start as soon as a core is free. Start times then depend on earlier slots.

A guest has its turn less the guard before the next one, in which its memory is given back and the processor's caches
are swept.

On a machine whose cores are all slot cores (a single one, say) everything works, but decoding shares a core with the
slots, and a slot can feel it.
"""

import contextlib
import fcntl
import itertools
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

from workers import bundle, limits, wire
from workers.guest.chunk import Colour
from workers.host import (
    backends,
    caches,
    cgroups,
    channel,
    launcher,
    models,
    prewarmed,
    profile,
    rootfs,
    seccomp,
    waiting,
    warden,
)
from workers.host.errors import ExecutableRefused, SandboxBroken, SandboxUnavailable, SlotsLate, Stopped
from workers.host.feeder import Feeder, Slot
from workers.host.launcher import BrokenError, Outcome, RefusedError, Worker
from workers.host.reader import Reader
from workers.inference.spec import ModelSpec
from workers.wire import Row

Timing = Literal["slotted", "open", "strict"]

GUARD_SHARE = 20
GUARD_NS = (2_000_000, 20_000_000)
"""A guest is killed this long before the next turn: a share of the turn, within these bounds, and the time to sweep the
caches. Its successor is told to start in that time."""
FIRST_NS = 300_000_000
"""From the moment when the first slots are ready to the first turn, unless the caller says when that is."""
START_SECONDS = 120.0
_RESTARTS = 3
_LOCKS = ("door", "machine")
_LOCK_WAIT_SECONDS = 0.05
_WARDEN_MEMORY = 512 * 2**20
_serial = itertools.count()
AS_DECLARED: tuple[str, ...] = ("*",)
"""The libraries of an executable's manifest."""


@dataclass(frozen=True, slots=True)
class ExecutableSpec:
    """What runs in every slot of one PROCESS: `source` is a Python file, a program or a bundle (`workers.bundle`).

    `libraries` and `memory_bytes` are those of its manifest unless others are given, and `colour` is what its slots'
    frames have to be in. `model` is what its guests may call; a program has none. Raises ValueError.
    """

    sha256: str
    source: bytes
    table: wire.TableSpec
    timeout_us: int
    libraries: tuple[str, ...] = AS_DECLARED
    memory_bytes: int = 0
    model: ModelSpec | None = None
    is_program: bool = field(init=False)
    colour: Colour = field(init=False)
    weights_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        executable = bundle.read(self.source)
        manifest = executable.manifest
        bundle.check_libraries(manifest, profile.LIBRARIES)
        if unknown := set(self.libraries) - {*profile.LIBRARIES, *AS_DECLARED}:
            raise ValueError(f"unknown libraries: {', '.join(sorted(unknown))}")
        if self.timeout_us <= 0:
            raise ValueError("TIMEOUT must be positive")
        if self.model is not None and executable.is_program:
            raise ValueError("a program has no model; only Python executables can call one")
        found = {
            "libraries": manifest.needs if self.libraries is AS_DECLARED else self.libraries,
            "memory_bytes": self.memory_bytes or manifest.memory_bytes,
            "is_program": executable.is_program,
            "colour": manifest.colour,
            "weights_bytes": sum(len(executable.files[weights.file]) for weights in manifest.weights.values()),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, slots=True)
class Run:
    """When a slot was planned, started and ended, for operators and tests. Nanoseconds of CLOCK_MONOTONIC.

    `fault` says why its chunk has the default row, if it has. `log` is what the executable printed, in try-outs only.
    """

    index: int
    core: int
    planned_ns: int
    started_ns: int
    ended_ns: int
    fault: Literal["crashed", "timed out"] | None
    log: bytes


@dataclass
class _Lane:
    """One slot core: its worker, its next turn, and what it is working on."""

    core: int
    worker: Worker
    group: cgroups.Group
    turn: int = 0
    busy: dict[int, tuple[Slot, int]] = field(default_factory=dict)
    restarts: int = 0


def _run(index: int, core: int, planned_ns: int, outcome: Outcome) -> Run:
    fault: Literal["crashed", "timed out"] | None = None
    if not outcome.data.endswith(wire.END):
        fault = "timed out" if outcome.status == warden.KILLED else "crashed"
    return Run(index, core, planned_ns, outcome.started_ns, outcome.ended_ns, fault, outcome.log)


@contextlib.contextmanager
def _machine(*, alone: bool, stop: threading.Event | None) -> Iterator[None]:
    """Share this machine with other pools, or (`alone`) keep all others off it. Raises Stopped.

    Whoever waits stands in front of the second lock with the first one in hand, so that newcomers cannot overtake.
    """
    folder = Path(tempfile.gettempdir())
    with contextlib.ExitStack() as held:
        door, room = (held.enter_context(_opened(folder / f"privid-{name}-{os.geteuid()}.lock")) for name in _LOCKS)
        _lock(door, fcntl.LOCK_EX, stop)
        _lock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, stop)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _lock(fd: int, kind: int, stop: threading.Event | None) -> None:
    while True:
        try:
            return fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if stop is not None and stop.is_set():
                raise Stopped("the run was stopped") from None
            time.sleep(_LOCK_WAIT_SECONDS)


class LocalPool:
    """Workers for one executable on this machine, one for each slot core. A context manager; one `run` at a time.

    `backend` is the kind of walls around each guest (`workers.host.backends`).
    `cores` are the processors that slots run on; guests are pinned to them. Everything else of the pool keeps to the
    other processors of the calling thread, which may be kept off the slots' cores itself.
    `lookahead_bytes` bounds the frames that are decoded ahead, and once more those of late slots.
    `log_bytes` is for try-outs on video that the analyst may see: so much of what a guest prints comes with `on_run`.
    Raises SandboxUnavailable if this host cannot confine guests, ExecutableRefused if the weights cannot be loaded.
    """

    def __init__(
        self,
        spec: ExecutableSpec,
        timing: Timing = "slotted",
        cores: tuple[int, ...] = (0,),
        *,
        backend: backends.Name = "fork",
        lookahead_bytes: int = 128 * 2**20,
        lookahead_slots: int = 64,
        walls: profile.Profile | None = None,
        on_run: Callable[[Run], None] | None = None,
        log_bytes: int = 0,
    ) -> None:
        if not cores or not set(cores) <= set(range(os.cpu_count() or 1)):
            raise ValueError(f"slot cores {cores} are not processors of this machine")
        if spec.is_program and backend == "fork":
            raise ValueError("only a Python executable can be a fork; a program needs the backend exec")
        if spec.model is not None and backend == "oci":
            raise ValueError("a model is for the backends fork and exec: gVisor's guests share no memory with it")
        self._spec = spec
        self._timing = timing
        self._backend = backends.BACKENDS[backend].with_libraries(spec.libraries)
        self._cores = cores[:1] if timing == "strict" else cores
        self._housekeeping = (
            frozenset(os.sched_getaffinity(0) - set(self._cores)) if timing != "open" else frozenset[int]()
        )
        self._lookahead = (lookahead_bytes, lookahead_slots)
        self._walls = walls or profile.Profile()
        self._on_run = on_run
        self._log_bytes = log_bytes
        self._lanes: list[_Lane] = []
        self._turn_ns = spec.timeout_us * 1000
        self._sweep_bytes = 0
        if timing != "open" and self._walls.caches:
            share = max(caches.share_bytes(core, self._cores) for core in self._cores)
            self._sweep_bytes = caches.sweep_bytes(share, self._turn_ns)
        sweep_ns = caches.allowed_ns(self._sweep_bytes)
        guard_ns = min(max(self._turn_ns // GUARD_SHARE, GUARD_NS[0]), GUARD_NS[1])
        self._margin_ns = min(self._backend.prepare_ns + sweep_ns, self._turn_ns // 2)
        self._guard_ns = min(guard_ns + sweep_ns, self._turn_ns // 2)
        if self._walls.seccomp and not seccomp.supported():
            raise SandboxUnavailable("the sandbox has no seccomp filter for this machine; it runs on x86_64 only")

    def __enter__(self) -> "LocalPool":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------ workers

    def start(self) -> None:
        """Start the workers and wait until each has its libraries loaded and its walls tried. Idempotent."""
        if self._lanes:
            return
        if missing := self._backend.missing():
            raise SandboxUnavailable(missing)
        try:
            for core in self._cores:
                self._lanes.append(self._lane(core))
            end = time.monotonic() + START_SECONDS
            for lane in self._lanes:
                while not lane.worker.ready:
                    if not waiting.readable([lane.worker], max(0.0, end - time.monotonic())):
                        raise SandboxUnavailable(f"a worker was not ready within {START_SECONDS:.0f} s")
                    lane.worker.receive()
        except RefusedError as error:
            self.close()
            raise ExecutableRefused(str(error)) from None
        except BrokenError as error:
            self.close()
            raise SandboxUnavailable(
                f"the sandbox could not be set up: {error}. Run `privid-server doctor` to see what this host lacks"
            ) from None
        except BaseException:
            self.close()
            raise

    def _lane(self, core: int) -> _Lane:
        worker, group = self._worker(core)
        return _Lane(core, worker, group)

    def _worker(self, core: int) -> tuple[Worker, cgroups.Group]:
        spec = self._spec
        config = {
            "backend": self._backend.name,
            "libraries": list(spec.libraries),
            "columns": [(column.name, column.type, column.default) for column in spec.table.columns],
            "max_rows": spec.table.max_rows,
            "exact": spec.table.exact,
            "output_limit": wire.output_limit(spec.table),
            "memory_bytes": spec.memory_bytes,
            "weights_bytes": spec.weights_bytes,
            "uid": launcher.unprivileged_id(),
            "core": core,
            "lead_ns": self._guard_ns,
            "sweep_bytes": self._sweep_bytes,
            "margin_ns": self._margin_ns,
            "log_bytes": self._log_bytes,
            "housekeeping": sorted(self._housekeeping),
            "profile": {"seccomp": self._walls.seccomp, "landlock": self._walls.landlock},
            "model": self._model_config(),
        }
        # Two guests exist at a time, and the zygote's own memory and files count as well.
        memory = _WARDEN_MEMORY + self._sweep_bytes
        memory += 3 * spec.memory_bytes + 2**30 * len(spec.libraries) + 8 * spec.weights_bytes
        if self._backend.imports:  # the root has copies of their shared libraries
            memory += rootfs.MOST_BYTES
        if spec.model is not None:
            memory += prewarmed.MOST * models.memory_bytes(len(spec.model.content))
        name = cgroups.group_name(next(_serial))
        group = cgroups.Group.create(name, memory, 2 * limits.GUEST_THREADS + 8 + models.THREADS * prewarmed.MOST)
        try:
            return Worker(config, spec.source, spec.model.content if spec.model else b"", group), group
        except BaseException:
            group.remove()
            raise

    def _model_config(self) -> dict[str, object] | None:
        model = self._spec.model
        if model is None:
            return None
        period_ns = (self._turn_ns - self._guard_ns) // model.calls if model.calls else None
        return {
            "device": model.device,
            "uid": launcher.unprivileged_id(),
            "turn_ns": self._turn_ns,
            "period_ns": 0 if self._timing == "open" else period_ns,
        }

    def _restart(self, lane: _Lane) -> None:
        self._end(lane)
        lane.restarts += 1
        lane.worker, lane.group = self._worker(lane.core)

    @staticmethod
    def _end(lane: _Lane) -> None:
        lane.worker.close()
        lane.group.remove()

    def close(self) -> None:
        """End every process of the pool, and remove what it made: nothing is left behind. Idempotent."""
        for lane in self._lanes:
            self._end(lane)
        self._lanes = []

    # ---------------------------------------------------------------------------------------------------- runs

    def run(
        self,
        slots: Iterator[Slot],
        total: int,
        on_rows: Callable[[int, tuple[Row, ...]], None],
        *,
        reserve_turns: int = 4,
        start_ns: int | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Run `total` slots and call `on_rows(slot.index, rows)` once for each, in no particular order.

        `slots` is read in a thread of its own, in the order of the grid; it may be a part of a PROCESS (what is left
        after a crash). `on_rows` is called in another one. `start_ns` is the grid's first moment on CLOCK_MONOTONIC.
        None: as soon as some slots are ready, for trying out only, as that moment tells how long decoding took.
        `reserve_turns` as in the public schedule. `stop` ends the run early.

        Raises SlotsLate (some slots had no turn), SandboxBroken (our failure, twice on one slot), Stopped, ValueError
        (a malformed slot), and whatever `slots` or `on_rows` raise. After an exception the pool is closed.
        """
        with _machine(alone=self._timing == "strict", stop=stop):
            self.start()
            feeder = Feeder(slots, *self._lookahead, self._housekeeping)
            reader = Reader(self._spec.table, on_rows, self._housekeeping)
            run = _PoolRun(self, feeder, reader, total, stop)
            feeder.start()
            reader.start()
            try:
                if self._timing == "open":
                    run.open()
                else:
                    run.slotted(start_ns, reserve_turns)
            except BaseException:
                self.close()
                raise
            finally:
                run.give_back()
                feeder.stop()
                reader.stop()


class _PoolRun:
    """The state of one `LocalPool.run`."""

    def __init__(
        self,
        pool: LocalPool,
        feeder: Feeder,
        reader: Reader,
        total: int,
        stop: threading.Event | None,
    ) -> None:
        self._pool = pool
        self._lanes = pool._lanes
        self._feeder = feeder
        self._reader = reader
        self._total = total
        self._stop = stop
        self._turn_ns = pool._turn_ns
        self._margin_ns = pool._margin_ns
        self._late: deque[tuple[int, Slot]] = deque()
        self._late_bytes = 0
        self._awaited: set[int] = set()
        self._dropped: list[int] = []
        self._failures: dict[int, int] = {}
        self._retried: set[int] = set()
        self._ended = 0
        self._start_ns = 0
        self._turns = 0
        self._all_turns = 0
        for lane in self._lanes:
            lane.turn = 0
            lane.restarts = 0

    # -------------------------------------------------------------------------------------------- the two ways

    def open(self) -> None:
        """Every slot as soon as a core is free."""
        position = 0
        while self._reader.finished < self._total:
            self._check()
            for lane in self._lanes:
                while lane.worker.ready and len(lane.busy) < 2:
                    if self._late:
                        self._send(lane, *self._take_late(), go_ns=0)
                    elif slot := self._feeder.take(position):
                        self._send(lane, position, slot, go_ns=0)
                        position += 1
                    else:
                        break
            self._listen(None)

    def slotted(self, start_ns: int | None, reserve_turns: int) -> None:
        """Every slot at its time; those that miss it in the reserve."""
        if start_ns is None:
            while not self._feeder.full() and self._feeder.pulled < min(self._total, 2 * len(self._lanes)):
                self._listen(None)
            self._check()
            start_ns = time.monotonic_ns() + FIRST_NS
        self._start_ns = start_ns
        self._turns = -(-self._total // len(self._lanes))
        self._all_turns = self._turns + reserve_turns
        while self._reader.finished < self._total:
            self._check()
            self._collect_awaited()
            deadlines = [deadline for lane in self._lanes if (deadline := self._fill(lane)) is not None]
            ended = not deadlines and not any(lane.busy for lane in self._lanes)
            if ended and self._reader.finished == self._ended < self._total:
                raise SlotsLate(self._total - self._ended, self._without_time())
            self._listen(min(deadlines, default=None))

    def _fill(self, lane: _Lane) -> int | None:
        """Give a lane the next slots of its turns. Returns when to look again; None: when an outcome comes."""
        here = self._lanes.index(lane)
        while lane.turn < self._all_turns and len(lane.busy) < 2:
            go_ns = self._start_ns + lane.turn * self._turn_ns
            position = lane.turn * len(self._lanes) + here
            if lane.turn < self._turns and position >= self._total:
                lane.turn += 1
                continue
            deadline = go_ns - self._margin_ns
            if time.monotonic_ns() < deadline:
                found = self._next(lane, position)
                if found is None:
                    return deadline
                self._send(lane, *found, go_ns=go_ns)
            elif lane.turn < self._turns:
                self._awaited.add(position)  # its time is empty; it will run in the reserve
            lane.turn += 1
        return None

    def _next(self, lane: _Lane, position: int) -> tuple[int, Slot] | None:
        if not lane.worker.ready:
            return None
        if lane.turn >= self._turns:
            return self._take_late() if self._late else None
        slot = self._feeder.take(position)
        return (position, slot) if slot else None

    def _without_time(self) -> tuple[int, ...]:
        late = [slot.index for _, slot in self._late]
        return tuple(sorted(late + self._dropped))

    # ------------------------------------------------------------------------------------------------ late slots

    def _collect_awaited(self) -> None:
        for position in sorted(self._awaited):
            slot = self._feeder.take(position)
            if slot is None:
                break
            self._awaited.discard(position)
            self._put_late(position, slot)

    def _put_late(self, position: int, slot: Slot) -> None:
        self._retried.add(position)
        if self._late and self._late_bytes + slot.frames_bytes > self._pool._lookahead[0]:
            slot.close()
            self._dropped.append(slot.index)
            return
        self._late.append((position, slot))
        self._late_bytes += slot.frames_bytes

    def _take_late(self) -> tuple[int, Slot]:
        position, slot = self._late.popleft()
        self._late_bytes -= slot.frames_bytes
        return position, slot

    # ------------------------------------------------------------------------------------------ wardens and feeder

    def _check(self) -> None:
        if self._stop is not None and self._stop.is_set():
            raise Stopped("the run was stopped")
        for thread in (self._feeder, self._reader):
            if thread.error is not None:
                raise thread.error
        if self._feeder.ended and self._feeder.pulled < self._total:
            raise ValueError(f"{self._total} slots were announced, {self._feeder.pulled} came")

    def _send(self, lane: _Lane, position: int, slot: Slot, go_ns: int) -> None:
        lane.busy[position] = (slot, go_ns)
        kill_ns = go_ns + self._turn_ns - self._pool._guard_ns if go_ns else 0
        frames = (-1 if slot.frames is None else slot.frames.fd, slot.frames_bytes)
        # A dead worker is noticed when it is read from, and what it had is given another turn there.
        with contextlib.suppress(channel.ClosedError):
            lane.worker.send(position, go_ns, kill_ns, self._turn_ns, slot.facts, frames)

    def _listen(self, deadline_ns: int | None) -> None:
        timeout = 0.5 if deadline_ns is None else max(0.0, min(0.5, (deadline_ns - time.monotonic_ns()) / 1e9))
        threads = (self._feeder, self._reader)
        watched: list[waiting.HasFileno] = [*threads, *(lane.worker for lane in self._lanes)]
        readable = waiting.readable(watched, timeout)
        for thread in threads:
            if thread in readable:
                thread.acknowledge()
        for lane in self._lanes:
            if lane.worker in readable:
                try:
                    outcome = lane.worker.receive()
                except BrokenError as error:
                    self._broken(lane, str(error))
                else:
                    if outcome is not None:
                        self._took(lane, outcome)

    def _took(self, lane: _Lane, outcome: Outcome) -> None:
        slot, planned = lane.busy.pop(outcome.number)
        if outcome.status == warden.LATE:
            self._put_late(outcome.number, slot)
        elif outcome.status == warden.FAILED:
            self._failed(outcome.number, slot, outcome.data.decode(errors="replace"))
        else:
            self._let_go(outcome.number, slot)
            self._ended += 1
            if self._pool._on_run is not None:
                self._pool._on_run(_run(slot.index, lane.core, planned, outcome))
            self._reader.put(slot.index, outcome.data)

    def _let_go(self, position: int, slot: Slot) -> None:
        if slot.frames is None:
            return
        # A warden says 'done' when the guest is gone; nobody has waited for the end of one that failed or came late.
        if position in self._retried:
            slot.frames.close()
        else:
            slot.frames.reuse()

    def _failed(self, position: int, slot: Slot, reason: str) -> None:
        self._failures[position] = self._failures.get(position, 0) + 1
        self._retried.add(position)
        self._late.append((position, slot))
        self._late_bytes += slot.frames_bytes
        if self._failures[position] > 1:
            raise SandboxBroken(f"the sandbox failed twice under slot {slot.index}: {reason}")

    def _broken(self, lane: _Lane, reason: str) -> None:
        if lane.restarts == _RESTARTS:
            raise SandboxBroken(f"a worker ended {_RESTARTS + 1} times: {reason}")
        lost, lane.busy = lane.busy, {}
        try:
            for position in list(lost):
                slot, _ = lost.pop(position)
                self._failed(position, slot, reason)
        finally:
            lane.busy = lost
        self._pool._restart(lane)

    def give_back(self) -> None:
        """Close the frames of slots that had no end."""
        for lane in self._lanes:
            for slot, _ in lane.busy.values():
                slot.close()
            lane.busy.clear()
        for _, slot in self._late:
            slot.close()
        self._late.clear()
