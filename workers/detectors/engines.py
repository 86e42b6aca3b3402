"""Ways to run an ONNX graph. A detector takes any of them, and `workers.guest.sdk.infer` as well.

OpenCV is the choice for small convolutional nets in the backend `fork`: its net is read once for all chunks
(`workers.guest.sdk.net`). ONNX Runtime knows every operator and is faster on most, but it starts a thread when it is
imported, so each chunk imports it and makes a session anew: docs/how-to/choose-a-detector.md has the figures.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float32]
Engine = Callable[[Tensor], tuple[Tensor, ...]]
"""From the graph's one input to all its outputs, in the graph's order."""


def opencv(model: "bytes | memoryview | cv2.dnn.Net") -> Engine:
    """An ONNX file's bytes, or a net that is read already, by OpenCV. Raises cv2.error for what it does not know."""
    net: Any = model
    if isinstance(model, bytes | memoryview):
        net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
    names = net.getUnconnectedOutLayersNames()

    def run(batch: Tensor) -> tuple[Tensor, ...]:
        net.setInput(batch)
        return tuple(np.asarray(output, np.float32) for output in net.forward(names))

    return run


def onnx_runtime(model: bytes | memoryview) -> Engine:
    """An ONNX file's bytes by ONNX Runtime, on the processor, in one thread. Raises its errors for a bad file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(bytes(model), options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()

    def run(batch: Tensor) -> tuple[Tensor, ...]:
        return tuple(session.run(None, {given.name: batch}))

    return run
