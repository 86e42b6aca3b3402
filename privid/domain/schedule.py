"""The public schedule of a PROCESS: when its slots start and when its rows are complete (privacy-model.md, section 7).

A function of public numbers only, so it may be told before anything runs, and results may be shown at its end.
"""

from dataclasses import dataclass

RESERVE_SHARE = 10
"""One reserve turn for every so many turns: what late frames may use without moving any other slot."""
MINIMUM_RESERVE_TURNS = 4


@dataclass(frozen=True, slots=True)
class PublicSchedule:
    """`slots` runs of at most `timeout_us` on `cores` cores: turn i starts `i * timeout_us` after the first."""

    slots: int
    cores: int
    timeout_us: int

    @property
    def turns(self) -> int:
        """Turns of the grid that carry slots."""
        return -(-self.slots // self.cores)

    @property
    def reserve_turns(self) -> int:
        """Turns at the end, for slots whose frames were not ready at their own."""
        return max(MINIMUM_RESERVE_TURNS, -(-self.turns // RESERVE_SHARE))

    @property
    def duration_us(self) -> int:
        """From the first turn to the end of the reserve."""
        return (self.turns + self.reserve_turns) * self.timeout_us

    def offset_us(self, position: int) -> int:
        """When the slot at `position` (counted from 0) starts, after the first turn's start."""
        return (position // self.cores) * self.timeout_us

    def core(self, position: int) -> int:
        """Which of the slot cores it runs on."""
        return position % self.cores
