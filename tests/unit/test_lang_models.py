"""USING ... WITH MODEL ... CALLS: names, pins, and what is wrong with them."""

import pytest

from query_lang import Catalog, QueryError, compile_script, statements
from query_lang.logical import Process
from query_lang.schema import CameraSchema
from workers.inference.runtimes import RUNTIMES

PINNED = {"logic.py": "aa" * 32, "people.onnx": "bb" * 32, "people.pt2": "cc" * 32}
CATALOG = Catalog({"cam": CameraSchema("cam")}, PINNED)


def process(clauses: str, catalog: Catalog = CATALOG) -> Process:
    text = (
        "SPLIT cam BEGIN 0 END 60 BY TIME 5sec INTO c;"
        f"PROCESS c {clauses} TIMEOUT 1sec PRODUCING 1 ROWS WITH SCHEMA (n:NUMBER=0) INTO t;"
        "SELECT COUNT(*) FROM t;"
    )
    return compile_script(text, catalog).processes[0]


def test_a_model_is_pinned_like_an_executable() -> None:
    bound = process("USING 'logic.py' WITH MODEL 'people.onnx'")
    assert (bound.model, bound.model_sha256, bound.calls) == ("people.onnx", "bb" * 32, None)
    exported = process("USING 'logic.py' WITH MODEL 'people.pt2'")
    assert (exported.model, exported.model_sha256) == ("people.pt2", "cc" * 32)
    assert process("USING 'logic.py'").model_sha256 is None
    offline = process("USING 'any.py' WITH MODEL 'any.onnx'", Catalog(CATALOG.cameras))
    assert (offline.model, offline.model_sha256) == ("any.onnx", None)


def test_names_of_models_are_those_that_have_a_runtime() -> None:
    assert {runtime.suffix for runtime in RUNTIMES} == set(statements._MODELS)


def test_calls_belong_to_the_model() -> None:
    assert process("USING 'logic.py' WITH MODEL 'people.onnx' CALLS 50").calls == 50


@pytest.mark.parametrize(
    ("clauses", "code", "said", "hint"),
    [
        ("USING 'people.onnx'", "bad_value", "is a model", "WITH MODEL 'people.onnx'"),
        ("USING 'people.pt2'", "bad_value", "is a model", "WITH MODEL 'people.pt2'"),
        ("USING 'logic.py' WITH MODEL 'logic.py'", "bad_value", "no model", "ONNX"),
        ("USING 'logic.py' WITH MODEL 'people.pt'", "bad_value", "no model", "'people.pt2'"),
        ("USING 'logic.py' WITH MODEL 'peopel.onnx'", "unknown_name", "unknown model", "people.onnx"),
        ("USING 'logik.py' WITH MODEL 'people.onnx'", "unknown_name", "unknown executable", "logic.py"),
        ("USING 'logic.py' WITH MODEL 'people.onnx' CALLS 0", "bad_value", "no number of calls", "1 to 100,000"),
        ("USING 'logic.py' WITH MODEL 'people.onnx' CALLS many", "bad_value", "no number of calls", "1 to 100,000"),
        ("USING 'logic.py' WITH MODEL", "syntax", "", ""),
        ("USING 'logic.py' CALLS 5", "syntax", "unexpected 'CALLS'", ""),
    ],
)
def test_what_is_wrong_is_said(clauses: str, code: str, said: str, hint: str) -> None:
    with pytest.raises(QueryError) as refused:
        process(clauses)
    assert refused.value.code == code
    assert said in refused.value.message
    assert hint in (refused.value.hint or "")
