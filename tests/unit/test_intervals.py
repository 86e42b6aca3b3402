"""Step functions against brute force over small integers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privid.domain.intervals import Step, StepFunction

HORIZON = range(-40, 60)


@st.composite
def functions(draw: st.DrawFn, least: int = 0) -> StepFunction:
    """Step functions with few, often touching, steps within [0, 30)."""
    steps = []
    here = 0
    for _ in range(draw(st.integers(0, 6))):
        here += draw(st.integers(0, 3))
        until = here + draw(st.integers(0, 4))
        steps.append((here, until, draw(st.integers(least, 4))))
        here = until
    return StepFunction.of(steps)


def values(function: StepFunction) -> list[int]:
    return [sum(step.value for step in function if step.from_us <= t < step.to_us) for t in HORIZON]


def assert_compact(function: StepFunction) -> None:
    assert StepFunction(function.steps) == function == StepFunction.of(function.steps)


@given(functions())
def test_a_call_gives_the_value_at_a_moment(function: StepFunction) -> None:
    assert [function(t) for t in HORIZON] == values(function)


@given(st.lists(functions(-3), max_size=5))
def test_total_adds_pointwise_and_is_compact(many: list[StepFunction]) -> None:
    total = StepFunction.total(many)
    assert values(total) == [sum(column) for column in zip(*map(values, many), strict=True)] if many else not total
    assert_compact(total)


@given(functions(-3), functions(-3))
def test_sum_and_difference(one: StepFunction, other: StepFunction) -> None:
    assert values(one + other) == [a + b for a, b in zip(values(one), values(other), strict=True)]
    assert one + other - other == one
    assert not one - one


@given(functions(), st.integers(0, 12))
def test_windowed_maximum_looks_at_both_ends_of_the_window(function: StepFunction, width: int) -> None:
    result = function.windowed_maximum(width)
    assert [result(t) for t in HORIZON] == [max(function(s) for s in range(t, t + width + 1)) for t in HORIZON]
    assert_compact(result)


@given(functions(-3), st.integers(-5, 35), st.integers(-5, 35))
def test_restrict(function: StepFunction, from_us: int, to_us: int) -> None:
    cut = function.restrict(from_us, to_us)
    assert [cut(t) for t in HORIZON] == [function(t) if from_us <= t < to_us else 0 for t in HORIZON]
    assert_compact(cut)


@given(functions(-3), st.integers(-3, 3))
def test_scale_and_maximum(function: StepFunction, factor: int) -> None:
    assert values(function.scale(factor)) == [factor * value for value in values(function)]
    assert function.maximum() == max(0, *values(function))


@given(functions(-3))
def test_support_joins_touching_steps(function: StepFunction) -> None:
    inside = {t for from_us, to_us in function.support for t in range(from_us, to_us)}
    assert inside == {t for t in HORIZON if function(t) != 0}
    assert all(a[1] < b[0] for a, b in zip(function.support, function.support[1:], strict=False))
    assert function.span == ((function.support[0][0], function.support[-1][1]) if function else None)


@pytest.mark.parametrize(
    "steps",
    [
        (Step(0, 0, 1),),
        (Step(0, 2, 0),),
        (Step(0, 2, 1), Step(1, 3, 2)),
        (Step(5, 6, 1), Step(0, 1, 1)),
        (Step(0, 2, 1), Step(2, 3, 1)),
    ],
    ids=["empty", "zero", "overlapping", "backwards", "not joined"],
)
def test_the_constructor_takes_only_the_one_form(steps: tuple[Step, ...]) -> None:
    with pytest.raises(ValueError, match="Step"):
        StepFunction(steps)


def test_windowed_maximum_refuses_what_it_is_not_for() -> None:
    with pytest.raises(ValueError, match="never negative"):
        StepFunction.of([(0, 1, -1)]).windowed_maximum(1)
    with pytest.raises(ValueError, match="width"):
        StepFunction().windowed_maximum(-1)
