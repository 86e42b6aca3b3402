"""The reference of the language: every example is planned, and nothing of the language is missing."""

import re
from pathlib import Path

import pytest

from query_lang.names import AGGREGATES
from query_lang.timefunctions import CALENDAR
from query_lang.tokens import KEYWORDS
from tests.unit.test_lang_fixtures import planned

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "language.md").read_text()
BLOCKS = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
TABLES = next(block for block in BLOCKS if "SELECT" not in block)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block != TABLES])
def test_every_example_is_planned(block: str) -> None:
    _, certificate = planned(block if "SPLIT" in block else TABLES + block)
    assert certificate.releases


@pytest.mark.parametrize("word", [*(name for name in AGGREGATES if "_" not in name), *CALENDAR, *KEYWORDS])
def test_every_word_is_in_the_reference(word: str) -> None:
    assert word.lower() in PAGE.lower()
