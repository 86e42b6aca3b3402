"""Runs one executable on one chunk, inside the sandbox. From here on nothing is trusted, this module included.

The host's confinement is complete before `run` is called; the only way out is the descriptor `out`.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from typing import NoReturn

from workers import wire
from workers.guest.chunk import Chunk
from workers.guest.modules import Sources


def rows_of(result: object) -> Iterable[Mapping[str, object]]:
    """The rows in what `process` gave back: None, one mapping, or any iterable of mappings."""
    if result is None:
        return ()
    if isinstance(result, Mapping):
        return (result,)
    if isinstance(result, Iterable):
        return result
    raise TypeError(f"process(chunk) returns or yields dicts, not {type(result).__name__}")


def encode(result: object, table: wire.TableSpec) -> bytes:
    """A slot's complete output. Stops after `max_rows` rows, so an endless generator ends.

    What does not count is said on standard error, which is read in try-outs only.
    """
    parts: list[bytes] = []
    columns = {column.name for column in table.columns}
    ignored: set[str] = set()
    for row in rows_of(result):
        if len(parts) == table.max_rows:
            _note(f"PRODUCING lets the first {table.max_rows} rows count, and there are more")
            break
        parts.append(wire.encode_row(row, table.columns, ignored))
        ignored.update(set(row) - columns)
    if ignored:
        names = ", ".join(sorted(map(str, ignored)))
        _note(f"WITH SCHEMA has no such column, or the value is not of its type: {names}")
    return b"".join(parts) + wire.END


def _note(text: str) -> None:
    with contextlib.suppress(Exception):  # the executable may have closed it
        print(f"privid: {text}", file=sys.stderr)


def print_error(sources: Sources, error: BaseException) -> None:
    """Print an executable's traceback, from its own first frame on, with its source lines; none of the system's."""
    sources.show_lines()
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename not in sources:
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


def run(sources: Sources, chunk: Chunk, table: wire.TableSpec, out: int) -> NoReturn:
    """Import the executable, call `process(chunk)`, write its rows, end the process whatever it left running."""
    status = 0
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what was printed before a timeout counts
    try:
        output = memoryview(encode(sources.run().process(chunk), table))
        while output:
            output = output[os.write(out, output) :]
    except BaseException as error:  # noqa: BLE001  SystemExit and KeyboardInterrupt are a crash like any other
        status = 1
        print_error(sources, error)
    with contextlib.suppress(BaseException):  # what it printed is read in try-outs only
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
