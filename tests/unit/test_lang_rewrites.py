"""What each rewrite does to a plan; tests/properties/test_rewrites.py shows that it only preserves or tightens."""

import pytest

from privid.privacy.certificate import certify
from query_lang import CameraSchema, Catalog, compile_script
from query_lang import logical as lp
from query_lang.rewrites.window import _last_of_unit
from query_lang.timefunctions import start_of
from query_lang.units import format_moment
from tests.support.queries import policy

CATALOG = Catalog({"plaza": CameraSchema("plaza", "Europe/Lisbon"), "bridge": CameraSchema("bridge")})
TABLES = """
SPLIT plaza BEGIN 2026-12-01T08:00Z END 2026-12-01T20:00Z BY TIME 40sec STRIDE 20sec INTO c;
PROCESS c USING 'a.py' TIMEOUT 1sec PRODUCING 10 ROWS WITH SCHEMA (plate:STRING="", speed:NUMBER=0) INTO t;
SPLIT bridge BEGIN 2026-12-01T08:00Z END 2026-12-01T20:00Z BY TIME 1min INTO d;
PROCESS d USING 'a.py' TIMEOUT 1sec PRODUCING 10 ROWS WITH SCHEMA (plate:STRING="", speed:NUMBER=0) INTO u;
"""
WHOLE = "08:00:00 20:00:00"


def at(clock: str) -> str:
    return f"TIMESTAMP '2026-12-01T{clock}Z'"


def compiled(select: str) -> lp.Script:
    return compile_script(TABLES + select, CATALOG)


def window(script: lp.Script, position: int = 0) -> str:
    split = script.processes[position].split
    return " ".join(format_moment(moment, "UTC")[11:19] for moment in (split.begin_us, split.end_us))


def certified(select: str, epsilon_nano: int = 10**9):
    script = compiled(select)
    return certify(script, {p.split.camera: policy() for p in script.processes}, epsilon_nano)


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("SELECT COUNT(*) FROM t", WHOLE),
        (f"SELECT COUNT(*) FROM t WHERE chunk >= {at('12:00')}", "12:00:00 19:59:40"),
        (f"SELECT COUNT(*) FROM t WHERE chunk > {at('12:00')}", "12:01:00 19:59:40"),
        # Chunks that begin before the moment, not those that end before it: the filter reads where they begin.
        (f"SELECT COUNT(*) FROM t WHERE chunk < {at('12:00:30')}", "08:00:00 12:00:40"),
        (f"SELECT COUNT(*) FROM t WHERE {at('12:00')} >= chunk", "08:00:00 12:00:40"),
        (f"SELECT COUNT(*) FROM t WHERE chunk = {at('12:00')}", "12:00:00 12:00:40"),
        (f"SELECT COUNT(*) FROM t WHERE speed > 3 AND chunk >= {at('12:00')}", "12:00:00 19:59:40"),
        (f"SELECT COUNT(*) FROM t WHERE chunk BETWEEN {at('12:00:01')} AND {at('13:00')}", "12:01:00 13:00:40"),
        (f"SELECT COUNT(*) FROM (SELECT chunk AS c, speed FROM t) WHERE c < {at('09:00')}", "08:00:00 08:59:40"),
        # An hour reaches to its end.
        (f"SELECT COUNT(*) FROM t WHERE hour(chunk) <= {at('12:00')}", "08:00:00 12:59:40"),
        (f"SELECT COUNT(*) FROM t WHERE hour(chunk) < {at('12:00')}", "08:00:00 11:59:40"),
        (f"SELECT COUNT(*) FROM t WHERE hour(chunk) = {at('12:30')}", "12:30:00 12:59:40"),
        (f"SELECT COUNT(*) FROM t WHERE bin(chunk, 30 min) < {at('09:30')}", "08:00:00 09:29:40"),
        (f"SELECT COUNT(*) FROM t WHERE bin(chunk, 30 min) <= {at('10:30')}", "08:00:00 10:59:40"),
        (
            f"SELECT COUNT(*) FROM (SELECT DISTINCT chunk, plate FROM t) WHERE chunk < {at('09:00')}",
            "08:00:00 08:59:40",
        ),
        (
            "SELECT AVG(n) FROM (SELECT hour(chunk) AS h, COUNT(*) AS n FROM t GROUP BY h) "
            f"WHERE h >= {at('18:00')} AND n > 5",
            "18:00:00 19:59:40",
        ),
        (f"SELECT hour(chunk) AS h, COUNT(*) FROM t GROUP BY h HAVING h >= {at('18:00')}", "18:00:00 19:59:40"),
        # Every use of a table counts.
        (f"SELECT COUNT(*) FROM t WHERE chunk < {at('09:00')}; SELECT COUNT(*) FROM t", WHOLE),
        (
            f"SELECT COUNT(*) FROM t WHERE chunk < {at('09:00')}; SELECT SUM(RANGE(speed, 0, 9)) FROM t "
            f"WHERE chunk BETWEEN {at('10:00')} AND {at('11:00')}",
            "08:00:00 11:00:40",
        ),
        # What does not say for certain which chunks matter narrows nothing.
        (f"SELECT COUNT(*) FROM t WHERE chunk < {at('09:00')} OR speed > 3", WHOLE),
        (f"SELECT COUNT(*) FROM t WHERE NOT chunk < {at('09:00')}", WHOLE),
        ("SELECT COUNT(*) FROM t WHERE hour_of_day(chunk) < 9", WHOLE),
        (f"SELECT COUNT(*) FROM (SELECT chunk FROM t LIMIT 5) WHERE chunk < {at('09:00')}", WHOLE),
        (
            f"SELECT COUNT(*) FROM (SELECT plate, MIN(chunk) AS c FROM t GROUP BY plate) WHERE c < {at('09:00')}",
            WHOLE,
        ),
        (f"SELECT COUNT(*) FROM t WHERE chunk < {at('05:00')}", WHOLE),
    ],
)
def test_a_filter_on_chunk_narrows_what_is_processed(select, expected):
    script = compiled(select)
    assert window(script) == expected
    assert (script.processes[0].split.written is None) is (expected == WHOLE)


def test_a_side_of_a_join_is_narrowed_by_its_own_filter():
    script = compiled(
        f"SELECT COUNT(*) FROM (SELECT plate FROM t WHERE chunk < {at('09:00')} GROUP BY plate) AS a "
        "JOIN (SELECT plate FROM u GROUP BY plate) AS b ON a.plate = b.plate"
    )
    assert [window(script, position) for position in (0, 1)] == ["08:00:00 08:59:40", "08:00:00 20:00:00"]


def test_the_branches_of_a_union_are_narrowed_together():
    script = compiled(
        f"SELECT COUNT(*) FROM (SELECT chunk AS c FROM t UNION ALL SELECT chunk FROM u) WHERE c < {at('09:00')}"
    )
    assert [window(script, position) for position in (0, 1)] == ["08:00:00 08:59:40", "08:00:00 09:00:00"]


def test_each_release_is_charged_for_the_chunks_that_it_uses_alone():
    found = certified(
        f"SELECT COUNT(*) FROM t WHERE chunk < {at('09:00')}; SELECT COUNT(*) FROM t WHERE chunk >= {at('12:00')}"
    )
    ends = [[(loss.grid.begin_us, loss.grid.count) for loss in s.losses] for r in found.releases for s in r.sources]
    begin = 1_796_112_000_000_000
    assert ends == [[(begin, 60)], [(begin + 4 * 3_600_000_000, 480)]]
    assert found.chunks == 720


def test_a_condition_beside_it_does_not_widen_the_charge():
    alone = certified(f"SELECT COUNT(*) FROM t WHERE chunk < {at('09:00')}")
    beside = certified(f"SELECT COUNT(*) FROM t WHERE chunk < {at('09:00')} AND speed > 3")
    assert beside.charges == alone.charges
    assert beside.public_time_us == alone.public_time_us


def test_conditions_on_the_time_of_groups_leave_the_other_groups_out():
    groups = "SELECT hour(chunk) AS h, COUNT(*) FROM t {} GROUP BY h {}"
    having = certified(groups.format("", f"HAVING h >= {at('18:00')}"))
    where = certified(groups.format(f"WHERE hour(chunk) >= {at('18:00')}", ""))
    assert [release.cells for release in having.releases] == [2]
    assert having.charges == where.charges
    mixed = certified(groups.format(f"WHERE chunk >= {at('18:00')} AND speed > 3", ""))
    assert [release.cells for release in mixed.releases] == [2]


NESTED = {
    "SELECT COUNT(*) FROM t WHERE speed > 3": [
        "SELECT COUNT(*) FROM (SELECT * FROM t) WHERE speed > 3",
        "SELECT COUNT(*) FROM (SELECT plate AS p, speed AS v FROM (SELECT plate, speed, chunk FROM t)) WHERE v > 3",
    ],
    "SELECT COUNT(*) FROM (SELECT DISTINCT plate FROM t)": [
        "SELECT COUNT(*) FROM (SELECT DISTINCT plate FROM (SELECT DISTINCT plate FROM t))",
        "SELECT COUNT(*) FROM (SELECT plate FROM t GROUP BY plate)",
        "SELECT COUNT(*) FROM (SELECT DISTINCT p FROM (SELECT plate AS p FROM t GROUP BY plate))",
        "WITH cars AS (SELECT DISTINCT plate FROM t) SELECT COUNT(*) FROM (SELECT DISTINCT plate FROM cars)",
    ],
    "SELECT AVG(n) FROM (SELECT chunk, COUNT(*) AS n FROM t GROUP BY chunk)": [
        "SELECT AVG(n) FROM (SELECT c, COUNT(*) AS n FROM (SELECT chunk AS c, plate FROM t) GROUP BY c)",
        "SELECT AVG(m) FROM (SELECT n AS m FROM (SELECT chunk, COUNT(*) AS n FROM t GROUP BY chunk))",
        "WITH a AS (SELECT chunk AS c FROM t), b AS (SELECT c, COUNT(*) AS n FROM a GROUP BY c) SELECT AVG(n) FROM b",
        "SELECT AVG(n) FROM (SELECT DISTINCT c, n FROM (SELECT chunk AS c, COUNT(*) AS n FROM t GROUP BY c))",
    ],
}


@pytest.mark.parametrize(("plain", "nested"), [(plain, n) for plain, many in NESTED.items() for n in many])
def test_a_query_costs_the_same_however_it_is_nested(plain, nested):
    one, other = certified(plain), certified(nested)
    assert [r.delta for r in other.releases] == [r.delta for r in one.releases]
    assert other.charges == one.charges


def operators(relation: lp.Relation) -> int:
    inputs = [getattr(relation, name) for name in ("input", "left", "right") if hasattr(relation, name)]
    return 1 + sum(operators(part) for part in (*inputs, *getattr(relation, "inputs", ())))


def test_needless_nesting_is_taken_out():
    deep = "t"
    for _ in range(20):
        deep = f"(SELECT DISTINCT plate FROM {deep})"
    assert operators(compiled(f"SELECT COUNT(*) FROM {deep}").selects[0].aggregate) == 4
    # What is computed twice is not copied into both places.
    kept = compiled("SELECT SUM(RANGE(b * b, 0, 9)) FROM (SELECT a + 1 AS b FROM (SELECT speed + speed AS a FROM t))")
    assert operators(kept.selects[0].aggregate) == 4


@pytest.mark.parametrize("zone", ["Europe/Lisbon", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"])
@pytest.mark.parametrize("unit", ["hour", "day", "week", "month"])
def test_no_moment_of_a_unit_is_left_out_where_clocks_change(unit, zone):
    # 1986 to 1988: Kathmandu's quarter of an hour, and Newfoundland's changes just after midnight.
    begin, step = 504_921_600_000_000, 1_800_000_000 if unit == "hour" else 10_800_000_000
    for moment in range(begin, begin + 1000 * 86_400_000_000, 97 * step):
        label = start_of(unit, moment, zone)
        assert label <= moment <= _last_of_unit(unit, label, zone)
