"""Reads a program of torch.export (a .pt2 file of torch.export.save) without torch, and says why it cannot be a model.

torch.export.load is never called on what a stranger made. It unpickles weights, constants and example inputs wherever
the archive asks for that, loads compiled code (AOTInductor), evaluates symbolic expressions as Python, and resolves any
operator of any library. Here a program is facts: this reader is total (any bytes give a Program or NotAModel), takes
only what it knows, and `workers.inference.torch_export` runs what it gives. What is never looked at cannot do harm:
example inputs, guards, traces, call graphs, extra files.

The archive (torch/export/pt2_archive, schema version 8) is a zip file of uncompressed records under one folder:
`models/NAME.json`, the program; `data/weights/` and `data/constants/`, tensors as raw bytes, and a table of them each.
"""

import io
import json
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from workers.inference.aten import OPERATORS
from workers.inference.runtime import NotAModel
from workers.tensors import MAX_DIMENSIONS, Tensor

BEGINS = b"PK\x03\x04"
_SCHEMA_VERSION = 8
_MOST_RECORDS, _MOST_TABLE_BYTES = 20_000, 32 * 2**20
_LOCAL_HEADER = struct.Struct("<26xHH")
_DAMAGE = (
    zipfile.BadZipFile, struct.error, EOFError, OSError, RuntimeError, ValueError, KeyError, IndexError, TypeError,
    AttributeError, RecursionError, OverflowError,
)  # fmt: skip
"""What zipfile, json and walking through what they give can raise."""
_TARGET = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)", re.ASCII)
_DTYPES: Mapping[int, tuple[str, int]] = MappingProxyType(
    {
        1: ("uint8", 1), 2: ("int8", 1), 3: ("int16", 2), 4: ("int32", 4), 5: ("int64", 8), 6: ("float16", 2),
        7: ("float32", 4), 8: ("float64", 8), 12: ("bool", 1), 13: ("bfloat16", 2),
    }
)  # fmt: skip
"""Of torch's ScalarType: the name that torch knows it by, and the bytes of an element."""
_FLOAT, _STRIDED = 7, 7
_MEMORY_FORMATS = {1: "contiguous_format", 2: "channels_last", 3: "channels_last_3d", 4: "preserve_format"}
_POSITIONAL, _KEYWORD = 1, 2
_FLOATS = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}
HINT = "torch.export.save(torch.export.export(model.eval(), (torch.zeros(1, 3, 352, 352),)), 'model.pt2')"
"""How a file is made that can be a model."""


@dataclass(frozen=True, slots=True)
class Value:
    """An argument: a tensor that the program has by this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """An argument: what torch calls by this name, such as a type of numbers."""

    name: str


@dataclass(frozen=True, slots=True)
class Device:
    """An argument: the device that the model runs on, whichever it was exported on."""


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor of the file: where its numbers are, and how they lie there (in elements)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Call:
    """One operator. `outputs` are what it gives, None for what nobody names; `single`: a tensor, else several."""

    operator: str
    overload: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[str | None, ...]
    single: bool


@dataclass(frozen=True, slots=True)
class Program:
    """What a file says, and nothing else of it."""

    input: Tensor
    weights: tuple[Weight, ...]
    calls: tuple[Call, ...]
    outputs: tuple[Tensor, ...]


def read(content: bytes) -> Program:
    """The program of a file. Raises NotAModel unless it takes one float32 tensor of a fixed shape and gives such."""
    try:
        return _Reader(content).program()
    except NotAModel:
        raise
    except _DAMAGE:
        raise NotAModel(f"it is no file of torch.export.save, or not all of it; make it with {HINT}") from None


def used(argument: Any) -> Iterator[str]:
    """The names of the tensors in an argument of a call."""
    if isinstance(argument, Value):
        yield argument.name
    elif isinstance(argument, list):
        for one in argument:
            yield from used(one)


class _Reader:
    """The records of an archive, and what they say."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._records = dict(self._found())

    def _found(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Name, without the archive's own folder, and place of each record."""
        with zipfile.ZipFile(io.BytesIO(self._content)) as archive:
            entries = archive.infolist()
        # Records that lie within each other would be a bomb without compression.
        if len(entries) > _MOST_RECORDS or sum(entry.file_size for entry in entries) > len(self._content):
            raise NotAModel("its records are more than the file can hold")
        if len({entry.filename.partition("/")[2] for entry in entries}) < len(entries):
            raise NotAModel("it has two records of one name")
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise NotAModel("its records are compressed; torch.export.save leaves them as they are")
            header = self._content[entry.header_offset : entry.header_offset + _LOCAL_HEADER.size]
            if not header.startswith(BEGINS):
                raise ValueError
            start = entry.header_offset + _LOCAL_HEADER.size + sum(_LOCAL_HEADER.unpack(header))
            if start + entry.file_size > len(self._content):
                raise ValueError
            yield entry.filename.partition("/")[2], (start, start + entry.file_size)

    def program(self) -> Program:
        """All of it."""
        name, fields = self._main()
        graph = fields["graph_module"]["graph"]
        signature = fields["graph_module"]["signature"]
        tables = {kind: self._table(f"data/{kind}/{name}_{kind}_config.json") for kind in ("weights", "constants")}
        values = graph["tensor_values"]
        given: list[str] = []
        weights: list[Weight] = []
        for spec in signature["input_specs"]:
            ((kind, found),) = spec.items()
            if kind == "user_input":
                given.append(_tensor_name(found["arg"], "input"))
            elif kind in _TABLES:
                table, key = _TABLES[kind]
                if kind == "buffer" and not found["persistent"]:
                    table = "constants"
                weights.append(self._weight(_text(found["arg"]["name"]), _text(found[key]), table, tables[table]))
            else:
                raise NotAModel(f"one of its inputs is a {kind.replace('_', ' ')}; a model has one input, a tensor")
        if len(given) != 1:
            raise NotAModel(f"it has {len(given)} inputs, not one: {', '.join(given)}"[:200])
        known = {given[0], *(weight.name for weight in weights)}
        calls = tuple(_call(node, known) for node in graph["nodes"])
        return Program(
            _tensor(given[0], values, "input"),
            tuple(weights),
            calls,
            tuple(_tensor(output, values, "output") for output in _outputs(signature["output_specs"], known)),
        )

    def _main(self) -> tuple[str, dict[str, Any]]:
        """The only model of the archive: its name, and what it says."""
        if any(record.startswith("data/aotinductor/") for record in self._records):
            raise NotAModel(f"it has compiled code (AOTInductor), which is never loaded here; make it with {HINT}")
        models = [record for record in self._records if re.fullmatch(r"models/[^/]+\.json", record)]
        if len(models) != 1 or self._bytes("archive_format") != b"pt2":
            raise NotAModel(f"it is no program of torch.export, or of an older torch; make it with {HINT}")
        if self._bytes("byteorder") != b"little":
            raise NotAModel("its numbers are big-endian")
        fields: dict[str, Any] = self._json(models[0])
        if (version := fields["schema_version"]["major"]) != _SCHEMA_VERSION:
            raise NotAModel(f"it is of version {version!r:.20} of torch's format; {_SCHEMA_VERSION} is read here")
        return models[0].removeprefix("models/").removesuffix(".json"), fields

    def _bytes(self, record: str) -> bytes:
        start, end = self._records[record]
        return self._content[start:end]

    def _json(self, record: str) -> Any:
        start, end = self._records[record]
        if end - start > _MOST_TABLE_BYTES:
            raise NotAModel(f"its {record} has more than {_MOST_TABLE_BYTES // 2**20} MiB")
        return json.loads(self._bytes(record))

    def _table(self, record: str) -> dict[str, Any]:
        table: dict[str, Any] = self._json(record)["config"]
        return table

    def _weight(self, name: str, key: str, kind: str, table: Mapping[str, Any]) -> Weight:
        found = table[key]
        if found["use_pickle"] or found["tensor_meta"] is None:
            raise NotAModel(f"its weight {key!r:.100} is a pickle, which is never loaded here; make it a plain tensor")
        meta = found["tensor_meta"]
        if meta["layout"] != _STRIDED or meta["dtype"] not in _DTYPES:
            raise NotAModel(f"its weight {key!r:.100} is sparse, or of a type of numbers that is not known here")
        dtype, size = _DTYPES[meta["dtype"]]
        shape, strides = (tuple(_fixed(one, key) for one in meta[field]) for field in ("sizes", "strides"))
        offset = _fixed(meta["storage_offset"], key)
        start, end = self._records[f"data/{kind}/{_text(found['path_name'])}"]
        last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
        if 0 not in shape and (last + 1) * size > end - start:
            raise NotAModel(f"its weight {key!r:.100} is larger than its record")
        return Weight(name, dtype, shape, strides, offset, start, end)


_TABLES = {
    "parameter": ("weights", "parameter_name"),
    "buffer": ("weights", "buffer_name"),
    "tensor_constant": ("constants", "tensor_constant_name"),
}
"""Kinds of inputs that are tensors of the file: the table that they are in, and the field that names them there."""


def _outputs(specs: list[Any], known: set[str]) -> Iterator[str]:
    for spec in specs:
        ((kind, found),) = spec.items()
        if kind != "user_output":
            raise NotAModel(f"it changes what it holds ({kind.replace('_', ' ')}); export it after model.eval()")
        name = _tensor_name(found["arg"], "output")
        if name not in known:
            raise ValueError
        yield name
    if not specs:
        raise NotAModel("it has no output")


def _tensor_name(argument: Mapping[str, Any], role: str) -> str:
    ((kind, found),) = argument.items()
    if kind != "as_tensor":
        raise NotAModel(f"one of its {role}s is no tensor")
    return _text(found["name"])


def _tensor(name: str, values: Mapping[str, Any], role: str) -> Tensor:
    meta = values[name]
    if meta["dtype"] != _FLOAT:
        dtype, _ = _DTYPES.get(meta["dtype"], ("of another type", 0))
        raise NotAModel(f"its {role} {name!r:.100} is {dtype}, not float32")
    shape = tuple(_fixed(length, name) for length in meta["sizes"])
    if 0 in shape or len(shape) > MAX_DIMENSIONS:
        raise NotAModel(f"the shape of its {role} {name!r:.100} is {list(shape)!r:.100}")
    return Tensor(name, shape)


def _fixed(length: Mapping[str, Any], name: str) -> int:
    """A length that is a number and not a symbol."""
    ((kind, found),) = length.items()
    if kind != "as_int":
        raise NotAModel(f"the shape of {name!r:.100} is not fixed; export it without dynamic_shapes: {HINT}")
    if type(found) is not int or not 0 <= found < 1 << 40:
        raise ValueError
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _call(node: Mapping[str, Any], known: set[str]) -> Call:
    """One node, whose outputs are known from then on."""
    target = _text(node["target"])
    named = _TARGET.fullmatch(target)
    if named is None:
        raise NotAModel(
            f"its operator {target!r:.100} is none of PyTorch's own (torch.ops.aten); "
            "leave out control flow and lengths that depend on data, and do what libraries do in your logic"
        )
    operator, overload = named.groups()
    if operator not in OPERATORS:
        raise NotAModel(
            f"its operator aten.{operator:.100} is not one that models may use; run the model once before you export "
            "it (some compute constants then), or write it in simpler ones: program.run_decompositions()"
        )
    args, kwargs = [], {}
    for given in node["inputs"]:
        value = _argument(given["arg"], operator)
        if any(name not in known for name in used(value)):
            raise ValueError
        if given["kind"] == _POSITIONAL:
            args.append(value)
        elif given["kind"] == _KEYWORD:
            kwargs[_text(given["name"])] = value
        else:
            raise ValueError
    outputs, single = _given_names(node["outputs"])
    known.update(name for name in outputs if name is not None)
    return Call(operator, overload, tuple(args), MappingProxyType(kwargs), outputs, single)


def _given_names(outputs: list[Any]) -> tuple[tuple[str | None, ...], bool]:
    pairs = [pair for output in outputs for pair in output.items()]
    if len(pairs) == 1 and pairs[0][0] == "as_tensors":
        return tuple(_text(one["name"]) for one in pairs[0][1]), False
    names: list[str | None] = []
    for kind, found in pairs:
        if kind not in ("as_tensor", "as_none"):
            raise NotAModel("an operator gives numbers that are no tensor; shapes that depend on data are not fixed")
        names.append(None if kind == "as_none" else _text(found["name"]))
    return tuple(names), len(names) == 1


def _argument(argument: Mapping[str, Any], operator: str) -> Any:
    """An argument of an operator: a number, a text, a list of such, or one of the classes above."""
    ((kind, found),) = argument.items()
    if kind == "as_none":
        return None
    if kind == "as_tensor":
        return Value(_text(found["name"]))
    if kind == "as_optional_tensor":
        return _argument(found, operator)
    if kind == "as_tensors":
        return [Value(_text(one["name"])) for one in found]
    if kind in ("as_optional_tensors", "as_sym_ints", "as_sym_floats", "as_sym_bools"):
        return [_argument(one, operator) for one in found]
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return _argument(found, operator)
    if kind == "as_scalar_type":
        if found not in _DTYPES:
            raise NotAModel(f"its operator {operator!r:.100} asks for a type of numbers that is not known here")
        return Constant(_DTYPES[found][0])
    if kind == "as_memory_format":
        return Constant(_MEMORY_FORMATS[found])
    if kind == "as_layout":
        if found != _STRIDED:
            raise NotAModel(f"its operator {operator!r:.100} asks for a sparse tensor, which is not known here")
        return Constant("strided")
    if kind == "as_device":
        return Device()
    if kind in _LITERALS:
        return _LITERALS[kind](found)
    if kind in _LISTS:
        return [_LISTS[kind](one) for one in found]
    if kind == "as_name":
        raise NotAModel(f"its operator {operator!r:.100} is given a length that is not fixed; make it with {HINT}")
    raise NotAModel(f"its operator {operator!r:.100} is given what is not known here ({kind.removeprefix('as_'):.50})")


def _integer(value: Any) -> int:
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise TypeError
    return value


def _float(value: Any) -> float:
    if isinstance(value, str):
        return _FLOATS[value]
    if type(value) not in (int, float):
        raise TypeError
    return float(value)


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


_LITERALS = {"as_int": _integer, "as_float": _float, "as_bool": _bool, "as_string": _text}
_LISTS = {"as_ints": _integer, "as_floats": _float, "as_bools": _bool, "as_strings": _text}
