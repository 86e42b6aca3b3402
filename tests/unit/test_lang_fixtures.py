"""Every accepted query has its expected canonical text, every rejected one its expected message.

A fixture is a .sql file with a .txt file beside it. Queries that begin with "-- with tables" read the tables of
tables.sql, which take the place of that line, so that lines are counted in the fixture itself.
"""

from fractions import Fraction
from pathlib import Path

import pytest

from query_lang import CameraSchema, Catalog, QueryError, compile_script

ROOT = Path(__file__).parents[1] / "fixtures" / "sql"

CATALOG = Catalog(
    cameras={
        "plaza": CameraSchema(
            "plaza", "Europe/Lisbon", ("benches", "windows"), {"lanes": ("north", "south")}, 1280, 720, Fraction(10)
        ),
        "bridge": CameraSchema("bridge"),
    },
    executables={"people.py": "aa" * 32, "plates.py": "bb" * 32},
)


def read(path: Path) -> str:
    text = path.read_text()
    tables = " ".join(line for line in (ROOT / "tables.sql").read_text().splitlines() if not line.startswith("--"))
    return text.replace("-- with tables", tables, 1) if text.startswith("-- with tables") else text


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).glob("*.sql"))
    assert found
    return found


@pytest.mark.parametrize("path", files("accepted"), ids=lambda path: path.stem)
def test_accepted(path: Path) -> None:
    script = compile_script(read(path), CATALOG)
    assert script.canonical == path.with_suffix(".txt").read_text().rstrip("\n")


@pytest.mark.parametrize("path", files("rejected"), ids=lambda path: path.stem)
def test_rejected(path: Path) -> None:
    code, _, shown = path.with_suffix(".txt").read_text().partition("\n")
    with pytest.raises(QueryError) as caught:
        compile_script(read(path), CATALOG)
    assert caught.value.code == code
    assert caught.value.render(path.stem) == shown.rstrip("\n")


def test_there_are_enough() -> None:
    assert len(files("accepted")) >= 60
    assert len(files("rejected")) >= 150


@pytest.mark.parametrize("path", files("rejected"), ids=lambda path: path.stem)
def test_an_error_points_at_something_and_helps(path: Path) -> None:
    with pytest.raises(QueryError) as caught:
        compile_script(read(path), CATALOG)
    error = caught.value
    if path.stem not in ("empty", "comment_only"):
        assert error.span is not None
        assert error.source_line
        assert error.text[error.span[0] : error.span[1]].strip()
    assert "<" not in error.message.replace("<>", "").replace("< ", "")
