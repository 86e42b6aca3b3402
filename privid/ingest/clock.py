"""From a camera's own timestamps to wall-clock times that strictly increase and never jump inside a run.

A run is what one connection delivers without a break. Its first frame gets its arrival time less the smallest delay
seen; the others follow the camera's timestamps, and what then differs from the clock is slewed (design: "Time" in
docs/explanation/recording-time.md; decision 0019 says what a step of the system clock does).
"""

import threading
import time
from collections import deque
from typing import Protocol

import numpy as np
import numpy.typing as npt

from privid.domain.units import SECOND

Integers = npt.NDArray[np.int64]

SLEW_PPM = 500
"""A recorded second is at most this much longer or shorter than a second of the camera, in millionths."""
SLEWED_US = SECOND // 2
"""Differences up to this are slewed; larger ones begin a new run."""
STEP_LASTS_US = 60 * SECOND
"""A step of the system clock counts once it has lasted so long: until then it may be undone."""
_BUCKET_US = 10 * SECOND
_BUCKETS = 6
_FOREVER = 1 << 62


class Clock(Protocol):
    """The clocks of a machine, in integer microseconds."""

    def wall_us(self) -> int:
        """Since the unix epoch, UTC; may be set at any time."""
        ...

    def steady_us(self) -> int:
        """Since anything; runs at the wall clock's rate and is never set."""
        ...


class SystemClock:
    """This machine's clocks."""

    def wall_us(self) -> int:
        """CLOCK_REALTIME."""
        return time.time_ns() // 1000

    def steady_us(self) -> int:
        """CLOCK_MONOTONIC, which the kernel keeps at the rate of the disciplined wall clock."""
        return time.monotonic_ns() // 1000


class WallClock:
    """The wall clock without its steps, until they have lasted: one for all cameras, used by many threads.

    `settings` counts the steps that were taken over: a run that began under another count has the wrong time.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._base_us = self._clock.wall_us() - self._clock.steady_us()
        self._stepped_since_us: int | None = None
        self._step_us = 0
        self.settings = 0

    def now_us(self) -> int:
        """The time that a frame arriving now has arrived at."""
        with self._lock:
            steady = self._clock.steady_us()
            step = self._clock.wall_us() - steady - self._base_us
            if abs(step) <= SLEWED_US:
                self._base_us += step
                self._stepped_since_us = None
            elif self._stepped_since_us is None or abs(step - self._step_us) > SLEWED_US:
                self._stepped_since_us, self._step_us = steady, step
            elif steady - self._stepped_since_us >= STEP_LASTS_US:
                self._base_us += step
                self._stepped_since_us = None
                self.settings += 1
            return steady + self._base_us

    def step_us(self) -> int:
        """How far the system's clock is from the one used here: not 0 only while a step waits to be believed."""
        with self._lock:
            return 0 if self._stepped_since_us is None else self._step_us


class Timeline:
    """The times of one run's frames, the first not before `floor_us`."""

    def __init__(self, floor_us: int) -> None:
        self._floor_us = floor_us
        self._first_us = floor_us
        self._last_us = floor_us - 1
        self._last_media_us = 0
        self._offset_us: int | None = None
        self._delays: deque[tuple[int, int]] = deque(maxlen=_BUCKETS)

    @property
    def offset_us(self) -> int:
        """Recorded time less clock time: what is still to be slewed away. 0 before the first frame."""
        return 0 if self._offset_us is None else self._offset_us - self._smallest_delay

    @property
    def has_gone_astray(self) -> bool:
        """The camera's timestamps have left the clock behind by more than is slewed."""
        return abs(self.offset_us) > SLEWED_US

    def observe(self, media_us: int, arrival_us: int) -> None:
        """A packet with this timestamp has arrived."""
        bucket, delay = arrival_us // _BUCKET_US, arrival_us - media_us
        if self._delays and self._delays[-1][0] == bucket:
            if delay < self._delays[-1][1]:
                self._delays[-1] = (bucket, delay)
        else:
            self._delays.append((bucket, delay))

    def place(self, media_us: Integers) -> Integers | None:
        """Times of frames with these strictly increasing timestamps, later than all before.

        None while the run would begin in time that is filled already (the clock was set back): the frames have no
        time of their own then. At least one packet has been observed.
        """
        smallest = self._smallest_delay
        if self._offset_us is None:
            start = int(media_us[0]) + smallest
            if start <= self._last_us - SLEWED_US:
                return None
            self._offset_us = smallest + max(0, self._last_us + 1 - start)
            self._last_media_us = int(media_us[0])
            self._first_us = self._last_media_us + self._offset_us
        allowed = (media_us - self._last_media_us) * SLEW_PPM // SECOND
        offsets = self._offset_us + np.clip(smallest - self._offset_us, -allowed, allowed)
        steps = np.arange(len(media_us), dtype=np.int64)
        # Timestamps may be a microsecond apart, and slewing must not make them equal.
        times: Integers = (
            np.maximum.accumulate(np.maximum(media_us + offsets, self._last_us + 1 + steps) - steps) + steps
        )
        self._offset_us = int(offsets[-1])
        self._last_media_us = int(media_us[-1])
        self._last_us = int(times[-1])
        return times

    def settle(self) -> int:
        """All that was late at first has come: the times so far move at once to where they belong, not by slewing.

        Gives by how much, 0 or less: a smaller delay was seen since the first frame was placed.
        """
        if self._offset_us is None:
            return 0
        shift = min(0, max(-self.offset_us, self._floor_us - self._first_us))
        self._offset_us += shift
        self._first_us += shift
        self._last_us += shift
        return shift

    @property
    def _smallest_delay(self) -> int:
        return min((delay for _, delay in self._delays), default=_FOREVER)
