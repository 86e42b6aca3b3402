"""What owners draw of masks and regions: PNG files, or polygons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Point = tuple[int, int]
Polygon = tuple[Point, ...]
"""Vertices (x, y) on the corners of pixels: (0, 0) is the upper left corner of the picture."""

MOST_POINTS = 1_000
EXAMPLE = "[[0, 0], [384, 0], [384, 288]]"

Shape = Path | tuple[Polygon, ...]
"""A PNG file, black or not fully opaque where it hides, of exactly the size of the recording; or polygons."""


@dataclass(frozen=True, slots=True)
class Drawings:
    """The shapes of one camera: of each mask, and of each region of each scheme.

    A mask hides what is inside its polygons, a region what is outside.
    """

    masks: Mapping[str, Shape] = field(default_factory=dict)
    regions: Mapping[str, Mapping[str, Shape]] = field(default_factory=dict)


def polygon(value: Any) -> Polygon:
    """A polygon as files write it: a list of points [x, y], at least three. Raises ValueError."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not 3 <= len(value) <= MOST_POINTS:
        raise ValueError(f"a polygon has from 3 to {MOST_POINTS} points, such as {EXAMPLE}")
    for point in value:
        if (
            not isinstance(point, Sequence)
            or len(point) != 2
            or not all(isinstance(number, int) and not isinstance(number, bool) for number in point)
        ):
            raise ValueError(f"a point is two whole numbers of pixels, as in {EXAMPLE}")
    return tuple((point[0], point[1]) for point in value)


def polygon_of_text(text: str) -> Polygon:
    """A polygon as command lines write it: `0,0 384,0 384,288`. Raises ValueError."""
    try:
        points = [[int(number) for number in point.split(",")] for point in text.split()]
    except ValueError:
        raise ValueError(f"{text!r} is not a polygon; write 0,0 384,0 384,288") from None
    return polygon(points)
