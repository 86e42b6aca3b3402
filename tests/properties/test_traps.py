"""Each trap of the privacy model is sprung in the real code, and the checks see it (privacy-model.md, section 8.6)."""

import re
from pathlib import Path

import pytest

from tests.support.faults import TRAPS

MODEL = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "privacy-model.md"
SPRUNG = [(words, i) for words, faults in TRAPS.items() for i in range(len(faults))]


@pytest.mark.parametrize(("words", "position"), SPRUNG)
def test_a_sprung_trap_is_seen(words, position, monkeypatch):
    fault = TRAPS[words][position]
    fault.check()
    fault.spring(monkeypatch)
    with pytest.raises(AssertionError):
        fault.check()


def test_every_trap_of_the_model_is_sprung():
    text = MODEL.read_text()
    rules = text[text.index("\n## 1.") : text.index("\n## 8.")]
    marked = re.findall(r"\*\*trap\*\*:? ?(.*)", rules)
    assert len(marked) >= 11
    for words in marked:
        assert any(words.startswith(known) for known in TRAPS), f"no test for the trap: {words}"
    assert {known for known in TRAPS if not any(words.startswith(known) for words in marked)} == set()
