"""Every example in the documentation is what it says: it parses, means something, is accepted or refused."""

import ast
import json
import re
import shutil
import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from privid.cli import offline
from privid.owner.policy_file import read_policy_file
from privid.privacy.certificate import certify
from query_lang import QueryError, compile_script
from query_lang.schema import CameraSchema, Catalog
from workers.guest.sdk import chunk_of, use_bundle

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> list[str]:
    return [body for language, body in _FENCE.findall(page.read_text()) if language in languages]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_parse(page: Path) -> None:
    for body in blocks(page, "python"):
        ast.parse(body)
    for body in blocks(page, "toml"):
        tomllib.loads(body)
    for body in blocks(page, "json"):
        json.loads(body)
    for body in blocks(page, "yaml"):
        yaml.safe_load(body)


def test_the_detector_of_the_how_to_works_as_shown() -> None:
    detector, _ = blocks(DOCS / "how-to" / "write-a-detector.md", "python")
    names: dict[str, Any] = {}
    exec(detector, names)
    assert names["process"](chunk_of(np.zeros((50, 288, 384, 3), np.uint8))) == {"things": 0.0}


def test_the_bundle_of_the_how_to_works_as_shown(tmp_path: Path) -> None:
    page = DOCS / "how-to" / "write-a-detector.md"
    (manifest,), (_, detector) = blocks(page, "toml"), blocks(page, "python")
    (tmp_path / "privid.toml").write_text(manifest)
    (tmp_path / "main.py").write_text(detector)
    shutil.copy(ROOT / "examples" / "detectors" / "people" / "fastestdet.onnx", tmp_path)
    use_bundle(tmp_path)
    names: dict[str, Any] = {}
    exec(detector, names)
    assert 0 < names["process"](chunk_of(np.zeros((2, 288, 384, 3), np.uint8)))["largest"] < 10


QUERY_PAGES = [page for page in PAGES if page != DOCS / "reference" / "language.md"]
"""That one is planned, all of it, by tests/unit/test_lang_reference.py."""


@pytest.mark.parametrize("page", QUERY_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_queries_mean_something(page: Path) -> None:
    plaza = CameraSchema(name="plaza", timezone="UTC", width=768, height=576, fps=Fraction(10))
    for body in blocks(page, "sql"):
        script = compile_script(body, Catalog(cameras={"plaza": plaza}))
        assert script.selects


@pytest.mark.parametrize("page", sorted((ROOT / "examples").rglob("*.sql")), ids=lambda page: page.name)
def test_example_queries_can_be_planned(page: Path) -> None:
    document = offline.explain(page.read_text(), page.with_name("policy.toml"), None)
    assert document["releases"]


REFUSED = {
    "frames": ("FROM t", "", "5 frames"),
    "window function": (", ROW_NUMBER() OVER () FROM t", "", "10 sec"),
    "scalar subquery": ("+ (SELECT COUNT(*) FROM t) FROM t", "", "10 sec"),
    "in select": ("FROM t WHERE n IN (SELECT n FROM t)", "", "10 sec"),
    **{name: (f", {name}(RANGE(n, 0, 9)) FROM t", "", "10 sec") for name in ("FIRST", "ANY_VALUE")},
}
ACCEPTED = {
    "distinct": "SELECT COUNT(DISTINCT s) FROM t",
    "var": "SELECT VAR(RANGE(n, 0, 9)), STDDEV(RANGE(n, 0, 9)) FROM t",
    "extremes": "SELECT MIN(RANGE(n, 0, 9)), MAX(RANGE(n, 0, 9)) FROM t",
    "quantiles": "SELECT MEDIAN(RANGE(n, 0, 9)), QUANTILE(RANGE(n, 0, 9), 0.9) FROM t",
    "argmax": "SELECT ARGMAX(s, COUNT(*)) FROM t GROUP BY s WITH KEYS ['a', 'b']",
    "filter": "SELECT COUNT(*) FILTER (WHERE n > 2) FROM t",
    "cte": "WITH a AS (SELECT s FROM t GROUP BY s) SELECT COUNT(*) FROM a",
    "join": "SELECT COUNT(*) FROM (SELECT DISTINCT s FROM t) AS a JOIN (SELECT DISTINCT s FROM t) AS b ON a.s = b.s",
    "union": "SELECT COUNT(*) FROM (SELECT s FROM t UNION ALL SELECT s FROM t) AS u",
    "keys": "SELECT s, COUNT(*) AS m FROM t GROUP BY s WITH KEYS ['a', 'b'] HAVING m > 3 ORDER BY m LIMIT 1",
}


def plan(select: str, split: str = "", length: str = "10 sec") -> None:
    policies = read_policy_file(
        (DOCS / "reference" / "policy-file.md").read_text().split("```toml\n")[1].split("```")[0]
    )
    names = {
        name: CameraSchema(name, policy.timezone, tuple(policy.masks), {n: r.names for n, r in policy.regions.items()})
        for name, policy in policies.policies.items()
    }
    text = (
        f"SPLIT plaza BEGIN 2026-09-01T13:00:00Z END 2026-09-01T14:00:00Z BY TIME {length} {split} INTO c;\n"
        "PROCESS c USING 'p.py' TIMEOUT 1 sec PRODUCING 2 ROWS WITH SCHEMA (n:NUMBER=0, s:STRING='') INTO t;\n"
        f"{select};"
    )
    certify(compile_script(text, Catalog(names)), policies.policies, 10**9)


@pytest.mark.parametrize(("rest", "split", "length"), REFUSED.values(), ids=REFUSED.keys())
def test_what_the_language_reference_says_is_refused(rest: str, split: str, length: str) -> None:
    with pytest.raises(QueryError) as refusal:
        plan(f"SELECT COUNT(*) {rest}", split, length)
    assert refusal.value.hint


@pytest.mark.parametrize("select", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_the_language_reference_says_works(select: str) -> None:
    plan(select)


def test_masks_and_regions_of_the_reference_s_policy_can_be_asked_for() -> None:
    plan("SELECT region, COUNT(*) FROM t GROUP BY region", "BY REGION lanes WITH MASK benches AT 2 FPS RESIZE 320x240")


def keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(keys(child) for child in value.values()))
    if isinstance(value, list):
        return set().union(*(keys(child) for child in value))
    return set()


def test_every_field_of_the_explain_document_is_documented() -> None:
    page = (DOCS / "reference" / "explain-json.md").read_text()
    example = ROOT / "examples" / "people"
    document = offline.explain((example / "people.sql").read_text(), example / "policy.toml", None)
    assert {key for key in keys(document) if f"`{key}`" not in page and f"`{key}[]`" not in page} == {"views"}


def test_the_tutorial_shows_the_query_that_it_submits() -> None:
    (shown,) = blocks(DOCS / "tutorial" / "first-query.md", "sql")
    submitted = (ROOT / "examples" / "people" / "first.sql").read_text()
    assert shown.strip() == re.sub(r"^--.*\n", "", submitted, flags=re.MULTILINE).strip()


def test_the_policy_file_of_the_reference_is_one() -> None:
    (shown,) = blocks(DOCS / "reference" / "policy-file.md", "toml")
    policy = read_policy_file(shown).policies["plaza"]
    assert (policy.K, policy.rho_us, tuple(policy.masks)) == (1, 30_000_000, ("benches",))


def test_every_block_says_what_it_is() -> None:
    known = {"console", "sh", "python", "toml", "json", "yaml", "sql", "text"}
    unknown = {
        f"{page.relative_to(ROOT)}: {fence}"
        for page in PAGES
        for fence in re.findall(r"^```(\w+)$", page.read_text(), re.MULTILINE)
        if fence not in known
    }
    assert unknown == set()
