"""A refusal offers what is really admitted: through the real programs, language, calculus and ledger."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from privid.client import CallFailed
from privid.domain.units import SECOND
from privid.testing.system import LocalSystem
from tests.support.minute import COUNT_FRAMES, START_US, query

CHUNK_US = 2 * SECOND


def over(begin_us: int, end_us: int, select: str, epsilon: str = "0.8") -> str:
    begin, end = (datetime.fromtimestamp(us // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for us in (begin_us, end_us))
    asked = query(epsilon=epsilon, select=select)
    return asked.replace("2026-09-01T13:00:00Z", begin).replace("2026-09-01T13:01:00Z", end)


def refused(client, text: str) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        client.submit(text)
    return caught.value


def test_the_offered_window_is_admitted_and_one_chunk_more_is_not(install: Callable[..., LocalSystem]) -> None:
    system = install()
    whole = START_US, START_US + 60 * SECOND
    with system.client(system.add_analyst("alice", "plaza")) as client:
        client.upload("frames.py", COUNT_FRAMES)
        client.submit(over(START_US + 16 * SECOND, START_US + 24 * SECOND, "SUM(RANGE(n, 0, 2))", "0.5"))
        error = refused(client, over(*whole, "SUM(RANGE(n, 0, 3))"))
        assert error.code == "budget_exceeded"
        assert error.refusals[0].camera == "plaza"
        assert error.admissible_window is not None
        begin, end = error.admissible_window
        assert end == whole[1]
        assert START_US + 20 * SECOND < begin < START_US + 30 * SECOND
        explained = client.explain(over(*whole, "SUM(RANGE(n, 0, 3))"))
        assert explained["admissible_window"] == {"from_us": begin, "to_us": end}
        assert client.explain(over(begin, end, "SUM(RANGE(n, 0, 3))"))["admissible_window"] is None
        assert refused(client, over(begin - CHUNK_US, end, "SUM(RANGE(n, 0, 3))")).code == "budget_exceeded"
        assert client.submit(over(begin, end, "SUM(RANGE(n, 0, 3))")).query.state == "reserved"


def test_an_analysts_limit_is_kept_by_the_real_server(install: Callable[..., LocalSystem]) -> None:
    system = install()
    whole = START_US, START_US + 60 * SECOND
    with system.client(system.add_analyst("alice", "plaza")) as client:
        client.upload("frames.py", COUNT_FRAMES)
        system.run("privid-admin", "analyst", "limit", "alice", "--epsilon", "0.3")
        error = refused(client, over(*whole, "SUM(RANGE(n, 0, 2))", "0.4"))
        assert error.code == "limit_exceeded"
        assert error.admissible_epsilon_nano is not None
        assert 0 < error.admissible_epsilon_nano <= 300_000_000
        assert client.submit(over(*whole, "SUM(RANGE(n, 0, 2))", "0.3")).query.state == "reserved"
        assert refused(client, over(*whole, "SUM(RANGE(n, 0, 3))", "0.1")).code == "limit_exceeded"
        (taken,) = system.json("privid-admin", "analyst", "show", "alice")["spent"]
        assert (taken["camera"], taken["queries"]) == ("plaza", 1)
        forecast = system.json("privid-admin", "budget", "forecast", "plaza")
        assert (forecast["queries"], forecast["such"]["times_least"]) == (1, 2)
