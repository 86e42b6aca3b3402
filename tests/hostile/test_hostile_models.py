"""Models: guests call them, nothing stays in them, their answers come at a public time, and attacks on them end at
their own chunk.
"""

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from privid.testing.system import descendants, wait_until
from tests.hostile.arena import make_slot, require
from tests.support import onnx_files, pt2_files
from workers import wire
from workers.host.backends import Name
from workers.host.errors import SandboxUnavailable
from workers.host.feeder import Slot
from workers.host.pool import ExecutableSpec, LocalPool, Timing
from workers.inference.spec import ModelSpec

pytestmark = [pytest.mark.detectors, pytest.mark.vision]
COLUMNS = (wire.ColumnSpec("said", "STRING", "default"), wire.ColumnSpec("value", "NUMBER", -1))
TABLE = wire.TableSpec(COLUMNS, 1)
DEFAULT = ("default", -1.0)
TIMEOUT_US = 2_000_000

LOGIC = b'''
import os, select, sys, threading, time
import numpy as np
from workers.guest import model
from workers.guest.sdk import infer

LINE = 5
SHAPE = model._current._signature.input.shape

def given(value):
    return np.full(SHAPE, value, np.float32)

def memory():
    return np.frombuffer(model._current._memory, np.uint8)

def double(chunk):
    return float(infer(given(chunk.frames[0, 0, 0, 0]))[0].sum())

def first(chunk):
    answer = float(infer(given(0))[0].sum())
    for _ in range(int(chunk.region)):
        infer(given(0))
    return answer

def outputs_before(chunk):
    return float(memory()[16384:].sum())

def refused(chunk):
    infer(given(5))

def refused_and_again(chunk):
    try:
        infer(given(5))
    except model.ModelFailed:
        return double(chunk)

def nan(chunk):
    y, z = infer(given(float("nan")))
    return float(np.isnan(y).all() and np.isnan(z).all())

def wrong_shape(chunk):
    try:
        infer(np.zeros((9, 9)))
    except ValueError as error:
        return float("[2, 3]" in str(error))

def bad_bell(chunk):
    os.write(LINE, b"?")
    return float(os.read(LINE, 1) == b"")

def many_bells(chunk):
    os.write(LINE, b"c" * 100_000)
    return double(chunk)

def flood(chunk):
    while True:
        os.write(LINE, b"c")

def closed(chunk):
    os.close(LINE)
    return double(chunk)

def header(chunk):
    memory()[:16384] = 255
    os.write(LINE, b"c")
    return float(os.read(LINE, 1) == b"a")

def changing(chunk):
    view, going = memory(), [True]
    def scribble():
        while going[0]:
            view[16384:] = 255
    thread = threading.Thread(target=scribble)
    thread.start()
    for _ in range(50):
        os.write(LINE, b"c")
        os.read(LINE, 1)
    going[0] = False
    thread.join()
    return 1.0

def kill(chunk):
    try:
        os.kill(1, 9)
        os.kill(-1, 9)
    except OSError:
        return 1.0

def waits(chunk):
    while True:
        time.sleep(60)

def times(chunk):
    x = given(0)
    x.flat[0] = float(chunk.region)
    began = time.monotonic()
    y = infer(x)[0]
    return time.monotonic() - began

def peeks(chunk):
    """Whether the outputs change before the answer: seen by a second thread, which never sleeps."""
    view = memory()[16384 + SHAPE[0] * SHAPE[1] * 4 :]
    x = given(1)
    seen, done = [], [False]
    def watch():
        while not done[0]:
            if view.any():
                seen.append(time.monotonic())
                return
    thread = threading.Thread(target=watch)
    began = time.monotonic()
    thread.start()
    infer(x)
    done[0] = True
    thread.join()
    return min(seen, default=time.monotonic()) - began

def process(chunk):
    return {"said": chunk.camera, "value": globals()[chunk.camera](chunk)}
'''


class Models:
    """Pools with one model each, made when they are first needed."""

    def __init__(
        self, content: bytes, backend: Name = "fork", timing: Timing = "open", calls: int | None = None
    ) -> None:
        spec = ExecutableSpec("", LOGIC, TABLE, TIMEOUT_US, model=ModelSpec(content, "cpu", calls))
        self.backend = backend
        self.pool = LocalPool(spec, timing, (max(os.sched_getaffinity(0)),), backend=backend)

    def run(self, *asked: str) -> list[tuple[wire.Value, ...]]:
        """The row of each slot; `what` or `what:argument`, with the slot's position + 1 as the value of its frames."""
        rows: dict[int, tuple[wire.Row, ...]] = {}

        def slots() -> Iterator[Slot]:
            for index, one in enumerate(asked):
                what, _, argument = one.partition(":")
                yield make_slot(index, what, argument, value=index + 1)

        self.pool.run(slots(), len(asked), rows.__setitem__, reserve_turns=12)
        return [rows[index][0] for index in range(len(asked))]


@pytest.fixture(scope="module")
def models() -> Iterator[Callable[..., Models]]:
    made: list[Models] = []

    def make(content: bytes, backend: Name = "fork", timing: Timing = "open", calls: int | None = None) -> Models:
        return started(content, backend, timing, calls)

    @functools.cache
    def started(content: bytes, backend: Name, timing: Timing, calls: int | None) -> Models:
        require(backend)
        made.append(Models(content, backend, timing, calls))
        made[-1].pool.start()
        return made[-1]

    yield make
    for one in made:
        one.pool.close()


@pytest.fixture(params=["fork", "exec", "torch"])
def doubles(request: pytest.FixtureRequest, models: Callable[..., Models]) -> Models:
    """A model of each runtime; each backend has the one of ONNX Runtime."""
    if request.param == "torch":
        return models(pt2_files.doubles())
    return models(onnx_files.doubles(), request.param)


def test_a_guest_gets_the_models_answers(doubles: Models) -> None:
    assert doubles.run("double", "double", "double") == [("double", 12.0 * i) for i in (1, 2, 3)]


ATTACKS = {
    "nan": 1.0,
    "wrong_shape": 1.0,
    "bad_bell": 1.0,
    "header": 1.0,
    "changing": 1.0,
    "kill": 1.0,
    "many_bells": None,
    "flood": None,
    "closed": None,
    "waits": None,
}


def test_attacks_on_a_model_end_at_their_own_chunk(doubles: Models, request: pytest.FixtureRequest) -> None:
    every = request.node.callspec.params["doubles"] == "fork"  # the rest is the same for all
    attacks = ATTACKS if every else {"bad_bell": 1.0, "nan": 1.0, "flood": None}
    asked = [one for attack in attacks for one in (attack, "double")]
    rows = doubles.run(*asked)
    for index, (attack, expected) in enumerate(attacks.items()):
        assert rows[2 * index] == (DEFAULT if expected is None else (attack, expected)), attack
        assert rows[2 * index + 1] == ("double", 12.0 * (2 * index + 2)), f"{attack} changed its neighbour"


def test_nothing_of_a_chunk_is_in_the_memory_of_the_next(doubles: Models) -> None:
    rows = doubles.run("double", "outputs_before", "header", "outputs_before")
    assert [rows[1][1], rows[3][1]] == [0.0, 0.0]


@pytest.mark.parametrize("content", [onnx_files.remembers(), pt2_files.remembers()], ids=["onnx", "torch"])
def test_a_model_that_remembers_is_forgotten(models: Callable[..., Models], content: bytes) -> None:
    """The graph's generator goes on with each call; the number of calls of one chunk must not show in the next."""
    rows = models(content).run("first:0", "first:7", "first:0")
    assert len({value for _, value in rows}) == 1


def test_a_graph_that_fails_on_an_input_fails_for_its_chunk_alone(models: Callable[..., Models]) -> None:
    rows = models(onnx_files.picks()).run("refused", "double", "refused_and_again", "first:0")
    assert rows[0] == DEFAULT
    assert rows[2] == DEFAULT
    assert rows[3] == ("first", 36.0)


def test_answers_come_at_the_public_time_whatever_the_work(models: Callable[..., Models]) -> None:
    slotted = models(onnx_files.works(), timing="slotted", calls=4)
    period = (TIMEOUT_US / 1e6 - slotted.pool._guard_ns / 1e9) / 4
    light, heavy, endless, after = slotted.run("times:1", "times:300", "times:1000000000", "times:1")
    for said, seconds in (light, heavy, after):
        assert said == "times"
        assert isinstance(seconds, float)
        assert seconds >= period - 0.001
    assert endless == DEFAULT, "a call that takes longer than its time is never answered"
    ((_, seconds),) = slotted.run("peeks")
    assert isinstance(seconds, float)
    assert seconds >= period - 0.001, "the outputs were to be seen before their time"


def _processes(pool: LocalPool) -> list[int]:
    """The model's processes, as there is no guest: whose parent is a zygote, and which are past the filter."""
    below = [(pid, lane.worker.pid) for lane in pool._lanes for pid in descendants(lane.worker.pid)]
    return [pid for pid, warden in below if _is_confined(pid, warden)]


def _is_confined(pid: int, warden: int) -> bool:
    try:
        alive = _field(pid, "State")[0] in "SR"
        return alive and int(_field(pid, "PPid")) != warden and _field(pid, "Seccomp") == "2"
    except OSError:  # it has ended
        return False


def _field(pid: int, name: str) -> str:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in status if line.startswith(f"{name}:"))


@pytest.mark.parametrize("content", [onnx_files.doubles(), pt2_files.doubles()], ids=["onnx", "torch"])
def test_a_models_process_is_confined_like_a_guest(models: Callable[..., Models], content: bytes) -> None:
    pool = models(content).pool
    wait_until(lambda: _processes(pool))
    for pid in _processes(pool):
        assert (_field(pid, "NoNewPrivs"), int(_field(pid, "CapEff"), 16)) == ("1", 0)
        if os.geteuid() != 0:  # who may not look into it
            continue
        for kind in ("net", "mnt", "pid", "ipc", "user"):
            assert Path(f"/proc/{pid}/ns/{kind}").readlink() != Path(f"/proc/self/ns/{kind}").readlink(), kind
        assert "0" not in _field(pid, "Uid").split()
        assert not [name for name in os.listdir(f"/proc/{pid}/root") if name in ("home", "proc", "dev", "sys")]


def test_a_killed_process_is_replaced_and_costs_its_own_chunk_at_most(models: Callable[..., Models]) -> None:
    doubles = models(onnx_files.doubles())
    wait_until(lambda: _processes(doubles.pool))
    for pid in _processes(doubles.pool):
        os.kill(pid, signal.SIGKILL)
    rows = doubles.run(*["double"] * 6)
    assert rows == [("double", 12.0 * i) for i in range(1, 7)], "they had not begun, so others served"


def test_nothing_is_left_of_a_pool_with_a_model() -> None:
    pool = Models(onnx_files.doubles()).pool
    with pool:
        below = [pid for lane in pool._lanes for pid in descendants(lane.worker.pid)]
        assert len(below) >= 3
    end = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in below) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [pid for pid in below if Path(f"/proc/{pid}").exists()]


def test_what_is_no_model_is_said_at_the_start() -> None:
    with pytest.raises(SandboxUnavailable, match="the model cannot be run: ONNX Runtime does not take it"):
        Models(b"not a model").pool.start()


def test_only_what_shares_memory_can_have_a_model() -> None:
    with pytest.raises(ValueError, match="gVisor"):
        Models(onnx_files.doubles(), "oci")
    with pytest.raises(ValueError, match="program has no model"):
        ExecutableSpec("", b"\x7fELF", TABLE, TIMEOUT_US, model=ModelSpec(onnx_files.doubles()))


@pytest.mark.slow
def test_models_serve_and_are_confined_for_an_ordinary_user_too() -> None:
    if os.geteuid() != 0:
        return  # then everything beside this test has run as one
    here = Path(__file__)
    tests = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(here),
        "-k",
        "gets or confined or end_at",
    ]
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    done = subprocess.run(
        [sys.executable, here.parent / "as_nobody.py", *tests],
        cwd=here.parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout


@pytest.mark.real_data
def test_a_real_detector_gives_what_onnx_runtime_gives(models: Callable[..., Models], test_data: Path) -> None:
    import onnxruntime

    content = (test_data / "models" / "fastestdet.onnx").read_bytes()
    ((_, value),) = models(content).run("double")
    (direct,) = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(
        None, {"input.1": np.full((1, 3, 352, 352), 1, np.float32)}
    )
    assert value == pytest.approx(float(direct.sum()), abs=2**-19)
