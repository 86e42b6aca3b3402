"""What binding needs to know of the world: cameras and executables. Names only; no pixels, no policy terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class CameraSchema:
    """A camera as queries see it.

    `regions` maps the name of a region scheme to the names of its regions. `width`, `height` (pixels) and `fps` are
    None while nothing has been recorded: then RESIZE and AT are not checked against them.
    """

    name: str
    timezone: str = "UTC"
    masks: tuple[str, ...] = ()
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    width: int | None = None
    height: int | None = None
    fps: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Catalog:
    """The cameras that an analyst may name and the executables uploaded, by name.

    `executables` maps a name to the sha256 of its content; None (planning offline) accepts any name, unpinned.
    """

    cameras: Mapping[str, CameraSchema]
    executables: Mapping[str, str] | None = None


def find_name(wanted: str, known: Iterable[str]) -> str | None:
    """The known name that is equal to `wanted`, or else the only one that differs from it in case alone."""
    names = tuple(known)
    if wanted in names:
        return wanted
    folded = [name for name in names if name.casefold() == wanted.casefold()]
    return folded[0] if len(folded) == 1 else None
