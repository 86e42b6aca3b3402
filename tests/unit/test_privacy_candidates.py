"""The public grids of MIN, MAX and quantiles: where their points lie, and how good each point is."""

from fractions import Fraction

import pytest

from privid.privacy.candidates import MOST_POINTS, Grid, runs
from privid.privacy.stability.state import TICKS
from query_lang.logical import Function

HALF = Fraction(1, 2)


@pytest.mark.parametrize("bounds", [(0, 60), (-3, 5), (0, 7200), (-(2**42), 2**42), (0, Fraction(1, TICKS)), (1, 1)])
def test_the_grid_covers_the_range_and_no_more(bounds):
    grid = Grid.over((Fraction(bounds[0]), Fraction(bounds[1])))
    assert grid.value(0) == bounds[0]
    assert grid.value(grid.points - 1) == bounds[1]
    assert grid.points <= MOST_POINTS + 1
    assert all(grid.value(i) < grid.value(i + 1) for i in range(min(grid.points - 1, 50)))


def utilities(function: Function, histogram: dict, q: Fraction = HALF) -> dict:
    grid = Grid.over((Fraction(0), Fraction(8, TICKS)))
    found = {}
    for run in runs(grid, function, q, histogram):
        for i in range(len(run.weights)):
            found[run.first + i] = run.utility
    assert list(found) == list(range(9))
    return found


def test_the_median_of_equal_values_is_that_value():
    found = utilities(Function.MEDIAN, {5: 100})
    assert max(found, key=found.__getitem__) == 5
    assert found[5] == 0
    assert {found[4], found[6]} == {-50}


def test_quantiles_are_where_the_rank_is():
    spread = dict.fromkeys(range(9), 10)
    best = {q: max(range(9), key=utilities(Function.QUANTILE, spread, Fraction(q, 10)).__getitem__) for q in (1, 5, 9)}
    assert best == {1: 0, 5: 4, 9: 8}


def test_the_best_maximum_is_at_or_beyond_the_greatest_value():
    found = utilities(Function.MAX, {2: 3, 6: 1})
    assert [found[i] for i in range(9)] == [-4, -4, -1, -1, -1, -1, 0, 0, 0]
    found = utilities(Function.MIN, {2: 3, 6: 1})
    assert [found[i] for i in range(9)] == [0, 0, 0, -3, -3, -3, -3, -4, -4]


def test_ties_are_broken_towards_the_values():
    grid = Grid.over((Fraction(0), Fraction(100)))
    down, up = grid.weights(Function.MAX), grid.weights(Function.MIN)
    assert list(down) == sorted(down, reverse=True)
    assert list(up) == sorted(up)
    assert min(down) > 0
    assert set(grid.weights(Function.MEDIAN)) == {1}
