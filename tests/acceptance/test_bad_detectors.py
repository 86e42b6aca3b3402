"""A detector that misbehaves in one chunk changes that chunk's rows to the default row, and nothing else shows."""

from collections.abc import Callable

import pytest

from privid.testing.system import LocalSystem, descendants
from tests.support.minute import PLENTY, START_US, query

MISBEHAVIOUR = {
    "crashes": "raise RuntimeError('seen something')",
    "kills itself": "os.kill(os.getpid(), 9)",
    "hangs": "time.sleep(1000)",
    "floods": "while True: os.write(1, b'x' * 65536)",
    "floods rows": "yield from ({'n': i} for i in range(10**7))",
    "forks": "os.fork() or time.sleep(1000)",
    "opens sockets": "socket.socket()",
    "returns garbage": "yield 'garbage'",
    "returns a pickle": "yield {'n': pickle.dumps(1)}",
    "exits": "os._exit(3)",
    "exhausts memory": "x = bytearray(64 << 30)",
}
SOURCE = """
import os, pickle, socket, time
def process(chunk):
    if chunk.start_us == {bad}:
        {deed}
        yield {{'n': 1}}
    yield {{'n': len(chunk.frames) / 20}}
"""
BAD_CHUNK = START_US + 7 * 2_000_000


@pytest.fixture(scope="module")
def system(module_install: Callable[..., LocalSystem]) -> LocalSystem:
    return module_install(epsilon=20 * PLENTY, timing="open")


@pytest.fixture(scope="module")
def token(system: LocalSystem) -> str:
    return system.add_analyst("mallory", "plaza")


def answer(system: LocalSystem, token: str, name: str, source: str) -> tuple[float, dict[str, object]]:
    with system.client(token) as client:
        client.upload(name, source.encode())
        submitted = client.submit(query(name, timeout="2s", default=2, epsilon=str(PLENTY))).query
        *_, last = client.watch(submitted.id)
        shown = {"state": last.query.state, "charges": last.query.charges}
        return client.result(submitted.id).tables[0].rows[0][0].value, shown


@pytest.fixture(scope="module")
def well_behaved(system: LocalSystem, token: str) -> tuple[float, dict[str, object]]:
    return answer(system, token, "good.py", SOURCE.format(bad=0, deed="pass"))


@pytest.mark.parametrize("deed", list(MISBEHAVIOUR))
def test_only_its_own_chunk_changes(
    system: LocalSystem, token: str, well_behaved: tuple[float, dict[str, object]], deed: str
) -> None:
    good, expected = well_behaved
    assert good == pytest.approx(30, abs=0.1)
    name = deed.replace(" ", "_") + ".py"
    value, shown = answer(system, token, name, SOURCE.format(bad=BAD_CHUNK, deed=MISBEHAVIOUR[deed]))
    kept = 0 if deed == "floods rows" else 2  # the first row is a row; otherwise it is the default
    assert value == pytest.approx(29 + kept, abs=0.1)
    assert shown == expected
    assert descendants(system.pid) == []
