"""What a runtime of models is: a kind of file, a library that runs it, and the devices it runs on.

`workers.inference.runtimes` has those there are. What is heavy or starts threads is imported when it is first needed.

A device is named `cpu`, `cuda:0` or `rocm:0`, or `auto`: the first kind of GPU that the installed library can use, else
the processor. No GPU has run this: what is tested without one is the choice, and everything on `cpu`.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from workers.tensors import Signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DEVICE = re.compile(r"auto|cpu|(?P<kind>cuda|rocm):(?P<number>\d{1,2})")


class NotAModel(ValueError):
    """These bytes cannot be a model; the text says why."""


class DeviceMissing(Exception):
    """The device that was asked for is not there; the text says what to do."""


class RuntimeMissing(Exception):
    """The library that runs a model is not installed; the text says what to do."""


class Model(Protocol):
    """A graph that is ready to run."""

    signature: Signature

    def __call__(self, batch: "NDArray[np.float32]") -> "list[NDArray[np.float32]]":
        """The outputs for one input, both of the shapes of the signature. Raises ValueError if the graph fails."""


class Runtime(Protocol):
    """A kind of models, and the library that runs them."""

    name: str
    package: str
    """What is imported; `find_spec` tells whether it is installed."""
    extra: str
    suffix: str
    """How the names of its files end."""
    begins: bytes
    """How they begin, if they all begin alike."""

    def check(self, content: bytes) -> None:
        """Raise NotAModel unless this can be a model, as far as can be told without running it. Total: any bytes."""

    def prepare_forks(self) -> None:
        """Import what forks of this process can inherit, in one thread. Raises ImportError."""

    def kinds(self) -> tuple[str, ...]:
        """The kinds of GPU that the installed library can use, the better one first. May start threads."""

    def load(self, content: bytes, device: str) -> Model:
        """A model on a device. Raises ValueError if the library does not take it, DeviceMissing, ImportError."""

    def smallest(self) -> bytes:
        """A file whose outputs are twice its input and its negative, of the shape (2, 3)."""


def missing(runtime: Runtime) -> RuntimeMissing:
    """What to raise where the library is missing."""
    return RuntimeMissing(f"WITH MODEL '*{runtime.suffix}' needs {runtime.package}: {install_hint(runtime)}")


def install_hint(runtime: Runtime) -> str:
    """What to do where the library is missing."""
    return f"install the extra `{runtime.extra}`: pip install 'privid[{runtime.extra}]'"


def check_device(name: str) -> str:
    """The name, if it can be a device's. Raises ValueError."""
    if _DEVICE.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not a device; write auto, cpu, cuda:0 or rocm:0")
    return name


def choose(device: str, runtime: Runtime, kinds: Sequence[str]) -> str:
    """The device that `device` means where the library can use these kinds of GPU. Raises DeviceMissing, ValueError."""
    check_device(device)
    if device == "auto":
        return f"{kinds[0]}:0" if kinds else "cpu"
    kind, _ = parse(device)
    if kind != "cpu" and kind not in kinds:
        raise DeviceMissing(
            f"the model's device is {device}, and the installed {runtime.package} cannot use one: install its build "
            f"for that device, or set PRIVID_INFERENCE_DEVICE=cpu"
        )
    return device


def parse(device: str) -> tuple[str, int]:
    """Kind and number of a device other than `auto`."""
    kind, _, number = device.partition(":")
    return kind, int(number or 0)
