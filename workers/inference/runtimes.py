"""The runtimes of models that there are. A model's name tells which one it is for, and so does how its file begins."""

from workers.inference.onnx_runtime import OnnxRuntime
from workers.inference.runtime import Runtime
from workers.inference.torch_export import TorchExport

RUNTIMES: tuple[Runtime, ...] = (OnnxRuntime(), TorchExport())


def of_name(name: str) -> Runtime | None:
    """The runtime of a model of this name; None if it is no model's."""
    return next((runtime for runtime in RUNTIMES if name.casefold().endswith(runtime.suffix)), None)


def of_content(content: bytes) -> Runtime:
    """The runtime of a file that has been checked as what its name says."""
    return max((one for one in RUNTIMES if content.startswith(one.begins)), key=lambda one: len(one.begins))
