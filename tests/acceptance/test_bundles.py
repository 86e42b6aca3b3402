"""A bundle with weights through the real programs: uploaded from its folder, run, and finished after a kill."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from privid.client import CallFailed
from privid.testing.system import LocalSystem, wait_until
from tests.support.minute import PLENTY, query

MANIFEST = """
entry = "main.py"
libraries = ["numpy"]

[weights.share]
file = "weights/share.safetensors"
format = "safetensors"
"""
MAIN = """
import time

from parts import counting
from workers.guest.sdk import weights


def process(chunk):
    time.sleep(0.1)
    share = weights("share")["of"]
    return {"n": counting.frames(chunk) * float(share[0])}
"""
COUNTING = "def frames(chunk):\n    return len(chunk.frames)\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "frame-counter"
    files = {
        "privid.toml": MANIFEST,
        "main.py": MAIN,
        "parts/counting.py": COUNTING,
        "test_it.py": "",
        "notes.txt": "x",
    }
    for name, text in files.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    (made / "weights").mkdir()
    (made / "weights" / "share.safetensors").write_bytes(save({"of": np.array([1 / 20], np.float32)}))
    (made / "frames.sql").write_text(query("frame-counter", timeout="5sec", epsilon=str(PLENTY)))
    return made


def test_a_bundle_is_uploaded_with_its_query_and_outlives_its_server(
    install: Callable[..., LocalSystem], folder: Path
) -> None:
    system = install(epsilon=PLENTY, timing="open")
    token = system.add_analyst("alice", "plaza")
    submitted = system.json("privid", "submit", folder / "frames.sql", token=token)
    assert [uploaded["existing"] for uploaded in submitted["uploads"]] == [False]
    shutil.rmtree(folder / "weights")  # from here on only the server has them
    wait_until(lambda: len(system.logged("slot finished")) >= 3)
    system.kill()
    assert len(system.logged("slot finished")) < 30
    system.start()
    with system.client(token) as client:
        *_, last = client.watch(submitted["query_id"])
        assert last.query.state == "released"
        assert client.result(submitted["query_id"]).tables[0].rows[0][0].value == pytest.approx(30, abs=0.1)

    (listed,) = system.json("privid", "executables", token=token)["executables"]
    assert (listed["name"], listed["version"]) == ("frame-counter", 1)
    assert listed["manifest"]["libraries"] == ["numpy", "safetensors"]
    assert listed["manifest"]["weights"] == {"share": {"file": "weights/share.safetensors", "format": "safetensors"}}
    assert "frame-counter" in system.run("privid", "executables", token=token).stdout
    stored = system.home.executables / listed["sha256"]
    assert stored.stat().st_size == listed["size_bytes"]
    with sqlite3.connect(system.home.database) as database:
        ((manifest,),) = database.execute("SELECT manifest FROM executables").fetchall()
    assert json.loads(manifest) == listed["manifest"]


def test_what_is_not_in_a_bundle_changes_nothing_and_what_cannot_be_loaded_is_refused(
    install: Callable[..., LocalSystem], folder: Path
) -> None:
    system = install()
    token = system.add_analyst("alice", "plaza")
    first = system.json("privid", "upload", folder, token=token)
    (folder / "notes.txt").write_text("other notes")
    (folder / "test_it.py").write_text("other = 1")
    packed = shutil.make_archive(str(folder.parent / "packed"), "zip", folder)
    again = system.json("privid", "upload", packed, "--name", "frame-counter", token=token)
    assert (again["existing"], again["sha256"], again["version"]) == (True, first["sha256"], 1)
    (folder / "parts" / "counting.py").write_text(COUNTING + "# changed\n")
    assert system.json("privid", "upload", folder, token=token)["version"] == 2

    before = sorted(path.name for path in system.home.executables.iterdir())
    unknown = b'{"of":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}'
    weights = len(unknown).to_bytes(8, "little") + unknown + bytes(4)
    for change, says in (
        ({"weights/share.safetensors": weights}, "weights.share: weights/share.safetensors cannot be loaded"),
        ({"weights/share.safetensors": b"\x80\x04pickle"}, "it is a pickle, which is never loaded"),
        ({"main.py": b"def proces(chunk): pass"}, "main.py: it does not define process(chunk)"),
        ({"parts/counting.py": b"def"}, "parts/counting.py: line 1"),
        ({"json.py": b"x = 1"}, "'json' is the name of a library's module"),
        ({"privid.toml": MANIFEST.encode() + b"\n[weights.x]\n"}, "weights.x.file is missing"),
        ({"privid.toml": b'memory = "64 GiB"\n' + MANIFEST.encode()}, "memory: this server allows 2,147,483,648"),
        ({"privid.toml": b"threads = 64\n" + MANIFEST.encode()}, "threads: this server allows 4"),
    ):
        changed = shutil.copytree(folder, folder.parent / "changed" / folder.name)
        for name, content in change.items():
            (changed / name).write_bytes(content)
        refused = system.run("privid", "upload", changed, token=token, check=False)
        assert refused.returncode == 2, refused
        assert says in refused.stderr.replace("\n", " "), refused.stderr
        shutil.rmtree(changed)
    assert sorted(path.name for path in system.home.executables.iterdir()) == before
    with system.client(token) as client, pytest.raises(CallFailed) as error:
        client.upload("hostile", b"PK\x03\x04" + bytes(50))
    assert (error.value.code, "damaged" in error.value.message) == ("bad_executable", True)
