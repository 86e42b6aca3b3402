"""Tracks on a grid: which cells an object's box touches, and for how long it stays on the same ones.

A grid of one pixel a cell is the picture itself, so masks of any shape are measured with the same code as those of the
search. Whoever masks cells hides an object only while every cell that its box touches is masked.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privid.persistence.tracks import Tracks

Mask = npt.NDArray[np.bool_]
"""Shape (rows, columns) of a grid; True is masked."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Square cells of `cell` pixels over a picture of `width` x `height`; the last ones may reach beyond it."""

    width: int
    height: int
    cell: int

    def __post_init__(self) -> None:
        if min(self.width, self.height, self.cell) < 1:
            raise ValueError("a grid needs a picture and cells of at least one pixel")

    @property
    def columns(self) -> int:
        """Cells from left to right."""
        return -(-self.width // self.cell)

    @property
    def rows(self) -> int:
        """Cells from top to bottom."""
        return -(-self.height // self.cell)

    def pixels(self, mask: Mask) -> Mask:
        """The mask at the size of the picture, shape (height, width)."""
        return np.kron(mask, np.ones((self.cell, self.cell), np.bool_))[: self.height, : self.width]

    def share(self, mask: Mask) -> float:
        """The part of the picture that a mask of cells hides, from 0 to 1."""
        return float(self.pixels(mask).mean())


@dataclass(frozen=True, slots=True, eq=False)
class Stays:
    """Each stay of an object on one rectangle of cells; columns of shape (stays,), by object and then by time.

    `left <= column < right` and `top <= row < bottom` are the cells touched during [start_us, end_us). Two stays of an
    object, one after the other, are `apart` if more than the tolerance lies between them, or if it is another object:
    there a presence period ends, and `presence` numbers these periods. `owner` is the position of the object among
    `objects`, and `first[i]` to `first[i + 1]` are the stays of object i.
    """

    grid: Grid
    tolerance_us: int
    objects: npt.NDArray[np.int32]
    first: npt.NDArray[np.int64]
    owner: npt.NDArray[np.int32]
    presence: npt.NDArray[np.int32]
    start_us: npt.NDArray[np.int64]
    end_us: npt.NDArray[np.int64]
    left: npt.NDArray[np.int32]
    top: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    bottom: npt.NDArray[np.int32]

    def __len__(self) -> int:
        """The number of stays."""
        return len(self.owner)

    def shown(self, mask: Mask) -> npt.NDArray[np.int64]:
        """How many cells that are not masked each stay touches, shape (stays,)."""
        if mask.shape != (self.grid.rows, self.grid.columns):
            raise ValueError(f"the mask is of another grid: {mask.shape}")
        total = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
        total[1:, 1:] = (~mask).cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
        return (
            total[self.bottom, self.right]
            - total[self.top, self.right]
            - total[self.bottom, self.left]
            + total[self.top, self.left]
        )


def stays(tracks: Tracks, grid: Grid, tolerance_us: int = 0) -> Stays:
    """The stays of all tracks. Times of one object that lie at most `tolerance_us` apart belong together.

    Boxes beyond the picture show nothing and are left out. Raises ValueError if the grid is of another picture.
    """
    if (grid.width, grid.height) != (tracks.width, tracks.height):
        raise ValueError(
            f"the grid is of a picture of {grid.width}x{grid.height}, the tracks of one of "
            f"{tracks.width}x{tracks.height}"
        )
    if tolerance_us < 0:
        raise ValueError("a tolerance is not negative")
    # Every pixel that a box touches counts, so its edges are rounded outwards.
    x0, x1 = np.clip(np.floor(tracks.x0), 0, grid.width), np.clip(np.ceil(tracks.x1), 0, grid.width)
    y0, y1 = np.clip(np.floor(tracks.y0), 0, grid.height), np.clip(np.ceil(tracks.y1), 0, grid.height)
    inside = (x0 < x1) & (y0 < y1)
    left, top = ((edge[inside] // grid.cell).astype(np.int32) for edge in (x0, y0))
    right, bottom = ((-(-edge[inside] // grid.cell)).astype(np.int32) for edge in (x1, y1))
    track, start = tracks.track[inside], tracks.time_us[inside]
    end = start + tracks.sample_us
    other = _changes(track)
    apart = other.copy()
    apart[1:] |= start[1:] - end[:-1] > tolerance_us
    begins = apart | _changes(left) | _changes(top) | _changes(right) | _changes(bottom)
    at = np.flatnonzero(begins)
    last = np.r_[at[1:], len(begins)] - 1
    objects = track[other]
    owner = (np.cumsum(other) - 1).astype(np.int32)[at]
    return Stays(
        grid=grid,
        tolerance_us=tolerance_us,
        objects=objects,
        first=np.searchsorted(owner, np.arange(len(objects) + 1)),
        owner=owner,
        presence=(np.cumsum(apart) - 1).astype(np.int32)[at],
        start_us=start[at],
        end_us=end[last[: len(at)]],
        left=left[at],
        top=top[at],
        right=right[at],
        bottom=bottom[at],
    )


@dataclass(frozen=True, slots=True, eq=False)
class Periods:
    """The longest times during which an object shows without a break; columns of shape (periods,), as in Stays.

    `presence` is the presence period, without a mask, that each is a part of.
    """

    owner: npt.NDArray[np.int32]
    presence: npt.NDArray[np.int32]
    start_us: npt.NDArray[np.int64]
    end_us: npt.NDArray[np.int64]

    @property
    def longest_us(self) -> int:
        """The length of the longest; 0 if nothing shows."""
        return int((self.end_us - self.start_us).max(initial=0))

    @property
    def most(self) -> int:
        """The most of them that are parts of one presence period; 0 if nothing shows."""
        return int(np.bincount(self.presence).max(initial=0))


def periods(found: Stays, visible: npt.NDArray[np.bool_], bridge_us: int = 0) -> Periods:
    """What shows of all objects if some stays are visible, shape (stays,).

    Within a presence period, breaks of at most `bridge_us`, or within the tolerance, are none.
    """
    at = np.flatnonzero(visible)
    begins = _changes(found.presence[at])
    begins[1:] |= found.start_us[at][1:] - found.end_us[at][:-1] > max(bridge_us, found.tolerance_us)
    first = np.flatnonzero(begins)
    last = np.r_[first[1:], len(at)][: len(first)] - 1
    return Periods(
        owner=found.owner[at[first]],
        presence=found.presence[at[first]],
        start_us=found.start_us[at[first]],
        end_us=found.end_us[at[last]],
    )


def dwell(found: Stays) -> npt.NDArray[np.float64]:
    """For how many seconds of all objects together each cell is touched, shape (rows, columns): a heatmap."""
    # In whole microseconds, whose sums and differences are exact: a cell that nobody touches has none at all.
    lengths = (found.end_us - found.start_us).astype(np.float64)
    return spread(found, slice(None), lengths, (0, 0, found.grid.columns, found.grid.rows)) / 1e6


def spread(
    found: Stays,
    which: slice | npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
    box: tuple[int, int, int, int],
) -> npt.NDArray[np.float64]:
    """The sum of the weights of the stays that touch each cell of a box (left, top, right, bottom) around all of them.

    Shape (bottom - top, right - left). Differences at the corners of each rectangle, summed up: the cost of a
    stay does not depend on how many cells it touches.
    """
    x, y, width, height = box[0], box[1], box[2] - box[0] + 1, box[3] - box[1] + 1
    left, right = found.left[which] - x, found.right[which] - x
    top, bottom = (found.top[which] - y) * width, (found.bottom[which] - y) * width
    corners = np.concatenate((top + left, bottom + right, top + right, bottom + left))
    signed = np.concatenate((weights, weights, -weights, -weights))
    total = np.bincount(corners, signed, minlength=width * height).reshape(height, width)
    return np.asarray(total.cumsum(axis=0).cumsum(axis=1)[:-1, :-1])


def _changes(column: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """True at the first, and wherever a value differs from the one before."""
    found = np.ones(len(column), np.bool_)
    found[1:] = column[1:] != column[:-1]
    return found
