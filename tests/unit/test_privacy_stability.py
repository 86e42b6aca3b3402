"""r, R and net of every operator: at most 3 rows a slot, chunks of an hour, of which a segment touches 2."""

import pytest

from query_lang import QueryError
from tests.support.queries import certified, policy

DISTINCT = "(SELECT DISTINCT plate AS k FROM {t})"
KEYED = "(SELECT plate AS k, COUNT(*) AS n FROM {t} GROUP BY plate)"
BOTH = "(SELECT chunk FROM t1 UNION ALL SELECT chunk FROM t1)"
HOURLY = "(SELECT hour(chunk) AS h, COUNT(*) AS n FROM {t} GROUP BY h)"


def state(relation: str, rows: str = "3 ROWS", **terms):
    _, certificate = certified(
        f"SELECT COUNT(*) FROM ({relation});",
        rows=rows,
        **{"hours": 48, "chunk": 3600, "policies": policy(rho=3600), **terms},
    )
    return certificate.selects[0].input


def numbers(relation: str, table: str = "t1", **terms) -> tuple[int, int, int]:
    moved = state(relation, **terms).influence[table]
    assert moved.touched == 2
    return moved.r, moved.R, moved.net


@pytest.mark.parametrize(
    ("relation", "expected"),
    [
        ("SELECT plate FROM t1", (3, 6, 3)),
        ("SELECT plate FROM t1 WHERE moving", (3, 6, 3)),
        ("SELECT plate FROM t1 LIMIT 2", (2, 2, 2)),
        ("SELECT plate FROM t1 UNION ALL SELECT plate FROM t1", (6, 12, 6)),
        ("SELECT plate FROM t1 UNION ALL SELECT plate FROM t2", (3, 6, 3)),
        ("SELECT plate FROM t1 UNION SELECT plate FROM t1", (6, 12, 6)),
        ("SELECT plate FROM t1 INTERSECT SELECT plate FROM t2", (3, 6, 3)),
        ("SELECT plate FROM t1 EXCEPT SELECT 'x' FROM t1", (6, 12, 6)),
        ("SELECT DISTINCT plate FROM t1", (3, 6, 3)),
        ("SELECT DISTINCT hour(chunk) AS h FROM t1", (3, 6, 3)),
        # GROUP BY
        ("SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate", (6, 12, 3)),
        ("SELECT n, COUNT(*) AS m FROM (SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate) GROUP BY n", (12, 24, 6)),
        ("SELECT hour(chunk) AS h, COUNT(*) AS n FROM t1 GROUP BY h", (1, 2, 0)),
        ("SELECT day(chunk) AS d, COUNT(*) AS n FROM t1 GROUP BY d", (1, 2, 0)),
        ("SELECT camera, COUNT(*) AS n FROM t1 GROUP BY camera", (1, 1, 0)),
        ("SELECT COUNT(*) AS n FROM t1", (1, 1, 0)),
        ("SELECT hour(chunk) AS h, plate, COUNT(*) AS n FROM t1 GROUP BY h, plate", (3, 6, 3)),
        ("SELECT day(chunk) AS h, plate, COUNT(*) AS n FROM t1 GROUP BY h, plate", (6, 12, 3)),
        ("SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate WITH KEYS ['a', 'b']", (2, 2, 0)),
        ("SELECT hour(chunk) AS h, plate, COUNT(*) AS n FROM t1 GROUP BY h, plate WITH KEYS ['a', 'b']", (2, 4, 0)),
        (
            "SELECT hour(chunk) AS h, COUNT(*) AS n"
            " FROM (SELECT chunk FROM t1 UNION ALL SELECT chunk FROM t2) GROUP BY h",
            (1, 2, 0),
        ),
        # joins, one row a key
        (f"SELECT l.k AS k FROM {DISTINCT} AS l JOIN {DISTINCT} AS r ON l.k = r.k", (6, 12, 6)),
        (f"SELECT l.k AS k FROM {KEYED} AS l JOIN {DISTINCT} AS r ON l.k = r.k", (9, 18, 9)),
        (f"SELECT l.k AS k FROM {DISTINCT} AS l LEFT JOIN {DISTINCT} AS r ON l.k = r.k", (9, 18, 3)),
        (f"SELECT l.k AS k FROM {DISTINCT} AS l FULL JOIN {DISTINCT} AS r ON l.k = r.k", (12, 24, 6)),
        (f"SELECT l.k AS k FROM {DISTINCT} AS l LEFT JOIN {DISTINCT.format(t='t2')} AS r ON l.k = r.k", (3, 6, 3)),
        (f"SELECT l.k AS k FROM {DISTINCT.format(t='t2')} AS l LEFT JOIN {DISTINCT} AS r ON l.k = r.k", (6, 12, 0)),
        (f"SELECT l.k AS k FROM {DISTINCT.format(t='t2')} AS l FULL JOIN {DISTINCT} AS r ON l.k = r.k", (6, 12, 3)),
        # joins on trusted keys: i = j = 3 rows a chunk
        ("SELECT l.plate AS p FROM t1 AS l JOIN t2 AS r ON l.chunk = r.chunk", (9, 18, 9)),
        ("SELECT l.plate AS p FROM t1 AS l JOIN t1 AS r ON l.chunk = r.chunk", (9, 18, 9)),
        # the dense side has one row a chunk
        (
            "SELECT l.plate AS p FROM t1 AS l JOIN (SELECT chunk AS c, COUNT(*) AS n FROM t1 GROUP BY c) AS r"
            " ON l.chunk = r.c",
            (3, 6, 3),
        ),
        # dense on both sides, by the same function of the slot: one row, two in a segment
        (f"SELECT l.n AS n FROM {HOURLY} AS l JOIN {HOURLY} AS r ON l.h = r.h", (1, 2, 0)),
    ],
)
def test_influence(relation, expected):
    assert numbers(relation.format(t="t1")) == expected


def test_exactly_n_moves_no_count_and_a_trusted_filter_keeps_that():
    assert numbers("SELECT plate FROM t1", rows="EXACTLY 3 ROWS") == (3, 6, 0)
    assert numbers("SELECT plate FROM t1 WHERE hour_of_day(chunk) < 6", rows="EXACTLY 3 ROWS") == (3, 6, 0)
    assert numbers("SELECT plate FROM t1 WHERE plate = 'a'", rows="EXACTLY 3 ROWS") == (3, 6, 3)


@pytest.mark.parametrize(
    ("relation", "size"),
    [
        ("SELECT plate FROM t1", None),
        (HOURLY[1:-1], 48),
        (f"SELECT n FROM {HOURLY} WHERE hour_of_day(h) < 6", 12),
        (f"SELECT n FROM {HOURLY} WHERE n < 6", None),
        (f"SELECT n FROM {HOURLY} LIMIT 5", 5),
        (f"SELECT n FROM {HOURLY} UNION ALL SELECT n FROM {HOURLY}", 96),
        (f"SELECT l.n AS n FROM {HOURLY} AS l JOIN {HOURLY} AS r ON l.h = r.h", 48),
        ("SELECT COUNT(*) AS n FROM t1", 1),
        ("SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate WITH KEYS ['a', 'b', 'a']", 2),
        # Two keys that are one on the grid of numbers.
        ("SELECT speed, COUNT(*) AS n FROM t1 GROUP BY speed WITH KEYS [0.5, 0.500000001]", 1),
        ("SELECT hour_of_day(chunk) AS h, COUNT(*) AS n FROM (SELECT chunk FROM t1 LIMIT 9) GROUP BY h", 24),
        ("SELECT day(chunk) AS d, hour(chunk) AS h, COUNT(*) AS n FROM t1 GROUP BY d, h", 48),
    ],
)
def test_public_sizes(relation, size):
    assert state(relation.format(t="t1")).size == size


def test_a_segment_reaches_every_value_of_a_key_once():
    # 25 hourly chunks meet two days, and 24 hours of the day: labels that coincide are one group.
    terms = {"policies": policy(rho=24 * 3600)}
    days = state("SELECT day(chunk) AS d, COUNT(*) AS n FROM t1 GROUP BY d", **terms)
    hours = state("SELECT hour_of_day(chunk) AS d, COUNT(*) AS n FROM t1 GROUP BY d", **terms)
    assert days.influence["t1"].touched == 25
    assert days.influence["t1"].R == 2
    assert hours.influence["t1"].R == 24


@pytest.mark.parametrize(
    "relation",
    [
        "SELECT l.plate AS p FROM t1 AS l JOIN t1 AS r ON l.plate = r.plate",
        "SELECT l.plate AS p FROM t1 AS l LEFT JOIN t1 AS r ON l.chunk = r.chunk",
        f"SELECT l.k AS k FROM {DISTINCT} AS l JOIN (SELECT DISTINCT plate AS k, chunk FROM t1) AS r ON l.k = r.k",
    ],
)
def test_joins_that_one_row_can_move_without_bound_are_refused(relation):
    with pytest.raises(QueryError) as refused:
        state(relation.format(t="t1"))
    assert refused.value.code == "unbounded_join"
    assert "GROUP BY" in (refused.value.hint or "")


def test_a_join_that_could_be_too_large_is_refused():
    with pytest.raises(QueryError) as refused:
        state("SELECT l.plate AS p FROM t1 AS l JOIN t1 AS r ON l.camera = r.camera", rows="1000 ROWS")
    assert refused.value.code == "join_too_large"


def test_an_inner_count_lies_within_the_multiplicity_of_its_trusted_keys():
    # Trap: multiplicities count regions and dense fill.
    for relation, most in (
        ("SELECT hour(chunk) AS h, COUNT(*) AS n FROM t1 GROUP BY h", 3),
        ("SELECT day(chunk) AS h, plate, COUNT(*) AS n FROM t1 GROUP BY h, plate", 72),
        ("SELECT plate, COUNT(*) AS n FROM t1 GROUP BY plate", 144),
        (
            "SELECT day(h) AS d, COUNT(*) AS n FROM (SELECT hour(chunk) AS h, plate, COUNT(*) AS m FROM t1"
            " GROUP BY h, plate WITH KEYS ['a', 'b', 'c', 'd']) GROUP BY d",
            96,
        ),
        (
            f"SELECT hour(chunk) AS h, COUNT(*) AS n FROM {BOTH} GROUP BY h",
            6,
        ),
        ("SELECT l.chunk AS c, COUNT(*) AS n FROM t1 AS l JOIN t2 AS r ON l.chunk = r.chunk GROUP BY c", 9),
    ):
        assert state(relation).columns["n"].range == (0, most), relation
