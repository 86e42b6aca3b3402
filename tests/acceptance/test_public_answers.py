"""What no video can change costs nothing, and is answered all the same."""

from collections.abc import Callable

import pytest

from privid.testing.system import LocalSystem
from tests.support.minute import COUNT_FRAMES, query


def test_a_public_answer_is_exact_and_free(install: Callable[..., LocalSystem]) -> None:
    system = install(timing="open")
    with system.client(system.add_analyst("alice", "plaza")) as client:
        client.upload("frames.py", COUNT_FRAMES)
        submitted = client.submit(query(select="COUNT(*)")).query
        assert dict(submitted.charges) == {"plaza": 0}
        *_, _last = client.watch(submitted.id)
        (estimate,) = client.result(submitted.id).tables[0].rows[0]
        assert (estimate.value, estimate.noise_scale) == (30, None)
        whole = client.submit(query()).query  # the whole budget is still there
        assert whole.charges["plaza"] == pytest.approx(10**9, rel=1e-6)
