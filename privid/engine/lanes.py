"""Which processor cores carry what (privacy-model.md, section 7).

Slotted work has cores of its own, on which nothing else of this system ever runs, so that no slot can feel another's
work or the decoder's. Everything else (decoding, the relational part, the server, and open work) shares the
remaining cores. Open and slotted work never share cores or a queue: each lane runs one query at a time.
"""

import os
from dataclasses import dataclass

from privid.domain.policy import Timing
from privid.engine.errors import CannotEnforce


@dataclass(frozen=True, slots=True)
class Lanes:
    """The cores of slotted work and the cores of everything else; disjoint, the second never empty."""

    slotted: tuple[int, ...]
    shared: tuple[int, ...]

    @classmethod
    def of_host(cls, slot_cores: int | None = None) -> "Lanes":
        """Split the cores that this process may use: the last `slot_cores` (default: half of them) are for slots.

        Raises ValueError if no core would be left for everything else.
        """
        cores = sorted(os.sched_getaffinity(0))
        wanted = len(cores) // 2 if slot_cores is None else slot_cores
        if not 0 <= wanted < len(cores):
            raise ValueError(
                f"slot cores: {wanted} of {len(cores)} cores would leave none for decoding; "
                f"give at most {len(cores) - 1}"
            )
        return cls(tuple(cores[len(cores) - wanted :]), tuple(cores[: len(cores) - wanted]))

    def cores(self, timing: Timing, slot_cores: int) -> tuple[int, ...]:
        """The cores for a query of this timing. Raises CannotEnforce if this host cannot keep the promise."""
        if timing == "open":
            return self.shared
        if slot_cores > len(self.slotted):
            raise CannotEnforce(
                f"a camera of this query asks for {slot_cores} slot cores, this host has {len(self.slotted)}",
                "ask the owner to lower slot_cores in the policy, or to give the server more cores",
            )
        return self.slotted[:slot_cores]
