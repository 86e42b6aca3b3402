"""ONNX Runtime: which device a model runs on, and the running of it. Imported lazily: it starts a thread.

A device is named `cpu`, `cuda:0` or `rocm:0`, or `auto`: the first kind that the installed ONNX Runtime has.
No GPU has run this: what is tested without one is the choice, and everything on `cpu`.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workers.tensors import Signature, Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DEVICE = re.compile(r"auto|cpu|(?P<kind>cuda|rocm):(?P<number>\d{1,2})")
_CPU = "CPUExecutionProvider"
_PROVIDERS = {
    "cuda": ("CUDAExecutionProvider",),
    "rocm": ("MIGraphXExecutionProvider", "ROCMExecutionProvider"),
}
"""What ONNX Runtime calls each kind of device, the better one first."""
PACKAGE = "onnxruntime"
INSTALL_HINT = "install the extra `detectors`: pip install 'privid[detectors]'"


class DeviceMissing(Exception):
    """The device that was asked for is not there; the text says what to do."""


def check_device(name: str) -> str:
    """The name, if it can be a device's. Raises ValueError."""
    if _DEVICE.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not a device; write auto, cpu, cuda:0 or rocm:0")
    return name


def choose(device: str, available: Sequence[str]) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """The device that `device` means where these providers are installed, and the providers for it, in their order.

    Raises DeviceMissing, ValueError.
    """
    check_device(device)
    named = _DEVICE.fullmatch(device)
    assert named is not None
    if device == "auto":
        kinds = [kind for kind, names in _PROVIDERS.items() if any(name in available for name in names)]
        kind, number = (kinds[0], 0) if kinds else ("cpu", 0)
    else:
        kind, number = named["kind"] or "cpu", int(named["number"] or 0)
    if kind == "cpu":
        return "cpu", [(_CPU, {})]
    found = [name for name in _PROVIDERS[kind] if name in available]
    if not found:
        raise DeviceMissing(
            f"the model's device is {device}, and the installed {PACKAGE} has none of {', '.join(_PROVIDERS[kind])}: "
            "install its build for that device, or set PRIVID_INFERENCE_DEVICE=cpu"
        )
    return f"{kind}:{number}", [(found[0], {"device_id": number}), (_CPU, {})]


class Model:
    """A graph that is ready to run. Raises ValueError if ONNX Runtime does not take it, DeviceMissing, ImportError."""

    def __init__(self, content: bytes, device: str) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)
        self.device, providers = choose(device, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4
        options.use_deterministic_compute = True
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=providers)
        except Exception as error:  # noqa: BLE001  it raises what it likes for a stranger's graph
            raise ValueError(f"ONNX Runtime does not take it: {str(error)[:300]}") from None
        if (got := self._session.get_providers()[0]) != providers[0][0]:  # it falls back in silence
            raise DeviceMissing(f"ONNX Runtime cannot use {self.device} here and took {got}: see its driver")
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1:
            raise ValueError(f"it has {len(inputs)} inputs, not one")
        self.signature = Signature(_tensor(inputs[0]), tuple(map(_tensor, outputs)))

    def __call__(self, batch: "NDArray[np.float32]") -> "list[NDArray[np.float32]]":
        """The outputs for one input, both of the shapes of the signature. Raises ValueError if the graph fails."""
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
