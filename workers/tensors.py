"""The memory that a guest shares with its model, and what they say to each other.

The memory is made for one slot, zeroed. It begins with a header that the warden writes: what the tensors are and how
long an answer takes. Then come the input and the outputs, little-endian float32 in C order. The guest fills the input
and writes CALL to its line; the model fills the outputs and writes ANSWER. Neither believes the other: the model never
reads the header, copies the input before it looks at it, and leaves at the first thing on the line that is not CALL.
"""

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CALL, ANSWER = b"c", b"a"
HEADER_BYTES = 16_384
MAX_TENSOR_BYTES = 256 * 2**20
"""Input and outputs of one call together."""
MAX_DIMENSIONS, MAX_OUTPUTS, MAX_NAME_CHARACTERS = 8, 32, 64
_FLOAT_BYTES = 4
_ALIGNMENT = 64
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Tensor:
    """The name and shape of one input or output; its values are float32."""

    name: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Of all its values."""
        return _FLOAT_BYTES * math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives: shapes that are the same in every call. Raises ValueError beyond the limits."""

    input: Tensor
    outputs: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.outputs) <= MAX_OUTPUTS:
            raise ValueError(f"a model has 1 to {MAX_OUTPUTS} outputs, not {len(self.outputs)}")
        for tensor in (self.input, *self.outputs):
            if len(tensor.shape) > MAX_DIMENSIONS or any(length < 1 for length in tensor.shape):
                raise ValueError(f"{tensor.name!r} has the shape {list(tensor.shape)}; every length must be at least 1")
        if self.size_bytes > MAX_TENSOR_BYTES:
            raise ValueError(f"input and outputs have {self.size_bytes} bytes together, more than {MAX_TENSOR_BYTES}")

    @property
    def size_bytes(self) -> int:
        """Of the whole shared memory."""
        return [*_offsets(self)][-1]

    def to_json(self) -> dict[str, Any]:
        """For the header, and for what a model says when it is ready."""
        return {"input": _pair(self.input), "outputs": [_pair(tensor) for tensor in self.outputs]}

    @classmethod
    def from_json(cls, fields: Any) -> "Signature":
        """What `to_json` gave, or a stranger's bytes. Raises ValueError."""
        try:
            return cls(_tensor(fields["input"]), tuple(_tensor(pair) for pair in fields["outputs"]))
        except (TypeError, KeyError, AttributeError):
            raise ValueError("that is no signature of a model") from None


def _pair(tensor: Tensor) -> list[Any]:
    return [tensor.name[:MAX_NAME_CHARACTERS], list(tensor.shape)]


def _tensor(pair: Any) -> Tensor:
    name, shape = pair
    if not isinstance(name, str) or not all(type(length) is int for length in shape):
        raise TypeError
    return Tensor(name[:MAX_NAME_CHARACTERS], tuple(shape))


def _offsets(signature: Signature) -> Iterator[int]:
    """Where each tensor begins, the input first, and where the last one ends."""
    at = HEADER_BYTES
    for tensor in (signature.input, *signature.outputs):
        yield at
        at += -(-tensor.size_bytes // _ALIGNMENT) * _ALIGNMENT
    yield at


def write_header(signature: Signature, period_ns: int) -> bytes:
    """The first bytes of the memory. `period_ns`: an answer comes so long after its call; 0: as soon as it is there."""
    text = json.dumps({**signature.to_json(), "period_ns": period_ns}).encode()
    header = _LENGTH.pack(len(text)) + text
    if len(header) > HEADER_BYTES:
        raise ValueError("the names and shapes of a model's outputs are too long")
    return header


def read_header(memory: memoryview) -> tuple[Signature, int]:
    """What `write_header` wrote: the signature and `period_ns`."""
    (length,) = _LENGTH.unpack_from(memory)
    fields = json.loads(bytes(memory[_LENGTH.size : _LENGTH.size + length]))
    return Signature.from_json(fields), fields["period_ns"]


def views(memory: memoryview, signature: Signature) -> "list[NDArray[np.float32]]":
    """The input and the outputs as they lie in the memory; whoever holds it on the other side may change them."""
    import numpy as np

    return [
        np.frombuffer(memory, "<f4", math.prod(tensor.shape), offset).reshape(tensor.shape)
        for tensor, offset in zip((signature.input, *signature.outputs), _offsets(signature), strict=False)
    ]
