"""Runs of an executable on the chunks of a video file, in the sandbox or plainly.

Both use the guest's own code for rows, so they give the same rows for the same frames; only the walls differ. What one
run did is told in full here, which is why it must never be done with video that the analyst may not see.
"""

import mmap
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from privid.engine.slots import table_spec
from privid.trial.footage import Footage
from privid.video.chunking import Chunk
from query_lang.logical import Process
from workers import bundle, wire
from workers.guest import chunk as guest_chunk
from workers.guest import main as guest_main
from workers.guest import model as guest_model
from workers.guest import weights as guest_weights
from workers.guest.modules import Sources
from workers.host import backends
from workers.host.feeder import Slot
from workers.host.pool import ExecutableSpec, LocalPool, Run
from workers.inference.local import local
from workers.inference.spec import ModelSpec

LOG_BYTES = 1 << 16
"""What is kept of what one run prints."""

Rows = tuple[wire.Row, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run on one chunk: its rows, how long it took (milliseconds of wall time) and, in the sandbox, its log.

    `region` is empty without BY REGION; with it there is a run for each region of a chunk. `fault` says what went
    wrong, if anything did: then there is the default row. Plain runs are never timed out.
    """

    chunk: Chunk
    frames: int
    rows: Rows
    took_ms: float
    fault: str | None
    log: str = ""
    region: str = ""


Report = Callable[[Attempt], None]
"""Called with each attempt as it ends."""


def sandboxed(
    process: Process,
    source: bytes,
    footage: Footage,
    chunks: tuple[Chunk, ...],
    report: Report,
    model: bytes | None = None,
) -> None:
    """Run `source` on each chunk as a query would, one after the other, with its log; `model` is that of WITH MODEL.

    Raises SandboxUnavailable, SandboxBroken, BadVideoFile, OSError.
    """
    called = None if model is None else ModelSpec(model)
    spec = ExecutableSpec("", source, table_spec(process), process.timeout_us, model=called)
    ran: dict[int, Run] = {}
    frames: dict[int, int] = {}
    regions = footage.regions(process.split)
    by_index = {chunk.index: chunk for chunk in chunks}

    def slots() -> Iterator[Slot]:
        for slot in footage.slots(process.split, chunks, spec.colour):
            frames[slot.index] = slot.frame_count
            yield slot

    def finished(index: int, rows: Rows) -> None:
        run = ran.pop(index)
        took_ms = (run.ended_ns - run.started_ns) / 1e6
        log = run.log.decode("utf-8", "replace")
        chunk, region = by_index[index // len(regions)], regions[index % len(regions)]
        report(Attempt(chunk, frames[index], rows, took_ms, run.fault, log, region))

    core = (max(os.sched_getaffinity(0)),)
    backend = backends.choose("fork", program=spec.is_program).name
    with LocalPool(
        spec, "open", core, backend=backend, log_bytes=LOG_BYTES, on_run=lambda run: ran.update({run.index: run})
    ) as pool:
        pool.run(slots(), len(chunks) * len(regions), finished)


def plain(
    process: Process,
    source: bytes,
    footage: Footage,
    chunks: tuple[Chunk, ...],
    report: Report,
    model: bytes | None = None,
) -> None:
    """Run `source` on each chunk in this process, without walls and without a limit of time.

    The module is loaded anew for each chunk, as in the sandbox; what it leaves elsewhere stays. It prints where this
    process does. Raises BadVideoFile, OSError; NotAModel, RuntimeMissing.
    """
    table = table_spec(process)
    executable = bundle.read(source)
    guest_weights.load(executable)
    guest_model.attach(None if model is None else local(model))
    sources = Sources(executable.sources, executable.manifest.entry)
    by_index = {chunk.index: chunk for chunk in chunks}
    each = len(footage.regions(process.split))
    for slot in footage.slots(process.split, chunks, executable.manifest.colour):
        view = memoryview(b"")
        if slot.frames is not None:
            view = memoryview(mmap.mmap(slot.frames.fd, slot.frames_bytes, mmap.MAP_SHARED, mmap.PROT_READ))
        given = guest_chunk.unpack(slot.facts, view)
        started, fault = time.perf_counter(), None
        try:
            output = guest_main.encode(sources.run().process(given), table)
        except Exception as error:  # noqa: BLE001  whatever it is, the chunk gets its default row
            guest_main.print_error(sources, error)
            output, fault = b"", "crashed"
        finally:
            sources.forget()
        took_ms = (time.perf_counter() - started) * 1000
        rows = wire.parse_rows(output, table)
        report(Attempt(by_index[slot.index // each], slot.frame_count, rows, took_ms, fault, region=slot.region))
        slot.close()
