"""How a refused query is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query_lang import CameraSchema, Catalog, QueryError, compile_script
from query_lang.errors import did_you_mean, name_hint, position

TEXT = """SPLIT plaza BEGIN 2026-12-01T08:00Z END 2026-12-01T09:00Z
  BY TIME 5sec
  WITH MASK bench
  INTO c;
"""


def test_the_error_of_a_misspelt_mask() -> None:
    catalog = Catalog({"plaza": CameraSchema("plaza", masks=("benches",))})
    with pytest.raises(QueryError) as caught:
        compile_script(TEXT, catalog)
    error = caught.value
    assert (error.code, error.line, error.column) == ("unknown_name", 3, 13)
    assert error.message == "unknown mask 'bench'"
    assert error.hint == "camera plaza has: benches.  Did you mean benches?"
    assert error.render("people.sql") == (
        "people.sql:3:13  unknown mask 'bench'\n"
        "  WITH MASK bench\n"
        "            ^^^^^  camera plaza has: benches.  Did you mean benches?"
    )
    assert str(error) == f"line 3, column 13: unknown mask 'bench' ({error.hint})"


def test_an_error_of_the_query_as_a_whole() -> None:
    error = QueryError("too_large", "the query is too large", hint="split it")
    assert (error.line, error.column, error.source_line) == (None, None, None)
    assert error.render("q.sql") == "q.sql  the query is too large\n  split it"
    assert str(error) == "the query is too large (split it)"


def test_long_lines_are_cut_around_the_error_and_tabs_do_not_move_the_caret() -> None:
    text = "\t" + "x" * 300 + "BAD" + "y" * 300
    shown = QueryError("syntax", "bad", text=text, span=(301, 304)).render().splitlines()
    assert all(len(line) < 130 for line in shown)
    start = shown[2].index("^")
    assert shown[1][start : start + 3] == "BAD"
    shown = QueryError("syntax", "bad", text="\tSELECT BAD", span=(8, 11)).render().splitlines()
    assert shown[1].index("BAD") == shown[2].index("^^^")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_positions_count_lines_however_they_end(end: str) -> None:
    text = f"a{end}bc{end}{end}d"
    assert position(text, 0) == (1, 1)
    assert position(text, text.index("c")) == (2, 2)
    assert position(text, text.index("d")) == (4, 1)
    assert position(text, 10_000) == (4, 2)


@given(st.text(st.sampled_from("ab \t\n\r"), max_size=20), st.integers(0, 25), st.integers(1, 30))
def test_every_place_can_be_shown(text: str, start: int, length: int) -> None:
    error = QueryError("syntax", "bad", text=text, span=(start, start + length), hint="better")
    assert "bad" in error.render()
    assert "better" in error.render()


def test_suggestions_ignore_case_and_are_not_far_fetched() -> None:
    assert did_you_mean("BENCH", ["benches", "windows"]) == "Did you mean benches?"
    assert did_you_mean("zzz", ["benches", "windows"]) is None
    assert name_hint("x", [], "camera plaza has") == "camera plaza has none"
    assert name_hint("x", [f"n{i}" for i in range(20)], "there is").endswith(", ....")
