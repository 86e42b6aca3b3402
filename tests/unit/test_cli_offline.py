"""`privid explain --policy`: planning without a server, as the reference writes it."""

import json
import os
import subprocess
import sys

import pytest

from privid.cli import main
from privid.cli.offline import named_executables
from privid.cli.plans import profile_bars
from query_lang.errors import QueryError

POLICY = """
default_epsilon = 1.0
[camera.cam1]
epsilon = 1.0
rho = "30s"
K = 1
fps = 10
width = 768
height = 576
"""
QUERY = """SPLIT cam1 BEGIN 0 END 43200 BY TIME 5sec STRIDE 0sec INTO chunks1;
PROCESS chunks1 USING 'people.py' TIMEOUT 500ms PRODUCING 10 ROWS WITH SCHEMA (plate:STRING="") INTO table1;
SELECT COUNT(*) FROM table1;
"""


@pytest.fixture
def explain(monkeypatch, capsys, tmp_path):
    for name in list(os.environ):
        if name.startswith("PRIVID_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(query, *arguments, policy=POLICY):
        (tmp_path / "q.sql").write_text(query)
        (tmp_path / "p.toml").write_text(policy)
        monkeypatch.setattr(sys, "argv", ["privid", "explain", "q.sql", "--policy", "p.toml", *arguments])
        with pytest.raises(SystemExit) as left:
            main.run()
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return run


def test_the_example_of_the_reference(explain):
    status, out, err = explain(QUERY, "--json")
    assert (status, err) == (0, "")
    document = json.loads(out)
    assert document["chunks"] == 8640
    assert document["admissible"] is None
    (release,) = document["releases"]
    assert {key: release[key] for key in ("select", "column", "aggregate", "cells", "epsilon")} == {
        "select": 0,
        "column": "count_1",
        "aggregate": "COUNT",
        "cells": 1,
        "epsilon": 1.0,
    }
    (mechanism,) = release["mechanisms"]
    assert (mechanism["of"], mechanism["kind"], mechanism["sensitivity"]) == ("COUNT", "laplace", 70.0)
    assert mechanism["noise_scale"] == pytest.approx(70.0000005, rel=1e-8)
    assert mechanism["interval95"] == pytest.approx(209.7, abs=0.05)
    assert release["sources"] == [
        {
            "table": "table1",
            "camera": "cam1",
            "mask": "none",
            "chunks": 8640,
            "begin_us": 0,
            "chunk_us": 5000000,
            "period_us": 5000000,
            "touched_per_segment": 7,
            "segments": 1,
            "influence": 10.0,
            "cap": None,
        }
    ]
    (charge,) = document["charges"]
    assert (charge["camera"], charge["epsilon"]) == ("cam1", 0.999999994)
    assert charge["profile"][0] == [-29999999, -24999999, 142857142]


def test_the_default_epsilon_is_the_files_unless_given(explain):
    half = POLICY.replace("default_epsilon = 1.0", "default_epsilon = 0.5")
    assert json.loads(explain(QUERY, "--json", policy=half)[1])["releases"][0]["epsilon"] == 0.5
    assert json.loads(explain(QUERY, "--json", "--epsilon", "0.25")[1])["releases"][0]["epsilon"] == 0.25


def test_people_read_noise_charge_and_time(explain):
    status, out, _ = explain(QUERY)
    assert status == 0
    assert "q.sql: 8640 chunks" in out
    assert "noise ±209.7 (95 %)" in out
    assert "charge: cam1 1 at most" in out


def test_the_query_may_be_a_folder_that_it_is_alone_in(explain, monkeypatch, capsys, tmp_path):
    explain(QUERY)  # leaves its files
    monkeypatch.setattr(sys, "argv", ["privid", "explain", str(tmp_path), "--policy", "p.toml", "--json"])
    with pytest.raises(SystemExit):
        main.run()
    assert json.loads(capsys.readouterr()[0])["chunks"] == 8640
    (tmp_path / "other.sql").write_text(QUERY)
    with pytest.raises(SystemExit) as left:
        main.run()
    assert left.value.code == 2
    assert "has 2 queries" in json.loads(capsys.readouterr()[0])["error"]["message"]


def test_an_error_points_into_the_text(explain):
    status, _, err = explain(QUERY.replace("COUNT(*)", "COUNT(plat)"))
    assert status == 2
    lines = err.splitlines()
    assert lines[0].startswith("q.sql:3:14  ")
    assert lines[2].strip().startswith("^^^^")
    assert "Did you mean plate?" in err
    status, out, _ = explain(QUERY.replace("COUNT(*)", "COUNT(plat)"), "--json")
    error = json.loads(out)["error"]
    assert status == 2
    assert (error["line"], error["column"]) == (3, 14)


@pytest.mark.parametrize(
    ("query", "policy"),
    [
        ("", POLICY),
        ("SELECT", POLICY),
        (QUERY.replace("cam1", "cam2"), POLICY),
        (QUERY + "SELECT SUM(plate) FROM table1;", POLICY),
        (QUERY.replace("SELECT COUNT(*)", "SELECT COUNT(*)" + "," * 3), POLICY),
        (QUERY.replace("INTO chunks1", "WITH MASK benches INTO chunks1"), POLICY),
        (QUERY.replace("FROM table1", "FROM table1 CONSUMING 0.0000000001"), POLICY),
        (QUERY, POLICY.replace("K = 1", "K = 0")),
        (QUERY, POLICY.replace('"30s"', "30")),
        (QUERY, "not toml"),
        (QUERY, ""),
    ],
)
def test_whatever_is_wrong_with_query_or_policy_is_one_error_with_status_2(explain, query, policy):
    status, out, err = explain(query, "--json", policy=policy)
    assert (status, err) == (2, "")
    assert json.loads(out)["error"]["message"]


def test_it_works_as_a_process_without_any_server_or_home(tmp_path):
    (tmp_path / "q.sql").write_text(QUERY)
    (tmp_path / "p.toml").write_text(POLICY)
    code = "from privid.cli.main import run; run()"
    done = subprocess.run(
        [sys.executable, "-c", code, "explain", "q.sql", "--policy", "p.toml", "--json"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PRIVID_SERVER": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["chunks"] == 8640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.toml", "q.sql"]


def test_executables_are_found_by_the_languages_own_parser():
    text = QUERY + "-- USING 'comment.py'\nSELECT COUNT(*) FROM table1 WHERE plate = 'USING ''x.py''';"
    assert named_executables(text) == ("people.py",)
    with pytest.raises(QueryError):
        named_executables("PROCESS USING")


NARROW = QUERY.replace(
    "SELECT COUNT(*) FROM table1;",
    "SELECT COUNT(*) AS n FROM table1 WHERE plate = 'A' AND chunk >= TIMESTAMP '1970-01-01T06:00:00Z';",
)


def test_people_see_every_operator_with_its_influence_and_rule(explain):
    status, out, _ = explain(NARROW)
    assert status == 0
    lines = [line.lstrip("│├└─ ") for line in out.splitlines()]
    for expected in (
        "SELECT 1   epsilon 1",
        "COUNT(*) AS n",
        "WHERE (plate = 'A') AND (chunk >= TIMESTAMP '1970-01-01T06:00:00Z')",
        "chunk trusted; camera trusted",
        "table table1: PRODUCING 10 ROWS",
        "table1: r 10, R 70   (source: r = max_rows, R = M*r)",
        "SPLIT cam1 1970-01-01T06:00:00Z .. 1970-01-01T12:00:00Z  by 5 s",
        "rho 30 s: at most 7 slots a segment, 1 segment an event, narrowed by WHERE from 1970-01-01T00:00:00Z .. "
        "1970-01-01T12:00:00Z",
    ):
        assert expected in lines, expected
    assert "█" in next(line for line in lines if line.startswith("charge: cam1 1 at most"))


def test_expected_values_give_relative_errors(explain):
    status, out, _ = explain(QUERY, "--expect", "COUNT_1=700", "--json")
    (release,) = json.loads(out)["releases"]
    assert status == 0
    assert release["expected"] == 700
    assert release["relative_error"] == pytest.approx(0.1, rel=1e-6)
    assert "error at 700: 10 %" in explain(QUERY, "--expect", "count_1=700")[1]
    average = QUERY.replace('plate:STRING=""', "x:NUMBER=0").replace("COUNT(*)", "AVG(RANGE(x, 0, 1))")
    status, out, _ = explain(average, "--expect", "avg_1=0.5", "--json")
    assert (status, json.loads(out)["releases"][0]["relative_error"]) == (0, None)


@pytest.mark.parametrize(
    "expected", ["count_1", "=5", "count_1=0", "count_1=many", "count_1=nan", "count_1=inf", "n=5"]
)
def test_an_expectation_that_means_nothing_is_refused(explain, expected):
    status, out, _ = explain(QUERY, "--expect", expected, "--json")
    assert status == 2
    assert "--expect" in json.loads(out)["error"]["message"]


@pytest.mark.parametrize("word", ["EXPLAIN ", "\n  explain\n", "-- what is it?\n/* it */ Explain "])
def test_the_word_explain_may_stand_in_front(explain, word):
    assert json.loads(explain(word + QUERY, "--json")[1]) == json.loads(explain(QUERY, "--json")[1])
    status, _, err = explain(word + QUERY.replace("COUNT(*)", "COUNT(plat)"))
    assert status == 2
    assert err.startswith(f"q.sql:{3 + word.count(chr(10))}:14  ")
    assert explain(f"{word}EXPLAIN {QUERY}")[0] == 2


def test_what_happens_to_noisy_values_is_said(explain):
    select = (
        "SELECT hour(chunk) AS h, COUNT(*) + 1 AS n FROM table1 GROUP BY h HAVING COUNT(*) > 5 ORDER BY n DESC LIMIT 3;"
    )
    out = explain(QUERY.replace("SELECT COUNT(*) FROM table1;", select))[1]
    for clause in ("SELECT count_1 + 1 AS n", "HAVING count_1 > 5", "ORDER BY count_1 + 1 DESC", "LIMIT 3"):
        assert f"{clause}   on noisy values, free" in out
    assert "COUNT (12 groups)" in out


@pytest.mark.parametrize(
    ("steps", "bars"),
    [
        ([[0, 8, 8]], "████████"),
        ([[0, 4, 8], [4, 8, 4]], "████▄▄▄▄"),
        ([[0, 1, 1], [7, 8, 8]], "▁      █"),
        ([[0, 80, 80], [80, 81, 160]], "▄▄▄▄▄▄▄█"),
    ],
)
def test_a_charge_profile_as_bars(steps, bars):
    assert profile_bars(steps, 8) == bars
