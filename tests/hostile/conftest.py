"""The arenas of each backend: the same tests on all of them.

A container of its own for each of some 200 attacks takes minutes, so `arena` is slow under `oci`; `every_arena` is for
the tests that put many attacks into one guest, and for what looks at the pool from outside.
"""

from collections.abc import Iterator

import pytest

from tests.hostile.arena import TIMEOUT_US, Arena, make_arena
from workers.host.backends import BACKENDS

SLOW_US, PATIENT_US = 10_000_000, 20_000_000


@pytest.fixture(scope="session", params=["fork", "exec", pytest.param("oci", marks=pytest.mark.slow)])
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    # A second kernel is slow where the machine is busy, and a slot that is late to end says nothing of an attack.
    yield from make_arena(backend=request.param, timeout_us=SLOW_US if request.param == "oci" else TIMEOUT_US)


@pytest.fixture(scope="session", params=BACKENDS)
def every_arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    yield from make_arena(backend=request.param, timeout_us=PATIENT_US)
