"""From what owners draw of masks and regions to bitmaps, and back to pictures to look at."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privid.domain.policy import CameraPolicy
from privid.owner.rasterise import rasterise
from privid.owner.shapes import Drawings, Shape
from privid.video import bitmaps
from privid.video.bitmaps import Bitmaps

_PNG = b"\x89PNG\r\n\x1a\n"


class DrawingError(ValueError):
    """A picture or polygons that cannot be used; the message says why."""


def attach(
    policy: CameraPolicy, drawings: Drawings, size: tuple[int, int], folder: Path
) -> tuple[CameraPolicy, dict[str, bytes]]:
    """The policy with its pictures named, and these pictures by name.

    `size` is the recording's (width, height), 0 if it is not known: polygons need it. Files lie relative to `folder`.
    Raises DrawingError.
    """
    made: dict[str, bytes] = {}

    def name_of(hidden: list[npt.NDArray[np.bool_]], what: str) -> str:
        if len({picture.shape for picture in hidden}) > 1:
            raise DrawingError(f"{what}: its pictures differ in size")
        try:
            content = bitmaps.encode(np.stack(hidden))
        except ValueError as error:
            raise DrawingError(f"{what}: {error}") from None
        made[bitmaps.digest(content)] = content
        return bitmaps.digest(content)

    masks, regions = dict(policy.masks), dict(policy.regions)
    for name, shape in drawings.masks.items():
        hidden = _hidden(shape, size, folder, f"mask {name}", inside=True)
        masks[name] = replace(masks[name], picture=name_of([hidden], f"mask {name}"))
    for name, shapes in drawings.regions.items():
        each = [
            _hidden(shapes[region], size, folder, f"region {name}.{region}", inside=False)
            for region in regions[name].names
        ]
        regions[name] = replace(regions[name], picture=name_of(each, f"region scheme {name}"))
    return replace(policy, masks=masks, regions=regions), made


def read_png(path: Path) -> npt.NDArray[np.bool_]:
    """What a PNG picture hides, shape (height, width): pixels that are black or not fully opaque.

    Raises DrawingError.
    """
    import cv2

    try:
        content = path.read_bytes()
    except OSError as error:
        raise DrawingError(f"cannot read {path}: {error.strerror}") from None
    # The size stands at the beginning: nothing is decoded that is too large.
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    if not content.startswith(_PNG) or not (0 < width <= bitmaps.MOST_SIDE and 0 < height <= bitmaps.MOST_SIDE):
        raise DrawingError(f"{path} is not a PNG picture of at most {bitmaps.MOST_SIDE} pixels a side")
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.shape[:2] != (height, width):
        raise DrawingError(f"{path} is damaged: save it again as PNG")
    pixels = pixels.reshape(height, width, -1)
    if pixels.shape[2] == 4:
        transparent = pixels[..., 3] < (65_535 if pixels.dtype == np.uint16 else 255)
        return np.asarray(transparent | ~pixels[..., :3].any(axis=2))
    return np.asarray(~pixels.any(axis=2))


def write_png(hidden: npt.NDArray[np.bool_], path: Path) -> None:
    """The picture that `read_png` reads back: black where it hides, else white. Raises OSError."""
    import cv2

    _, content = cv2.imencode(".png", np.where(hidden, 0, 255).astype(np.uint8))
    path.write_bytes(content.tobytes())


def hidden_share(hidden: Bitmaps) -> float:
    """The part of the picture that a mask hides, from 0 to 1."""
    return float(hidden.any(axis=0).mean())


def sketch(hidden: npt.NDArray[np.bool_], columns: int = 64) -> list[str]:
    """Lines of text that show what is hidden: a character is about twice as high as wide; any hidden pixel counts."""
    height, width = hidden.shape
    columns = min(columns, width)
    lines = max(1, round(columns * height / width / 2))
    x, y = (
        np.linspace(0, end, parts, endpoint=False).astype(int) for end, parts in ((width, columns), (height, lines))
    )
    cells = np.logical_or.reduceat(np.logical_or.reduceat(hidden, y, axis=0), x, axis=1)
    return ["".join("█" if cell else "·" for cell in line) for line in cells]


def _hidden(shape: Shape, size: tuple[int, int], folder: Path, what: str, *, inside: bool) -> npt.NDArray[np.bool_]:
    if isinstance(shape, Path):
        return read_png(folder / shape)
    if not all(size):
        raise DrawingError(f"{what}: the size of the picture is not known; import video first, or set width and height")
    try:
        drawn = rasterise(shape, *size)
    except ValueError as error:
        raise DrawingError(f"{what}: {error}") from None
    return drawn if inside else ~drawn
