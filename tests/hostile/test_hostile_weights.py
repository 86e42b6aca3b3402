"""The weights of a bundle: loaded once, before the first fork, and what a chunk writes into them is gone with it."""

import io
import json
import os
import struct
import zipfile

import pytest

from tests.hostile.arena import make_slot, require
from workers import wire
from workers.host.backends import BACKENDS, Name
from workers.host.pool import ExecutableSpec, LocalPool

pytest.importorskip("safetensors", reason="the extra for weights in this format is not installed")

MANIFEST = """
entry = "looks.py"

[weights.one]
file = "one.safetensors"
format = "safetensors"
"""
OVERWRITES = """
import ctypes
from workers.guest.sdk import weights

def process(chunk):
    found = weights("one")["w"]
    before = float(found.sum())
    page = found.ctypes.data & ~4095
    ctypes.CDLL(None).mprotect(ctypes.c_void_p(page), ctypes.c_size_t(8192), 3)
    ctypes.memmove(found.ctypes.data, (ctypes.c_float * 4)(9, 9, 9, 9), 16)
    weights("one")["seen"] = found
    return {"before": before, "after": float(found.sum()), "arrays": len(weights("one")) - 1}
"""
ROW = ("before", "after", "arrays")


def bundle() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    tensors = struct.pack("<Q", len(header)) + header + struct.pack("<4f", 1, 2, 3, 4)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in (("privid.toml", MANIFEST), ("looks.py", OVERWRITES), ("one.safetensors", tensors)):
            archive.writestr(name, data)
    return content.getvalue()


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_chunk_writes_into_its_weights_is_gone_with_it(backend: Name) -> None:
    require(backend)
    table = wire.TableSpec(tuple(wire.ColumnSpec(name, "NUMBER", -1) for name in ROW), 1)
    spec = ExecutableSpec("0" * 64, bundle(), table, 20_000_000)
    rows: dict[int, tuple[wire.Row, ...]] = {}
    with LocalPool(spec, "open", (max(os.sched_getaffinity(0)),), backend=backend) as pool:
        pool.run((make_slot(i, "c") for i in range(3)), 3, rows.__setitem__)
    assert rows == dict.fromkeys(range(3), ((10.0, 36.0, 1.0),))
