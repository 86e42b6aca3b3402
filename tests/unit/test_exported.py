"""Programs of torch.export, read without torch: what is taken, and what cannot be a model."""

import contextlib
import io
import json
import zipfile
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import pt2_files as made
from workers.inference import exported, torch_export
from workers.inference.exported import read
from workers.inference.runtime import DeviceMissing, NotAModel, choose
from workers.tensors import Tensor

NEG = made.node("neg/default", "y", made.tensor("x"))
VALUES = {"x": made.meta((2, 3)), "y": made.meta((2, 3))}
PLAIN = made.program([NEG], VALUES)


def test_a_program_is_what_the_file_says() -> None:
    program = read(made.picks())
    assert (program.input, program.outputs) == (Tensor("x", (2, 3)), (Tensor("y", (2, 3)),))
    (weight,) = program.weights
    assert (weight.name, weight.dtype, weight.shape, weight.strides) == ("table", "float32", (2, 3), (3, 1))
    content = made.picks()[weight.start : weight.end]
    assert np.frombuffer(content, "<f4").tolist() == [1, 2, 3, 4, 5, 6]
    assert [call.operator for call in program.calls] == ["flatten", "slice", "_to_copy", "index_select", "cat"]
    assert program.calls[2].kwargs == {"dtype": exported.Constant("int64")}
    assert program.calls[4].args == ([exported.Value("row"), exported.Value("row")],)


@pytest.mark.parametrize("content", [made.doubles(), made.remembers(), torch_export._smallest()])
def test_programs_are_taken(content: bytes) -> None:
    read(content)


def test_every_kind_of_argument_is_understood() -> None:
    arguments: dict[str, tuple[Any, Any]] = {
        "as_none": (True, None),
        "as_int": (-3, -3),
        "as_float": ("-Infinity", float("-inf")),
        "as_bool": (False, False),
        "as_string": ("floor", "floor"),
        "as_ints": ([1, 2], [1, 2]),
        "as_floats": ([0.5, 2], [0.5, 2.0]),
        "as_bools": ([True], [True]),
        "as_sym_ints": ([{"as_int": 4}], [4]),
        "as_optional_tensors": ([{"as_none": True}, made.tensor("x")], [None, exported.Value("x")]),
        "as_optional_tensor": (made.tensor("x"), exported.Value("x")),
        "as_scalar_type": (12, exported.Constant("bool")),
        "as_memory_format": (2, exported.Constant("channels_last")),
        "as_layout": (7, exported.Constant("strided")),
        "as_device": ({"type": "cuda", "index": 0}, exported.Device()),
    }
    node = made.node("neg/default", "y", *({kind: written} for kind, (written, _) in arguments.items()))
    (call,) = read(made.archive(made.records(made.program([node], VALUES)))).calls
    assert list(call.args) == [meant for _, meant in arguments.values()]


# ----------------------------------------------------------------------------------------------- what is refused

Change = Callable[[dict[str, Any], dict[str, bytes]], object]


def changed(change: Change, weights: dict[str, np.ndarray] | None = None) -> bytes:
    """The plain program with something else in what it says, or in the records of its archive."""
    main: dict[str, Any] = json.loads(json.dumps(PLAIN))
    records = made.records(main, weights)
    change(main, records)
    if "models/model.json" in records:
        records["models/model.json"] = json.dumps(main).encode()
    return made.archive(records)


def graph(main: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = main["graph_module"]["graph"]
    return found


def signature(main: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = main["graph_module"]["signature"]
    return found


def target(name: str) -> bytes:
    return changed(lambda main, _: graph(main)["nodes"][0].update(target=name))


def argument(one: dict[str, Any]) -> bytes:
    return changed(lambda main, _: graph(main)["nodes"][0]["inputs"][0].update(arg=one))


def table(**changes: Any) -> bytes:
    """A program with one weight, and something else in what the table says of it."""

    def change(main: dict[str, Any], records: dict[str, bytes]) -> None:
        signature(main)["input_specs"].append(
            {"buffer": {"arg": {"name": "w"}, "buffer_name": "w", "persistent": True}}
        )
        name = "data/weights/model_weights_config.json"
        written = json.loads(records[name])
        for key, value in changes.items():
            written["config"]["w"][key] = value
        records[name] = json.dumps(written).encode()

    return changed(change, {"w": np.zeros((4, 2), np.float32)})


def meta(**changes: Any) -> bytes:
    return table(tensor_meta={**made.meta((4, 2)), **changes})


def two_of_a_name() -> bytes:
    """One program in each of two folders, which have no meaning."""
    file = io.BytesIO(made.archive(made.records(PLAIN)))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("other/models/model.json", "{}")
    return file.getvalue()


REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no file of torch.export.save"),
    "a pickle": (b"\x80\x04\x95\x10\x00\x00\x00", "no file of torch.export.save"),
    "a part": (made.doubles()[:-30], "or not all of it"),
    "a file of torch.save": (made.archive({"data.pkl": b"", "byteorder": b"little"}), "no program of torch.export"),
    "an older torch": (made.archive({"serialized_exported_program.json": b"{}"}), "of an older torch"),
    "compressed": (made.archive(made.records(PLAIN), zipfile.ZIP_DEFLATED), "compressed"),
    "compiled code": (changed(lambda _, r: r.update({"data/aotinductor/model/a.so": b"\x7fELF"})), "AOTInductor"),
    "two of a name": (two_of_a_name(), "two records of one name"),
    "two programs": (changed(lambda _, r: r.update({"models/other.json": b"{}"})), "no program of torch.export"),
    "no program": (changed(lambda _, r: r.pop("models/model.json")), "no program of torch.export"),
    "another format": (changed(lambda main, _: main["schema_version"].update(major=9)), "version 9"),
    "big-endian": (changed(lambda _, r: r.update(byteorder=b"big")), "big-endian"),
    "deep": (made.archive({**made.records(PLAIN), "models/model.json": b"[" * 100_000}), "not all of it"),
    "a long number": (made.archive({**made.records(PLAIN), "models/model.json": b"1" * 50_000}), "not all of it"),
    "two inputs": (made.archive(made.records(made.program([NEG], VALUES, inputs="x w"))), "2 inputs, not one: x, w"),
    "no input": (made.archive(made.records(made.program([], VALUES, inputs="", outputs=""))), "0 inputs"),
    "no output": (made.archive(made.records(made.program([NEG], VALUES, outputs=""))), "no output"),
    "an input of integers": (
        changed(lambda main, _: graph(main)["tensor_values"].update(x=made.meta((2,), made.LONG))),
        "input 'x' is int64, not float32",
    ),
    "an output of integers": (
        changed(lambda main, _: graph(main)["tensor_values"].update(y=made.meta((2,), made.LONG))),
        "output 'y' is int64, not float32",
    ),
    "a symbol": (made.model([NEG], shape=("s0", 3)), "'x' is not fixed; export it without dynamic_shapes"),
    "an empty input": (made.model([NEG], shape=(0, 3)), r"\[0, 3\]"),
    "a token": (changed(lambda main, _: signature(main)["input_specs"].append({"token": {}})), "is a token"),
    "an object": (changed(lambda main, _: signature(main)["input_specs"].append({"custom_obj": {}})), "custom obj"),
    "a buffer that changes": (
        changed(lambda main, _: signature(main)["output_specs"].insert(0, {"buffer_mutation": {}})),
        "buffer mutation.*model.eval",
    ),
    "control flow": (target("torch.ops.higher_order.cond"), "none of PyTorch's own.*control flow"),
    "another library": (target("torch.ops.torchvision.nms.default"), "what libraries do in your logic"),
    "Python": (target("os.system"), "none of PyTorch's own"),
    "a number of Python's": (target("_operator.add"), "none of PyTorch's own"),
    "a file": (target("torch.ops.aten.from_file.default"), "aten.from_file.*run_decompositions"),
    "another's memory": (target("torch.ops.aten.set_.source_Storage"), "aten.set_"),
    "a length from data": (argument({"as_sym_int": {"as_name": "u0"}}), "a length that is not fixed"),
    "a graph": (argument({"as_graph": {"name": "g", "graph": {}}}), "not known here.*graph"),
    "a sparse tensor": (argument({"as_layout": 1}), "sparse"),
    "complex numbers": (argument({"as_scalar_type": 9}), "type of numbers"),
    "what nobody gave": (argument(made.tensor("later")), "not all of it"),
    "a text for a number": (argument({"as_int": "1"}), "not all of it"),
    "a huge number": (argument({"as_int": 1 << 64}), "not all of it"),
    "a symbol as output": (
        changed(lambda main, _: graph(main)["nodes"][0].update(outputs=[{"as_sym_int": {"as_name": "u0"}}])),
        "shapes that depend on data",
    ),
    "a pickled weight": (table(use_pickle=True), "weight 'w' is a pickle"),
    "a weight without a shape": (table(tensor_meta=None), "weight 'w' is a pickle"),
    "a sparse weight": (meta(layout=1), "sparse"),
    "a complex weight": (meta(dtype=9), "type of numbers"),
    "a weight of a symbol": (meta(sizes=[{"as_expr": {"expr_str": "__import__('os')"}}]), "not fixed"),
    "a weight beyond its record": (meta(**{k: made.meta((5, 2))[k] for k in ("sizes", "strides")}), "larger than"),
    "a weight at an end": (meta(storage_offset={"as_int": 1}), "larger than its record"),
    "a weight below zero": (meta(storage_offset={"as_int": -1}), "not all of it"),
    "a weight of another place": (table(path_name="../../etc/passwd"), "not all of it"),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_a_model_is_said_in_words(why: str) -> None:
    content, said = REFUSED[why]
    with pytest.raises(NotAModel, match=said):
        read(content)


def test_records_that_lie_within_each_other_are_no_bomb() -> None:
    """Each entry of the directory can name the same bytes: a small file of endless records."""
    whole = bytearray(made.archive({**made.records(PLAIN), "data/extra": bytes(10_000)}))
    at = -1
    for _ in range(len(made.records(PLAIN)) + 1):
        at = whole.index(b"PK\x01\x02", at + 1)
        whole[at + 20 : at + 28] = (9_000).to_bytes(4, "little") * 2
    with pytest.raises(NotAModel, match="more than the file can hold"):
        read(bytes(whole))


@given(st.binary(max_size=200), st.integers(0, 3_000))
def test_any_bytes_are_a_program_or_not(noise: bytes, at: int) -> None:
    for content in (noise, made.doubles()[:at] + noise + made.doubles()[at + len(noise) :]):
        with contextlib.suppress(NotAModel):
            read(content)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_a_program_with_anything_anywhere_is_one_or_not(data: st.DataObject) -> None:
    main = json.loads(json.dumps(PLAIN))
    place = main
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if not (isinstance(inner, dict | list) and inner) or data.draw(st.integers(0, 4)) == 0:
            break
        place = inner
    place[key] = data.draw(ANYTHING)
    with contextlib.suppress(NotAModel):
        read(made.archive(made.records(main)))


# --------------------------------------------------------------------------------------------------- the device


def torch_with(*, hip: str | None, devices: int) -> Any:
    cuda = SimpleNamespace(is_available=lambda: devices > 0, device_count=lambda: devices)
    return SimpleNamespace(cuda=cuda, version=SimpleNamespace(hip=hip))


@pytest.mark.parametrize(
    ("asked", "hip", "devices", "chosen"),
    [
        ("auto", None, 0, "cpu"),
        ("auto", None, 1, "cuda:0"),
        ("auto", "7.0", 1, "rocm:0"),
        ("cpu", None, 1, "cpu"),
        ("cuda:1", None, 2, "cuda:1"),
        ("rocm:0", "7.0", 1, "rocm:0"),
    ],
)
def test_the_device_is_chosen_by_what_torch_was_built_for(
    asked: str, hip: str | None, devices: int, chosen: str
) -> None:
    found = torch_export.kinds(torch_with(hip=hip, devices=devices))
    assert choose(asked, torch_export.TorchExport(), found) == chosen
    name = torch_export.torch_device(chosen, torch_with(hip=hip, devices=devices))
    assert name == chosen.replace("rocm", "cuda")


@pytest.mark.parametrize(("asked", "hip", "devices"), [("cuda:0", None, 0), ("cuda:0", "7.0", 1), ("rocm:0", None, 1)])
def test_a_device_of_another_build_is_not_there(asked: str, hip: str | None, devices: int) -> None:
    with pytest.raises(DeviceMissing, match="PRIVID_INFERENCE_DEVICE=cpu"):
        choose(asked, torch_export.TorchExport(), torch_export.kinds(torch_with(hip=hip, devices=devices)))


def test_a_device_beyond_those_that_there_are_is_said() -> None:
    with pytest.raises(DeviceMissing, match="no cuda:2 here; torch finds 2"):
        torch_export.torch_device("cuda:2", torch_with(hip=None, devices=2))
