"""Every refusal for want of a bound names a rewrite, and every rewrite that is named works.

The rewrites of rejected fixtures lie in fixtures/sql/rewritten, under the same names; those of refused words and
functions are listed here by their hints, none of which may be missing.
"""

import re

import pytest

from query_lang import QueryError, compile_script
from query_lang.names import REFUSED_FUNCTIONS
from query_lang.tokens import REFUSED_WORDS
from tests.unit.test_lang_fixtures import CATALOG, ROOT, files, planned, read

TABLES = read(ROOT / "accepted" / "count_rows.sql").rpartition("SELECT")[0]
BOTH = "JOIN (SELECT plate FROM trucks GROUP BY plate) AS b ON a.plate = b.plate"
CARS = "(SELECT plate FROM cars GROUP BY plate) AS a"
KEYS = "WITH KEYS ['RED', 'BLUE']"

REWRITES = {
    "group in a nested SELECT instead, by bin(chunk, ...) for windows of time": (
        "SELECT AVG(n) FROM (SELECT bin(chunk, 15 min) AS b, COUNT(*) AS n FROM cars GROUP BY b)"
    ),
    "group in a nested SELECT instead": (
        "SELECT AVG(n) FROM (SELECT hour(chunk) AS h, COUNT(*) AS n FROM cars GROUP BY h)"
    ),
    "group in a nested SELECT and filter with HAVING": (
        "SELECT COUNT(*) FROM (SELECT plate FROM cars GROUP BY plate HAVING COUNT(*) > 3)"
    ),
    "write each step as its own nested SELECT": (
        "SELECT COUNT(*) FROM (SELECT DISTINCT color FROM (SELECT DISTINCT plate, color FROM cars))"
    ),
    "join with the other table, made unique: JOIN (SELECT key FROM b GROUP BY key) AS b ON ...": (
        f"SELECT COUNT(*) FROM {CARS} {BOTH}"
    ),
    "write a JOIN b ON a.key = b.key": f"SELECT COUNT(*) FROM {CARS} {BOTH}",
    "let the executable return one row for each element": "SELECT COUNT(*) FROM cars",
    "write COUNT(*) FILTER (WHERE ...) for each column": (
        "SELECT COUNT(*) FILTER (WHERE color = 'RED'), COUNT(*) FILTER (WHERE color = 'BLUE') FROM cars"
    ),
    "write one SELECT for each column and UNION ALL them": (
        "SELECT COUNT(*) FROM (SELECT plate AS x FROM cars UNION ALL SELECT color FROM cars)"
    ),
    "sample frames with AT n FPS, or chunks with STRIDE": "SELECT COUNT(*) FROM cars",
    "list the groups of interest with WITH KEYS, or write one SELECT for each grouping": (
        f"SELECT color, COUNT(*) FROM cars GROUP BY color {KEYS}; SELECT COUNT(*) FROM cars"
    ),
    "write INNER JOIN with the other side made unique: (SELECT key FROM b GROUP BY key) AS b": (
        f"SELECT COUNT(*) FROM {CARS} INNER {BOTH}"
    ),
    "write EXCEPT between two SELECTs of the same key": (
        "SELECT COUNT(*) FROM (SELECT plate FROM cars EXCEPT SELECT plate FROM trucks)"
    ),
    "join on bin(chunk, ...) of both sides": (
        "SELECT COUNT(*) FROM (SELECT bin(chunk, 15 min) AS c, plate FROM cars) AS a "
        "JOIN (SELECT bin(chunk, 15 min) AS c FROM trucks GROUP BY c) AS b ON a.c = b.c"
    ),
    "write LIMIT n": "SELECT COUNT(*) FROM (SELECT plate FROM cars LIMIT 5)",
    "write the duration alone, as in bin(chunk, 15 min)": "SELECT bin(chunk, 15 min), COUNT(*) FROM cars GROUP BY 1",
    "only tables made by PROCESS can be read": "SELECT COUNT(*) FROM cars",
    "write QUANTILE(x, q)": "SELECT QUANTILE(RANGE(speed, 0, 60), 0.9) FROM cars",
    "write lower(x) LIKE '...'": "SELECT COUNT(*) FROM cars WHERE lower(plate) LIKE 'a%'",
    "compare with TIMESTAMP '2026-12-01T08:00:00Z'": (
        "SELECT COUNT(*) FROM cars WHERE chunk > TIMESTAMP '2026-12-01T08:00:00Z'"
    ),
    "write MIN, MAX or ARGMAX(key, COUNT(*))": (
        "SELECT MIN(RANGE(speed, 0, 9)), MAX(RANGE(speed, 0, 9)) FROM cars; "
        f"SELECT ARGMAX(color, COUNT(*)) FROM cars GROUP BY color {KEYS}"
    ),
    "write COUNT(DISTINCT x)": "SELECT COUNT(DISTINCT plate) FROM cars",
    "group by bin(chunk, ...) in a nested SELECT": (
        "SELECT MAX(RANGE(n, 0, 99)) FROM (SELECT bin(chunk, 15 min) AS b, COUNT(*) AS n FROM cars GROUP BY b)"
    ),
    "write the exact form, such as COUNT(DISTINCT x) or QUANTILE(x, 0.9)": (
        "SELECT COUNT(DISTINCT plate), QUANTILE(RANGE(speed, 0, 60), 0.9) FROM cars"
    ),
    "write LIKE, starts_with, ends_with or contains": (
        "SELECT COUNT(*) FROM cars WHERE plate LIKE 'A%' OR starts_with(plate, 'B') OR ends_with(plate, 'C') "
        "OR contains(plate, 'D')"
    ),
    "write VAR(x) or STDDEV(x)": "SELECT VAR(RANGE(speed, 0, 60)), STDDEV(RANGE(speed, 0, 60)) FROM cars",
    "write hour(chunk), day(chunk), hour_of_day(chunk), ...": (
        "SELECT hour(chunk) AS h, COUNT(*) FROM cars GROUP BY h; "
        "SELECT day(chunk) AS d, hour_of_day(chunk) AS h, COUNT(*) FROM cars GROUP BY d, h"
    ),
    "write CASE WHEN test THEN a ELSE b END": "SELECT SUM(CASE WHEN speed > 3 THEN 1 ELSE 0 END) FROM cars",
    "write COUNT(*) FILTER (WHERE test)": "SELECT COUNT(*) FILTER (WHERE speed > 3) FROM cars",
    "write ARGMAX(key, COUNT(*))": f"SELECT ARGMAX(color, COUNT(*)) FROM cars GROUP BY color {KEYS}",
    "write QUANTILE(x, 0.9)": "SELECT QUANTILE(RANGE(speed, 0, 60), 0.9) FROM cars",
}
REFUSED = {word: f"SELECT COUNT(*) {word} FROM cars" for word in REFUSED_WORDS} | {
    name: f"SELECT {name}(speed) FROM cars" for name in REFUSED_FUNCTIONS
}


@pytest.mark.parametrize("word", REFUSED, ids=str)
def test_what_is_refused_is_refused_with_a_rewrite_that_works(word):
    with pytest.raises(QueryError) as refused:
        planned(TABLES + REFUSED[word])
    assert refused.value.code == "unsupported"
    assert refused.value.hint in REWRITES


@pytest.mark.parametrize("hint", REWRITES)
def test_a_rewrite_that_is_named_works(hint):
    _, certificate = planned(TABLES + REWRITES[hint])
    assert certificate.releases
    for name in re.findall(r"\b[A-Za-z_]{3,}(?=\()", hint):
        assert name.lower() in REWRITES[hint].lower(), f"the rewrite does not use {name}"


def test_no_hint_is_listed_that_nobody_gives():
    given = {hint for _, hint in (*REFUSED_WORDS.values(), *REFUSED_FUNCTIONS.values())}
    assert given == set(REWRITES)


def test_every_refusal_of_the_calculus_has_its_rewrite():
    unbounded = {path.stem for path in files("rejected") if path.stem.startswith("privacy_")}
    assert unbounded <= {path.stem for path in files("rewritten")}
    for stem in unbounded:
        compile_script(read(ROOT / "rejected" / f"{stem}.sql"), CATALOG)


@pytest.mark.parametrize("path", files("rewritten"), ids=lambda path: path.stem)
def test_a_rejected_query_works_when_it_is_rewritten(path):
    with pytest.raises(QueryError) as refused:
        planned(read(ROOT / "rejected" / path.name))
    assert refused.value.hint
    assert planned(read(path))[1].releases
