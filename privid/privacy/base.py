"""What is public about one source table: its slots, and how many of them an event can touch (privacy-model.md,
section 1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from privid.domain.budget import Grid
from privid.domain.policy import NO_MASK, CameraPolicy
from query_lang.logical import Process

_UNBOUNDED = 2**62
"""More chunks than any series has."""


def most_regions(policy: CameraPolicy, scheme: str | None) -> int:
    """g, the most regions of one chunk that an event can show in.

    `soft` boundaries count like none at all: that every chunk holds at most one frame is not checked here.
    """
    if scheme is None:
        return 1
    regions = policy.regions[scheme]
    return 1 if regions.boundary == "hard" else len(regions.names)


@dataclass(frozen=True, slots=True)
class Base:
    """A source table B under one mask.

    `segment_us` is rho_m, `segments` K * k_m. `regions` are the names of the regions, in order; none without BY REGION.
    """

    process: Process
    grid: Grid
    mask: str
    segment_us: int
    segments: int
    regions: tuple[str, ...] = ()

    @classmethod
    def of(cls, process: Process, policy: CameraPolicy, mask: str = NO_MASK) -> Base:
        """The source table of one PROCESS under its camera's policy. Raises KeyError for an unknown mask or region."""
        split = process.split
        view = policy.under(mask)
        grid = Grid(
            begin_us=split.begin_us,
            chunk_us=split.chunk_us,
            period_us=split.period_us,
            count=split.count,
            slots_per_chunk=most_regions(policy, split.region),
        )
        regions = () if split.region is None else policy.regions[split.region].names
        return cls(process, grid, mask, view.rho_us, policy.K * view.segments, regions)

    @property
    def name(self) -> str:
        """The table's name, unique in a script."""
        return self.process.name

    @property
    def camera(self) -> str:
        """The camera that it is made from."""
        return self.process.split.camera

    @property
    def in_series(self) -> bool:
        """Whether this is one window of a series: the windows beside it go on with its grid of chunks (section 5)."""
        return self.process.split.every_us is not None

    @property
    def touched_chunks(self) -> int:
        """Mc: the most chunks that one segment touches, those of the windows beside this one included."""
        grid = replace(self.grid, count=_UNBOUNDED) if self.in_series else self.grid
        return grid.touched_chunks(self.segment_us)

    @property
    def touched_slots(self) -> int:
        """M = g * Mc."""
        return self.grid.slots_per_chunk * self.touched_chunks

    def between(self, first: int, last: int) -> Grid:
        """The grid of the chunks from `first` to `last`."""
        begin = self.grid.begin_us + first * self.grid.period_us
        return replace(self.grid, begin_us=begin, count=last - first + 1)

    @property
    def slots(self) -> int:
        """All slots: chunks times regions."""
        return self.grid.count * max(1, len(self.regions))
