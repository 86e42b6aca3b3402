"""Noise scales and charges: exact integers that fit the budget, and no smaller scale that would."""

import random
from fractions import Fraction

import pytest

from privid.privacy.calibration import Share, TooSmallError, calibrate
from privid.privacy.rng import round_up_to_float


def cost(shares: list[Share], scale: Fraction) -> int:
    return sum(share.cost(*share.rates(1 / scale)) for share in shares)


def test_one_source_without_cap():
    found = calibrate([Share(Fraction(10), None, 7, 1)], 10**9)
    q = 10**9 // 7
    assert found.rates == ((q, None),)
    assert found.scale == Fraction(10 * 10**9, q)
    assert found.delta == 70


def test_presence_periods_multiply():
    found = calibrate([Share(Fraction(1), None, 7, 6)], 10**9)
    assert found.rates == ((10**9 // 42, None),)
    assert found.delta == 42


def test_a_cap_takes_the_place_of_touched_slots_but_not_of_periods():
    # Trap: a bound per segment never bounds several presence periods.
    found = calibrate([Share(Fraction(10), Fraction(20), 7, 3)], 10**9)
    assert found.delta == 3 * 20
    (q, cap), *_ = found.rates
    assert cap is not None
    assert 3 * min(7 * q, cap) <= 10**9
    assert found.scale is not None
    assert found.scale == pytest.approx(60, rel=1e-6)


def test_the_scale_is_the_smallest():
    rng = random.Random(3)
    tried = 0
    for _ in range(400):
        shares = []
        for _ in range(rng.randint(1, 3)):
            w, touched = Fraction(rng.randint(0, 40), rng.choice((1, 2, 2**20))), rng.randint(1, 12)
            cap = Fraction(rng.randint(1, 80), rng.choice((1, 3)))
            shares.append(Share(w, cap if cap < touched * w else None, touched, rng.randint(1, 5)))
        budget = rng.choice((rng.randint(1, 300), rng.randint(1, 10**9), 10**9))
        try:
            found = calibrate(shares, budget)
        except TooSmallError as error:
            least = error.least
        else:
            least = 0
        if least:
            assert least > budget
            calibrate(shares, least)
            continue
        if found.scale is None:
            assert all(share.w == 0 for share in shares)
            continue
        tried += 1
        assert cost(shares, found.scale) <= budget
        assert cost(shares, found.scale * (1 - Fraction(1, 10**15))) > budget
        assert found.rates == tuple(share.rates(1 / found.scale) for share in shares)
    assert tried > 100


def test_what_cannot_move_costs_nothing():
    found = calibrate([Share(Fraction(0), None, 7, 1)], 1)
    assert found.scale is None
    assert found.rates == ((0, None),)


def test_a_budget_below_one_nano_a_slot_is_refused_with_the_least():
    with pytest.raises(TooSmallError) as refused:
        calibrate([Share(Fraction(10), None, 7, 6)], 41)
    assert refused.value.least == 42
    assert calibrate([Share(Fraction(10), None, 7, 6)], 42).rates == ((1, None),)


def test_rounding_never_lowers_a_scale():
    rng = random.Random(5)
    for _ in range(2000):
        scale = Fraction(rng.randint(1, 10**18), rng.randint(1, 10**12))
        rounded = Fraction(round_up_to_float(scale))
        assert rounded >= scale
        assert rounded <= scale * (1 + Fraction(1, 2**52))
