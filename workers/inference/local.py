"""A model in this very process, for `privid run-local`: no walls, no schedule, the same answers."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from workers.guest.model import ModelFailed, checked
from workers.inference import runtimes
from workers.inference.runtime import NotAModel, missing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def local(content: bytes) -> "Callable[[object], tuple[NDArray[np.float32], ...]]":
    """What `infer` is to call. Raises NotAModel if its library does not take the file, RuntimeMissing without one."""
    runtime = runtimes.of_content(content)
    try:
        model = runtime.load(content, "cpu")
    except ImportError:
        raise missing(runtime) from None
    except ValueError as error:
        raise NotAModel(str(error)) from None

    def infer(batch: object) -> "tuple[NDArray[np.float32], ...]":
        given = checked(batch, model.signature)
        try:
            return tuple(model(given.copy()))  # a graph may write to it
        except ValueError as error:
            raise ModelFailed(str(error)) from None

    return infer
