"""No bit passes from a slot to the next: not by how long it took, what it computed, filled or read."""

import pytest

from tests.hostile import covert
from tests.hostile.covert import CHANNELS, LEVEL, PERIODS_MS, Heard, chance, listen


def _heard_nothing(slots: int) -> None:
    heard = listen(slots)
    right = {channel: heard.accuracy(channel) for channel in CHANNELS}
    assert {channel: of for channel, of in right.items() if chance(*of) < LEVEL} == {}


def test_few_slots_hear_nothing_of_those_before_them() -> None:
    _heard_nothing(60)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_slots_hear_nothing_of_those_before_them() -> None:
    _heard_nothing(1000)


def test_the_same_pair_talks_where_slots_start_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test can fail: in open timing a slot starts when the one before it ends."""
    found = []
    for period_ms in PERIODS_MS[1:]:
        monkeypatch.setattr(covert, "PERIODS_MS", (period_ms,))
        found.append(chance(*listen(60, "open").accuracy("start")))
        if found[-1] < LEVEL:
            return
    raise AssertionError(f"nothing was heard: {found}")


def test_the_rule_that_is_learned_finds_what_is_there() -> None:
    bits = [0, 1] * 50
    clear = Heard({"start": [5.0 - 2 * bit for bit in bits]}, bits, ())
    assert clear.accuracy("start") == (50, 50)
    nothing = Heard({"start": [1.0] * 100}, bits, ())
    assert nothing.accuracy("start") == (25, 50)
    assert chance(50, 50) == 2**-50
    assert chance(0, 50) == 1
