"""The machine-readable explain: the numbers of the published example, and fields of other shapes."""

import json

import pytest

from privid.domain.policy import CameraPolicy
from privid.privacy.certificate import certify
from privid.privacy.explain import to_json
from query_lang import CameraSchema, Catalog, compile_script
from tests.support.queries import certified, compiled, policy, tables

RENAMED = "(SELECT chunk AS c, plate FROM t1)"


def explained(select: str, *, epsilon: float = 1.0, policies: CameraPolicy | None = None, **terms) -> dict:
    script, certificate = certified(select, epsilon=epsilon, policies=policies, **terms)
    cameras = {p.split.camera: policies or policy() for p in script.processes}
    return json.loads(json.dumps(to_json(certificate, cameras)))


def test_the_published_example():
    found = explained("SELECT COUNT(*) FROM t1;", timeout="0.5 sec")
    assert found["chunks"] == 8640
    assert found["admissible"] is None
    (release,) = found["releases"]
    assert {k: release[k] for k in ("select", "column", "aggregate", "cells", "epsilon")} == {
        "select": 0,
        "column": "count_1",
        "aggregate": "COUNT",
        "cells": 1,
        "epsilon": 1.0,
    }
    (mechanism,) = release["mechanisms"]
    assert mechanism["of"] == "COUNT"
    assert mechanism["kind"] == "laplace"
    assert mechanism["epsilon"] == 1.0
    assert mechanism["sensitivity"] == 70.0
    assert mechanism["noise_scale"] == pytest.approx(70.0000005, abs=2e-7)
    assert mechanism["noise_scale"] > 70
    assert mechanism["interval95"] == pytest.approx(209.7, abs=0.01)
    assert release["sources"] == [
        {
            "table": "t1",
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
    (process,) = found["processes"]
    assert process == {
        "table": "t1", "camera": "cam1", "executable": process["executable"], "model": None,
        "isolation": "fork", "backend": None,
    }  # fmt: skip
    (charge,) = found["charges"]
    assert charge["camera"] == "cam1"
    assert charge["epsilon"] == 0.999999994
    assert charge["profile"][0] == [-29999999, -24999999, 142857142]
    assert max(step[2] for step in charge["profile"]) == 7 * 142857142


def test_public_time_is_that_of_the_schedule():
    found = explained("SELECT COUNT(*) FROM t1;", timeout="0.5 sec")
    two = explained("SELECT COUNT(*) FROM t1;", timeout="0.5 sec", policies=policy(slot_cores=2))
    assert found["public_time_s"] > 8640 * 0.5
    assert 4320 / 2 < two["public_time_s"] < 4320


def test_processes_run_one_after_the_other():
    one = explained("SELECT COUNT(*) FROM t1;")["public_time_s"]
    both = explained("SELECT COUNT(*) FROM (SELECT plate FROM t1 UNION ALL SELECT plate FROM t2);")["public_time_s"]
    assert both == 2 * one


def test_a_vector_has_an_entry_for_each_component():
    (release,) = explained("SELECT AVG(RANGE(speed, 30, 60)) AS mean FROM t1;")["releases"]
    assert release["column"] == "mean"
    assert release["aggregate"] == "AVG"
    assert [m["of"] for m in release["mechanisms"]] == ["SUM", "COUNT"]
    total, count = release["mechanisms"]
    # w = 2r = 20 in units of h = 15 on the sum and of 1 on the count.
    assert count["sensitivity"] == 7 * 20
    assert total["sensitivity"] == 15 * 7 * 20
    assert total["noise_scale"] == pytest.approx(15 * count["noise_scale"])
    assert release["sources"][0]["influence"] == 20


def test_aggregates_of_one_select_share_its_epsilon_and_groups_do_not():
    found = explained("SELECT hour(chunk) AS h, COUNT(*), SUM(RANGE(speed, 0, 5)) FROM t1 GROUP BY h CONSUMING 0.5;")
    assert [r["epsilon"] for r in found["releases"]] == [0.25, 0.25]
    assert [r["cells"] for r in found["releases"]] == [12, 12]
    assert found["charges"][0]["epsilon"] == pytest.approx(0.5, abs=1e-7)
    assert found["charges"][0]["epsilon"] <= 0.5


def test_every_select_charges_although_the_table_is_processed_once():
    once = explained("SELECT COUNT(*) FROM t1 CONSUMING 0.5;")
    twice = explained("SELECT COUNT(*) FROM t1 CONSUMING 0.5; SELECT COUNT(*) FROM t1 CONSUMING 0.5;")
    assert twice["chunks"] == once["chunks"]
    assert twice["public_time_s"] == once["public_time_s"]
    assert twice["charges"][0]["epsilon"] == 2 * once["charges"][0]["epsilon"]
    assert [r["select"] for r in twice["releases"]] == [0, 1]


def test_a_table_read_twice_by_one_select_is_one_source_and_charged_once():
    (release,) = explained("SELECT COUNT(*) FROM (SELECT plate FROM t1 UNION ALL SELECT plate FROM t1);")["releases"]
    (source,) = release["sources"]
    assert source["influence"] == 20


def test_two_cameras_share_one_release():
    found = explained("SELECT COUNT(*) FROM (SELECT plate FROM t1 UNION ALL SELECT plate FROM t2);")
    (release,) = found["releases"]
    assert release["mechanisms"][0]["sensitivity"] == 140.0
    assert [charge["camera"] for charge in found["charges"]] == ["cam1", "cam2"]
    # One release costs an event at most its epsilon over all cameras that it reads.
    assert sum(charge["epsilon"] for charge in found["charges"]) <= 1.0


def test_two_tables_of_one_camera_are_two_sources():
    # Trap: the maximum instead of the sum over the sources of a camera undercharges.
    text = tables("t1") + tables("t1", chunk=10).replace("chunkst1", "c").replace("INTO t1", "INTO other")
    text += "SELECT COUNT(*) FROM (SELECT plate FROM t1 UNION ALL SELECT plate FROM other);"
    script = compile_script(text, Catalog({"cam1": CameraSchema("cam1")}))
    certificate = certify(script, {"cam1": policy()}, 10**9)
    (release,) = certificate.releases
    assert [source.base.touched_slots for source in release.sources] == [7, 4]
    assert release.delta == 70 + 40
    (charge,) = certificate.charges
    assert [loss.grid.chunk_us for loss in charge.losses] == [5_000_000, 10_000_000]
    found = to_json(certificate, {"cam1": policy()})
    assert found["charges"][0]["epsilon"] == pytest.approx(1, abs=1e-7)
    assert found["chunks"] == 8640 + 4320


def test_a_public_value_has_no_noise_and_no_charge():
    found = explained("SELECT COUNT(*) FROM t1;", rows="EXACTLY 2 ROWS")
    (release,) = found["releases"]
    assert release["epsilon"] == 0
    assert release["mechanisms"][0]["kind"] == "public"
    assert release["mechanisms"][0]["noise_scale"] == 0
    assert found["charges"][0]["epsilon"] == 0
    assert found["charges"][0]["profile"] == []


def test_the_profile_of_rho_as_long_as_a_chunk():
    script = compiled("SELECT COUNT(*) FROM t1;", hours=1, chunk=60)
    terms = policy(rho=60, K=2)
    certificate = certify(script, {"cam1": terms}, 10**9)
    found = to_json(certificate, {"cam1": terms})
    (source,) = found["releases"][0]["sources"]
    assert source["touched_per_segment"] == 2
    assert source["segments"] == 2
    # Every step is K * q * touched chunks.
    q = 10**9 // 4
    assert {step[2] for step in found["charges"][0]["profile"]} == {2 * q, 4 * q}


def test_the_plan_says_influence_ranges_and_rule_at_every_operator():
    found = explained(
        "SELECT AVG(n) FROM (SELECT hour(chunk) AS h, COUNT(*) AS n FROM t1 WHERE plate = 'it''s' GROUP BY h);"
    )
    (plan,) = found["plans"]
    assert plan["operator"].startswith("AVG(n)")
    operators = []
    node = plan["input"]
    while node:
        operators.append(node)
        node = node["inputs"][0] if node["inputs"] else None
    texts = [node["operator"] for node in operators]
    assert any("GROUP BY hour(chunk)" in text for text in texts)
    assert any(text == "WHERE plate = 'it''s'" for text in texts)
    assert texts[-1] == "table t1: PRODUCING 10 ROWS"
    groups = next(node for node in operators if "GROUP BY" in node["operator"])
    assert groups["influence"] == {"t1": {"r": 1, "R": 2, "net": 0}}
    assert groups["size"] == 12
    assert "trusted keys" in groups["rule"]
    by_name = {column["name"]: column for column in groups["columns"]}
    assert by_name["n"]["range"] == [0, 7200]
    assert by_name["h"]["trusted_for"] == ["t1"]


def test_the_expected_error_is_that_of_the_value():
    average = "SELECT AVG(n) FROM (SELECT chunk, COUNT(*) AS n FROM t1 GROUP BY chunk);"
    (release,) = explained(average)["releases"]
    assert release["expected_error"] == pytest.approx(70 / 8640, rel=1e-6)
    assert release["interval95"] == pytest.approx(209.7 / 8640, rel=1e-3)
    (vector,) = explained("SELECT AVG(RANGE(speed, 0, 9)) FROM t1;")["releases"]
    assert vector["expected_error"] is None
    assert vector["interval95"] is None


def test_a_filter_on_chunk_narrows_what_is_charged():
    hour = 3_600_000_000
    first = "chunk >= TIMESTAMP '1970-01-01T03:00:00Z' AND chunk < TIMESTAMP '1970-01-01T04:00:00Z'"
    found = explained(f"SELECT COUNT(*) FROM t1 WHERE {first};")
    (source,) = found["releases"][0]["sources"]
    assert (source["begin_us"], source["chunks"], source["touched_per_segment"]) == (3 * hour, 720, 7)
    profile = found["charges"][0]["profile"]
    assert profile[0][0] == 3 * hour - 29_999_999
    assert profile[-1][1] == 4 * hour
    for other in (
        f"SELECT COUNT(*) FILTER (WHERE {first}) FROM t1;",
        f"SELECT COUNT(*) FROM (SELECT DISTINCT plate FROM {RENAMED} WHERE {first.replace('chunk', 'c')});",
        "SELECT COUNT(*) FROM t1 WHERE hour_of_day(chunk) = 3;",
        f"SELECT COUNT(*) FROM (SELECT plate FROM t1 WHERE {first} UNION ALL SELECT plate FROM t1 WHERE {first});",
    ):
        assert explained(other)["releases"][0]["sources"][0]["chunks"] == 720, other


def test_what_is_not_a_function_of_the_slot_narrows_nothing():
    for select in (
        "SELECT COUNT(*) FROM t1 WHERE hour_of_day(chunk) = 3 OR moving;",
        "SELECT COUNT(*) FROM (SELECT chunk FROM t1 LIMIT 5) WHERE hour_of_day(chunk) = 3;",
        "SELECT COUNT(*) FROM (SELECT plate FROM t1 WHERE hour_of_day(chunk) = 3 UNION ALL SELECT plate FROM t1);",
    ):
        assert explained(select)["releases"][0]["sources"][0]["chunks"] == 8640, select


def test_stretches_far_apart_are_charged_apart():
    found = explained("SELECT COUNT(*) FROM t1 WHERE hour_of_day(chunk) = 3 OR hour_of_day(chunk) = 9;")
    (source,) = found["releases"][0]["sources"]
    assert source["chunks"] == 1440
    profile = found["charges"][0]["profile"]
    assert all(step[1] <= 4 * 3_600_000_000 or step[0] >= 9 * 3_600_000_000 - 30_000_000 for step in profile)
    assert found["charges"][0]["epsilon"] == 0.999999994
    # Every second chunk of 5 s: one segment touches several, so they are one stretch.
    early = "chunk < TIMESTAMP '1970-01-01T00:00:05Z' OR chunk = TIMESTAMP '1970-01-01T00:00:10Z'"
    near = explained(f"SELECT COUNT(*) FROM t1 WHERE {early};")
    assert near["releases"][0]["sources"][0]["chunks"] == 3


def test_a_filter_that_no_slot_passes_leaves_nothing_to_charge():
    found = explained("SELECT COUNT(*) FROM t1 WHERE hour_of_day(chunk) = 23;")
    assert found["releases"][0]["mechanisms"][0]["kind"] == "public"
    assert found["charges"][0]["profile"] == []


def test_a_choice_has_a_scale_and_no_interval():
    (release,) = explained("SELECT MEDIAN(RANGE(speed, 0, 9)) FROM t1;")["releases"]
    (mechanism,) = release["mechanisms"]
    assert mechanism["kind"] == "choice"
    assert mechanism["of"] == "MEDIAN"
    assert mechanism["sensitivity"] == 140
    assert mechanism["interval95"] is None
    (constant,) = explained("SELECT MEDIAN(RANGE(speed, 9, 9)) FROM t1;")["releases"]
    assert constant["mechanisms"][0]["kind"] == "public"


def test_a_table_says_what_it_is_made_from_and_how_it_was_narrowed():
    hour = 3_600_000_000
    found = explained("SELECT COUNT(*) FROM t1 WHERE chunk >= TIMESTAMP '1970-01-01T03:00:00Z' AND plate = 'A';")
    where = found["plans"][0]["input"]
    assert where["source"] is None
    (table,) = where["inputs"]
    assert table["source"] == {
        "camera": "cam1",
        "mask": "none",
        "region": None,
        "begin_us": 3 * hour,
        "end_us": 12 * hour,
        "written_us": [0, 12 * hour],
        "chunk_us": 5_000_000,
        "period_us": 5_000_000,
        "executable": "a.py",
        "timeout_us": 1_000_000,
        "segment_us": 30_000_000,
        "segments": 1,
        "touched_per_segment": 7,
    }
    assert found["chunks"] == 9 * 720
    assert explained("SELECT COUNT(*) FROM t1;")["plans"][0]["input"]["source"]["written_us"] is None
