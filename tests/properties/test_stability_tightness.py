"""Pairs of worlds that reach the claims: nothing is claimed that could be lower, and every rule has its pair."""

import re
from pathlib import Path

import pytest

from privid.privacy.sensitivity import Method
from query_lang import QueryError
from query_lang.logical import Function
from tests.support.attack import Record, attack, rules
from tests.support.pairs import RELATIONS, RELEASES, Pair, check_relation, check_release

SHARE = 0.95
"""Every pair reaches this share of its claim; there are no exceptions."""
MODEL = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "privacy-model.md"

RULES: dict[str, dict[str, str]] = {
    "source": {"r": "source: r and net", "net": "source: r and net", "R": "source: R"},
    "WHERE, inner HAVING, FILTER": {
        "r": "WHERE: r and net",
        "net": "WHERE, inner HAVING: r and net",
        "R": "WHERE: R",
        "FILTER": "COUNT(*) FILTER: r",
    },
    "projection": {"r": "projection: r and net", "net": "projection: r and net"},
    "UNION ALL": {
        "r": "UNION ALL: r and net add",
        "net": "UNION ALL: r and net add",
        "R": "UNION ALL: R adds",
    },
    "DISTINCT, GROUP BY without aggregates": {"r": "DISTINCT: r", "net": "DISTINCT: net", "R": "DISTINCT: R"},
    "UNION / INTERSECT, EXCEPT": {
        "r": "UNION: r and net",
        "R": "UNION: R",
        "r of INTERSECT": "INTERSECT: r and net",
        "R of INTERSECT": "INTERSECT: R",
        "r of EXCEPT": "EXCEPT: r",
        "net of EXCEPT": "EXCEPT: net",
        "R of EXCEPT": "EXCEPT: R",
    },
    "GROUP BY untrusted keys, with aggregates": {
        "r": "GROUP BY untrusted keys: 2r",
        "net": "GROUP BY untrusted keys: net",
        "R": "GROUP BY untrusted keys: 2R",
    },
    "GROUP BY keys trusted for B": {
        "r": "GROUP BY trusted keys: 1",
        "R": "GROUP BY trusted keys: R = D",
        "r without keys": "GROUP BY nothing: 1",
    },
    "GROUP BY mixed keys": {
        "r": "GROUP BY mixed keys: mult",
        "net": "GROUP BY mixed keys: net",
        "R": "GROUP BY mixed keys: R",
    },
    "WITH KEYS": {"r": "WITH KEYS: 2r", "n": "WITH KEYS: n", "R": "WITH KEYS and trusted keys: R = n*D"},
    "INNER JOIN, one row a key on both sides": {
        "r": "INNER JOIN, one row a key: r and net",
        "R": "INNER JOIN, one row a key: R",
    },
    "LEFT / FULL JOIN, likewise": {
        "r": "LEFT JOIN, one row a key: r_L + 2*r_R",
        "net": "LEFT JOIN, one row a key: net_L",
        "R": "LEFT JOIN, one row a key: R",
        "r of FULL": "FULL JOIN, one row a key: 2*r_L + 2*r_R",
        "net of FULL": "FULL JOIN, one row a key: net",
        "R of FULL": "FULL JOIN, one row a key: R",
    },
    "JOIN on trusted keys": {
        "r_L*j": "JOIN on trusted keys: r_L*j, one side",
        "i*j": "JOIN on trusted keys: i*j",
        "r": "JOIN on trusted keys, a function of its own on each side: r_L*j + r_R*i",
        "R": "JOIN on trusted keys: R = i*j*D",
    },
    "dense JOIN dense, one public domain": {
        "r": "dense JOIN dense, by listed keys: r_L + r_R",
        "r by one trusted key": "dense JOIN dense, by one trusted key: 1",
        "R by one trusted key": "dense JOIN dense, by one trusted key: D",
    },
    "trust through INNER JOIN, and the left columns of LEFT": {
        "r": "trust through INNER JOIN: 1",
        "R": "trust through INNER JOIN: D",
        "LEFT": "trust of the left columns of LEFT JOIN: 1",
    },
    "LIMIT n, OFFSET": {"r": "LIMIT: n", "net": "LIMIT: n", "R": "LIMIT: R"},
    # releases
    "COUNT(*)": {"w": "COUNT(*): net", "cap": "COUNT(*): cap"},
    "COUNT(x)": {"w": "COUNT(x), x nullable: r"},
    "COUNT(DISTINCT x)": {"w": "COUNT(DISTINCT x): r", "cap": "COUNT(DISTINCT x): cap"},
    "SUM, x in [l,u]": {
        "w": "SUM, l < 0 < u",
        "net": "SUM, 0 < l: rows that vanish",
        "nullable": "SUM, nullable",
        "lip": "SUM of a lip column: hourly counts",
        "cap": "SUM: cap",
    },
    "any of these grouped by keys trusted for every source": {
        "COUNT": "COUNT(*) by trusted keys",
        "COUNT(DISTINCT)": "COUNT(DISTINCT x) by trusted keys",
        "SUM": "SUM by trusted keys",
    },
    "AVG, exact n > 0, not nullable": {
        "w": "AVG, exact",
        "lip": "AVG of a lip column",
        "groups": "AVG, exact by trusted keys",
        "cap": "AVG, exact: cap",
    },
    "AVG otherwise": {"w": "AVG, vector", "groups": "AVG, vector by trusted keys", "cap": "AVG, vector: cap"},
    "VAR, STDDEV": {"w": "VAR", "STDDEV": "STDDEV", "groups": "VAR by trusted keys", "cap": "VAR: cap"},
    "MEDIAN, QUANTILE(x,q)": {
        "w": "MEDIAN",
        "q": "QUANTILE",
        "groups": "QUANTILE by trusted keys",
        "cap": "QUANTILE: cap",
    },
    "MIN, MAX": {"w": "MIN", "MAX": "MAX", "groups": "MIN by trusted keys", "cap": "MAX: cap"},
    "grouped by (partly) untrusted keys, all groups under one epsilon": {
        "COUNT": "COUNT(*) by listed keys",
        "COUNT(DISTINCT)": "COUNT(DISTINCT x) by listed keys",
        "SUM": "SUM by listed keys",
        "AVG": "AVG, vector by listed keys",
        "VAR": "VAR by listed keys",
        "MIN": "MIN by listed keys",
        "QUANTILE": "QUANTILE by listed keys",
        "cap": "COUNT(*) by listed keys: cap",
    },
    "ARGMAX(key, score)": {
        "COUNT": "ARGMAX of COUNT by listed keys",
        "SUM": "ARGMAX of SUM by listed keys",
        "trusted keys": "ARGMAX of COUNT by trusted keys",
        "cap": "ARGMAX: cap",
    },
}
"""For every row of the tables of privacy-model.md, sections 2 and 3: the pairs that reach its claims."""

REFUSED = (
    "SELECT COUNT(*) FROM (SELECT ROW_NUMBER() OVER (ORDER BY speed) AS n FROM t1);",
    "WITH RECURSIVE a AS (SELECT plate FROM t1 UNION ALL SELECT plate FROM a) SELECT COUNT(*) FROM a;",
    "SELECT COUNT(*) FROM t1 WHERE speed > (SELECT COUNT(*) FROM t1);",
    "SELECT COUNT(*) FROM t1 WHERE plate IN (SELECT plate FROM t1);",
    "SELECT COUNT(*) FROM (SELECT plate FROM t1 GROUP BY ROLLUP (plate));",
    "SELECT COUNT(*) FROM (SELECT FIRST(plate) AS p FROM t1);",
    "SELECT COUNT(*) FROM (SELECT STRING_AGG(plate, ',') AS p FROM t1);",
    "SELECT COUNT(*) FROM (SELECT ARGMAX(plate, COUNT(*)) AS p FROM t1 GROUP BY plate WITH KEYS ['a']);",
    "SELECT COUNT(*) FROM (SELECT DISTINCT ON (plate) plate, speed FROM t1);",
    "SELECT COUNT(*) FROM (SELECT plate, random() AS r FROM t1);",
)


@pytest.mark.parametrize("name", RELATIONS)
def test_the_claims_of_a_relation_are_reached(name):
    for claim, reached in check_relation(RELATIONS[name]).items():
        assert reached.claimed > 0
        assert reached.claimed * SHARE <= reached.moved <= reached.claimed, f"{claim}: {reached}"


@pytest.mark.parametrize("name", RELEASES)
def test_the_claim_of_a_release_is_reached(name):
    reached = check_release(RELEASES[name])
    assert reached.claimed > 0
    assert float(reached.claimed) * SHARE <= reached.moved, reached


@pytest.mark.parametrize("select", REFUSED)
def test_what_has_no_rule_is_refused_with_a_hint(select):
    with pytest.raises(QueryError) as refused:
        Pair(select.removesuffix(";"), {}, {}).certified()
    assert refused.value.hint


# --- coverage -----------------------------------------------------------------------------------------------


def rows_of(section: str) -> list[str]:
    """The first column of a section's table, without what follows a semicolon or in parentheses after a keyword."""
    text = MODEL.read_text()
    body = text[text.index(f"\n## {section}.") :]
    body = body[: body.index("\n## ", 1)]
    found = re.findall(r"^\| (.+?) \|", body, re.MULTILINE)
    return [row for row in found if row not in ("operator", "release")]


def test_every_rule_of_the_model_has_pairs_that_reach_it():
    names = {*RELATIONS, *RELEASES}
    for row in (*rows_of("2"), *rows_of("3")):
        if row.startswith("window functions"):
            continue  # refused, see above
        key = row.split(";")[0].split(" (chunk, bin")[0]
        assert RULES.get(key), f"no pair for: {row}"
    for key, pairs in RULES.items():
        assert pairs.keys() & {"r", "w", "COUNT"}, f"{key}: a bound for one slot"
        assert not (missing := set(pairs.values()) - names), missing


def test_every_aggregate_and_method_has_pairs_in_every_kind_of_group():
    met = set()
    methods = set()
    for pair in RELEASES.values():
        _, certificate = pair.certified()
        (select,) = certificate.selects
        sensitivity = select.releases[0].sensitivity
        keys = "trusted" if select.keys is not None else "none"
        if select.select.aggregate.listed_keys:
            keys = "listed"
        met.add((sensitivity.call.function, keys))
        methods.add(sensitivity.method)
    wanted = {(function, keys) for function in Function for keys in ("none", "trusted", "listed")}
    assert wanted - met == {(Function.ARGMAX, "none")}, "ARGMAX chooses among groups; everything else is everywhere"
    assert set(Method) - methods == {Method.CONSTANT}, "a range of one point is public"


def test_random_plans_meet_no_rule_without_a_pair():
    covered = set()
    for pair in RELATIONS.values():
        covered |= rules(pair.certified()[1].selects[0].input)
    record = Record()
    for seed in range(20):
        attack(seed, 0, record)
    assert record.seen.keys() <= covered, record.seen.keys() - covered
