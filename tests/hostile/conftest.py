"""The arena of each backend: the same tests on all of them."""

from collections.abc import Iterator

import pytest

from tests.hostile.arena import Arena, make_arena
from workers.host.backends import BACKENDS


@pytest.fixture(scope="session", params=BACKENDS)
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    yield from make_arena(backend=request.param)
