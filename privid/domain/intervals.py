"""Step functions over integer microseconds: the arithmetic of the privacy ledger.

A step is [from, to) with one integer value; outside its steps a function is zero. Everything is exact, and every
operation takes time linear in the number of steps (a sort of already sorted runs included).
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple


class Step(NamedTuple):
    """`value` at every integer t with from_us <= t < to_us."""

    from_us: int
    to_us: int
    value: int


@dataclass(frozen=True, slots=True)
class StepFunction:
    """An immutable step function: ordered, disjoint, non-zero steps, of which no two that touch have the same value.

    Build one with `of` or `total`; the constructor takes steps that are already in that form, and raises ValueError
    otherwise. Two functions are equal exactly if they have the same value everywhere.
    """

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        previous: Step | None = None
        for step in self.steps:
            if step.from_us >= step.to_us or step.value == 0:
                raise ValueError(f"{step} is empty or zero")
            if previous is not None:
                if step.from_us < previous.to_us:
                    raise ValueError(f"{step} overlaps {previous}, or comes before it")
                if step.from_us == previous.to_us and step.value == previous.value:
                    raise ValueError(f"{step} continues {previous}: they are one step")
            previous = step

    @classmethod
    def of(cls, steps: Iterable[tuple[int, int, int]]) -> "StepFunction":
        """The function with these steps, in order and disjoint; zero and empty ones are dropped, equal ones joined."""
        joined: list[Step] = []
        for from_us, to_us, value in steps:
            if value == 0 or from_us >= to_us:
                continue
            if joined and joined[-1].to_us == from_us and joined[-1].value == value:
                joined[-1] = Step(joined[-1].from_us, to_us, value)
            else:
                joined.append(Step(from_us, to_us, value))
        return cls(tuple(joined))

    @classmethod
    def total(cls, functions: Iterable["StepFunction"]) -> "StepFunction":
        """The sum of all functions."""
        present = [function for function in functions if function.steps]
        if len(present) == 1:
            return present[0]
        changes: dict[int, int] = {}
        for function in present:
            for from_us, to_us, value in function.steps:
                changes[from_us] = changes.get(from_us, 0) + value
                changes[to_us] = changes.get(to_us, 0) - value
        return cls.of(_integrate(changes))

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __bool__(self) -> bool:
        return bool(self.steps)

    def __call__(self, moment_us: int) -> int:
        """The value at one moment."""
        low, high = 0, len(self.steps)
        while low < high:
            middle = (low + high) // 2
            if self.steps[middle].to_us <= moment_us:
                low = middle + 1
            else:
                high = middle
        return self.steps[low].value if low < len(self.steps) and self.steps[low].from_us <= moment_us else 0

    def __add__(self, other: "StepFunction") -> "StepFunction":
        return StepFunction.total((self, other))

    def __sub__(self, other: "StepFunction") -> "StepFunction":
        return self + other.scale(-1)

    def scale(self, factor: int) -> "StepFunction":
        """Every value times `factor`."""
        if factor == 1:
            return self
        return StepFunction.of((step.from_us, step.to_us, step.value * factor) for step in self.steps)

    def restrict(self, from_us: int, to_us: int) -> "StepFunction":
        """The same function on [from_us, to_us), zero elsewhere."""
        return StepFunction.of((max(step.from_us, from_us), min(step.to_us, to_us), step.value) for step in self.steps)

    @property
    def span(self) -> tuple[int, int] | None:
        """From the first step to the end of the last one; None for the zero function."""
        return (self.steps[0].from_us, self.steps[-1].to_us) if self.steps else None

    @property
    def support(self) -> tuple[tuple[int, int], ...]:
        """The intervals where the function is not zero, touching ones joined."""
        return tuple((step.from_us, step.to_us) for step in StepFunction.of((s.from_us, s.to_us, 1) for s in self))

    def maximum(self) -> int:
        """The largest value, zero included: every function is zero somewhere."""
        return max((0, *(step.value for step in self.steps)))

    def windowed_maximum(self, width_us: int) -> "StepFunction":
        """g(t) = the largest f(s) over t <= s <= t + width_us, both ends included, over integers.

        Raises ValueError for a negative width or a negative value (a loss has none).
        """
        if width_us < 0:
            raise ValueError("a window's width is never negative")
        if any(step.value < 0 for step in self.steps):
            raise ValueError("the windowed maximum is for functions that are never negative")
        if width_us == 0:
            return self
        return StepFunction.of(self._sliding(width_us))

    def _sliding(self, width_us: int) -> Iterator[tuple[int, int, int]]:
        """Steps of the windowed maximum, in order.

        A step [a, b) is within reach of every t in [a - width, b). The steps that may still be the maximum wait in a
        queue, values falling and ends rising: its head is always the maximum, and each step enters and leaves once.
        """
        queue: deque[Step] = deque()
        here = 0

        def advance(until: int | None) -> Iterator[tuple[int, int, int]]:
            nonlocal here
            while queue and (until is None or here < until):
                head = queue[0]
                stop = head.to_us if until is None else min(head.to_us, until)
                yield (here, stop, head.value)
                here = stop
                if here >= head.to_us:
                    queue.popleft()

        for step in self.steps:
            reached = step.from_us - width_us
            yield from advance(reached)
            here = reached
            while queue and queue[-1].value <= step.value:
                queue.pop()
            queue.append(step)
        yield from advance(None)


def _integrate(changes: dict[int, int]) -> Iterator[tuple[int, int, int]]:
    moments = sorted(changes)
    value = 0
    for moment, following in pairwise(moments):
        value += changes[moment]
        yield (moment, following, value)
