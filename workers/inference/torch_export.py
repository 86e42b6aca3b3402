"""Programs of torch.export, run by PyTorch, operator by operator.

Importing torch takes two seconds of processor time, so it is imported by a process that forks, and so early: it starts
no thread then, and touches no GPU, whose contexts do not survive a fork. What a file says is read by
`workers.inference.exported`, and only that is run: no loader of torch's sees it.
"""

import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from workers.guest import start
from workers.inference import exported
from workers.inference.runtime import DeviceMissing, choose, parse
from workers.tensors import Signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SEED = 0


def kinds(torch: Any) -> tuple[str, ...]:
    """The kind of GPU that this torch can use here: its builds for ROCm call theirs `cuda`, too."""
    if not torch.cuda.is_available():
        return ()
    return ("rocm",) if torch.version.hip else ("cuda",)


def torch_device(device: str, torch: Any) -> str:
    """What torch calls a device. Raises DeviceMissing."""
    kind, number = parse(device)
    if kind == "cpu":
        return kind
    if number >= (count := torch.cuda.device_count()):
        raise DeviceMissing(f"there is no {device} here; torch finds {count}")
    return f"cuda:{number}"


class TorchExport:
    """Files of torch.export.save (`workers.inference.runtime.Runtime`)."""

    name, package, extra = "torch.export", "torch", "vision"
    suffix, begins = ".pt2", exported.BEGINS

    def check(self, content: bytes) -> None:
        """As `Runtime.check`."""
        exported.read(content)

    def prepare_forks(self) -> None:
        """NumPy and torch, and what torch imports when it first runs a program."""
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # torch refuses to compute the same each time without
        start.load(("numpy", "torch", "torch.nn.functional"))
        import numpy as np

        self.load(self.smallest(), "cpu")(np.zeros((2, 3), np.float32))

    def kinds(self) -> tuple[str, ...]:
        """As `Runtime.kinds`."""
        import torch

        return kinds(torch)

    def load(self, content: bytes, device: str) -> "ExportedModel":
        """As `Runtime.load`."""
        return ExportedModel(content, choose(device, self, self.kinds() if device != "cpu" else ()))

    def smallest(self) -> bytes:
        """As `Runtime.smallest`."""
        return _smallest()


class ExportedModel:
    """A program with its weights on a device (`workers.inference.runtime.Model`)."""

    def __init__(self, content: bytes, device: str) -> None:
        import torch

        program = exported.read(content)
        self.signature = Signature(program.input, program.outputs)
        self._device = torch.device(torch_device(device, torch))
        torch.set_num_threads(1)
        # What torch.use_deterministic_algorithms calls; that one imports the compiler, for 1.6 s and a thread.
        torch._C._set_deterministic_algorithms(True)
        torch.manual_seed(_SEED)
        self._torch = torch
        try:
            with torch.inference_mode():
                self._held = {weight.name: self._weight(content, weight) for weight in program.weights}
            self._calls = self._bound(program)
        except Exception as error:  # noqa: BLE001  it raises what it likes for a stranger's program
            raise ValueError(f"torch does not take it: {str(error)[:300]}") from None
        self._outputs = [tensor.name for tensor in program.outputs]

    def _weight(self, content: bytes, weight: exported.Weight) -> Any:
        torch = self._torch
        dtype = getattr(torch, weight.dtype)
        if math.prod(weight.shape) == 0:
            return torch.empty(weight.shape, dtype=dtype, device=self._device)
        # A copy: a program may write to its weights, and bytes are not to be written to.
        flat = torch.frombuffer(bytearray(memoryview(content)[weight.start : weight.end]), dtype=dtype)
        return flat.as_strided(weight.shape, weight.strides, weight.offset).to(self._device)

    def _bound(self, program: exported.Program) -> "list[_Bound]":
        """The calls with their operators, and what each is the last to need."""
        last: dict[str, int] = {}
        for index, call in enumerate(program.calls):
            for argument in (*call.args, *call.kwargs.values()):
                last.update(dict.fromkeys(exported.used(argument), index))
            last.update((name, index) for name in call.outputs if name is not None and name not in last)
        kept = {*self._held, *(tensor.name for tensor in program.outputs)}
        over: list[list[str]] = [[] for _ in program.calls]
        for name, index in last.items():
            if name not in kept:
                over[index].append(name)
        return [
            _Bound(getattr(getattr(self._torch.ops.aten, call.operator), call.overload), call, self._constant, names)
            for call, names in zip(program.calls, over, strict=True)
        ]

    def _constant(self, argument: Any) -> Any:
        """An argument with everything in its place but the values."""
        if isinstance(argument, list):
            return [self._constant(one) for one in argument]
        if isinstance(argument, exported.Constant):
            return getattr(self._torch, argument.name)
        return self._device if isinstance(argument, exported.Device) else argument

    def __call__(self, batch: "NDArray[np.float32]") -> "list[NDArray[np.float32]]":
        """As `Model.__call__`."""
        try:
            with self._torch.inference_mode():
                values = {**self._held, self.signature.input.name: self._torch.from_numpy(batch).to(self._device)}
                for call in self._calls:
                    call.run(values)
                outputs = [values[name].cpu().numpy() for name in self._outputs]
        except Exception as error:  # noqa: BLE001  likewise
            raise ValueError(f"the model failed: {str(error)[:300]}") from None
        for tensor, output in zip(self.signature.outputs, outputs, strict=True):
            if output.shape != tensor.shape or output.dtype != "float32":
                raise ValueError(f"output {tensor.name!r} has another shape than it declares")
        return outputs


class _Bound:
    """One call, ready to be made."""

    def __init__(
        self, operator: Callable[..., Any], call: exported.Call, constant: Callable[[Any], Any], over: list[str]
    ) -> None:
        self._operator = operator
        self._args = [constant(argument) for argument in call.args]
        self._kwargs = {name: constant(argument) for name, argument in call.kwargs.items()}
        self._outputs = call.outputs
        self._single = call.single
        self._over = over

    def run(self, values: dict[str, Any]) -> None:
        """Compute its outputs into the values, and let go of what no later call needs."""
        found = self._operator(
            *[_filled(argument, values) for argument in self._args],
            **{name: _filled(argument, values) for name, argument in self._kwargs.items()},
        )
        if self._outputs:
            for name, value in zip(self._outputs, (found,) if self._single else found, strict=True):
                if name is not None:
                    values[name] = value
        for name in self._over:
            values.pop(name, None)


def _filled(argument: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(argument, exported.Value):
        return values[argument.name]
    return [_filled(one, values) for one in argument] if isinstance(argument, list) else argument


def _smallest() -> bytes:
    """As torch.export.save writes it, without what is not read."""

    def tensor(name: str) -> dict[str, Any]:
        return {"as_tensor": {"name": name}}

    def given(name: str, value: str) -> dict[str, Any]:
        return {"name": name, "arg": tensor(value), "kind": 1}

    shape = {"dtype": 7, "sizes": [{"as_int": 2}, {"as_int": 3}]}
    main = {
        "graph_module": {
            "graph": {
                "nodes": [
                    {
                        "target": "torch.ops.aten.add.Tensor",
                        "inputs": [given("self", "x"), given("other", "x")],
                        "outputs": [tensor("y")],
                    },
                    {"target": "torch.ops.aten.neg.default", "inputs": [given("self", "x")], "outputs": [tensor("z")]},
                ],
                "tensor_values": {"x": shape, "y": shape, "z": shape},
            },
            "signature": {
                "input_specs": [{"user_input": {"arg": tensor("x")}}],
                "output_specs": [{"user_output": {"arg": tensor(name)}} for name in ("y", "z")],
            },
        },
        "schema_version": {"major": 8},
    }
    nothing = '{"config": {}}'
    records = {
        "archive_format": "pt2",
        "byteorder": "little",
        "data/weights/model_weights_config.json": nothing,
        "data/constants/model_constants_config.json": nothing,
        "models/model.json": json.dumps(main),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, text in records.items():
            archive.writestr(zipfile.ZipInfo(f"smallest/{name}"), text)
    return file.getvalue()
