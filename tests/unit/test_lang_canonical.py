"""One canonical text for queries that mean the same, different ones for those that do not."""

import itertools

import pytest

from query_lang import CameraSchema, Catalog, compile_script

CATALOG = Catalog(
    {"plaza": CameraSchema("plaza", masks=("a", "b"), regions={"lanes": ("n", "s")}), "bridge": CameraSchema("bridge")},
    {"p.py": "aa" * 32, "q.py": "bb" * 32, "m.onnx": "dd" * 32, "other.onnx": "ee" * 32},
)
SPLIT = "SPLIT plaza BEGIN 2026-12-01T08:00Z END 2026-12-01T09:00Z BY TIME 5sec STRIDE 1sec INTO c;"
PROCESS = (
    "PROCESS c USING 'p.py' TIMEOUT 1sec PRODUCING 10 ROWS "
    'WITH SCHEMA (plate:STRING="", speed:NUMBER=0, parked:BOOLEAN=FALSE) INTO t;'
)


def canonical(select: str, split: str = SPLIT, process: str = PROCESS) -> str:
    return compile_script(f"{split}\n{process}\n{select}", CATALOG).canonical


SAME = {
    "case": ["SELECT COUNT(*) FROM t WHERE speed > 1", "select count(*) from T where SPEED > 1"],
    "blanks and comments": ["SELECT COUNT(*) FROM t", "SELECT\n COUNT( * ) -- all\nFROM /* the */ t ;"],
    "names of outputs": ["SELECT COUNT(*) FROM t", "SELECT COUNT(*) AS n FROM t", "SELECT count(*) cars FROM t AS x"],
    "names of keys": [
        "SELECT hour(chunk) AS h, COUNT(*) FROM t GROUP BY h",
        "SELECT hour(chunk), COUNT(*) AS n FROM t GROUP BY 1",
        "SELECT hour(x.chunk), COUNT(*) AS n FROM t x GROUP BY hour(chunk)",
    ],
    "numerals": ["SELECT SUM(RANGE(speed, 0, 30)) FROM t", "SELECT SUM(RANGE(speed, 0.0, 3e1)) FROM t"],
    "authors' words": ["SELECT AVG(RANGE(speed, 0, 9)) FROM t", "SELECT mean(speed, u=9, l=0) FROM t"],
    "and": [
        f"SELECT COUNT(*) FROM t WHERE {' AND '.join(order)}"
        for order in itertools.permutations(["parked", "(speed > 1)", "plate = 'x'"])
    ]
    + ["SELECT COUNT(*) FROM t WHERE parked AND (plate = 'x' AND speed > 1)"],
    "or": ["SELECT COUNT(*) FROM t WHERE parked OR speed > 1", "SELECT COUNT(*) FROM t WHERE 1 < speed OR parked"],
    "sums": [
        "SELECT COUNT(*) FROM t WHERE speed + 1 > 2 * speed",
        "SELECT COUNT(*) FROM t WHERE speed * 2 < 1 + speed",
    ],
    "equality": ["SELECT COUNT(*) FROM t WHERE plate = 'x'", "SELECT COUNT(*) FROM t WHERE 'x' = plate"],
    "in": ["SELECT COUNT(*) FROM t WHERE speed IN (1, 2, 3)", "SELECT COUNT(*) FROM t WHERE speed IN (3, 2, 1, 2)"],
    "released sums": ["SELECT COUNT(*) + 1 FROM t", "SELECT 1 + COUNT(*) FROM t"],
    "joins": [
        "SELECT COUNT(*) FROM (SELECT DISTINCT plate, speed FROM t) a "
        f"JOIN (SELECT DISTINCT plate {x}, speed FROM t) b {on}"
        for x, on in (
            ("", "ON a.plate = b.plate AND a.speed = b.speed"),
            ("", "ON b.speed = a.speed AND b.plate = a.plate"),
            ("", "USING (plate, speed)"),
            ("AS p", "ON a.plate = p AND a.speed = b.speed"),
        )
    ],
    "nested names": [
        "SELECT COUNT(*) FROM (SELECT plate FROM t WHERE parked)",
        "SELECT COUNT(*) FROM (SELECT plate AS p FROM t WHERE parked) AS x",
        "WITH x AS (SELECT plate FROM t WHERE parked) SELECT COUNT(*) FROM x",
    ],
}


@pytest.mark.parametrize("texts", SAME.values(), ids=SAME.keys())
def test_same(texts: list[str]) -> None:
    assert len({canonical(text) for text in texts}) == 1


def test_names_of_chunks_and_tables_do_not_matter_nor_do_unused_ones() -> None:
    other = canonical(
        "SELECT COUNT(*) FROM cars",
        SPLIT.replace("INTO c", "INTO chunks") + SPLIT.replace("INTO c", "INTO unused"),
        PROCESS.replace("PROCESS c", "PROCESS chunks").replace("INTO t", "INTO cars"),
    )
    assert other == canonical("SELECT COUNT(*) FROM t")


def test_moments_and_durations_may_be_written_in_any_way() -> None:
    other = SPLIT.replace("2026-12-01T08:00Z", "1796112000").replace("5sec", "5000 ms").replace("plaza", "PLAZA")
    assert canonical("SELECT COUNT(*) FROM t", other) == canonical("SELECT COUNT(*) FROM t")


DIFFERENT = [
    "SELECT COUNT(*) FROM t",
    "SELECT COUNT(*) FROM t CONSUMING 1",
    "SELECT COUNT(*) FROM t CONSUMING 0.5",
    "SELECT COUNT(*) FROM t; SELECT COUNT(*) FROM t",
    "SELECT COUNT(plate) FROM t",
    "SELECT COUNT(DISTINCT plate) FROM t",
    "SELECT COUNT(speed) FROM t",
    "SELECT COUNT(*) FROM t WHERE speed > 1",
    "SELECT COUNT(*) FROM t WHERE speed < 1",
    "SELECT COUNT(*) FROM t WHERE speed >= 1",
    "SELECT COUNT(*) FROM t WHERE speed - 1 > 0",
    "SELECT COUNT(*) FROM t WHERE 1 - speed > 0",
    "SELECT COUNT(*) FROM t WHERE plate = 'x, y'",
    "SELECT COUNT(*) FROM t WHERE plate = 'x'', ''y'",
    "SELECT COUNT(*) FROM t WHERE plate = 'X, y'",
    "SELECT COUNT(*) FROM t WHERE plate IN ('x', 'y')",
    "SELECT COUNT(*) FROM t WHERE parked AND (speed > 1 OR plate = '')",
    "SELECT COUNT(*) FROM t WHERE (parked AND speed > 1) OR plate = ''",
    "SELECT COUNT(*) FILTER (WHERE parked) FROM t",
    "SELECT SUM(RANGE(speed, 0, 9)) FROM t",
    "SELECT AVG(RANGE(speed, 0, 9)) FROM t",
    "SELECT SUM(RANGE(speed, 0, 8)) FROM t",
    "SELECT SUM(RANGE(speed + 0, 0, 9)) FROM t",
    "SELECT SUM(speed) FROM t",
    "SELECT COUNT(*), SUM(RANGE(speed, 0, 9)) FROM t",
    "SELECT SUM(RANGE(speed, 0, 9)), COUNT(*) FROM t",
    "SELECT COUNT(*) * 2 FROM t",
    "SELECT plate, COUNT(*) FROM t GROUP BY plate WITH KEYS ['a', 'b']",
    "SELECT plate, COUNT(*) FROM t GROUP BY plate WITH KEYS ['b', 'a']",
    "SELECT COUNT(*) FROM t GROUP BY plate WITH KEYS ['a', 'b']",
    "SELECT plate, COUNT(*) FROM t GROUP BY plate",
    "SELECT hour(chunk), COUNT(*) FROM t GROUP BY 1",
    "SELECT day(chunk), COUNT(*) FROM t GROUP BY 1",
    "SELECT bin(chunk, 60 min), COUNT(*) FROM t GROUP BY 1",
    "SELECT hour(chunk), COUNT(*) FROM t GROUP BY 1 ORDER BY 2",
    "SELECT hour(chunk), COUNT(*) FROM t GROUP BY 1 ORDER BY 2 DESC",
    "SELECT hour(chunk), COUNT(*) FROM t GROUP BY 1 ORDER BY 2 DESC LIMIT 3",
    "SELECT hour(chunk), COUNT(*) FROM t GROUP BY 1 ORDER BY 2 DESC LIMIT 3 OFFSET 1",
    "SELECT hour(chunk), COUNT(*) FROM t GROUP BY 1 HAVING COUNT(*) > 3",
    "SELECT COUNT(*) FROM (SELECT DISTINCT plate FROM t)",
    "SELECT COUNT(*) FROM (SELECT plate, COUNT(*) AS n FROM t GROUP BY plate)",
    "SELECT COUNT(*) FROM (SELECT plate FROM t UNION ALL SELECT plate FROM t)",
    "SELECT COUNT(*) FROM (SELECT plate FROM t UNION SELECT plate FROM t)",
    "SELECT COUNT(*) FROM (SELECT plate FROM t EXCEPT SELECT plate FROM t)",
    "SELECT COUNT(*) FROM (SELECT plate FROM t LIMIT 5)",
    "SELECT COUNT(*) FROM (SELECT plate FROM t LIMIT 5 OFFSET 5)",
]


def test_different_questions_have_different_texts() -> None:
    texts = [canonical(text) for text in DIFFERENT]
    assert len(set(texts)) == len(DIFFERENT)


def test_whatever_a_table_is_made_of_is_in_the_text() -> None:
    select = "SELECT COUNT(*) FROM t"
    splits = [
        SPLIT,
        SPLIT.replace("plaza", "bridge"),
        SPLIT.replace("08:00", "08:01"),
        SPLIT.replace("09:00", "09:01"),
        SPLIT.replace("5sec", "6sec"),
        SPLIT.replace("STRIDE 1sec", ""),
        SPLIT.replace("INTO", "WITH MASK a INTO"),
        SPLIT.replace("INTO", "WITH MASK a, b INTO"),
        SPLIT.replace("INTO", "BY REGION lanes INTO"),
        SPLIT.replace("INTO", "AT 5 FPS INTO"),
        SPLIT.replace("INTO", "RESIZE 64x64 INTO"),
    ]
    processes = [
        PROCESS.replace("p.py", "q.py"),
        PROCESS.replace("TIMEOUT", "WITH MODEL 'm.onnx' TIMEOUT"),
        PROCESS.replace("TIMEOUT", "WITH MODEL 'other.onnx' TIMEOUT"),
        PROCESS.replace("TIMEOUT", "WITH MODEL 'm.onnx' CALLS 5 TIMEOUT"),
        PROCESS.replace("1sec", "2sec"),
        PROCESS.replace("10 ROWS", "EXACTLY 10 ROWS"),
        PROCESS.replace("10 ROWS", "11 ROWS"),
        PROCESS.replace("speed:NUMBER=0", "speed:NUMBER=1"),
        PROCESS.replace("speed:", "Speed:"),
        PROCESS.replace('plate:STRING=""', "plate:BOOLEAN=TRUE"),
    ]
    texts = [canonical(select, split) for split in splits] + [canonical(select, process=p) for p in processes]
    assert len(set(texts)) == len(texts)


def test_another_upload_under_the_same_name_is_another_query() -> None:
    text = f"{SPLIT}{PROCESS}SELECT COUNT(*) FROM t"
    other = Catalog(CATALOG.cameras, {"p.py": "cc" * 32})
    assert compile_script(text, CATALOG).canonical != compile_script(text, other).canonical
    assert compile_script(text, Catalog(CATALOG.cameras)).processes[0].sha256 is None
