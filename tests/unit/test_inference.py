"""Models without processes: the file, the device, the shared memory, and when answers come."""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import onnx_files as made
from workers import tensors
from workers.guest import model as guest_model
from workers.guest import sdk
from workers.inference import onnx_runtime, service
from workers.inference.onnx import check
from workers.inference.runtime import DeviceMissing, NotAModel, check_device, choose

X, Y = made.value("x", (2, 3)), made.value("y", (2, 3))


# ------------------------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize("content", [made.doubles(), made.remembers(), made.picks(), made.works()])
def test_models_are_taken(content: bytes) -> None:
    check(content)


def one(operator: bytes, *inputs: bytes, outputs: tuple[bytes, ...] = (Y,), tensors: tuple[bytes, ...] = ()) -> bytes:
    return made.model(made.graph([operator], list(inputs), list(outputs), tensors))


NEG = made.node("Neg", "x", "y")
EXTERNAL = made.weights("w", np.zeros(2, np.float32)) + made.message(13, made.message(1, "location"))
NESTED = made.graph([made.node("Theirs", "a", "b", domain="their.library")], [], [])
REFUSED = {
    "two inputs": (one(NEG, X, made.value("w", (2,))), "2 inputs, not one: x, w"),
    "no input": (one(NEG), "0 inputs"),
    "a wrong type": (one(NEG, made.value("x", (2, 3), made.INT64)), "'x' is int64, not float32"),
    "a named length": (one(NEG, made.value("x", ("batch", 3))), r"\['\?', 3\], not fixed; export it"),
    "no shape": (one(NEG, made.value("x", None)), "is unknown, not fixed"),
    "a wrong output": (one(NEG, X, outputs=(made.value("y", (2,), made.INT64),)), "output 'y' is int64"),
    "no output": (one(NEG, X, outputs=()), "no output"),
    "weights elsewhere": (one(NEG, X, tensors=(EXTERNAL,)), "in another file"),
    "another library": (one(made.node("Theirs", "x", "y", domain="their.library"), X), "domain 'their.library'"),
    "another library inside": (one(made.node("If", "x", "y", then_branch=NESTED), X), "domain 'their.library'"),
    "functions": (made.model(made.graph([NEG], [X], [Y]), made.message(25, b"")), "functions of its own"),
    "a pickle": (b"\x80\x04\x95\x10\x00\x00\x00", "not ONNX"),
    "nothing": (b"", "not ONNX"),
    "a part": (made.doubles()[:-3], "not all of it"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_a_model_is_said_in_words(why: str) -> None:
    content, said = REFUSED[why]
    with pytest.raises(NotAModel, match=said):
        check(content)


def test_weights_among_the_inputs_are_no_inputs() -> None:
    weights = made.weights("w", np.zeros(3, np.float32))
    check(one(made.node("Add", "x w", "y"), X, made.value("w", (3,)), tensors=(weights,)))


@given(st.binary(max_size=200), st.integers(0, 90))
def test_any_bytes_are_a_model_or_not(noise: bytes, at: int) -> None:
    for content in (noise, made.doubles()[:at] + noise + made.doubles()[at + len(noise) :]):
        with contextlib.suppress(NotAModel):
            check(content)


# ----------------------------------------------------------------------------------------------------- the device

CPU, CUDA, ROCM, MIGRAPHX = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "ROCM", "MIGraphX"))


@pytest.mark.parametrize(
    ("asked", "installed", "device", "providers"),
    [
        ("auto", [CPU], "cpu", [(CPU, {})]),
        ("auto", [CUDA, CPU], "cuda:0", [(CUDA, {"device_id": 0}), (CPU, {})]),
        ("auto", [ROCM, CPU], "rocm:0", [(ROCM, {"device_id": 0}), (CPU, {})]),
        ("cpu", [CUDA, CPU], "cpu", [(CPU, {})]),
        ("cuda:1", [CUDA, CPU], "cuda:1", [(CUDA, {"device_id": 1}), (CPU, {})]),
        ("rocm:2", [ROCM, MIGRAPHX, CPU], "rocm:2", [(MIGRAPHX, {"device_id": 2}), (CPU, {})]),
    ],
)
def test_the_device_is_chosen_among_what_is_installed(
    asked: str, installed: list[str], device: str, providers: list[tuple[str, dict[str, int]]]
) -> None:
    chosen = choose(asked, onnx_runtime.OnnxRuntime(), onnx_runtime.kinds(installed))
    assert (chosen, onnx_runtime.providers(chosen, installed)) == (device, providers)


def test_a_device_that_is_not_there_is_said() -> None:
    with pytest.raises(DeviceMissing, match="PRIVID_INFERENCE_DEVICE=cpu"):
        choose("cuda:0", onnx_runtime.OnnxRuntime(), ("rocm",))
    with pytest.raises(ValueError, match="write auto, cpu, cuda:0 or rocm:0"):
        check_device("gpu")


# ----------------------------------------------------------------------------------------------------- the memory

SHAPES = st.lists(st.integers(1, 5), max_size=4).map(tuple)


@given(SHAPES, st.lists(SHAPES, min_size=1, max_size=4), st.integers(0, 10**9))
def test_both_sides_see_the_same_tensors(shape: tuple[int, ...], shapes: list[tuple[int, ...]], period: int) -> None:
    outputs = tuple(tensors.Tensor(f"y{i}", one) for i, one in enumerate(shapes))
    signature = tensors.Signature(tensors.Tensor("x", shape), outputs)
    memory = bytearray(signature.size_bytes)
    header = tensors.write_header(signature, period)
    memory[: len(header)] = header
    assert tensors.read_header(memoryview(memory)) == (signature, period)
    for number, view in enumerate(tensors.views(memoryview(memory), signature)):
        view[...] = number + 1
    ours = tensors.views(memoryview(memory), signature)
    assert [set(view.ravel()) for view in ours] == [{number + 1} for number in range(len(ours))]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["input", "outputs"]), inner),
    max_leaves=12,
)


@given(JSON)
def test_a_strangers_signature_is_one_or_an_error(fields: object) -> None:
    try:
        signature = tensors.Signature.from_json(fields)
    except ValueError:
        return
    assert signature.size_bytes <= tensors.MAX_TENSOR_BYTES + 100_000


@pytest.mark.parametrize("shape", [[2**20, 2**20], [0], [-1], [1] * 9, [True], ["1"]])
def test_a_signature_has_limits(shape: list[object]) -> None:
    with pytest.raises(ValueError, match=r"length|bytes|no signature"):
        tensors.Signature.from_json({"input": ["x", shape], "outputs": [["y", [1]]]})


# ---------------------------------------------------------------------------------------------- calls and their time


class Clock:
    """The service's time: it passes while the model works or the service sleeps, and never otherwise."""

    def __init__(self) -> None:
        self.now = 1_000

    def monotonic_ns(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)


class Pretended:
    """A model that doubles, and takes as many nanoseconds as its input says."""

    signature = tensors.Signature(tensors.Tensor("x", (2,)), (tensors.Tensor("y", (2,)),))

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        self.clock.sleep(float(batch[0]) / 1e9)
        if batch[1] < 0:
            raise ValueError("the graph failed")
        return [batch * 2]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[guest_model.Line, socket.socket, Clock]]:
    """A guest's line to a service that runs in a thread, with a period of 1,000 ns of its own clock."""
    clock = Clock()
    monkeypatch.setattr(service, "time", clock)
    memory = bytearray(Pretended.signature.size_bytes)
    header = tensors.write_header(Pretended.signature, 1_000)
    memory[: len(header)] = header
    ours, theirs = socket.socketpair()
    model = Pretended(clock)

    def serve() -> None:
        service.serve(model, memoryview(memory), theirs.fileno(), 1_000)
        theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    monkeypatch.setattr(guest_model, "_SLACK_SECONDS", 30.0)
    yield guest_model.Line(ours.fileno(), memoryview(memory)), ours, clock
    ours.close()
    thread.join()


def test_an_answer_comes_one_period_after_its_call(world: tuple[guest_model.Line, socket.socket, Clock]) -> None:
    line, _, clock = world
    for took in (1, 400, 999, 1_000):
        before = clock.now
        (answer,) = line([took, 3])
        assert list(answer) == [2 * took, 6]
        assert clock.now - before == 1_000


@pytest.mark.parametrize("asked", [[1_001, 3], [1, -3]])
def test_a_call_that_takes_longer_or_fails_is_never_answered(
    world: tuple[guest_model.Line, socket.socket, Clock], asked: list[int]
) -> None:
    line, _, _ = world
    line([1, 1])
    with pytest.raises(guest_model.ModelFailed, match="took too long, or its graph failed"):
        line(asked)
    with pytest.raises(guest_model.ModelFailed, match="earlier call"):
        line([1, 1])


@pytest.mark.parametrize("bell", [b"x", b"cc", b"\0"])
def test_what_is_no_call_ends_the_service(world: tuple[guest_model.Line, socket.socket, Clock], bell: bytes) -> None:
    line, sock, _ = world
    os.write(sock.fileno(), bell)
    with pytest.raises(guest_model.ModelFailed):
        line([1, 1])


def test_another_shape_is_said(world: tuple[guest_model.Line, socket.socket, Clock]) -> None:
    line, _, _ = world
    with pytest.raises(ValueError, match=r"shape \[2\], not \[3\]"):
        line([1, 2, 3])
    assert list(line([5, 5])[0]) == [10, 10], "it is the caller's error, and the model's no end"


def test_infer_without_a_model_says_what_to_write() -> None:
    guest_model.attach(None)
    with pytest.raises(RuntimeError, match="WITH MODEL"):
        sdk.infer([1])


def test_the_header_is_json_for_people() -> None:
    header = tensors.write_header(Pretended.signature, 5)
    assert json.loads(header[4:]) == {"input": ["x", [2]], "outputs": [["y", [2]]], "period_ns": 5}
