"""Mistakes in the calculus, made on purpose in the real code: the checks see every one of them."""

import pytest

from tests.support.faults import FAULTS


def test_there_are_many():
    assert len(FAULTS) >= 40


@pytest.mark.parametrize("name", FAULTS)
def test_a_seeded_fault_is_seen(name, monkeypatch):
    fault = FAULTS[name]
    fault.check()
    fault.spring(monkeypatch)
    with pytest.raises(AssertionError):
        fault.check()
