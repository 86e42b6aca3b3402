"""The arena of each backend; more backends are more parameters here, and the same tests."""

from collections.abc import Iterator

import pytest

from tests.hostile.arena import Arena, make_arena


@pytest.fixture(scope="session", params=["fork"])
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    assert request.param == "fork"
    yield from make_arena()
