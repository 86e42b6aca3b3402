"""Archives as torch.export.save writes them, made by hand, record by record: small programs with one property each."""

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHAPE = (2, 3)
FLOAT, LONG = 7, 5


def tensor(name: str) -> dict[str, Any]:
    """An Argument that is a tensor."""
    return {"as_tensor": {"name": name}}


def meta(shape: Iterable[int | str], dtype: int = FLOAT) -> dict[str, Any]:
    """A TensorMeta, contiguous; a text is a symbol."""
    sizes = list(shape)
    strides = [1]
    for length in reversed(sizes[1:]):
        strides.insert(0, strides[0] * (length if isinstance(length, int) else 1))
    return {
        "dtype": dtype,
        "sizes": [{"as_int": n} if isinstance(n, int) else {"as_expr": {"expr_str": n, "hint": None}} for n in sizes],
        "strides": [{"as_int": stride} for stride in strides[: len(sizes)]],
        "storage_offset": {"as_int": 0},
        "device": {"type": "cpu", "index": None},
        "layout": 7,
        "requires_grad": False,
    }


def node(target: str, outputs: str, *args: Mapping[str, Any], **kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A Node; outputs are separated by blanks, a target without a dot is one of aten."""
    return {
        "target": target if "." in target else f"torch.ops.aten.{target.replace('/', '.')}",
        "inputs": [{"name": "a", "arg": arg, "kind": 1} for arg in args]
        + [{"name": name, "arg": arg, "kind": 2} for name, arg in kwargs.items()],
        "outputs": [tensor(name) for name in outputs.split()],
        "metadata": {},
    }


def program(
    nodes: list[dict[str, Any]],
    values: Mapping[str, dict[str, Any]],
    outputs: str = "y",
    inputs: str = "x",
    buffers: str = "",
) -> dict[str, Any]:
    """An ExportedProgram; buffers are inputs that the archive's weights have."""
    return {
        "graph_module": {
            "graph": {"inputs": [], "outputs": [], "nodes": nodes, "tensor_values": dict(values)},
            "signature": {
                "input_specs": [{"user_input": {"arg": tensor(name)}} for name in inputs.split()]
                + [
                    {"buffer": {"arg": {"name": name}, "buffer_name": name, "persistent": True}}
                    for name in buffers.split()
                ],
                "output_specs": [{"user_output": {"arg": tensor(name)}} for name in outputs.split()],
            },
            "module_call_graph": [],
        },
        "opset_version": {"aten": 10},
        "range_constraints": {},
        "schema_version": {"major": 8, "minor": 20},
    }


def records(main: Mapping[str, Any], weights: Mapping[str, NDArray[Any]] | None = None) -> dict[str, bytes]:
    """What is in an archive, by name."""
    weights = weights or {}
    kinds = {"float32": FLOAT, "int64": LONG}
    table = {
        name: {
            "path_name": f"weight_{index}",
            "is_param": False,
            "use_pickle": False,
            "tensor_meta": meta(array.shape, kinds[array.dtype.name]),
        }
        for index, (name, array) in enumerate(weights.items())
    }
    return {
        **{f"data/weights/weight_{index}": array.tobytes() for index, array in enumerate(weights.values())},
        "data/weights/model_weights_config.json": json.dumps({"config": table}).encode(),
        "data/constants/model_constants_config.json": b'{"config": {}}',
        "models/model.json": json.dumps(main).encode(),
        "data/sample_inputs/model.pt": b"\x80\x04 never read",
        "archive_format": b"pt2",
        "byteorder": b"little",
    }


def archive(found: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """The file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        for name, content in found.items():
            made.writestr(zipfile.ZipInfo(f"model/{name}"), content, compression)
    return file.getvalue()


def model(
    nodes: list[dict[str, Any]],
    outputs: str = "y",
    weights: Mapping[str, NDArray[Any]] | None = None,
    shape: tuple[int | str, ...] = SHAPE,
) -> bytes:
    """A file with these nodes, whose input x and outputs are of one shape."""
    values = {name: meta(shape) for name in ("x", *outputs.split())}
    buffers = " ".join(weights or ())
    return archive(records(program(nodes, values, outputs, buffers=buffers), weights))


def doubles() -> bytes:
    """y = 2 x, z = -x."""
    return model([node("add/Tensor", "y", tensor("x"), tensor("x")), node("neg/default", "z", tensor("x"))], "y z")


def remembers() -> bytes:
    """Numbers of torch's generator, the next ones in each call, and the number of calls, which a buffer has."""
    nodes = [
        node("rand_like/default", "random", tensor("x")),
        node("add_/Scalar", "count", tensor("calls"), {"as_int": 1}),
        node("add/Tensor", "y", tensor("random"), tensor("count")),
    ]
    return model(nodes, weights={"calls": np.zeros(SHAPE, np.float32)})


def picks() -> bytes:
    """y = the row of x[0, 0] in a table of two, at both places: fails for an index beyond."""
    nodes = [
        node("flatten/using_ints", "flat", tensor("x")),
        node("slice/Tensor", "first", tensor("flat"), {"as_int": 0}, {"as_int": 0}, {"as_int": 1}),
        node("_to_copy/default", "index", tensor("first"), dtype={"as_scalar_type": LONG}),
        node("index_select/default", "row", tensor("table"), {"as_int": 0}, tensor("index")),
        node("cat/default", "y", {"as_tensors": [{"name": "row"}, {"name": "row"}]}),
    ]
    return model(nodes, weights={"table": np.array([[1, 2, 3], [4, 5, 6]], np.float32)})
