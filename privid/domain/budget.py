"""Charges: what a query costs a camera, as exact integers (privacy-model.md, sections 4 and 5)."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grid:
    """The chunks of one SPLIT: chunk i is [begin + i*period, begin + i*period + chunk), i < count.

    `slots_per_chunk` is the scheme's public `g`: the most regions of one chunk that an event can show in.
    All times in microseconds.
    """

    begin_us: int
    chunk_us: int
    period_us: int
    count: int
    slots_per_chunk: int = 1

    def __post_init__(self) -> None:
        if not (0 < self.chunk_us <= self.period_us and self.count >= 1 and self.slots_per_chunk >= 1):
            raise ValueError("a grid has a positive chunk, a period no shorter, and at least one chunk")

    @property
    def end_us(self) -> int:
        """The end of the last chunk."""
        return self.begin_us + (self.count - 1) * self.period_us + self.chunk_us

    def touched_chunks(self, segment_us: int) -> int:
        """Mc: the most chunks that one segment of at most `segment_us` can touch (section 1)."""
        return min(self.count, -(-(segment_us + self.chunk_us) // self.period_us))

    def touched_slots(self, segment_us: int) -> int:
        """M = g * Mc."""
        return self.slots_per_chunk * self.touched_chunks(segment_us)


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of one release through one source: min(q * touched slots, cap), in nano-epsilon per segment.

    `cap` is None where no bound per segment is below q*M.
    """

    mask: str
    q: int
    cap: int | None
    grid: Grid

    def __post_init__(self) -> None:
        if self.q < 0 or (self.cap is not None and self.cap < 0):
            raise ValueError("a loss is never negative")


@dataclass(frozen=True, slots=True)
class Charge:
    """Everything that one query takes from one camera."""

    camera: str
    losses: tuple[Loss, ...]


def joined(charges: Iterable[Charge]) -> list[Charge]:
    """One charge a camera."""
    losses: dict[str, list[Loss]] = {}
    for charge in charges:
        losses.setdefault(charge.camera, []).extend(charge.losses)
    return [Charge(camera, tuple(found)) for camera, found in losses.items()]
