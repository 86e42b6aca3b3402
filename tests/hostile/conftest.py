"""The arenas of each backend: the same tests on all of them.

A container of its own for each of some 200 attacks takes minutes, so `arena` is slow under `oci`; `every_arena` is for
the tests that put many attacks into one guest, and for what looks at the pool from outside.
"""

from collections.abc import Iterator

import pytest

from tests.hostile.arena import Arena, make_arena
from workers.host.backends import BACKENDS

PATIENT_US = 20_000_000


@pytest.fixture(scope="session", params=["fork", "exec", pytest.param("oci", marks=pytest.mark.slow)])
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    yield from make_arena(backend=request.param)


@pytest.fixture(scope="session", params=BACKENDS)
def every_arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    yield from make_arena(backend=request.param, timeout_us=PATIENT_US)
