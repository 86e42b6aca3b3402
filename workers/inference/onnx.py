"""Reads as much of an ONNX file as is needed to say, in words, why it cannot be a model here.

An ONNX file is a protocol buffer (onnx/onnx.proto3 of the ONNX project, IR version 3 and later). Only the fields named
below are read, by a reader of the wire format that is total: any bytes give facts or NotAModel. What it lets through is
still a stranger's file: ONNX Runtime parses it again, inside the sandbox.

Refused besides what cannot run: weights in files beside the model (there are none here), operators of other domains
(they are libraries), and functions of the file's own, which no exporter needs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from workers.inference.runtime import NotAModel

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH, _MODEL_IR_VERSION, _MODEL_FUNCTIONS = 7, 1, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_NODE_OP_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = (5, 10), (6, 11)
_TENSOR_NAME, _TENSOR_EXTERNAL = 8, 13
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR, _TENSOR_ELEMENT, _TENSOR_SHAPE = 1, 1, 2
_SHAPE_DIMENSION, _DIMENSION_VALUE = 1, 1
_FLOAT = 1
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Operators that ONNX Runtime brings along; its optimiser writes those of com.microsoft."""
_MOST_NESTED = 16
_NAMES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 16: "bfloat16",
}  # fmt: skip
FIXED_HINT = "export it with fixed shapes, such as torch.onnx.export(model, torch.zeros(1, 3, 352, 352), ...)"


@dataclass(frozen=True, slots=True)
class _Value:
    """An input or output as the graph declares it; an unknown length is 0, an undeclared shape None."""

    name: str
    element: int
    shape: tuple[int, ...] | None


def check(content: bytes) -> None:
    """Raise NotAModel unless this is an ONNX graph of known operators from one fixed float32 input to float32."""
    graph, version = b"", 0
    for number, value in _fields(content):
        if number == _MODEL_GRAPH and isinstance(value, bytes):
            graph = value
        elif number == _MODEL_IR_VERSION and isinstance(value, int):
            version = value
        elif number == _MODEL_FUNCTIONS:
            raise NotAModel("it has functions of its own; export it with them inlined")
    if not graph or not version:
        raise NotAModel("it is not ONNX")
    _check_nodes(graph, 0)
    weights = {_name(value, _TENSOR_NAME) for value in _messages(graph, _GRAPH_INITIALIZER)}
    # Before IR version 4 weights were listed among the inputs.
    inputs = [value for value in map(_value, _messages(graph, _GRAPH_INPUT)) if value.name not in weights]
    if len(inputs) != 1:
        raise NotAModel(f"it has {len(inputs)} inputs, not one: {', '.join(value.name for value in inputs)}"[:200])
    given = inputs[0]
    if given.element != _FLOAT:
        raise NotAModel(f"its input {given.name!r} is {_NAMES.get(given.element, 'no tensor')}, not float32")
    if given.shape is None or 0 in given.shape:
        lengths = "unknown" if given.shape is None else [length or "?" for length in given.shape]
        raise NotAModel(f"the shape of its input {given.name!r} is {lengths}, not fixed; {FIXED_HINT}")
    outputs = [_value(value) for value in _messages(graph, _GRAPH_OUTPUT)]
    for output in outputs:
        if output.element not in (0, _FLOAT):
            raise NotAModel(f"its output {output.name!r} is {_NAMES.get(output.element, 'no tensor')}, not float32")
    if not outputs:
        raise NotAModel("it has no output")


def _check_nodes(graph: bytes, depth: int) -> None:
    """Every operator, those inside If, Loop and Scan included."""
    if depth > _MOST_NESTED:
        raise NotAModel("its graphs are nested too deeply")
    for tensor in _messages(graph, _GRAPH_INITIALIZER):
        _check_weights(tensor)
    for node in _messages(graph, _GRAPH_NODE):
        domain = _name(node, _NODE_DOMAIN)
        if domain not in _DOMAINS:
            raise NotAModel(f"its operator {_name(node, _NODE_OP_TYPE)!r} is of the domain {domain!r}, unknown here")
        for attribute in _messages(node, _NODE_ATTRIBUTE):
            for number in _ATTRIBUTE_TENSORS:
                for tensor in _messages(attribute, number):
                    _check_weights(tensor)
            for number in _ATTRIBUTE_GRAPHS:
                for inner in _messages(attribute, number):
                    _check_nodes(inner, depth + 1)


def _check_weights(tensor: bytes) -> None:
    if next(_messages(tensor, _TENSOR_EXTERNAL), None) is not None:
        raise NotAModel("its weights are in another file; save it with save_as_external_data=False")


def _value(message: bytes) -> _Value:
    element, shape = 0, None
    for kind in _messages(message, _VALUE_TYPE):
        for tensor in _messages(kind, _TYPE_TENSOR):
            for number, value in _fields(tensor):
                if number == _TENSOR_ELEMENT and isinstance(value, int):
                    element = value
                elif number == _TENSOR_SHAPE and isinstance(value, bytes):
                    shape = tuple(map(_length, _messages(value, _SHAPE_DIMENSION)))
    return _Value(_name(message, _VALUE_NAME), element, shape)


def _length(dimension: bytes) -> int:
    for number, value in _fields(dimension):
        if number == _DIMENSION_VALUE and isinstance(value, int) and value < 1 << 31:
            return value
    return 0


def _name(message: bytes, number: int) -> str:
    return next(_messages(message, number), b"").decode("utf-8", "replace")


def _messages(message: bytes, wanted: int) -> Iterator[bytes]:
    return (value for number, value in _fields(message) if number == wanted and isinstance(value, bytes))


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: a varint, or the bytes of a string, a message or a fixed-size number."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise NotAModel("it is not ONNX")
        if at + length > len(message):
            raise NotAModel("it is not ONNX, or not all of it")
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise NotAModel("it is not ONNX, or not all of it")
