"""What a scene consists of. Everything is known at every moment; nothing here is drawn or random."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Kind = Literal["person", "car"]
Colour = tuple[int, int, int]
"""Blue, green, red."""

ASPECT: dict[Kind, float] = {"person": 0.4, "car": 2.1}
"""Width of a box by its height."""


class Rectangle(NamedTuple):
    """Pixels left <= x < right, top <= y < bottom."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """One way through the view: where the middle of the lower edge of the box is, straight on between these points.

    `times_us` increases strictly; all have the shape (points,). The way begins and ends outside the picture.
    """

    times_us: npt.NDArray[np.int64]
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if not len(self.times_us) == len(self.x) == len(self.y) >= 2 or (np.diff(self.times_us) <= 0).any():
            raise ValueError("a visit needs two points or more, one after the other")


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """A person or a car. `height` is that of its box, in pixels, at the lower edge of the picture."""

    number: int
    kind: Kind
    colours: tuple[Colour, Colour]
    height: float
    visits: tuple[Visit, ...]


class Light(NamedTuple):
    """A traffic light at (x, y): red in the first `red_us` of each `cycle_us`, counted from time 0."""

    x: int
    y: int
    cycle_us: int
    red_us: int

    def is_red(self, time_us: int) -> bool:
        """Whether it is red then."""
        return time_us % self.cycle_us < self.red_us


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A fixed camera's view of [start_us, end_us).

    `far` is the scale of things at the upper edge, where the lower edge has 1. Whatever is wholly behind an occluder is
    hidden. `spots` are where things linger: what a good mask hides. `day` dims the picture as the day goes by.
    """

    name: str
    width: int
    height: int
    start_us: int
    end_us: int
    things: tuple[Thing, ...]
    far: float = 0.5
    roads: tuple[Rectangle, ...] = ()
    occluders: tuple[Rectangle, ...] = ()
    spots: tuple[Rectangle, ...] = ()
    trees: tuple[Rectangle, ...] = ()
    lights: tuple[Light, ...] = ()
    day: bool = True
    seed: int = 0

    def boxes(
        self, thing: Thing, visit: Visit, times_us: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """The whole box at each moment, shape (moments, 4): x0, y0, x1, y1; and whether any of it can be seen."""
        x = np.interp(times_us, visit.times_us, visit.x)
        y = np.interp(times_us, visit.times_us, visit.y)
        height = thing.height * (self.far + (1 - self.far) * np.clip(y / self.height, 0, 1.2))
        half = height * ASPECT[thing.kind] / 2
        box = np.stack([x - half, y - height, x + half, y], axis=1)
        there = (times_us >= visit.times_us[0]) & (times_us <= visit.times_us[-1])
        shown = np.clip(box, 0, [self.width, self.height, self.width, self.height])
        there &= (shown[:, 2] - shown[:, 0] >= 1) & (shown[:, 3] - shown[:, 1] >= 1)
        for left, top, right, bottom in self.occluders:
            there &= ~((shown[:, 0] >= left) & (shown[:, 1] >= top) & (shown[:, 2] <= right) & (shown[:, 3] <= bottom))
        return box, there
