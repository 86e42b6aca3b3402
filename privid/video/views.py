"""What a slot sees of a picture: what no mask hides, inside its region (privacy-model.md, section 1, "Slots")."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privid.video.bitmaps import Bitmaps

CHROMA = 2
"""A crop begins on a multiple of so many pixels, where samples of colour begin as well."""


@dataclass(frozen=True, slots=True)
class Box:
    """Columns left <= x < right and rows top <= y < bottom."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """In pixels."""
        return self.bottom - self.top


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What is visible, for pictures of exactly the size of `visible` (height, width); `box` is what is delivered.

    Pictures of another size show nothing at all: nobody has said what is to be hidden in them.
    """

    visible: npt.NDArray[np.bool_]
    box: Box


def views(masks: Sequence[Bitmaps], regions: Bitmaps | None) -> tuple[View | None, ...]:
    """One view for each region, or one of the whole picture; None where everything is visible.

    The masks' union is hidden, and outside a region everything. A region's box is that of its bitmap, whatever masks
    hide in it, so that it is public; rounded outwards to even pixels. Raises ValueError if sizes differ, or if a region
    is empty.
    """
    shapes = {picture.shape[1:] for picture in (*masks, *(() if regions is None else (regions,)))}
    if len(shapes) > 1:
        raise ValueError("the pictures of masks and regions differ in size")
    if not shapes:
        return (None,)
    (height, width) = shapes.pop()
    masked = np.zeros((height, width), np.bool_)
    for mask in masks:
        masked |= mask.any(axis=0)
    if regions is None:
        return (View(~masked, Box(0, 0, width, height)),)
    return tuple(View(~(masked | outside), _box(~outside)) for outside in regions)


def overlaps(regions: Bitmaps) -> Iterator[tuple[int, int, int]]:
    """Pairs of regions (positions i < j) that share pixels, with how many; none if the regions are disjoint."""
    inside = ~regions
    for i in range(len(inside)):
        for j in range(i + 1, len(inside)):
            if shared := int(np.count_nonzero(inside[i] & inside[j])):
                yield i, j, shared


def _box(inside: npt.NDArray[np.bool_]) -> Box:
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        raise ValueError("a region is empty")
    height, width = inside.shape
    return Box(
        int(columns[0]) // CHROMA * CHROMA,
        int(rows[0]) // CHROMA * CHROMA,
        min(width, -(-int(columns[-1] + 1) // CHROMA) * CHROMA),
        min(height, -(-int(rows[-1] + 1) // CHROMA) * CHROMA),
    )
