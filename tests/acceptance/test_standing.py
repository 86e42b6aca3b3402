"""A question that repeats, on a real server in real time: windows of 5 s over video that lies in the near future."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from privid.client import CallFailed, Client
from privid.testing.system import LocalSystem, wait_until
from privid.testing.video import write_clip
from tests.support.minute import COUNT_FRAMES, PLENTY, POLICY

SECONDS = 5
SQL = """
SPLIT plaza BEGIN {begin} END {end} {every} BY TIME 1s INTO chunks;
PROCESS chunks USING 'frames.py' TIMEOUT 500ms PRODUCING EXACTLY 1 ROWS WITH SCHEMA (n:NUMBER=0) INTO t;
SELECT SUM(RANGE(n, 0, 2)) AS frames FROM t CONSUMING {epsilon};
"""


@dataclass
class Plaza:
    """An installation whose camera has a minute of video that begins `begin` seconds after 1970."""

    system: LocalSystem
    token: str
    begin: int

    def sql(self, end: str, every: str = f"EVERY {SECONDS} s", epsilon: float = PLENTY) -> str:
        return SQL.format(begin=self.begin, end=end, every=every, epsilon=epsilon)

    def client(self) -> Client:
        return self.system.client(self.token)


@contextmanager
def installed(folder: Path, timing: str) -> Iterator[Plaza]:
    system = LocalSystem(folder / "home", {"PRIVID_WINDOW_DELAY_SECONDS": "0.5"}, log_level="debug")
    clip = write_clip(folder / "clip.mp4", frames=600, gop=50)
    with system:
        policy = folder / "policy.toml"
        policy.write_text(POLICY.format(epsilon=PLENTY, timing=timing))
        system.run("privid-admin", "camera", "add", "plaza")
        system.run("privid-admin", "policy", "apply", policy, "--yes")
        token = system.add_analyst("alice", "plaza")
        begin = int(time.time()) + 6
        start = datetime.fromtimestamp(begin, UTC).isoformat()
        system.run("privid-ingest", "import", clip, "--camera", "plaza", "--start", start)
        with system.client(token) as client:
            client.upload("frames.py", COUNT_FRAMES)
        yield Plaza(system, token, begin)


@pytest.fixture
def plaza(tmp_path: Path) -> Iterator[Plaza]:
    with installed(tmp_path, "open") as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("timing", ["slotted", "open"])
def test_windows_are_answered_one_after_the_other(tmp_path: Path, timing: str) -> None:
    with installed(tmp_path, timing) as plaza:
        follow(plaza, tmp_path)


def follow(plaza: Plaza, tmp_path: Path) -> None:
    """A series through a kill of the server, to its last answer."""
    end = str(plaza.begin + 3 * SECONDS)
    query = tmp_path / "every.sql"
    query.write_text(plaza.sql(end))
    submitted = plaza.system.json("privid", "submit", query, "--no-upload", token=plaza.token)
    assert submitted["standing"]["windows"] == 3
    assert submitted["charges"] == [{"camera": "plaza", "epsilon": pytest.approx(PLENTY)}]
    query_id = submitted["query_id"]
    with plaza.client() as client:
        assert [q.id for q in client.queries()] == [query_id]
        _, windows = client.windows(query_id)
        assert [w.window.begin_us // 10**6 - plaza.begin for w in windows if w.window] == [0, SECONDS, 2 * SECONDS]
        with pytest.raises(CallFailed, match="each window"):
            client.result(query_id)
        first = plaza.system.json("privid", "watch", query_id, token=plaza.token)
        assert first["query_id"] == windows[0].id
        assert first["released_us"] >= (plaza.begin + SECONDS) * 10**6 + 500_000
        # Dead while the second and the third become due: nothing is lost, nothing is charged twice.
        plaza.system.kill()
        time.sleep(max(0.0, plaza.begin + 3 * SECONDS + 1 - time.time()))
        plaza.system.start()
    with plaza.client() as client:
        wait_until(lambda: client.windows(query_id)[0].over, 60)
    document = plaza.system.json("privid", "result", query_id, token=plaza.token)
    answers = [window["result"]["tables"][0]["rows"][0][0]["value"] for window in document["windows"]]
    assert answers == pytest.approx([2.5, 2.5, 2.5], abs=0.1)
    shown = plaza.system.run("privid", "result", query_id, token=plaza.token).stdout
    assert "3 of 3 windows released" in shown
    listed = plaza.system.run("privid", "list", token=plaza.token).stdout
    assert "released 3/3" in listed


def test_a_window_waits_for_its_video_and_what_has_not_started_is_given_back(plaza: Plaza) -> None:
    never, first_end = plaza.sql("NEVER HORIZON 30 s"), plaza.begin + SECONDS
    with plaza.client() as client:
        query = client.submit(never).query
        assert query.standing is not None
        assert query.standing.windows == 6
        with pytest.raises(CallFailed, match="used up"):
            client.submit(never.replace("SUM(RANGE(n, 0, 2))", "SUM(RANGE(n, 0, 1))"))
        *_, last = client.watch(query.standing.next_query)
        assert last.query.state == "released"
        assert last.now_us >= last.query.visible_us >= first_end * 10**6 + 500_000
        assert client.result(last.query.id).tables[0].rows[0][0].value == pytest.approx(2.5, abs=0.1)
        cancelled = client.cancel(query.id)
        assert cancelled.standing is not None
        assert cancelled.standing.released + cancelled.standing.cancelled == 6
        # The same again: the answer that is there is free, and the charge of the others has been returned.
        again = client.submit(never)
        assert not again.shared
        assert client.windows(again.query.id)[1][0].state == "released"


def test_a_single_window_in_the_future_waits_too(plaza: Plaza) -> None:
    end = plaza.begin + 3_600
    with plaza.client() as client:
        query = client.submit(plaza.sql(str(end), every="")).query
        assert query.standing is None
        assert query.state == "reserved"
        assert query.visible_us == end * 10**6 + 500_000
        assert client.cancel(query.id).state == "cancelled"


def test_a_new_policy_is_confirmed_with_what_it_cancels(plaza: Plaza) -> None:
    with plaza.client() as client:
        later = replace(plaza, begin=plaza.begin + 3_600)
        query = client.submit(later.sql("NEVER HORIZON 20 s")).query
        assert query.standing is not None
        for one in (query.id, query.standing.next_query):
            assert "frames" in plaza.system.run("privid-admin", "queries", "show", one).stdout
        longer = plaza.system.json("privid-admin", "policy", "set", "plaza", "--rho", "9s", "--yes")
        assert any(
            "4 windows of standing queries would be planned again" in w for w in longer["changes"][0]["warnings"]
        )
        assert {window.state for window in client.windows(query.id)[1]} == {"reserved"}
        # A window of five chunks takes half of what one takes that a presence period of 9 s can fill.
        change = ("privid-admin", "policy", "set", "plaza", "--epsilon", str(PLENTY / 2 - 1))
        refused = plaza.system.run(*change, "--json", check=False)
        assert refused.returncode == 2
        document = json.loads(plaza.system.run(*change, "--yes", "--json").stdout)
        assert any("4 windows of standing queries no longer fit" in line for line in document["changes"][0]["warnings"])
        _, windows = client.windows(query.id)
        assert {window.state for window in windows} == {"cancelled"}
        assert all("budget is used up" in window.note for window in windows)
        with pytest.raises(CallFailed, match="policy version 3 of plaza"):
            client.result(windows[0].id)
