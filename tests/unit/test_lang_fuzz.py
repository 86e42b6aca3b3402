"""Whatever the text, the answer is a certificate or a QueryError, and soon."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from privid.privacy.certificate import certify
from query_lang import CameraSchema, Catalog, QueryError, compile_script
from query_lang import logical as lp
from query_lang.names import AGGREGATES, REFUSED_FUNCTIONS, SCALARS
from query_lang.tokens import KEYWORDS, REFUSED_WORDS
from tests.unit.test_lang_fixtures import POLICIES

ROOT = Path(__file__).parents[1] / "fixtures" / "sql"
CATALOG = Catalog(
    {
        "plaza": CameraSchema("plaza", "Europe/Lisbon", ("benches", "windows"), {"lanes": ("north",)}, 1280, 720),
        "bridge": CameraSchema("bridge"),
    }
)
TABLES = " ".join(line for line in (ROOT / "tables.sql").read_text().splitlines() if not line.startswith("--"))
QUERIES = [
    path.read_text().replace("-- with tables", TABLES, 1)
    for folder in ("accepted", "rejected")
    for path in sorted((ROOT / folder).glob("*.sql"))
]
OTHER_WORDS = r"""
SPLIT PROCESS BEGIN END BY TIME STRIDE AT FPS RESIZE INTO CONSUMING KEYS WINDOW PRODUCING EXACTLY ROWS TIMESTAMP NULLS
( ) [ ] , ; . : * + - / % = < > ' " -- /* */ || :: {# {{ @ ? ! ` \ 0 1 1e9 0.5 5sec day é x
chunk plate speed parked color cars trucks a b n 'RED' TRUE COUNT(*) (cars) 1+1 a.plate=b.plate
"""
WORDS = sorted({*KEYWORDS, *REFUSED_WORDS, *SCALARS, *AGGREGATES, *REFUSED_FUNCTIONS, *OTHER_WORDS.split()})
NUMBERS = ("0", "1", "0.000001", "1e-60", "10000", "20000000", "4398046511103", "4398046511104", "1e9", "9" * 60)
CHARACTERS = "éߞ٣\u00a0\u202e\ufeff\u2028\U0001f600\U000e0041\0\ud800"
"""Letters and digits of other scripts, blanks that are none, marks that turn the text around, and no text at all."""
PIECES = re.compile(r"\s+|\w+|'[^']*'|.", re.DOTALL)


def outcome(text: str) -> lp.Script | QueryError:
    try:
        script = compile_script(text, CATALOG)
        certify(script, {process.split.camera: POLICIES[process.split.camera] for process in script.processes}, 10**9)
        return script
    except QueryError as error:
        error.render()
        str(error)
        return error


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """An accepted or rejected query with a few words dropped, doubled, swapped, replaced or cut."""
    text = draw(st.sampled_from(QUERIES))
    head = TABLES if text.startswith(TABLES) else ""
    words = PIECES.findall(text[len(head) :])
    for _ in range(draw(st.integers(1, 4))):
        if not words:
            break
        place, other = draw(st.integers(0, len(words) - 1)), draw(st.integers(0, len(words) - 1))
        match draw(st.integers(0, 7)):
            case 0:
                del words[place]
            case 1:
                words.insert(place, draw(st.sampled_from(WORDS)))
            case 2:
                words[place] = draw(st.sampled_from(WORDS))
            case 3:
                words[place], words[other] = words[other], words[place]
            case 4:
                word = words[place]
                cut = draw(st.integers(0, len(word)))
                words[place] = word[:cut] + draw(st.sampled_from(["", *WORDS])) + word[cut + draw(st.integers(0, 2)) :]
            case 5:
                numbers = [index for index, word in enumerate(words) if word.isdecimal()]
                if numbers:
                    words[draw(st.sampled_from(numbers))] = draw(st.sampled_from(NUMBERS))
            case 6:
                words[place] += draw(st.sampled_from(CHARACTERS))
            case _:
                words[place:place] = words[other : other + draw(st.integers(1, 8))]
    return head + "".join(words)


@settings(max_examples=150, deadline=None)
@given(mutations())
def test_mutations_of_queries(text: str) -> None:
    outcome(text)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=20_000)
@given(mutations())
def test_mutations_of_queries_soak(text: str) -> None:
    outcome(text)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join))
def test_words_in_any_order(text: str) -> None:
    outcome(text)
    outcome(f"{TABLES} SELECT {text}")
    outcome(f"{TABLES} SELECT COUNT(*) FROM cars {text}")


@settings(max_examples=60, deadline=None)
@given(st.text())
@example("\0")
@example("\ud800")
@example("'")
@example('"')
@example("/*")
@example("$$")
@example("SELECT 1e")
def test_any_text(text: str) -> None:
    outcome(text)
    outcome(f"{TABLES} SELECT COUNT(*) FROM cars WHERE {text}")


REPEATED = {
    "parentheses": lambda n: "SELECT COUNT(*) FROM cars WHERE " + "(" * n + "parked" + ")" * n,
    "not": lambda n: "SELECT COUNT(*) FROM cars WHERE " + "NOT " * n + "parked",
    "minus": lambda n: "SELECT COUNT(*) FROM cars WHERE speed > " + "- " * n + "1",
    "plus": lambda n: "SELECT COUNT(*) FROM cars WHERE speed > " + "1 + " * n + "1",
    "or": lambda n: "SELECT COUNT(*) FROM cars WHERE " + "parked OR " * n + "parked",
    "calls": lambda n: "SELECT COUNT(*) FROM cars WHERE " + "abs(" * n + "speed" + ")" * n + " > 1",
    "case": lambda n: "SELECT SUM(" + "CASE WHEN parked THEN " * n + "1" + " END" * n + ") FROM cars",
    "case of case": lambda n: (
        "SELECT SUM(" + "CASE " * n + "speed" + " WHEN 1 THEN 1 WHEN 2 THEN 2 END" * n + ") FROM cars"
    ),
    "in": lambda n: "SELECT COUNT(*) FROM cars WHERE speed IN (" + "1, " * n + "1)",
    "joins": lambda n: "SELECT COUNT(*) FROM cars " + "JOIN cars " * n,
    "joins on": lambda n: (
        "SELECT COUNT(*) FROM cars AS t0 "
        + " ".join(f"JOIN cars AS t{i} ON t0.plate = t{i}.plate" for i in range(1, n))
    ),
    "unions": lambda n: "SELECT COUNT(*) FROM (" + "SELECT plate FROM cars UNION " * n + "SELECT plate FROM cars)",
    "unions all": lambda n: (
        "SELECT COUNT(*) FROM (" + "SELECT plate FROM cars UNION ALL " * n + "SELECT plate FROM cars)"
    ),
    "nested": lambda n: "SELECT COUNT(*) FROM " + "(SELECT plate FROM " * n + "cars" + ")" * n,
    "on sets": lambda n: "SELECT COUNT(*) FROM " + "(" * n + "cars" + " UNION cars ON plate)" * n,
    "doubling": lambda n: (
        "WITH a0 AS (SELECT plate FROM cars)"
        + "".join(f", a{i} AS (SELECT plate FROM a{i - 1} UNION ALL SELECT plate FROM a{i - 1})" for i in range(1, n))
        + f" SELECT COUNT(*) FROM a{n - 1}"
    ),
    "names that build on names": lambda n: (
        "SELECT COUNT(*) AS a0, " + ", ".join(f"a{i - 1} + a{i - 1} AS a{i}" for i in range(1, n)) + " FROM cars"
    ),
    "products": lambda n: "SELECT SUM(RANGE(" + "speed * " * n + "speed, 0, 1)) FROM cars",
    "brackets": lambda n: "SELECT COUNT(*) FROM cars WHERE speed" + "[" * n,
    "commas": lambda n: "SELECT COUNT(*)" + "," * n + " FROM cars",
    "keys": lambda n: (
        "SELECT COUNT(*) FROM cars GROUP BY "
        + ", ".join(
            f"{c} WITH KEYS [{', '.join(v for _ in range(n))}]" for c, v in (("plate", "'a'"), ("color", "'b'"))
        )
    ),
    "open calls": lambda n: "SELECT COUNT(" * n,
    "comments": lambda n: "/*" * n,
}


@pytest.mark.timeout(60)  # seconds would be much; without bounds it is hours
@pytest.mark.parametrize("count", [5, 60, 3000])
@pytest.mark.parametrize("make", REPEATED.values(), ids=REPEATED.keys())
def test_no_repetition_takes_long(make: object, count: int) -> None:
    assert callable(make)
    text = f"{TABLES} {make(count)}"
    found = outcome(text)
    if isinstance(found, lp.Script):
        assert len(found.canonical) < 50 * len(text)


def test_sizes_are_bounded() -> None:
    for text in ("x" * 200_000, "( " * 49_000, "; " * 1000 + "SELECT 1"):
        error = outcome(text)
        assert isinstance(error, QueryError)
        assert error.code in ("too_large", "syntax")


@pytest.mark.timeout(60)  # seconds; what lists every bin of a microsecond would fill all memory
@pytest.mark.parametrize(
    "select",
    [
        "SELECT bin(chunk, 1us) AS b, COUNT(*) FROM t GROUP BY b",
        "SELECT AVG(n) FROM (SELECT bin(chunk, 2us) AS b, COUNT(*) AS n FROM t GROUP BY b)",
        "SELECT COUNT(*) FROM t WHERE bin(chunk, 3us) <> TIMESTAMP '2026-12-01'",
        "SELECT chunk, COUNT(*) FROM t GROUP BY chunk",
        "SELECT AVG(n) FROM (SELECT chunk, COUNT(*) AS n FROM t GROUP BY chunk)",
        "SELECT COUNT(*) FROM t WITH WINDOW 0.000001 hrs",
    ],
)
def test_millions_of_chunks_are_planned_or_refused(select: str) -> None:
    outcome(
        "SPLIT bridge BEGIN 0 END 20000000 BY TIME 1sec INTO c; "
        f"PROCESS c USING 'a.py' TIMEOUT 1sec PRODUCING 1 ROWS WITH SCHEMA (x:NUMBER=0) INTO t; {select}"
    )
