"""A model in this very process, for `privid run-local`: no walls, no schedule, the same answers."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from workers.guest.model import ModelFailed, checked
from workers.inference.runtime import Model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def local(content: bytes) -> "Callable[[object], tuple[NDArray[np.float32], ...]]":
    """What `infer` is to call. Raises ValueError if ONNX Runtime does not take the file, ImportError without it."""
    model = Model(content, "cpu")

    def infer(batch: object) -> "tuple[NDArray[np.float32], ...]":
        given = checked(batch, model.signature)
        try:
            return tuple(model(given))
        except ValueError as error:
            raise ModelFailed(str(error)) from None

    return infer
