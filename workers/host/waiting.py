"""Waiting for descriptors in a process that may have many: select(2) knows no number beyond 1,023."""

import math
import select
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
