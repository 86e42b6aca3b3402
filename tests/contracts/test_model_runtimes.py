"""The contract of a runtime of models (`workers.inference.runtime`), which each of them keeps."""

import io
import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import onnx_files, pt2_files
from workers.host.models import ModelProcesses
from workers.inference import aten, exported, runtimes, torch_export
from workers.inference.local import local
from workers.inference.runtime import DeviceMissing, NotAModel, Runtime, RuntimeMissing, choose

pytestmark = [pytest.mark.detectors, pytest.mark.vision]
ZEROS = np.zeros((2, 3), np.float32)
FILES: dict[str, ModuleType] = {".onnx": onnx_files, ".pt2": pt2_files}


@pytest.fixture(scope="module", autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """What a model's process sets for itself is set back for the other tests of this one."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch._C._set_deterministic_algorithms(False)


@pytest.fixture(params=runtimes.RUNTIMES, ids=lambda runtime: runtime.suffix)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    chosen: Runtime = request.param
    return chosen


@pytest.fixture
def made(runtime: Runtime) -> ModuleType:
    """Small files of the runtime's kind."""
    return FILES[runtime.suffix]


def test_files_are_told_by_name_and_by_content(runtime: Runtime, made: ModuleType) -> None:
    assert runtimes.of_name(f"People{runtime.suffix.upper()}") is runtime
    assert runtimes.of_name("people.py") is None
    assert runtimes.of_content(made.doubles()) is runtime
    for other in runtimes.RUNTIMES:
        if other is not runtime:
            with pytest.raises(NotAModel):
                other.check(made.doubles())


def test_a_model_says_what_it_takes_and_computes_it(runtime: Runtime, made: ModuleType) -> None:
    given = np.arange(6, dtype=np.float32).reshape(2, 3)
    for content in (made.doubles(), runtime.smallest()):
        runtime.check(content)
        model = runtime.load(content, "cpu")
        assert model.signature.input.shape == (2, 3)
        assert [output.shape for output in model.signature.outputs] == [(2, 3), (2, 3)]
        twice, negative = model(given.copy())
        assert (twice == 2 * given).all()
        assert (negative == -given).all()


def test_each_model_finds_the_same_generator(runtime: Runtime, made: ModuleType) -> None:
    runtime.check(made.remembers())
    first = runtime.load(made.remembers(), "cpu")
    told = [first(ZEROS.copy())[0], first(ZEROS.copy())[0]]
    assert (told[0] != told[1]).any(), "it goes on with each call, so this would notice"
    second = runtime.load(made.remembers(), "cpu")
    assert (second(ZEROS.copy())[0] == told[0]).all()


def test_a_graph_that_fails_is_said_and_goes_on(runtime: Runtime, made: ModuleType) -> None:
    model = runtime.load(made.picks(), "cpu")
    beyond = ZEROS.copy()
    beyond[0, 0] = 5
    with pytest.raises(ValueError, match="the model failed"):
        model(beyond)
    assert model(ZEROS.copy())[0].ravel()[0] in (1, 6)


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95", b"PK\x03\x04"])
def test_what_is_no_model_is_refused_twice(runtime: Runtime, content: bytes) -> None:
    with pytest.raises(NotAModel):
        runtime.check(content)
    with pytest.raises(ValueError, match=r".+"):
        runtime.load(content, "cpu")


def test_a_device_that_is_not_there_is_said(runtime: Runtime, made: ModuleType) -> None:
    assert runtime.kinds() == ()
    assert choose("auto", runtime, ()) == "cpu"
    with pytest.raises(DeviceMissing, match=f"the installed {runtime.package} cannot use one"):
        runtime.load(made.doubles(), "cuda:0")


def test_a_library_that_is_missing_is_said(runtime: Runtime, made: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, runtime.package, None)
    with pytest.raises(RuntimeMissing, match=rf"needs {runtime.package}: .*pip install 'privid\[{runtime.extra}\]'"):
        local(made.doubles())


def test_a_zygote_without_torch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # which it sets for its forks
    monkeypatch.setitem(sys.modules, "torch", None)
    processes = ModelProcesses({"model": {"device": "auto"}, "profile": {}}, pt2_files.doubles())
    with pytest.raises(RuntimeMissing, match="install the extra `vision`"):
        processes.load()


def test_run_local_says_what_the_library_says(runtime: Runtime) -> None:
    with pytest.raises(NotAModel):
        local(runtime.begins + b"\x08")


# ------------------------------------------------------------------------------------------- torch.export in earnest


def saved(module: object, shape: tuple[int, ...]) -> bytes:
    import torch

    file = io.BytesIO()
    with torch.no_grad():
        torch.export.save(torch.export.export(module.eval(), (torch.zeros(shape),)), file)  # type: ignore[attr-defined]
    return file.getvalue()


@pytest.fixture(scope="module")
def network() -> tuple[object, bytes]:
    """Of the parts that detectors are made of, with every kind of tensor that a program has; and its file."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.norm = torch.nn.BatchNorm2d(8)
            self.act = torch.nn.SiLU(inplace=True)
            self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
            self.head = torch.nn.Linear(8, 4)
            self.register_buffer("scale", torch.rand(4), persistent=False)
            self.offset = torch.arange(4.0)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = self.act(self.norm(self.convolution(x)))
            x = torch.nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear")
            a, b = torch.nn.functional.max_pool2d(x, 4).chunk(2, 1)
            x = torch.cat([b, a], 1).flatten(2).transpose(1, 2).contiguous()
            x, _ = self.attention(x, x, x, need_weights=False)
            best = self.head(x).softmax(-1) * self.scale + self.offset
            return best, best.to(torch.int64).amax(-1).to(torch.float32)

    torch.manual_seed(1)
    module = Network()
    return module.eval(), saved(module, (1, 3, 16, 16))


def test_a_network_gives_what_torch_gives(network: tuple[object, bytes]) -> None:
    import torch

    module, content = network
    given = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    model = torch_export.TorchExport().load(content, "cpu")
    with torch.inference_mode():
        expected: tuple[torch.Tensor, ...] = module(torch.from_numpy(given.copy()))  # type: ignore[operator]
    answers: list[NDArray[np.float32]] = model(given.copy())
    assert [tensor.shape for tensor in model.signature.outputs] == [tuple(one.shape) for one in expected]
    for answer, wanted in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer, wanted.numpy(), rtol=1e-5)
    assert (model(given.copy())[0] == answers[0]).all()


def test_every_operator_that_is_allowed_is_one_of_this_torch() -> None:
    import torch

    assert [name for name in aten.OPERATORS if not hasattr(torch.ops.aten, name)] == []


def test_what_torch_exports_and_cannot_be_a_model_is_said() -> None:
    import torch

    class Branches(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,))
            return found

    class Grows(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.nonzero().to(torch.float32)

    for module, said in ((Branches(), "control flow"), (Grows(), "not fixed|not one that models may use")):
        with pytest.raises(NotAModel, match=said):
            exported.read(saved(module, (2, 3)))


def test_torchs_own_loaders_see_nothing(network: tuple[object, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def never(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a stranger's file was given to torch")

    for module, name in ((torch, "load"), (torch.export, "load"), (torch.jit, "load")):
        monkeypatch.setattr(module, name, never)
    torch_export.TorchExport().load(network[1], "cpu")(np.zeros((1, 3, 16, 16), np.float32))
