"""Reads what guests wrote, in a thread of its own: a long table must not hold up the slots after it."""

import threading
from collections import deque
from collections.abc import Callable

from workers import wire
from workers.host.waiting import Announcing
from workers.wire import Row

_BACKLOG_BYTES = 256 * 2**20
"""Outputs that may wait; beyond that whoever brings more is held up."""


class Reader(Announcing):
    """Parses outputs and hands their rows to `on_rows`, in the order in which they came. One for each run of a pool."""

    def __init__(
        self, table: wire.TableSpec, on_rows: Callable[[int, tuple[Row, ...]], None], cores: frozenset[int]
    ) -> None:
        super().__init__("privid-reader", cores)
        self._table = table
        self._on_rows = on_rows
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._stopped = False
        self.finished = 0
        """Outputs whose rows `on_rows` has taken."""

    def put(self, index: int, output: bytes) -> None:
        """Hand over one slot's output."""
        with self._changed:
            self._changed.wait_for(lambda: self._bytes <= _BACKLOG_BYTES or self.error is not None)
            self._waiting.append((index, output))
            self._bytes += len(output)
            self._changed.notify_all()

    def run(self) -> None:
        """The thread: until `on_rows` fails or the reader is stopped."""
        try:
            self.pin()
            while (found := self._next()) is not None:
                index, output = found
                self._on_rows(index, wire.parse_rows(output, self._table))
                with self._changed:
                    self._bytes -= len(output)
                    self.finished += 1
                    self._changed.notify_all()
                self.announce()
        except BaseException as error:  # noqa: BLE001  handed over to the thread that runs the pool
            with self._changed:
                self.error = error
                self._changed.notify_all()
            self.announce()

    def _next(self) -> tuple[int, bytes] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._waiting)
            return None if self._stopped else self._waiting.popleft()

    def stop(self) -> None:
        """End the thread, after the output that it is at; the others are dropped."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self.end()
