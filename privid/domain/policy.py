"""A camera's privacy policy (privacy-model.md, section 1)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Literal

NO_MASK = "none"

Timing = Literal["slotted", "open", "strict"]
Isolation = Literal["fork", "exec", "oci"]
Boundary = Literal["hard", "soft", "none"]

TIMINGS: tuple[Timing, ...] = ("open", "slotted", "strict")
"""From the loosest to the strictest: of several cameras in a query the strictest wins."""
ISOLATIONS: tuple[Isolation, ...] = ("fork", "exec", "oci")
"""From the least to the strongest backend."""
BOUNDARIES: tuple[Boundary, ...] = ("hard", "soft", "none")

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class MaskPolicy:
    """Under this mask one presence period shows at most `segments` (k_m) segments of at most `rho_us` each.

    `picture` names the bitmap of what it hides, by SHA-256; empty where only the terms are known (an offline plan).
    """

    rho_us: int
    segments: int = 1
    picture: str = ""

    def __post_init__(self) -> None:
        if self.rho_us <= 0:
            raise ValueError("rho of a mask must be more than 0")
        if self.segments < 1:
            raise ValueError("segments of a mask must be at least 1")
        _require_digest(self.picture)


@dataclass(frozen=True, slots=True)
class RegionScheme:
    """Named regions of a view, and whether an event can show in several of them during one chunk.

    `picture` names the bitmaps of what each region hides, in the order of `names`, as that of a mask.
    """

    names: tuple[str, ...]
    boundary: Boundary = "none"
    picture: str = ""

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise ValueError("a region scheme needs names, each of them once")
        if self.boundary not in BOUNDARIES:
            raise ValueError(f"boundary must be one of {', '.join(BOUNDARIES)}")
        _require_digest(self.picture)


def _require_digest(picture: str) -> None:
    if picture and not _DIGEST.fullmatch(picture):
        raise ValueError("a picture is named by its SHA-256, in 64 lower-case hexadecimal digits")


def _frozen_masks() -> Mapping[str, MaskPolicy]:
    return MappingProxyType({})


def _frozen_regions() -> Mapping[str, RegionScheme]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CameraPolicy:
    """What a camera's owner promises about protected events, and what queries may spend on it.

    `epsilon_nano` is the budget of every moment; an event is visible in at most `K` presence periods
    of at most `rho_us` each. Width, height and fps describe the recording (fps is nominal).
    """

    epsilon_nano: int
    rho_us: int
    K: int
    fps: Fraction = Fraction(10)
    width: int = 0
    height: int = 0
    timezone: str = "UTC"
    timing: Timing = "slotted"
    slot_cores: int = 1
    isolation: Isolation = "fork"
    masks: Mapping[str, MaskPolicy] = field(default_factory=_frozen_masks)
    regions: Mapping[str, RegionScheme] = field(default_factory=_frozen_regions)
    version: int = 1

    def __post_init__(self) -> None:
        if self.epsilon_nano <= 0:
            raise ValueError("epsilon must be more than 0")
        if self.rho_us <= 0:
            raise ValueError("rho must be more than 0")
        if self.K < 1:
            raise ValueError("K must be at least 1")
        if self.fps <= 0:
            raise ValueError("fps must be more than 0")
        if self.timing not in TIMINGS:
            raise ValueError(f"timing must be one of {', '.join(TIMINGS)}")
        if self.isolation not in ISOLATIONS:
            raise ValueError(f"isolation must be one of {', '.join(ISOLATIONS)}")
        if self.slot_cores < 1:
            raise ValueError("slot_cores must be at least 1")
        for name, mask in self.masks.items():
            if name == NO_MASK:
                raise ValueError(f"{NO_MASK!r} is the name of the unmasked view; call the mask something else")
            if mask.rho_us > self.rho_us:
                raise ValueError(f"mask {name!r}: rho must not be more than the camera's rho")

    @property
    def pictures(self) -> tuple[str, ...]:
        """The pictures that its masks and regions name, each once."""
        masks, regions = self.masks.values(), self.regions.values()
        named = [*(mask.picture for mask in masks), *(scheme.picture for scheme in regions)]
        return tuple(picture for picture in dict.fromkeys(named) if picture)

    def under(self, mask: str) -> MaskPolicy:
        """The policy of one mask; `none` is (rho, 1). Raises KeyError for a mask that is not defined."""
        return MaskPolicy(self.rho_us, 1) if mask == NO_MASK else self.masks[mask]
