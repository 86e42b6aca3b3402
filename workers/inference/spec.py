"""What a PROCESS needs to know of its model."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model and where it runs.

    `content` is its file, `device` as in `workers.inference.runtime`. `calls`: the guest may call it so often, and
    each call has that share of the turn; None: each call has twice what one was measured to take before the first slot.
    """

    content: bytes
    device: str = "cpu"
    calls: int | None = None
