"""Helpers for executables: `from workers.guest.sdk import ...`. May use NumPy, nothing of the host.

They are plain functions: an executable that uses them runs unchanged outside the sandbox.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers import bundle
from workers.guest import weights as _weights
from workers.guest.chunk import Chunk, Colour
from workers.guest.model import infer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Chunk", "chunk_of", "infer", "net", "sample", "seconds", "use_bundle", "weights"]


def sample(chunk: Chunk, count: int) -> "NDArray[np.intp]":
    """Indices of at most `count` frames spread evenly over the chunk, without repetition; shape (k,)."""
    import numpy as np

    if chunk.frame_count <= count:
        return np.arange(chunk.frame_count)
    return np.linspace(0, chunk.frame_count - 1, count).round().astype(np.intp)


def seconds(chunk: Chunk) -> "NDArray[np.float64]":
    """When each frame was taken, in seconds after the chunk's start; shape (n,)."""
    return (chunk.times_us - chunk.start_us) / 1e6


def weights(name: str) -> Any:
    """The weights that the manifest declares under `[weights.NAME]`. They are loaded already, whatever they are.

    `onnx`: the file's bytes; `safetensors`: arrays by name, read-only; `torch`: what `torch.load(weights_only=True)`
    gives; `ultralytics`: a `YOLO` that is ready to predict. Raises LookupError for a name that is not declared.
    """
    return _weights.weights(name)


def net(name: str) -> Any:
    """The `cv2.dnn.Net` of weights of the format `onnx`, read already. Raises LookupError, TypeError without one."""
    return _weights.net(name)


def use_bundle(folder: Path) -> None:
    """For tests: load the weights of the bundle in this folder, as a run does. Raises ValueError, OSError."""
    try:
        _weights.load(bundle.open_path(folder))
    except _weights.WeightsError as error:
        raise ValueError(str(error)) from error


def chunk_of(
    frames: "NDArray[np.uint8]",
    *,
    fps: float = 10.0,
    start_us: int = 0,
    camera: str = "camera",
    region: str = "",
    colour: Colour = "bgr",
) -> Chunk:
    """For tests: a chunk of frames of your own, shape (n, height, width, channels), uint8, `fps` of them a second.

    They are taken as they are; `colour` is what `chunk.colour` says.
    """
    import numpy as np

    count, height, width, channels = frames.shape
    times = start_us + np.round(np.arange(count) * 1e6 / fps).astype("<i8")
    return Chunk(
        camera=camera,
        region=region,
        start_us=start_us,
        end_us=start_us + round(count * 1e6 / fps),
        fps=fps,
        width=width,
        height=height,
        channels=channels,
        frame_count=count,
        _frames=memoryview(frames.tobytes()),
        _times=times.tobytes(),
        colour=colour,
    )
