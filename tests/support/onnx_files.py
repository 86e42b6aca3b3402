"""ONNX files made by hand, field by field (onnx/onnx.proto3): small graphs with one property each."""

import struct

import numpy as np
from numpy.typing import NDArray

FLOAT, INT64, BOOL = 1, 7, 9
SHAPE = (2, 3)
LARGE = (96, 96)


def varint(value: int) -> bytes:
    out = b""
    value &= (1 << 64) - 1
    while True:
        value, byte = value >> 7, value & 0x7F
        if not value:
            return out + bytes([byte])
        out += bytes([byte | 0x80])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def value(name: str, shape: tuple[int | str, ...] | None, element: int = FLOAT) -> bytes:
    """A ValueInfoProto."""
    tensor = number(1, element)
    if shape is not None:
        dimensions = (message(2, d) if isinstance(d, str) else number(1, d) for d in shape)
        tensor += message(2, b"".join(message(1, dimension) for dimension in dimensions))
    return message(1, name) + message(2, message(1, tensor))


def weights(name: str, array: NDArray[np.float32] | NDArray[np.int64]) -> bytes:
    """A TensorProto."""
    element = INT64 if array.dtype == np.int64 else FLOAT
    dimensions = b"".join(number(1, length) for length in array.shape)
    return dimensions + number(2, element) + message(8, name) + message(9, array.tobytes())


def attribute(name: str, given: int | float | bytes) -> bytes:
    """An AttributeProto: an INT, a FLOAT or a GRAPH."""
    if isinstance(given, bytes):
        return message(1, name) + message(6, given) + number(20, 5)
    if isinstance(given, float):
        return message(1, name) + varint(2 << 3 | 5) + struct.pack("<f", given) + number(20, 1)
    return message(1, name) + number(3, given) + number(20, 2)


def node(operator: str, inputs: str, outputs: str, *, domain: str = "", **attributes: int | float | bytes) -> bytes:
    """A NodeProto; names are separated by blanks, and _ stands for none."""
    names = [message(1, "" if name == "_" else name) for name in inputs.split()]
    names += [message(2, name) for name in outputs.split()]
    given = [message(5, attribute(name, one)) for name, one in attributes.items()]
    return b"".join(names) + message(4, operator) + b"".join(given) + (message(7, domain) if domain else b"")


def graph(nodes: list[bytes], inputs: list[bytes], outputs: list[bytes], tensors: tuple[bytes, ...] = ()) -> bytes:
    """A GraphProto."""
    parts = [message(1, one) for one in nodes] + [message(2, "g")] + [message(5, one) for one in tensors]
    return b"".join([*parts, *(message(11, one) for one in inputs), *(message(12, one) for one in outputs)])


def model(main: bytes, extra: bytes = b"") -> bytes:
    """A ModelProto of IR version 8, operators of version 17."""
    return number(1, 8) + message(8, number(2, 17)) + message(7, main) + extra


def doubles() -> bytes:
    """y = 2 x, z = -x."""
    nodes = [node("Add", "x x", "y"), node("Neg", "x", "z")]
    return model(graph(nodes, [value("x", SHAPE)], [value("y", SHAPE), value("z", SHAPE)]))


def remembers() -> bytes:
    """Numbers of a seeded generator: the next ones in each run of one session, the same in each new session."""
    return model(graph([node("RandomNormalLike", "x", "y", seed=7.0)], [value("x", SHAPE)], [value("y", SHAPE)]))


def picks() -> bytes:
    """y = the row of x[0, 0] in a table of two: fails for an index beyond."""
    table = weights("table", np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    nodes = [
        node("Cast", "x", "indices", to=INT64),
        node("Gather", "table indices", "rows"),
        node("ReduceSum", "rows axes", "y", keepdims=0),
    ]
    axes = weights("axes", np.array([2], np.int64))
    return model(graph(nodes, [value("x", SHAPE)], [value("y", SHAPE)], (table, axes)))


def works() -> bytes:
    """y = w^n x for n = x[0, 0]: the work depends on the input."""
    body = graph(
        [node("Identity", "c", "d"), node("MatMul", "w v", "u")],
        [value("i", (), INT64), value("c", (), BOOL), value("v", LARGE)],
        [value("d", (), BOOL), value("u", LARGE)],
    )
    nodes = [
        node("Gather", "x first", "row", axis=0),
        node("Gather", "row first", "times", axis=0),
        node("Cast", "times", "n", to=INT64),
        node("Loop", "n _ x", "y", body=body),
    ]
    tensors = (weights("w", np.eye(LARGE[0], dtype=np.float32)), weights("first", np.array(0, np.int64)))
    return model(graph(nodes, [value("x", LARGE)], [value("y", LARGE)], tensors))
