"""An interval without video, as it grows: what the catalog says of it never lags far behind, nor runs ahead."""

from privid.domain.units import SECOND
from privid.ingest.publisher import Publisher
from privid.video.catalog import Gap

_MARGIN_US = 5 * SECOND
"""How far an open gap stays behind the clock: the next frames may have been taken a little while ago."""


class Outage:
    """The camera's open gap, if there is one. A change of reason begins another row."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._open: tuple[int, str] | None = None
        self._ended: tuple[int, str] | None = None

    @property
    def reason(self) -> str | None:
        """Why there is no video; None if there is, or if nothing is known of the time before."""
        return None if self._open is None else self._open[1]

    def begin(self, from_us: int, reason: str, now_us: int) -> bool:
        """There is no video, since `from_us` unless it was missing before. False if nothing is new about that."""
        if self._open is None:
            self._open = (from_us, reason)
            return True
        if self._open[1] == reason:
            return False
        until = max(now_us, self._open[0])
        self._publisher.submit(Gap(self._open[0], until, self._open[1]))
        self._open = (until, reason)
        return True

    def extend(self, now_us: int) -> None:
        """It goes on."""
        if self._open is not None and now_us - _MARGIN_US > self._open[0]:
            self._publisher.submit(Gap(self._open[0], now_us - _MARGIN_US, self._open[1]))

    def end(self, at_us: int) -> None:
        """The next frame is of this moment."""
        if self._open is not None:
            self._publisher.submit(Gap(self._open[0], at_us, self._open[1]))
        self._open, self._ended = None, self._open

    def move_end(self, at_us: int) -> None:
        """The frame that ended it is of this moment instead."""
        if self._ended is not None:
            self._publisher.submit(Gap(self._ended[0], at_us, self._ended[1]))
