"""The generated pages of docs/reference: in step with the code, and complete."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_reference", ROOT / "scripts" / "generate_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["generate_reference"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()


@pytest.mark.parametrize("name", GENERATOR.PAGES)
def test_a_page_is_what_the_code_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert (REFERENCE / name).read_text() == GENERATOR.PAGES[name](), "run: make docs"


@pytest.mark.parametrize("name", GENERATOR.PAGES)
def test_no_row_of_a_table_is_without_meaning(name: str) -> None:
    rows = [line for line in (REFERENCE / name).read_text().splitlines() if line.startswith("| `")]
    assert [row for row in rows if re.match(r"\| `[^|]*\|\s+\|", row)] == []


@pytest.mark.parametrize("variable", GENERATOR.CLIENT_VARIABLES)
def test_the_clients_read_the_variables_that_are_documented(variable: str) -> None:
    sources = [*(ROOT / "privid" / "cli").glob("*.py"), ROOT / "privid" / "domain" / "home.py"]
    assert any(f'"{variable}"' in path.read_text() for path in sources)


def test_every_variable_that_the_programs_read_is_documented() -> None:
    page = (REFERENCE / "configuration.md").read_text()
    read = set()
    for folder in ("privid/cli", "privid/domain", "privid/server", "privid/engine", "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            read |= set(re.findall(r'(?:environ\.get\(|environ\[|getenv\()"(PRIVID_\w+)"', path.read_text()))
    assert {variable for variable in read if f"`{variable}`" not in page} == set()
