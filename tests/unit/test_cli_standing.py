"""Standing queries on the command line: planned offline, listed, and what is said of their windows."""

from pathlib import Path

import pytest
from rich.console import Console

from privid.cli import offline, plans, standing, views
from privid.cli.terminal import InputError
from privid.client.values import Query, Standing, Window
from privid.domain.units import SECOND
from query_lang import QueryError

POLICY = """
default_epsilon = 0.5
[camera.plaza]
epsilon = 1.0
rho = "30s"
K = 1
fps = 10
width = 320
height = 240
timezone = "UTC"
"""
SQL = """
SPLIT plaza BEGIN 2026-12-01T00:00:00Z END NEVER EVERY 1 hour {horizon} BY TIME 5 sec INTO c;
PROCESS c USING 'p.py' TIMEOUT 1 sec PRODUCING 1 ROWS WITH SCHEMA (n:NUMBER=0) INTO t;
SELECT COUNT(*) FROM t;
"""
HOUR = 3_600 * SECOND


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return path


def shown(draw: object) -> str:
    console = Console(width=160, color_system=None)
    with console.capture() as capture:
        draw(console)  # type: ignore[operator]
    return capture.get()


def query(state: str, place: Window | None = None, whole: Standing | None = None, note: str = "") -> Query:
    return Query("q1", state, 0, HOUR, 2 * HOUR, {"plaza": 500_000_000}, "SPLIT", "", whole, place, note)


@pytest.mark.parametrize(("written", "asked"), [("HORIZON 2 days", None), ("", "2d")])
def test_all_windows_are_planned_up_to_the_horizon(policy: Path, written: str, asked: str | None) -> None:
    document = offline.explain(SQL.format(horizon=written), policy, None, standing.horizon_us(asked))
    windows = document["standing"]["windows"]
    assert len(windows) == 48
    assert {window["charges"][0]["epsilon"] for window in windows} == {document["charges"][0]["epsilon"]}
    assert document["charges"][0]["epsilon"] == pytest.approx(0.5)
    assert document["chunks"] == 720
    text = shown(lambda console: plans.print_plan(console, document, "q.sql"))
    assert "48 windows of " in text
    assert ": 2026-12-01T00:00:00Z .. 2026-12-03T00:00:00Z" in text
    assert "each window: plaza 0.5; together at no moment more" in text


def test_end_never_needs_a_horizon(policy: Path) -> None:
    with pytest.raises(QueryError, match="needs a horizon"):
        offline.explain(SQL.format(horizon=""), policy, None)
    with pytest.raises(InputError, match="--horizon"):
        standing.horizon_us("a month")


def test_windows_and_what_became_of_them() -> None:
    whole = Standing(HOUR, 0, 3 * HOUR, 3, 1, 1, 0, "q3")
    asked = query("running", whole=whole)
    windows = (
        query("released", Window("s", 0, 0, HOUR)),
        query("cancelled", Window("s", 1, HOUR, 2 * HOUR), note="policy version 2 of plaza: too little is left"),
        query("reserved", Window("s", 2, 2 * HOUR, 3 * HOUR)),
    )
    text = shown(lambda console: standing.print_windows(console, asked, windows))
    assert "1 of 3 windows released, 1 cancelled; the next answer at" in text
    assert "cancelled by policy version 2 of plaza: too little is left" in text
    assert "1970-01-01T02:00:00Z .. 1970-01-01T03:00:00Z" in text
    assert "running 1/3" in shown(lambda console: views.print_queries(console, [asked]))
    document = views.query_json(asked)
    assert (document["standing"]["windows"], document["standing"]["next_query"]) == (3, "q3")
    assert views.query_json(windows[1])["window"]["position"] == 1
    assert views.query_json(windows[1])["note"].startswith("policy version 2")
