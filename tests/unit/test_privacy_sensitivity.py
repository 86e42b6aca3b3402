"""The numbers of releases, rule by rule, and the traps: each of these fails if its rule is loosened."""

import pytest

from privid.domain.policy import CameraPolicy
from privid.domain.schedule import MODEL_SETUP_US
from privid.privacy.certificate import certify
from privid.privacy.explain import to_json
from privid.privacy.sensitivity import Method
from query_lang import CameraSchema, Catalog, QueryError, compile_script
from tests.support.queries import certified, influence, policy

HOURS = "(SELECT hour(chunk) AS h, COUNT(*) AS n FROM t1 GROUP BY h)"
MAYBE = "(SELECT CASE WHEN plate = 'a' THEN RANGE(speed, 30, 60) END AS x FROM t1)"


@pytest.mark.parametrize(
    ("select", "rows", "w"),
    [
        ("SELECT COUNT(*) FROM t1;", "10 ROWS", 10),
        ("SELECT COUNT(*) FROM t1;", "EXACTLY 10 ROWS", 0),
        ("SELECT COUNT(*) FROM t1 WHERE speed > 3;", "EXACTLY 10 ROWS", 10),
        ("SELECT COUNT(*) FROM t1 WHERE hour_of_day(chunk) < 6;", "EXACTLY 10 ROWS", 0),
        ("SELECT COUNT(*) FILTER (WHERE speed > 3) FROM t1;", "EXACTLY 10 ROWS", 10),
        ("SELECT COUNT(plate) FROM t1;", "EXACTLY 10 ROWS", 0),
        ("SELECT COUNT(DISTINCT plate) FROM t1;", "EXACTLY 10 ROWS", 10),
        ("SELECT SUM(RANGE(speed, 30, 60)) FROM t1;", "10 ROWS", 10 * 30 + 10 * 30),
        ("SELECT SUM(RANGE(speed, 30, 60)) FROM t1;", "EXACTLY 10 ROWS", 10 * 30),
        ("SELECT SUM(RANGE(speed, -60, -30)) FROM t1;", "10 ROWS", 10 * 30 + 10 * 30),
        ("SELECT SUM(RANGE(speed, -10, 30)) FROM t1;", "10 ROWS", 10 * 40),
        (f"SELECT SUM(x) FROM {MAYBE};", "EXACTLY 10 ROWS", 10 * 60),
        ("SELECT AVG(RANGE(speed, 30, 60)) FROM t1;", "EXACTLY 10 ROWS", 10 * 30),
        ("SELECT AVG(RANGE(speed, 30, 60)) FROM t1;", "10 ROWS", 20),
        (f"SELECT AVG(x) FROM {MAYBE};", "EXACTLY 10 ROWS", 20),
        ("SELECT AVG(RANGE(speed, 30, 30)) FROM t1;", "10 ROWS", 0),
        ("SELECT VAR(RANGE(speed, 30, 60)) FROM t1;", "10 ROWS", 25),
        ("SELECT STDDEV(RANGE(speed, 30, 60)) FROM t1;", "EXACTLY 10 ROWS", 25),
        ("SELECT MIN(RANGE(speed, 0, 9)) FROM t1;", "10 ROWS", 10),
        ("SELECT MEDIAN(RANGE(speed, 0, 9)) FROM t1;", "10 ROWS", 20),
        ("SELECT QUANTILE(RANGE(speed, 0, 9), 0.9) FROM t1;", "EXACTLY 10 ROWS", 20),
        ("SELECT hour(chunk) AS h, MAX(RANGE(speed, 0, 9)) FROM t1 GROUP BY h;", "10 ROWS", 10),
        ("SELECT plate, MAX(RANGE(speed, 0, 9)) FROM t1 GROUP BY plate WITH KEYS ['a'];", "10 ROWS", 20),
        ("SELECT plate, QUANTILE(RANGE(speed, 0, 9), 0.9) FROM t1 GROUP BY plate WITH KEYS ['a'];", "10 ROWS", 36),
        ("SELECT plate, MEDIAN(RANGE(speed, 0, 9)) FROM t1 GROUP BY plate WITH KEYS ['a'];", "10 ROWS", 20),
        ("SELECT ARGMAX(plate, COUNT(*)) FROM t1 GROUP BY plate WITH KEYS ['a', 'b'];", "10 ROWS", 20),
        ("SELECT ARGMAX(plate, SUM(RANGE(speed, 0, 9))) FROM t1 GROUP BY plate WITH KEYS ['a'];", "10 ROWS", 180),
        ("SELECT ARGMAX(h, COUNT(*)) FROM (SELECT hour(chunk) AS h FROM t1) GROUP BY h;", "10 ROWS", 10),
        # trusted keys: as the scalar
        ("SELECT hour(chunk) AS h, COUNT(*) FROM t1 GROUP BY h;", "10 ROWS", 10),
        ("SELECT hour(chunk) AS h, camera, AVG(RANGE(speed, 0, 9)) FROM t1 GROUP BY h, camera;", "10 ROWS", 20),
        ("SELECT hour_of_day(chunk) AS h, COUNT(*) FROM t1 GROUP BY h WITH KEYS [1, 2];", "10 ROWS", 10),
        # untrusted keys
        ("SELECT plate, COUNT(*) FROM t1 GROUP BY plate WITH KEYS ['a', 'b'];", "10 ROWS", 20),
        ("SELECT plate, COUNT(*) FROM t1 GROUP BY plate WITH KEYS ['a', 'b'];", "EXACTLY 10 ROWS", 20),
        ("SELECT plate, COUNT(DISTINCT speed) FROM t1 GROUP BY plate WITH KEYS ['a', 'b'];", "10 ROWS", 20),
        ("SELECT plate, SUM(RANGE(speed, -20, 5)) FROM t1 GROUP BY plate WITH KEYS ['a'];", "10 ROWS", 400),
        ("SELECT plate, AVG(RANGE(speed, 0, 5)) FROM t1 GROUP BY plate WITH KEYS ['a'];", "EXACTLY 10 ROWS", 40),
        ("SELECT plate, VAR(RANGE(speed, 0, 5)) FROM t1 GROUP BY plate WITH KEYS ['a'];", "10 ROWS", 50),
        ("SELECT hour(chunk) AS h, plate, COUNT(*) FROM t1 GROUP BY h, plate WITH KEYS ['a'];", "10 ROWS", 20),
        # subqueries
        ("SELECT COUNT(*) FROM (SELECT plate FROM t1 GROUP BY plate);", "10 ROWS", 10),
        ("SELECT COUNT(*) FROM (SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate);", "10 ROWS", 10),
        ("SELECT SUM(RANGE(n, 0, 3)) FROM (SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate);", "10 ROWS", 60),
        # mixed keys: a slot of one row changes its chunk's only group; of two chunks an hour, both
        (
            "SELECT SUM(RANGE(n, 0, 1)) FROM (SELECT chunk, plate, COUNT(*) AS n FROM t1 GROUP BY chunk, plate);",
            "1 ROWS",
            1,
        ),
        (
            "SELECT SUM(RANGE(n, 0, 1)) FROM"
            " (SELECT hour(chunk) AS h, plate, COUNT(*) AS n FROM t1 GROUP BY h, plate);",
            "1 ROWS",
            2,
        ),
        (f"SELECT AVG(n) FROM {HOURS};", "10 ROWS", 10),
        (f"SELECT SUM(n) FROM {HOURS};", "10 ROWS", 10),
        (f"SELECT SUM(RANGE(n, 0, 100)) FROM {HOURS};", "10 ROWS", 10),
        (f"SELECT SUM(RANGE(n, 0, 3)) FROM {HOURS};", "10 ROWS", 3),
        (f"SELECT COUNT(*) FROM {HOURS};", "10 ROWS", 0),
        (f"SELECT COUNT(*) FROM {HOURS} WHERE n > 3;", "10 ROWS", 1),
    ],
)
def test_w(select, rows, w):
    assert influence(select, rows=rows) == w


def test_counting_a_nullable_column_of_an_exact_table_is_noised():
    # Trap: EXACTLY 1 ROWS and a nullable x gave no noise at all.
    assert influence(f"SELECT COUNT(x) FROM {MAYBE};", rows="EXACTLY 1 ROWS") == 1


def test_untrusted_groups_double():
    # Trap: the paper keeps r.
    grouped = "SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate"
    assert influence(f"SELECT SUM(RANGE(n, 0, 1)) FROM ({grouped});", rows="1 ROWS") == 2
    twice = f"SELECT n, COUNT(*) AS m FROM ({grouped}) GROUP BY n"
    assert influence(f"SELECT SUM(RANGE(m, 0, 1)) FROM ({twice});", rows="1 ROWS") == 4


def test_a_key_trusted_for_one_source_bounds_only_that_source():
    # Trap: the chunk of t1's rows is a function of the slot of t1; a slot of t2 moves rows of every chunk of its hour.
    joined = (
        "SELECT a.chunk AS c, b.plate AS p FROM (SELECT hour(chunk) AS h, chunk FROM t1) AS a"
        " JOIN (SELECT hour(chunk) AS h, plate FROM t2) AS b ON a.h = b.h"
    )
    dense = f"SELECT SUM(RANGE(n, 0, 1)) FROM (SELECT c, COUNT(*) AS n FROM ({joined}) GROUP BY c);"
    terms = {"rows": "1 ROWS", "hours": 4, "chunk": 1800}
    assert influence(dense, "t1", **terms) == 1
    # Two chunks an hour: a row of t2 meets two rows of t1, so up to four groups change.
    assert influence(dense, "t2", **terms) == 4
    mixed = f"SELECT SUM(RANGE(n, 0, 1)) FROM (SELECT c, p, COUNT(*) AS n FROM ({joined}) GROUP BY c, p);"
    assert influence(mixed, "t1", **terms) == 4
    assert influence(mixed, "t2", **terms) == 4
    listed = (
        f"SELECT SUM(RANGE(n, 0, 1)) FROM (SELECT c, p, COUNT(*) AS n FROM ({joined}) GROUP BY c, p WITH KEYS ['a']);"
    )
    assert influence(listed, "t1", **terms) == 1
    assert influence(listed, "t2", **terms) == 4


def test_a_table_on_both_sides_of_a_join_takes_the_trust_of_other_columns():
    # A slot is on the right of rows whose left chunk is another one of its hour.
    joined = (
        "SELECT a.chunk AS c FROM (SELECT hour(chunk) AS h, chunk FROM t1) AS a"
        " JOIN (SELECT hour(chunk) AS h, plate FROM {right}) AS b ON a.h = b.h"
    )
    groups = f"SELECT SUM(RANGE(n, 0, 1)) FROM (SELECT c, COUNT(*) AS n FROM ({joined}) GROUP BY c);"
    terms = {"rows": "1 ROWS", "hours": 4, "chunk": 1800}
    assert influence(groups.format(right="t2"), "t1", **terms) == 1
    assert influence(groups.format(right="t1"), "t1", **terms) == 8


def test_listed_keys_bound_only_what_is_listed_for_that_source():
    # n_B counts the listed combinations; a slot may still change all of them, so w of the sum is not 1 but min(2r, 3).
    groups = "(SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate WITH KEYS ['a', 'b', 'c'])"
    assert influence(f"SELECT SUM(RANGE(n, 0, 1)) FROM {groups};", rows="10 ROWS") == 3
    assert influence(f"SELECT SUM(RANGE(n, 0, 1)) FROM {groups};", rows="1 ROWS") == 2
    # The same key twice is one group, so at most one row changes.
    again = "(SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate WITH KEYS ['a', 'a'])"
    assert influence(f"SELECT SUM(RANGE(n, 0, 1)) FROM {again};", rows="10 ROWS") == 1


def test_lip_needs_every_key_trusted():
    # Trap: by plate as well, a slot changes up to 2r groups by up to the range.
    groups = "(SELECT hour(chunk) AS h, plate, COUNT(*) AS n FROM t1 GROUP BY h, plate WITH KEYS ['a', 'b'])"
    assert influence(f"SELECT SUM(n) FROM {groups};", rows="1 ROWS") == 2 * 720
    assert influence(f"SELECT SUM(n) FROM {HOURS};", rows="1 ROWS") == 1


def test_lip_is_lost_by_arithmetic_and_by_untrusted_filters():
    doubled = f"SELECT SUM(RANGE(n * 2, 0, 50)) FROM {HOURS};"
    assert influence(doubled, rows="1 ROWS") == 50
    filtered = f"SELECT SUM(RANGE(n, 0, 50)) FROM {HOURS} WHERE n > 2;"
    assert influence(filtered, rows="1 ROWS") == 50
    kept = f"SELECT SUM(RANGE(n, 0, 50)) FROM {HOURS} WHERE hour_of_day(h) > 2;"
    assert influence(kept, rows="1 ROWS") == 1


def test_lip_never_gives_a_cap_and_never_bounds_a_vector():
    _, certificate = certified(f"SELECT SUM(n) FROM {HOURS};", rows="10 ROWS")
    (source,) = certificate.releases[0].sources
    assert (source.influence, source.cap) == (10, None)
    assert influence("SELECT AVG(x) FROM (SELECT CASE WHEN n > 2 THEN n END AS x FROM " + HOURS + ");") == 2
    assert influence(f"SELECT VAR(n) FROM {HOURS};") == 2.5


def test_limit_loses_all_trust():
    # Trap: which rows are kept depends on every slot.
    limited = "(SELECT chunk, plate FROM t1 LIMIT 5)"
    assert influence(f"SELECT hour(chunk) AS h, COUNT(*) FROM {limited} GROUP BY h;", rows="2 ROWS") == 4
    assert influence("SELECT hour(chunk) AS h, COUNT(*) FROM t1 GROUP BY h;", rows="2 ROWS") == 2


def test_a_segment_reaches_only_so_many_groups():
    # M = 7 slots of 5 s lie in at most 2 hours.
    _, certificate = certified("SELECT SUM(RANGE(n, 0, 3)) FROM " + HOURS + ";", rows="10 ROWS")
    (source,) = certificate.releases[0].sources
    assert source.base.touched_slots == 7
    assert (source.influence, source.cap) == (3, 6)
    assert certificate.releases[0].delta == 6


def test_a_cap_is_for_one_segment_never_across_presence_periods():
    # Trap: N caps inside one segment only.
    one = "SELECT SUM(RANGE(n, 0, 3)) FROM (SELECT day(chunk) AS d, COUNT(*) AS n FROM t1 GROUP BY d);"
    _, certificate = certified(one, rows="10 ROWS", policies=policy(K=4))
    assert certificate.releases[0].delta == 4 * 3
    short = certified("SELECT COUNT(*) FROM t1;", rows="10 ROWS", hours=10 / 3600, policies=policy(K=4))[1]
    (source,) = short.releases[0].sources
    assert source.base.touched_slots == 2
    assert short.releases[0].delta == 4 * 2 * 10


@pytest.mark.parametrize(
    ("select", "rows", "method"),
    [
        ("SELECT AVG(RANGE(speed, 0, 9)) FROM t1;", "EXACTLY 2 ROWS", Method.AVG_EXACT),
        ("SELECT AVG(RANGE(speed, 0, 9)) FROM t1;", "2 ROWS", Method.AVG_VECTOR),
        ("SELECT AVG(RANGE(speed, 0, 9)) FROM t1 WHERE moving;", "EXACTLY 2 ROWS", Method.AVG_VECTOR),
        ("SELECT AVG(RANGE(speed, 0, 9)) FROM t1 WHERE hour_of_day(chunk) = 3;", "EXACTLY 2 ROWS", Method.AVG_EXACT),
        ("SELECT AVG(RANGE(speed, 0, 9)) FROM t1 WHERE hour_of_day(chunk) = 23;", "EXACTLY 2 ROWS", Method.AVG_VECTOR),
        ("SELECT day(chunk) AS d, AVG(RANGE(speed, 0, 9)) FROM t1 GROUP BY d;", "EXACTLY 2 ROWS", Method.AVG_EXACT),
        (
            "SELECT plate, AVG(RANGE(speed, 0, 9)) FROM t1 GROUP BY plate WITH KEYS ['a'];",
            "EXACTLY 2 ROWS",
            Method.AVG_VECTOR,
        ),
        (f"SELECT AVG(n) FROM {HOURS};", "2 ROWS", Method.AVG_EXACT),
        (
            "SELECT AVG(a) FROM (SELECT hour(chunk) AS h, AVG(RANGE(speed, 0, 9)) AS a FROM t1 GROUP BY h);",
            "2 ROWS",
            Method.AVG_VECTOR,
        ),
        (
            "SELECT AVG(RANGE(a, 0, 9)) FROM (SELECT hour(chunk) AS h, AVG(speed) AS a FROM t1 GROUP BY h);",
            "2 ROWS",
            Method.AVG_EXACT,
        ),
    ],
)
def test_how_averages_are_released(select, rows, method):
    _, certificate = certified(select, rows=rows)
    assert certificate.releases[0].method is method


@pytest.mark.parametrize(
    ("select", "code", "says"),
    [
        ("SELECT SUM(speed) FROM t1;", "no_range", "RANGE"),
        ("SELECT AVG(speed) FROM t1;", "no_range", "RANGE"),
        ("SELECT SUM(RANGE(speed, 0, 9) / RANGE(speed, -1, 1)) FROM t1;", "no_range", "RANGE"),
        ("SELECT SUM(RANGE(speed, 0, 9e8) * RANGE(speed, 0, 9e8)) FROM t1;", "range_too_wide", "RANGE"),
        ("SELECT plate, COUNT(*) FROM t1 GROUP BY plate;", "keys_not_public", "WITH KEYS"),
        ("SELECT ARGMAX(plate, COUNT(*)) FROM t1 GROUP BY plate;", "keys_not_public", "WITH KEYS"),
        ("SELECT MAX(plate) FROM t1;", "no_range", "COUNT(DISTINCT plate)"),
        ("SELECT chunk, MAX(RANGE(speed, 0, 9)) FROM t1 GROUP BY chunk;", "too_many_groups", "longer bins"),
        ("SELECT COUNT(*) FROM t1 AS a JOIN t1 AS b ON a.plate = b.plate;", "unbounded_join", "GROUP BY"),
        ("SELECT COUNT(*) FROM t1 CONSUMING 0.000000006;", "epsilon_too_small", "0.000000007"),
        ("SELECT COUNT(*), COUNT(plate) FROM t1 CONSUMING 0.000000013;", "epsilon_too_small", "0.000000014"),
    ],
)
def test_refusals_say_where_and_what_would_work(select, code, says):
    with pytest.raises(QueryError) as refused:
        certified(select)
    assert refused.value.code == code
    assert says in (refused.value.hint or "")
    assert refused.value.line is not None
    assert "\n" in refused.value.render()


def test_the_least_epsilon_that_a_refusal_names_is_enough():
    certified("SELECT COUNT(*), COUNT(plate) FROM t1 CONSUMING 0.000000014;")


def test_one_strict_camera_lets_one_slot_run_at_a_time():
    two_cores = policy(timing="slotted", slot_cores=2)
    strict = policy(timing="strict", slot_cores=2)
    times = [certified("SELECT COUNT(*) FROM t1;", policies=one)[1].public_time_us for one in (two_cores, strict)]
    assert times[0] < times[1]
    assert times[1] == certified("SELECT COUNT(*) FROM t1;", policies=policy())[1].public_time_us


def test_values_only_if_all_cameras_are_open():
    assert not certified("SELECT COUNT(*) FROM t1;")[1].values_only
    assert certified("SELECT COUNT(*) FROM t1;", policies=policy(timing="open"))[1].values_only


def test_a_model_changes_nothing_but_the_time_of_its_setting_up():
    times = []
    for model in ("", "WITH MODEL 'yolo.onnx'", "WITH MODEL 'yolo.onnx' CALLS 50"):
        text = (
            "SPLIT cam BEGIN 0 END 3600 BY TIME 5sec INTO c;"
            f"PROCESS c USING 'p.py' {model} TIMEOUT 1sec PRODUCING 1 ROWS WITH SCHEMA (n:NUMBER=0) INTO t;"
            "SELECT COUNT(*) FROM t;"
        )
        script = compile_script(text, Catalog({"cam": CameraSchema("cam")}))
        policies = {"cam": CameraPolicy(epsilon_nano=10**9, rho_us=10**7, K=1)}
        certificate = certify(script, policies, 10**9)
        times.append((certificate.public_time_us, certificate.charges))
        (process,) = to_json(certificate, policies)["processes"]
        calls = 50 if "CALLS" in model else None
        assert process["model"] == ({"name": "yolo.onnx", "sha256": None, "calls": calls} if model else None)
    assert times[1] == times[2] == (times[0][0] + MODEL_SETUP_US, times[0][1])
