"""Loads an executable's weights as a run would, in a sandbox of its own, to see whether they can be loaded at all."""

import os

from workers import wire
from workers.host.pool import ExecutableSpec, LocalPool

_TABLE = wire.TableSpec((wire.ColumnSpec("n", "NUMBER", 0),), 1)
_TIMEOUT_US = 1_000_000


def try_loading(source: bytes) -> None:
    """Returns if the weights of this bundle can be loaded; none of its own code runs.

    Raises ExecutableRefused, which says why they cannot, SandboxUnavailable, ValueError.
    """
    spec = ExecutableSpec("", source, _TABLE, _TIMEOUT_US)
    with LocalPool(spec, "open", (min(os.sched_getaffinity(0)),)):
        pass
