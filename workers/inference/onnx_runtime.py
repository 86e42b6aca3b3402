"""ONNX files, run by ONNX Runtime. It is imported when it is first needed, and in no process that forks: it starts a
thread.
"""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workers.inference import onnx
from workers.inference.runtime import DeviceMissing, choose, parse
from workers.tensors import Signature, Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CPU = "CPUExecutionProvider"
_PROVIDERS = {
    "cuda": ("CUDAExecutionProvider",),
    "rocm": ("MIGraphXExecutionProvider", "ROCMExecutionProvider"),
}
"""What ONNX Runtime calls each kind of device, the better one first."""
_SMALLEST = (
    b"\x08\x08B\x02\x10\x11:_\n\x0e\n\x01x\n\x01x\x12\x01y\"\x03Add\n\x0b\n\x01x\x12\x01z\"\x03Neg\x12\x01g"
    b"Z\x13\n\x01x\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x02\n\x02\x08\x03"
    b"b\x13\n\x01y\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x02\n\x02\x08\x03"
    b"b\x13\n\x01z\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x02\n\x02\x08\x03"
)  # fmt: skip
"""Add and Neg of one input, field by field: IR version 8, operators of version 17, the graph."""


def kinds(available: Sequence[str]) -> tuple[str, ...]:
    """The kinds of GPU that these providers are for."""
    return tuple(kind for kind, names in _PROVIDERS.items() if any(name in available for name in names))


def providers(device: str, available: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """The providers that run a model on a device, in their order."""
    kind, number = parse(device)
    found = [(name, {"device_id": number}) for name in _PROVIDERS.get(kind, ()) if name in available]
    return [*found[:1], (_CPU, {})]


class OnnxRuntime:
    """ONNX files (`workers.inference.runtime.Runtime`)."""

    name, package, extra = "ONNX Runtime", "onnxruntime", "detectors"
    suffix, begins = ".onnx", b""

    def check(self, content: bytes) -> None:
        """As `Runtime.check`."""
        onnx.check(content)

    def prepare_forks(self) -> None:
        """NumPy; ONNX Runtime starts a thread, so each fork imports it for itself."""
        importlib.import_module("numpy")

    def kinds(self) -> tuple[str, ...]:
        """As `Runtime.kinds`."""
        import onnxruntime

        return kinds(onnxruntime.get_available_providers())

    def load(self, content: bytes, device: str) -> "OnnxModel":
        """As `Runtime.load`."""
        return OnnxModel(content, choose(device, self, self.kinds()))

    def smallest(self) -> bytes:
        """As `Runtime.smallest`."""
        return _SMALLEST


class OnnxModel:
    """A graph in a session of its own (`workers.inference.runtime.Model`)."""

    def __init__(self, content: bytes, device: str) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)
        wanted = providers(device, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4
        options.use_deterministic_compute = True
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=wanted)
        except Exception as error:  # noqa: BLE001  it raises what it likes for a stranger's graph
            raise ValueError(f"ONNX Runtime does not take it: {str(error)[:300]}") from None
        if (got := self._session.get_providers()[0]) != wanted[0][0]:  # it falls back in silence
            raise DeviceMissing(f"ONNX Runtime cannot use {device} here and took {got}: see its driver")
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1:
            raise ValueError(f"it has {len(inputs)} inputs, not one")
        self.signature = Signature(_tensor(inputs[0]), tuple(map(_tensor, outputs)))

    def __call__(self, batch: "NDArray[np.float32]") -> "list[NDArray[np.float32]]":
        """As `Model.__call__`."""
        try:
            outputs = self._session.run(None, {self.signature.input.name: batch})
        except Exception as error:  # noqa: BLE001  likewise
            raise ValueError(f"the model failed: {str(error)[:300]}") from None
        for tensor, output in zip(self.signature.outputs, outputs, strict=True):
            if output.shape != tensor.shape or output.dtype != "float32":
                raise ValueError(f"output {tensor.name!r} has another shape than it declares")
        return list(outputs)


def _tensor(argument: Any) -> Tensor:
    kind, shape = argument.type, argument.shape
    if kind != "tensor(float)":
        raise ValueError(f"{argument.name!r} is {kind}, not tensor(float)")
    if not all(isinstance(length, int) for length in shape):
        raise ValueError(f"the shape of {argument.name!r} is not fixed: {shape}")
    return Tensor(argument.name, tuple(shape))
