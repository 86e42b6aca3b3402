"""A guest's end of its model (`workers.tensors`): what `infer` of the SDK calls."""

import math
import os
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from workers import tensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SLACK_SECONDS = 0.05
"""Waited beyond the period before a call is given up."""


class ModelFailed(Exception):
    """A call got no answer: it took too long, or the model's process is gone. No later call of the chunk gets one."""


class Line:
    """One chunk's connection to its model."""

    def __init__(self, fd: int, memory: memoryview) -> None:
        self._fd = fd
        self._memory = memory
        self._signature, self._period_ns = tensors.read_header(memory)
        self._failed = False

    def __call__(self, batch: object) -> "tuple[NDArray[np.float32], ...]":
        """The outputs for one input. Raises ValueError for another shape than the model's, ModelFailed."""
        given, *answers = tensors.views(self._memory, self._signature)
        given[...] = checked(batch, self._signature)
        if self._failed:
            raise ModelFailed("the model failed in an earlier call of this chunk")
        self._failed = True
        try:
            os.write(self._fd, tensors.CALL)
            wait = self._period_ns / 1e9 + _SLACK_SECONDS if self._period_ns else None
            if not select.select([self._fd], [], [], wait)[0]:
                raise ModelFailed(f"no answer within {self._period_ns / 1e6:g} ms, the time of a call of this model")
            if os.read(self._fd, 1) != tensors.ANSWER:
                raise ModelFailed("the model's process ended: it took too long, or its graph failed on this input")
        except OSError as error:
            raise ModelFailed(f"the model's process is gone: {error.strerror}") from None
        self._failed = False
        return tuple(answer.copy() for answer in answers)


def checked(batch: object, signature: tensors.Signature) -> "NDArray[np.float32]":
    """The batch as the model takes it. Raises ValueError for another shape."""
    import numpy as np

    given: NDArray[np.float32] = np.asarray(batch, np.float32)
    wanted = signature.input.shape
    if given.shape != wanted:
        shape = (
            f"{list(given.shape)}, {given.size} values" if given.size != math.prod(wanted) else f"{list(given.shape)}"
        )
        raise ValueError(f"the model takes one array of shape {list(wanted)}, not {shape}")
    return given


_current: "Callable[[Any], tuple[NDArray[np.float32], ...]] | None" = None


def attach(model: "Callable[[Any], tuple[NDArray[np.float32], ...]] | None") -> None:
    """From now on `infer` asks this model; None: there is none."""
    global _current  # noqa: PLW0603  one guest has one model
    _current = model


def infer(batch: object) -> "tuple[NDArray[np.float32], ...]":
    """The outputs of the model that WITH MODEL names, for one input: float32 arrays of the model's fixed shapes.

    Raises ValueError for an input of another shape, ModelFailed if the model gives no answer, RuntimeError without one.
    """
    if _current is None:
        raise RuntimeError("there is no model: write WITH MODEL 'name.onnx' after USING in the query's PROCESS")
    return _current(batch)
