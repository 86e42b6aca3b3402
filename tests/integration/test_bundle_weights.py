"""Weights in the sandbox: loaded once for all chunks, and what a chunk does to them is gone with it."""

import io
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from tests.support import onnx_files
from workers import bundle, wire
from workers.guest import weights as guest_weights
from workers.host import channel, loading, warden
from workers.host.backends import BACKENDS
from workers.host.errors import ExecutableRefused
from workers.host.feeder import Slot
from workers.host.pool import ExecutableSpec, LocalPool, Run

TABLE = wire.TableSpec(
    (
        wire.ColumnSpec("sum", "NUMBER", -1),
        wire.ColumnSpec("place", "NUMBER", -1),
        wire.ColumnSpec("is", "STRING", "-"),
    ),
    1,
)


def packed(manifest: str, **files: bytes | str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("privid.toml", 'entry = "main.py"\n' + manifest)
        for name, text in files.items():
            archive.writestr(name.replace("__", "/").replace("_py", ".py"), text)
    return bundle.read(content.getvalue()).pack()


def run(source: bytes, chunks: int, backend: str = "fork", timeout_us: int = 20_000_000) -> tuple[list, list[Run]]:
    """The rows of so many chunks without frames, in their order on one core, and their runs."""
    rows: dict[int, tuple[wire.Row, ...]] = {}
    runs: list[Run] = []

    def slots() -> Iterator[Slot]:
        for index in range(chunks):
            yield Slot(index, None, 0, 8, 8, 3, (), 0, 1, "c", "", 5.0)

    spec = ExecutableSpec("", source, TABLE, timeout_us)
    with LocalPool(spec, "open", (0,), backend=backend, log_bytes=1 << 16, on_run=runs.append) as pool:
        pool.run(slots(), chunks, lambda index, got: rows.update({index: got}))
    return [rows[index][0] for index in range(chunks)], runs


ARRAYS = """
from workers.guest.sdk import weights

ARRAY = weights("table")["a"]


def process(chunk):
    row = {"sum": float(ARRAY.sum()), "place": ARRAY.ctypes.data % 2**31, "is": "read-only"}
    if ARRAY.flags.writeable:
        row["is"] = "writable"
    ARRAY.flags.writeable = True
    ARRAY[:] = 1000
    weights("table").clear()
    return row
"""


@pytest.mark.parametrize("backend", ["fork", "exec"])
def test_a_chunk_finds_the_weights_as_they_were_whatever_the_one_before_did(backend):
    manifest = 'libraries = []\n[weights.table]\nfile = "w"\nformat = "safetensors"\n'
    source = packed(manifest, main_py=ARRAYS, w=save({"a": np.arange(5, dtype=np.float32)}))
    rows, runs = run(source, 3, backend)
    assert [run.fault for run in runs] == [None] * 3
    assert {(total, kind) for total, _, kind in rows} == {(10.0, "read-only")}
    if backend == "fork":  # one copy, which every chunk has by its fork
        assert len({place for _, place, _ in rows} - {-1}) == 1


TENSORS = """
from workers.guest.sdk import weights

TENSOR = weights("table")["a"]


def process(chunk):
    row = {"sum": float(TENSOR.sum()), "place": TENSOR.data_ptr() % 2**31, "is": str(TENSOR.dtype)}
    TENSOR.fill_(1000)
    return row
"""


@pytest.mark.vision
def test_tensors_are_loaded_once_for_all_chunks_and_what_one_does_to_them_no_other_sees():
    import torch

    state = io.BytesIO()
    torch.save({"a": torch.arange(5.0)}, state)
    source = packed('[weights.table]\nfile = "w.pt"\nformat = "torch"\n', main_py=TENSORS, **{"w.pt": state.getvalue()})
    rows, runs = run(source, 3)
    assert [run.fault for run in runs] == [None] * 3, runs[0].log
    ((total, place, kind),) = set(rows)  # one copy, which every chunk has by its fork
    assert (total, kind) == (10.0, "torch.float32")
    assert place >= 0


NETWORK = """
import numpy as np
from workers.guest.sdk import net, weights

def process(chunk):
    network = net("model")
    network.setInput(np.ones(SHAPE, np.float32))
    data = weights("model")
    return {"sum": float(network.forward().sum()), "place": len(data), "is": type(data).__name__}
"""


def test_a_network_is_read_before_the_chunk_comes_and_is_the_one_of_the_file():
    graph = onnx_files.doubles()
    source = packed(
        '[weights.model]\nfile = "m.onnx"\nformat = "onnx"\ninput = [2, 3]\n',
        main_py=NETWORK.replace("SHAPE", str(onnx_files.SHAPE)),
        **{"m.onnx": graph},
    )
    rows, runs = run(source, 2)
    assert [run.fault for run in runs] == [None, None], runs[0].log
    guest_weights.load(bundle.read(source))
    network = guest_weights.net("model")
    network.setInput(np.ones(onnx_files.SHAPE, np.float32))
    assert rows == [(float(network.forward().sum()), float(len(graph)), "bytes")] * 2


def test_modules_of_a_bundle_are_imported_from_memory_and_shown_in_tracebacks():
    source = packed(
        "libraries = []",
        main_py="import helpers\nfrom pkg import deep\n\n\ndef process(chunk):\n    return helpers.row(deep.X)\n",
        helpers_py="def row(x):\n    if x:\n        raise ValueError('seen')\n",
        pkg__deep_py="X = __name__ == 'pkg.deep'\n",
    )
    _, (only,) = run(source, 1)
    assert only.fault == "crashed"
    log = only.log.decode()
    assert "File \"helpers.py\", line 3, in row\n    raise ValueError('seen')" in log
    assert 'File "main.py", line 6, in process\n    return helpers.row(deep.X)' in log
    assert "workers" not in log


def test_weights_that_were_not_declared_are_named():
    _, (only,) = run(packed("libraries = []", main_py="from workers.guest.sdk import weights\nweights('x')\n"), 1)
    assert "LookupError: no weights 'x': the manifest has none" in only.log.decode()


def test_weights_that_cannot_be_loaded_are_refused_with_the_reason():
    header = b'{"a":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}'
    source = packed(
        'libraries = []\n[weights.table]\nfile = "w"\nformat = "safetensors"\n',
        main_py=ARRAYS,
        w=len(header).to_bytes(8, "little") + header + bytes(4),
    )
    with pytest.raises(ExecutableRefused, match=r"weights\.table: w cannot be loaded as safetensors: "):
        loading.try_loading(source)


def test_weights_that_take_too_much_memory_are_refused():
    source = packed(
        '[weights.model]\nfile = "m.onnx"\nformat = "onnx"\ninput = [16384, 16384, 8]\n',
        main_py=NETWORK,
        **{"m.onnx": onnx_files.doubles()},
    )
    with pytest.raises(
        ExecutableRefused, match=r"weights\.model: m\.onnx cannot be loaded as onnx: Unable to allocate"
    ):
        loading.try_loading(source)


@pytest.fixture
def dead_zygote() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The warden's sockets to its host and to a zygote that has died."""
    host, its_end = socket.socketpair()
    ours, theirs = socket.socketpair()
    theirs.close()
    with host, its_end, ours:
        yield host, ours


def test_weights_that_kill_what_loads_them_are_refused(dead_zygote):
    message = warden._zygote_built(*dead_zygote, weights=True)
    assert message.kind == warden.REFUSED
    assert b"crashed" in message.payload


def test_nothing_is_refused_for_a_zygote_that_died_of_something_else(dead_zygote):
    with pytest.raises(channel.ClosedError):
        warden._zygote_built(*dead_zygote, weights=False)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Where ultralytics writes its settings: not to the home of whoever runs this."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "true")


YOLO = """
import numpy as np
from workers.guest.sdk import weights


def process(chunk):
    model = weights("things")
    ready = model.predictor is not None and not hasattr(model, "seen")
    model.seen = True
    for parameter in list(model.model.parameters())[:1]:
        place = parameter.data_ptr() % 2**31
    picture = np.random.default_rng(7).integers(0, 255, (320, 320, 3), dtype=np.uint8)
    found = model.predict(picture, conf=0.0001)[0]
    for parameter in model.model.parameters():
        parameter.data.fill_(1000)
    return {"sum": float(found.boxes.data.double().sum()), "place": place, "is": f"{ready} {model.names}"}
"""


def state_of_yolo() -> bytes:
    """The state of a yolo11n of two classes with random weights."""
    import torch
    import ultralytics

    torch.manual_seed(3)
    path = str(Path(ultralytics.__file__).parent / "cfg/models/11/yolo11n.yaml")
    model = ultralytics.YOLO(path, verbose=False)
    state = io.BytesIO()
    torch.save(type(model.model)(path, nc=2, verbose=False).state_dict(), state)
    return state.getvalue()


def yolo_found_here(source: bytes) -> float:
    """What `YOLO` finds by a direct call, as a row has it."""
    import torch

    torch.set_num_threads(1)
    guest_weights.load(bundle.read(source))
    picture = np.random.default_rng(7).integers(0, 255, (320, 320, 3), dtype=np.uint8)
    found = guest_weights.weights("things").predict(picture, conf=0.0001)[0]
    assert len(found.boxes) > 0
    return wire.number(float(found.boxes.data.double().sum()))


def packed_yolo() -> bytes:
    return packed(
        'memory = "1 GiB"\n[weights.things]\nfile = "w.pt"\nformat = "ultralytics"\narchitecture = "yolo11n"\n'
        'classes = ["person", "car"]\ninput = [1, 3, 320, 320]\n',
        main_py=YOLO,
        **{"w.pt": state_of_yolo()},
    )


@pytest.mark.slow
@pytest.mark.vision
def test_ultralytics_is_loaded_once_for_all_chunks_and_gives_what_a_direct_call_gives(settings):
    source = packed_yolo()
    rows, runs = run(source, 3, timeout_us=60_000_000)
    assert [run.fault for run in runs] == [None] * 3, runs[0].log
    assert rows == [rows[0]] * 3  # at one place in memory, and as it was, though each chunk has overwritten it
    assert rows[0][1] >= 0
    assert rows[0][2] == "True {0: 'person', 1: 'car'}"
    assert rows[0][0] == yolo_found_here(source)


@pytest.mark.slow
@pytest.mark.vision
@pytest.mark.parametrize("backend", ["exec", "oci"])
def test_fresh_processes_run_ultralytics_and_give_what_a_direct_call_gives(settings, backend):
    if missing := BACKENDS[backend].missing():
        pytest.skip(missing)
    source = packed_yolo()
    rows, runs = run(source, 2, backend, timeout_us=200_000_000)
    assert [run.fault for run in runs] == [None] * 2, runs[0].log
    assert [run.log for run in runs] == [b""] * 2  # nothing of what libraries print while they are imported
    assert {row[2] for row in rows} == {"True {0: 'person', 1: 'car'}"}
    assert [row[0] for row in rows] == [yolo_found_here(source)] * 2


TORCH = """
import os
import stat

import torch


def process(chunk):
    seed = os.stat("/dev/urandom")
    try:
        os.open("/dev/urandom", os.O_WRONLY)
        kind = "writable"
    except PermissionError:
        kind = "plain" if stat.S_ISREG(seed.st_mode) else "device"
    there = f"{kind} {os.listdir('/dev')}"
    return {"sum": float(torch.ones(3).sum()), "place": torch.initial_seed() % 2**31, "is": there}
"""


@pytest.mark.slow
@pytest.mark.vision
@pytest.mark.parametrize("backend", ["exec", "oci"])
def test_fresh_processes_run_torch_and_find_a_plain_file_where_it_looks_for_a_device(backend):
    if missing := BACKENDS[backend].missing():
        pytest.skip(missing)
    source = packed('libraries = ["numpy", "torch"]\n', main_py=TORCH)
    rows, runs = run(source, 2, backend, timeout_us=200_000_000)
    assert [run.fault for run in runs] == [None] * 2, runs[0].log
    assert {(total, kind) for total, _, kind in rows} == {(3.0, "plain ['urandom']")}
    if backend == "exec":
        assert len({seed for _, seed, _ in rows}) == 1


@pytest.mark.slow
@pytest.mark.vision
@pytest.mark.parametrize(
    ("form", "what", "says"),
    [
        ("torch", "code", "it holds more than tensors"),
        ("ultralytics", "code", "it holds more than tensors"),
        ("ultralytics", "other tensors", "Missing key"),
        ("ultralytics", "unknown architecture", "ultralytics has no architecture 'yolo11q'"),
    ],
)
def test_weights_of_torch_are_tensors_and_nothing_runs(tmp_path, form, what, says):
    import torch

    class Touches:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    state = io.BytesIO()
    torch.save({"a": torch.zeros(3) if what != "code" else Touches()}, state)
    architecture = "yolo11q" if what == "unknown architecture" else "yolo11n"
    more = f'architecture = "{architecture}"\nclasses = ["a"]\n' if form == "ultralytics" else ""
    source = packed(
        f'[weights.w]\nfile = "w.pt"\nformat = "{form}"\n{more}', main_py=ARRAYS, **{"w.pt": state.getvalue()}
    )
    with pytest.raises(ExecutableRefused) as error:
        loading.try_loading(source)
    assert says in str(error.value)
    assert not (tmp_path / "ran").exists()
