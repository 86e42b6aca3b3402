"""The clock of the services, replaced in tests."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Microseconds since the unix epoch, UTC."""


def system_clock() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000
