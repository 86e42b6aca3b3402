"""No bit passes from a slot to the next: not by how long it took, what it computed, filled or read."""

import random

import pytest

from tests.hostile import covert
from tests.hostile.covert import (
    ALL,
    BY_CACHES,
    CHANNELS,
    EVERY_MEANS,
    LEVEL,
    MEANS,
    PERIODS_MS,
    Heard,
    Pair,
    chance,
    listen,
    listen_without_walls,
)

PAIRS = pytest.mark.parametrize("pair", [EVERY_MEANS, BY_CACHES], ids=["every means", "caches"])


def _heard_nothing(slots: int, pair: Pair) -> None:
    heard = listen(slots, pair=pair)
    right = {channel: heard.accuracy(channel) for channel in (*pair.channels, ALL)}
    assert {channel: of for channel, of in right.items() if chance(*of) < LEVEL} == {}


@PAIRS
def test_few_slots_hear_nothing_of_those_before_them(pair: Pair) -> None:
    _heard_nothing(60, pair)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@PAIRS
def test_a_thousand_slots_hear_nothing_of_those_before_them(pair: Pair) -> None:
    _heard_nothing(1000, pair)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_caches_are_heard_where_slots_start_at_once() -> None:
    """There is something to sweep. On a busy machine others do much of it, and it takes more slots to be heard."""
    found = []
    for slots in (400, 800, 1600):
        found.append(chance(*listen(slots, "open", pair=BY_CACHES).accuracy("caches")))
        if found[-1] < LEVEL:
            return
    raise AssertionError(f"nothing was heard: {found}")


def test_the_same_pair_talks_where_slots_start_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test can fail: in open timing a slot starts when the one before it ends."""
    found = []
    for period_ms in PERIODS_MS[1:]:
        monkeypatch.setattr(covert, "PERIODS_MS", (period_ms,))
        found.append(chance(*listen(60, "open").accuracy("start")))
        if found[-1] < LEVEL:
            return
    raise AssertionError(f"nothing was heard: {found}")


def test_without_walls_every_means_is_heard() -> None:
    """The pair is a good one: what it cannot pass in a sandbox, it passes between plain processes.

    On a busy machine it takes more to be heard. That it can be heard by how long it runs is the test before this one.
    """
    best = dict.fromkeys(set(MEANS) - {"duration"}, 1.0)
    for orphans in (2, 8, 32):
        heard = listen_without_walls(80, orphans)
        for means in best:
            best[means] = min(best[means], *(chance(*heard.accuracy(one)) for one in MEANS[means]))
        if max(best.values()) < LEVEL and chance(*heard.accuracy(ALL)) < LEVEL:
            return
    raise AssertionError(f"not everything was heard: {best}")


def test_each_measurement_belongs_to_a_means() -> None:
    assert {one for channels in MEANS.values() for one in channels} == set(CHANNELS)


def test_what_all_measurements_say_together_is_heard() -> None:
    """Each of them knows little, and one of them says it by being in the middle."""
    draw = random.Random(1)
    bits = [draw.getrandbits(1) for _ in range(2000)]
    measured = {f"m{i}": [bit + draw.gauss(0, 3) for bit in bits] for i in range(8)}
    together = Heard(measured, bits, ())
    assert together.accuracy(ALL)[0] > max(together.accuracy(name)[0] for name in measured)
    middle = Heard({"m": [draw.gauss(0, 0.1 if bit else 3) for bit in bits]}, bits, ())
    assert middle.accuracy(ALL)[0] > 850
    nothing = Heard({"m": [draw.gauss(0, 1) for _ in bits]}, bits, ())
    assert LEVEL < chance(*nothing.accuracy(ALL)) < 1 - LEVEL


def test_the_rule_that_is_learned_finds_what_is_there() -> None:
    bits = [0, 1] * 50
    clear = Heard({"start": [5.0 - 2 * bit for bit in bits]}, bits, ())
    assert clear.accuracy("start") == (50, 50)
    nothing = Heard({"start": [1.0] * 100}, bits, ())
    assert nothing.accuracy("start") == (25, 50)
    assert chance(50, 50) == 2**-50
    assert chance(0, 50) == 1
