"""The exponential mechanism: exact probabilities, and a test that tells a wrong scale."""

import math
from collections import Counter
from fractions import Fraction

import pytest

from privid.privacy import rng

DRAWS = 20_000
CANDIDATES = ((3, Fraction(0)), (1, Fraction(-1)), (0, Fraction(5)), (10, Fraction(-7, 2)), (2, Fraction(1, 2)))


def misfit(drawn: Counter, scale: float) -> float:
    weights = [count * math.exp(float(utility) / scale) for count, utility in CANDIDATES]
    total = sum(weights)
    return sum(
        (drawn[i] - DRAWS * weight / total) ** 2 / (DRAWS * weight / total)
        for i, weight in enumerate(weights)
        if weight
    )


def test_choices_fit_their_scale_and_no_other():
    drawn = Counter(rng.exponential_choice(CANDIDATES, Fraction(2)) for _ in range(DRAWS))
    assert drawn[2] == 0
    # Three degrees of freedom: above 33 with probability 3e-7.
    assert misfit(drawn, 2.0) < 33
    assert misfit(drawn, 2.6) > 33
    assert misfit(drawn, 1.6) > 33


def test_a_hopeless_candidate_is_never_chosen_and_does_not_stop_the_draw():
    groups = ((1, Fraction(0)), (10**12, Fraction(-(10**9))))
    assert {rng.exponential_choice(groups, Fraction(1)) for _ in range(50)} == {0}


def test_only_differences_of_utility_count():
    groups = ((1, Fraction(10**9)), (1, Fraction(10**9)))
    drawn = Counter(rng.exponential_choice(groups, Fraction(1)) for _ in range(2000))
    assert abs(drawn[0] - 1000) < 150


@pytest.mark.parametrize("groups", [(), ((0, Fraction(0)),), ((-1, Fraction(0)), (2, Fraction(0)))])
def test_nothing_to_choose_from_is_an_error(groups):
    with pytest.raises(ValueError, match="choice"):
        rng.exponential_choice(groups, Fraction(1))
    with pytest.raises(ValueError, match="choice"):
        rng.exponential_choice(((1, Fraction(0)),), Fraction(0))
