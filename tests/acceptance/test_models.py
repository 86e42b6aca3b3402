"""USING ... WITH MODEL ... through the real programs: uploaded, asked, answered, and after kill -9 as well."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from privid.client import CallFailed
from privid.testing.system import LocalSystem, wait_until
from tests.support import onnx_files, pt2_files
from tests.support.minute import PLENTY, query

pytestmark = [pytest.mark.detectors, pytest.mark.vision]
LOGIC = b"""
import numpy as np
from workers.guest.sdk import infer

def process(chunk):
    y, z = infer(np.full((2, 3), len(chunk.frames) / 20, np.float32))
    yield {"n": float(y.sum() / 12)}
"""
CLAUSE = "USING 'logic.py' WITH MODEL 'doubles.onnx'{calls} TIMEOUT"


def asked(calls: str = "", **changes: str) -> str:
    """As `minute.query`: the sum is 30 if each chunk's model gave what it should."""
    return query("logic.py", epsilon=str(PLENTY), **changes).replace(
        "USING 'logic.py' TIMEOUT", CLAUSE.format(calls=calls)
    )


def test_a_query_with_a_model_is_answered_after_a_crash_as_well(install: Callable[..., LocalSystem]) -> None:
    system = install(epsilon=PLENTY)
    token = system.add_analyst("alice", "plaza")
    with system.client(token) as client:
        client.upload("logic.py", LOGIC)
        with pytest.raises(CallFailed, match="unknown model"):
            client.explain(asked())
        stored, _ = client.upload("doubles.onnx", onnx_files.doubles())
        explained = client.explain(asked(calls=" CALLS 3", timeout="400ms"))
        (process,) = explained["processes"]
        assert process["model"] == {"name": "doubles.onnx", "sha256": stored.sha256, "calls": 3}
        submitted = client.submit(asked(calls=" CALLS 3", timeout="400ms")).query
    wait_until(lambda: len(system.logged("slot finished")) >= 3, 120)
    system.kill()
    system.start()
    with system.client(token) as client:
        *_, last = client.watch(submitted.id)
        assert last.query.state == "released"
        answer = client.result(submitted.id)
        assert answer.tables[0].rows[0][0].value == pytest.approx(30, abs=0.1)
        again = client.submit(asked(calls=" CALLS 3", timeout="400ms"))
        assert again.shared, "the same question is free"
        client.upload("doubles.onnx", onnx_files.remembers())
        other = client.explain(asked(calls=" CALLS 3", timeout="400ms"))
        assert other["canonical"] != explained["canonical"], "another model is another question"


SEES = b"""
import numpy as np
from workers.guest.sdk import infer

def process(chunk):
    y, z = infer(np.full((2, 3), chunk.frames.mean() / 255, np.float32))
    yield {"n": float(y.sum() / 6)}
"""
"""Twice the brightness of each chunk, as the model doubles it."""


@pytest.mark.slow
def test_a_program_of_torch_gives_the_rows_of_run_local(
    install: Callable[..., LocalSystem], module_clip: Path, tmp_path: Path
) -> None:
    system = install(epsilon=PLENTY)
    token = system.add_analyst("alice", "plaza")
    question = asked(calls=" CALLS 2", timeout="1sec").replace("doubles.onnx", "doubles.pt2")
    question = question.replace("13:01:00Z", "13:00:20Z")
    (tmp_path / "logic.py").write_bytes(SEES)
    (tmp_path / "doubles.pt2").write_bytes(pt2_files.doubles())
    (tmp_path / "asked.sql").write_text(question)
    sums = []
    for command in ("run-local", "try"):
        said = system.run("privid", command, tmp_path / "asked.sql", "--video", module_clip, "--json").stdout
        (table,) = json.loads(said[said.index("{") :])["tables"]
        assert [chunk["fault"] for chunk in table["chunks"]] == [None] * 10
        sums.append([row["n"] for chunk in table["chunks"] for row in chunk["rows"]])
    assert sums[0] == sums[1]
    assert len(set(sums[0])) > 1, "the rows follow the pictures"
    with system.client(token) as client:
        client.upload("logic.py", SEES)
        stored, _ = client.upload("doubles.pt2", pt2_files.doubles())
        (process,) = client.explain(question)["processes"]
        assert process["model"] == {"name": "doubles.pt2", "sha256": stored.sha256, "calls": 2}
        submitted = client.submit(question).query
        *_, last = client.watch(submitted.id)
        assert last.query.state == "released"
        answer = client.result(submitted.id)
    assert answer.tables[0].rows[0][0].value == pytest.approx(sum(sums[0]), abs=0.1)


def test_uploads_that_are_no_models_are_refused(install: Callable[..., LocalSystem], tmp_path: Path) -> None:
    system = install()
    token = system.add_analyst("alice", "plaza")
    growing = onnx_files.graph(
        [onnx_files.node("Neg", "x", "y")], [onnx_files.value("x", ("n", 3))], [onnx_files.value("y", ("n", 3))]
    )
    unknown = onnx_files.graph(
        [onnx_files.node("Nonsense", "x", "y")], [onnx_files.value("x", (2,))], [onnx_files.value("y", (2,))]
    )
    with system.client(token) as client:
        unlike = pt2_files.node("add/Tensor", "y", pt2_files.tensor("x"), {"as_string": "one"})
        for name, content, said in (
            ("bad.onnx", b"def process(chunk): pass", "not ONNX"),
            ("bad.onnx", onnx_files.model(growing), "not fixed"),
            ("bad.onnx", onnx_files.model(unknown), "ONNX Runtime does not take it"),
            ("bad.pt2", pickle.dumps({}), "no file of torch.export.save"),
            ("bad.pt2", onnx_files.doubles(), "no file of torch.export.save"),
            ("bad.pt2", pt2_files.model([unlike]), "the model failed: aten::add"),
        ):
            with pytest.raises(CallFailed, match=said) as refused:
                client.upload(name, content)
            assert refused.value.code == "bad_executable"
        client.upload("frames.py", LOGIC)
        with pytest.raises(CallFailed, match="is no model"):
            client.explain(query().replace("TIMEOUT", "WITH MODEL 'frames.py' TIMEOUT"))
