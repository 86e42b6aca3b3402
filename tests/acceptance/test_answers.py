"""What analysts get, when, and what it costs: through the real programs."""

import threading
import time
from collections.abc import Callable

import pytest

from privid.client import CallFailed
from privid.testing.system import LocalSystem, wait_until
from tests.support.minute import COUNT_FRAMES, query

BEHAVIOURS = {
    "quick": COUNT_FRAMES,
    "dawdles": b"import time\ndef process(chunk):\n    time.sleep(0.12)\n    yield {'n': len(chunk.frames)}\n",
    "never ends": b"def process(chunk):\n    while True:\n        pass\n",
}


@pytest.mark.parametrize("behaviour", list(BEHAVIOURS))
def test_an_answer_is_visible_at_its_public_time_and_not_before(
    install: Callable[..., LocalSystem], behaviour: str
) -> None:
    system = install()
    with system.client(system.add_analyst("alice", "plaza")) as client:
        client.upload("frames.py", BEHAVIOURS[behaviour])
        submitted = client.submit(query()).query
        explained = client.explain(query())
        assert submitted.visible_us - submitted.submitted_us <= explained["public_time_s"] * 1e6
        states = []
        for progress in client.watch(submitted.id):
            states.append(progress.query.state)
            if progress.query.state == "released":
                assert progress.now_us >= submitted.visible_us
                break
            with pytest.raises(CallFailed) as early:
                client.result(submitted.id)
            assert early.value.code == "not_visible"
        assert progress.query.visible_us == submitted.visible_us
        assert client.result(submitted.id).tables[0].rows[0][0].value is not None
        assert set(states) <= {"reserved", "running", "released"}


def test_the_same_question_again_is_free_and_the_same(install: Callable[..., LocalSystem]) -> None:
    system = install(timing="open")
    with system.client(system.add_analyst("alice", "plaza")) as client:
        client.upload("frames.py", COUNT_FRAMES)
        first = client.submit(query(), request_id="request-one").query
        *_, _last = client.watch(first.id)
        answer = client.result(first.id)
        again = client.submit(query(), request_id="request-one")
        assert (again.existing, again.query.id) == (True, first.id)
        reworded = client.submit(query(select="Sum( range(n, 0, 2) ) as frames").replace("\n", "\n\n"))
        assert reworded.shared
        assert dict(reworded.query.charges) == {"plaza": 0}
        shared = client.result(reworded.query.id)
        assert [table.rows for table in shared.tables] == [table.rows for table in answer.tables]
        assert [table.columns for table in (*answer.tables, *shared.tables)] == [("sum_1",), ("frames",)]
        assert answer.values_only
        with pytest.raises(CallFailed) as dear:
            client.submit(query(epsilon="0.5"))
        assert dear.value.code == "budget_exceeded"


def test_of_two_at_the_same_moment_one_is_admitted(install: Callable[..., LocalSystem]) -> None:
    system = install()
    tokens = [system.add_analyst(name, "plaza") for name in ("alice", "bob")]
    outcomes: list[str] = []
    together = threading.Barrier(2)

    def submit(token: str, select: str) -> None:
        with system.client(token) as client:
            client.upload("frames.py", COUNT_FRAMES)
            together.wait()
            try:
                client.submit(query(epsilon="0.6", select=select))
            except CallFailed as error:
                outcomes.append(error.code)
            else:
                outcomes.append("admitted")

    selects = ("SUM(RANGE(n, 0, 2))", "SUM(RANGE(n, 0, 3))")
    threads = [threading.Thread(target=submit, args=pair) for pair in zip(tokens, selects, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["admitted", "budget_exceeded"]


def test_a_cancelled_query_gives_back_what_had_not_started(install: Callable[..., LocalSystem]) -> None:
    system = install()
    with system.client(system.add_analyst("alice", "plaza")) as client:
        client.upload("frames.py", COUNT_FRAMES)
        running = client.submit(query(epsilon="0.5")).query
        waiting = client.submit(query(epsilon="0.5", select="SUM(RANGE(n, 0, 50))")).query
        assert waiting.starts_us >= running.visible_us
        assert client.cancel(waiting.id).state == "cancelled"
        another = client.submit(query(epsilon="0.5", select="SUM(RANGE(n, 0, 60))")).query
        assert another.state == "reserved"
        while client.queries()[-1].state == "reserved":
            time.sleep(0.1)
        client.cancel(running.id)
        with pytest.raises(CallFailed) as used:
            client.submit(query(epsilon="0.5", select="SUM(RANGE(n, 0, 70))"))
        assert used.value.code == "budget_exceeded"
    wait_until(lambda: not (system.home.spool / running.id).exists())
