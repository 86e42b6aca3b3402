"""The weights of a bundle: loaded as data by trusted code, before the first line of the analyst's runs.

In a forked guest the zygote has loaded them once, and the guest has them by its fork: what it changes is its own copy.
In a fresh process, and outside the sandbox, they are loaded there. Whoever reads weights takes them to be hostile:
nothing here unpickles anything but tensors or evaluates anything, and a network's architecture is one that its package
brings, never one that came with the weights.
"""

import importlib
import io
import pickle
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.bundle import Bundle, Weights

_LONGEST_REASON = 400
_SCALED = re.compile(r"(\d+)[nstmblxc](?=-|$)")


class WeightsError(Exception):
    """Weights that cannot be loaded; the text names them and says why."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What `weights` and `net` give. `net` is a text if there is none: why."""

    weights: Any
    net: Any


_loaded: dict[str, _Loaded] = {}


def load(bundle: Bundle) -> None:
    """Load every file of weights of a bundle, in place of those loaded before. Raises WeightsError."""
    _loaded.clear()
    if bundle.manifest.weights and "cv2" in bundle.manifest.needs:
        importlib.import_module("cv2")
    for name, spec in bundle.manifest.weights.items():
        try:
            _loaded[name] = _LOADERS[spec.format](bundle.files[spec.file], spec)
        except Exception as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise WeightsError(
                f"weights.{name}: {spec.file} cannot be loaded as {spec.format}: {said[:_LONGEST_REASON]}"
            ) from error


def weights(name: str) -> Any:
    """See `workers.guest.sdk.weights`."""
    return _get(name).weights


def net(name: str) -> Any:
    """See `workers.guest.sdk.net`."""
    found = _get(name).net
    if isinstance(found, str):
        raise TypeError(f"net({name!r}): {found}")
    return found


def _get(name: str) -> _Loaded:
    if name not in _loaded:
        there = ", ".join(map(repr, _loaded)) or "none"
        raise LookupError(f"no weights {name!r}: the manifest has {there}")
    return _loaded[name]


# ------------------------------------------------------------------------------------------------------- formats


def _onnx(data: bytes, spec: Weights) -> _Loaded:
    """The bytes as they are, and OpenCV's network of them, if OpenCV is there and can read them."""
    if "cv2" not in sys.modules:
        return _Loaded(data, "it is OpenCV's: put cv2 among the libraries")
    import cv2
    import numpy as np

    try:
        network: Any = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
        if spec.input:
            network.setInput(np.zeros(spec.input, np.float32))
            network.forward(network.getUnconnectedOutLayersNames())
    except cv2.error as error:
        return _Loaded(data, f"OpenCV cannot run this network: {error}")
    return _Loaded(data, network)


def _safetensors(data: bytes, spec: Weights) -> _Loaded:  # noqa: ARG001  the interface of loaders
    from safetensors.numpy import load as arrays_of

    arrays: Mapping[str, Any] = arrays_of(data)
    for array in arrays.values():
        array.flags.writeable = False
    return _Loaded(arrays, "only weights of the format onnx have one")


def _torch(data: bytes, spec: Weights) -> _Loaded:  # noqa: ARG001  the interface of loaders
    return _Loaded(_tensors(data), "only weights of the format onnx have one")


def _tensors(data: bytes) -> Any:
    import torch

    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            "it holds more than tensors, texts and numbers in lists and dicts. Of a model, save the state alone: "
            "torch.save(model.state_dict(), 'weights.pt'); of ultralytics, YOLO('best.pt').model.float().state_dict()"
        ) from error


def _ultralytics(data: bytes, spec: Weights) -> _Loaded:
    """A network of a named architecture with these weights, that has already looked at one empty picture."""
    import numpy as np

    ultralytics = importlib.import_module("ultralytics")  # it says nothing of its types
    state = _tensors(data)
    # It would give torch as many threads as the machine has.
    torch_utils: Any = importlib.import_module("ultralytics.utils.torch_utils")
    torch_utils.NUM_THREADS = 1
    path = _architecture(spec.architecture)
    yolo: Any = ultralytics.YOLO(str(path), verbose=False)
    yolo.model = type(yolo.model)(str(path), nc=len(spec.classes), verbose=False)
    yolo.model.load_state_dict(state)
    yolo.model.names = dict(enumerate(spec.classes))
    yolo.model.eval()
    height, width = spec.input[-2:] if spec.input else (640, 640)
    yolo.overrides |= {"imgsz": [height, width], "device": "cpu", "verbose": False}
    yolo.predict(np.zeros((height, width, 3), np.uint8))
    return _Loaded(yolo, "only weights of the format onnx have one")


def _architecture(name: str) -> Path:
    """The description of an architecture that ships with ultralytics, by its name, such as yolo11n."""
    shipped = sorted(Path(str(sys.modules["ultralytics"].__file__)).parent.glob("cfg/models/*/*.yaml"))
    family = _SCALED.sub(r"\1", name, count=1)
    for path in shipped:
        if path.stem in (family, name):
            # The package reads the scale from the file's name, and leaves it out to find the file.
            return path.with_name(f"{name}.yaml")
    raise ValueError(f"ultralytics has no architecture {name!r}; such as yolo11n, yolov8s")


_LOADERS = {"onnx": _onnx, "safetensors": _safetensors, "torch": _torch, "ultralytics": _ultralytics}
