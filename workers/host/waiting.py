"""Waiting for descriptors in a process that may have many (select(2) knows no number beyond 1,023), and for threads."""

import math
import os
import select
import threading
from collections.abc import Iterable
from typing import Protocol, TypeVar


class HasFileno(Protocol):
    """What can be waited for."""

    def fileno(self) -> int:
        """Its descriptor."""


Watched = TypeVar("Watched", bound=HasFileno)


def readable(watched: Iterable[Watched], timeout_seconds: float) -> list[Watched]:
    """Those of `watched` that can be read, or whose other end is gone, once there is one; none after the timeout."""
    waiting = select.poll()
    by_number = {one.fileno(): one for one in watched}
    for number in by_number:
        waiting.register(number, select.POLLIN)
    return [by_number[number] for number, _ in waiting.poll(math.ceil(timeout_seconds * 1000))]


class Announcing(threading.Thread):
    """A daemon thread beside the one that runs a pool: `fileno` becomes readable when something has changed.

    It works on `cores`, if any are named; `error` is what ended it.
    """

    def __init__(self, name: str, cores: frozenset[int]) -> None:
        super().__init__(name=name, daemon=True)
        self._cores = cores
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.error: BaseException | None = None

    def fileno(self) -> int:
        """For `readable`."""
        return self._event

    def acknowledge(self) -> None:
        """Make `fileno` unreadable until the next change."""
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return

    def announce(self) -> None:
        """Something has changed."""
        os.eventfd_write(self._event, 1)

    def pin(self) -> None:
        """Called in the thread: to its cores."""
        if self._cores:
            os.sched_setaffinity(0, self._cores)

    def end(self) -> None:
        """Wait for its end, and close `fileno`."""
        self.join()
        os.close(self._event)
