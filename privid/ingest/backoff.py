"""How long to wait before a camera is tried again."""

import secrets

from privid.domain.units import SECOND

_FIRST_US = SECOND
_LONGEST_US = 60 * SECOND


class Backoff:
    """Waits that double from 1 s to 60 s, each cut by up to a half at random: cameras do not come back in step."""

    def __init__(self) -> None:
        self._next_us = _FIRST_US

    def reset(self) -> None:
        """The camera works."""
        self._next_us = _FIRST_US

    def wait_us(self) -> int:
        """The next wait."""
        wait, self._next_us = self._next_us, min(2 * self._next_us, _LONGEST_US)
        # Not a draw of privid.privacy.rng: nothing private is hidden by it, and its library is large.
        return wait - secrets.randbelow(wait // 2)
