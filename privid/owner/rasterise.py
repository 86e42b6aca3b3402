"""Polygons to pixels, exactly: the same vertices give the same pixels on every machine and in every version.

Vertices lie on the corners of pixels: (0, 0) is the upper left corner of the picture, (width, height) its lower right
one. A pixel belongs to a polygon iff its centre is inside (even-odd rule), so polygons that share an edge share no
pixel and leave none out.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from privid.owner.shapes import Polygon


def rasterise(polygons: Iterable[Polygon], width: int, height: int) -> npt.NDArray[np.bool_]:
    """Shape (height, width): the pixels in any of the polygons. Raises ValueError for a point outside the picture."""
    found = np.zeros((height, width), np.bool_)
    for points in polygons:
        for x, y in points:
            if not (0 <= x <= width and 0 <= y <= height):
                raise ValueError(f"the point [{x}, {y}] is outside the picture of {width}x{height} pixels")
        found |= _inside(points, width, height)
    return found


def _inside(points: Polygon, width: int, height: int) -> npt.NDArray[np.bool_]:
    # True where one more edge is crossed, from the left: inside is where that has happened an odd number of times.
    crossings = np.zeros((height, width + 1), np.bool_)
    for first, second in zip(points, (*points[1:], points[0]), strict=True):
        (x0, y0), (x1, y1) = sorted((first, second), key=lambda point: point[1])
        if y0 == y1:
            continue
        rows = np.arange(y0, y1)
        # The edge crosses the centres of row y at x0 + n/(2 dy), n as below; the first column with its centre there or
        # behind is that minus a half, rounded up. In whole numbers, so two polygons agree on an edge that they share.
        rise = y1 - y0
        n = (2 * (rows - y0) + 1) * (x1 - x0)
        columns = x0 - (rise - n) // (2 * rise)
        crossings[rows, columns] ^= True
    return np.logical_xor.accumulate(crossings, axis=1)[:, :width]
