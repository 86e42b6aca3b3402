"""Questions about what is just being recorded: a real camera, recorder and server, and windows in the future."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from privid.client import CallFailed, Client, OwnerClient, Target
from privid.domain.units import SECOND
from privid.testing.system import LocalSystem, wait_until
from tests.support.minute import PLENTY, POLICY
from tests.support.rtsp import FPS, Recorder, Server, write_source

DELAY_SECONDS = 15
"""From a window's end until it is answered: room for its last segment to be stored, also on a slow machine."""
COUNT_FRAMES = f"def process(chunk):\n    yield {{'n': len(chunk.frames) / {FPS}}}\n".encode()
SQL = """
SPLIT gate BEGIN {begin} END {end} {every} BY TIME 1s INTO chunks;
PROCESS chunks USING 'frames.py' TIMEOUT 500ms PRODUCING EXACTLY 1 ROWS WITH SCHEMA (n:NUMBER=0) INTO t;
SELECT SUM(RANGE(n, 0, 2)) AS frames FROM t CONSUMING {epsilon};
"""


@dataclass
class Gate:
    """An installation whose camera is being recorded; `began` is the second in which that began."""

    system: LocalSystem
    recorder: Recorder
    camera: Server
    token: str
    began: int

    def sql(self, begin: int, end: int, every: str = "") -> str:
        return SQL.format(begin=begin, end=end, every=every, epsilon=PLENTY / 4)

    def states(self, begin: int, end: int) -> set[str]:
        """What an owner sees of these seconds."""
        token = self.system.home.owner_token.read_text().strip()
        with OwnerClient(Target(self.system.owners, token)) as owner:
            return {state for _, _, state in owner.timeline("gate", begin * SECOND, end * SECOND).spans}

    def seconds_stored(self, begin: int, end: int) -> float:
        return len(self.recorder.catalog.frame_times("gate", begin * SECOND, end * SECOND)) / FPS


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    write_source(tmp_path)
    system = LocalSystem(tmp_path / "home", {"PRIVID_WINDOW_DELAY_SECONDS": str(DELAY_SECONDS)})
    camera = Server(tmp_path).start()
    recorder = Recorder(tmp_path, {}, 'segment = "1s"\n')
    try:
        with system:
            system.run("privid-admin", "camera", "add", "gate", "--url", camera.url())
            policy = tmp_path / "policy.toml"
            text = POLICY.format(epsilon=PLENTY, timing="open")
            policy.write_text(text.replace("camera.plaza", "camera.gate").replace("fps = 10", f"fps = {FPS}"))
            system.run("privid-admin", "policy", "apply", policy, "--yes")
            token = system.add_analyst("alice", "gate")
            with system.client(token) as client:
                client.upload("frames.py", COUNT_FRAMES)
            recorder.start()
            wait_until(lambda: recorder.catalog.recorded("gate"))
            recorded = recorder.catalog.recorded("gate")
            assert recorded is not None
            yield Gate(system, recorder, camera, token, recorded.begin_us // SECOND)
    finally:
        recorder.stop(9)
        camera.kill()


def answer(client: Client, query_id: str) -> float:
    """Waits for it."""
    *_, last = client.watch(query_id)
    assert last.query.state == "released"
    return float(client.result(query_id).tables[0].rows[0][0].value)


@pytest.mark.timeout(400)
def test_windows_in_the_future_read_what_is_recorded_meanwhile(gate: Gate) -> None:
    begin = int(time.time()) + 6
    end = begin + 6
    assert gate.states(begin, end) == {"unknown"}
    with gate.system.client(gate.token) as client:
        single = client.submit(gate.sql(begin, end)).query
        standing = client.submit(gate.sql(begin, end, "EVERY 3 s")).query
        assert single.state == "reserved"
        assert standing.standing is not None
        assert standing.standing.windows == 2
        # What is over and was never recorded is refused at once; what is to come is not.
        with pytest.raises(CallFailed, match="recorded nothing"):
            client.submit(gate.sql(gate.began - 60, gate.began - 50))

        assert answer(client, single.id) == pytest.approx(6.0, abs=0.2)
        wait_until(lambda: client.windows(standing.id)[0].over, 120)
        _, windows = client.windows(standing.id)
        answers = [answer(client, window.id) for window in windows]
        assert answers == pytest.approx([3.0, 3.0], abs=0.2)
        assert gate.seconds_stored(begin, end) == pytest.approx(6.0, abs=0.1)
        assert gate.states(begin, end) == {"covered"}

        # The camera is gone: what is missing is a gap, which can be asked about and has no frames.
        gate.camera.kill()
        wait_until(lambda: gate.recorder.catalog.gaps("gate", end * SECOND, 1 << 61))
        (gap, *_) = gate.recorder.catalog.gaps("gate", end * SECOND, 1 << 61)
        lost = -(-gap.begin_us // SECOND)
        wait_until(lambda: gate.states(lost, lost + 3) == {"gap"}, 120)
        assert answer(client, client.submit(gate.sql(lost, lost + 3)).query.id) == pytest.approx(0.0, abs=0.1)
    assert gate.recorder.stop() == 0
