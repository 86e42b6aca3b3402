"""The public schedule of a PROCESS: when its slots start and when its rows are complete (privacy-model.md, section 7).

A function of public numbers only, so it may be told before anything runs, and results may be shown at its end.
"""

from dataclasses import dataclass

RESERVE_SHARE = 10
"""One reserve turn for every so many turns: what late frames may use without moving any other slot."""
MINIMUM_RESERVE_TURNS = 4
SETUP_US = 3_000_000
"""Before the first turn: the worker starts and the first chunk is decoded from the key frame before it."""
MODEL_SETUP_US = 5_000_000
"""Besides, with a model: its first process gets warm, and what a call takes is measured."""
FINISH_US = 2_000_000
"""After the last reserve turn: the relational part, the noise and the commit."""
FINISH_ROWS = 100_000
"""The same again for every so many rows that there can be: how many there are is nobody's to know."""


@dataclass(frozen=True, slots=True)
class PublicSchedule:
    """`slots` runs of at most `timeout_us` on `cores` cores: turn i starts `i * timeout_us` after the first.

    A slot has at most `max_rows` rows. `model`: whether slots call one.
    """

    slots: int
    cores: int
    timeout_us: int
    max_rows: int
    model: bool = False

    @property
    def setup_us(self) -> int:
        """From the start to the first turn."""
        return SETUP_US + (MODEL_SETUP_US if self.model else 0)

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
        """From the start of the set-up to the moment when everything is done."""
        finish_us = FINISH_US * (1 + self.slots * self.max_rows // FINISH_ROWS)
        return self.setup_us + (self.turns + self.reserve_turns) * self.timeout_us + finish_us
