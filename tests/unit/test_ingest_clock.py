"""Recorded time against the truth: clocks that are set, cameras that drift, packets that come late."""

import numpy as np
import pytest

from privid.domain.units import SECOND
from privid.ingest.clock import SLEW_PPM, SLEWED_US, STEP_LASTS_US, Timeline, WallClock

START = 1_800_000_000 * SECOND
WEEK = 7 * 86_400 * SECOND
GROUP = 10
EVERY = 2 * SECOND


class FakeClock:
    """True time, and a wall clock that has been set wrong by `error`."""

    def __init__(self):
        self.true = START
        self.error = 0

    def wall_us(self):
        return self.true + self.error

    def steady_us(self):
        return self.true - START


def late(number):
    """Network delay of a packet: 5 to 45 ms, without a pattern."""
    return 5_000 + number * 7_919 % 40_000


def record(clock, wall, timeline, begin_us, end_us, drift_ppm=0, set_clock=None):
    """Times and true times of the frames of a camera with a drifting clock, one every 2 s, in groups of ten."""
    settings = wall.settings
    times, truths = [], []
    for first in range(begin_us, end_us, GROUP * EVERY):
        truth = np.arange(first, first + GROUP * EVERY, EVERY, dtype=np.int64)
        media = 77 * SECOND + (truth - begin_us) + (truth - begin_us) * drift_ppm // SECOND
        for at, tick in zip(truth.tolist(), media.tolist(), strict=True):
            if set_clock is not None:
                set_clock(clock, at)
            clock.true = at + late(at // EVERY)
            timeline.observe(tick, wall.now_us())
        if wall.settings != settings:
            return np.concatenate(times), np.concatenate(truths), first
        placed = timeline.place(media)
        if placed is not None:
            times.append(placed)
            truths.append(truth)
    return np.concatenate(times), np.concatenate(truths), end_us


@pytest.mark.parametrize("drift_ppm", [200, -200, 0])
def test_a_week_of_drift(drift_ppm):
    clock = FakeClock()
    timeline = Timeline(0)
    times, truths, end = record(clock, WallClock(clock), timeline, START, START + WEEK, drift_ppm)
    assert end == START + WEEK
    assert (np.diff(times) > 0).all()
    assert np.abs(times - truths).max() < 50_000
    # No more than slewing: every recorded interval is as long as the camera's, within 500 ppm.
    media = EVERY + EVERY * drift_ppm // SECOND
    assert np.abs(np.diff(times) - media).max() <= media * SLEW_PPM // SECOND + 1
    assert not timeline.has_gone_astray


@pytest.mark.parametrize("step_us", [-2 * SECOND, 3600 * SECOND])
def test_a_clock_that_is_set_wrong_for_a_while_changes_nothing(step_us):
    clock = FakeClock()

    def set_clock(clock, at):
        clock.error = step_us if START + 600 * SECOND <= at < START + 640 * SECOND else 0

    times, truths, end = record(clock, WallClock(clock), Timeline(0), START, START + 3600 * SECOND, set_clock=set_clock)
    assert end == START + 3600 * SECOND
    assert (np.diff(times) > 0).all()
    assert np.abs(times - truths).max() < 50_000


@pytest.mark.parametrize("step_us", [-2 * SECOND, 3600 * SECOND])
def test_a_clock_that_is_put_right_is_followed_by_a_new_run(step_us):
    clock = FakeClock()
    clock.error = -step_us  # wrong until 600 s later
    wall = WallClock(clock)

    def set_clock(clock, at):
        if at >= START + 600 * SECOND:
            clock.error = 0

    before, _, end = record(clock, wall, Timeline(0), START, START + 3600 * SECOND, set_clock=set_clock)
    assert wall.settings == 1
    assert end <= START + 600 * SECOND + STEP_LASTS_US + GROUP * EVERY
    after, truths, _ = record(clock, wall, Timeline(int(before[-1]) + 1), end, end + WEEK // 7)
    assert after[0] > before[-1]
    assert (np.diff(after) > 0).all()
    settled = truths >= end + 2 * GROUP * EVERY
    assert np.abs(after - truths)[settled].max() < 50_000
    if step_us > 0:
        assert abs(int(after[0]) - int(truths[0])) < 50_000  # the time in between was never recorded
    else:
        assert truths[0] - end <= 2 * SECOND + GROUP * EVERY  # lost: what has no time of its own


def test_a_week_of_drift_in_which_the_clock_is_set_wrong_twice():
    """By -2 s on the third day and by +1 h on the fifth, each put right within a minute, as a time service does."""
    clock = FakeClock()
    errors = {2 * 86_400: -2 * SECOND, 4 * 86_400: 3600 * SECOND}

    def set_clock(clock, at):
        seconds = (at - START) // SECOND
        clock.error = next((error for begin, error in errors.items() if begin <= seconds < begin + 50), 0)

    wall, timeline = WallClock(clock), Timeline(0)
    times, truths, end = record(clock, wall, timeline, START, START + WEEK, 200, set_clock)
    assert (end, wall.settings, len(times)) == (START + WEEK, 0, WEEK // EVERY)
    assert (np.diff(times) > 0).all()
    assert np.abs(times - truths).max() < 50_000


def test_a_small_step_is_slewed_and_loses_nothing():
    clock = FakeClock()

    def set_clock(clock, at):
        clock.error = SLEWED_US - 50_000 if at >= START + 600 * SECOND else 0

    times, truths, end = record(clock, WallClock(clock), Timeline(0), START, START + 7200 * SECOND, set_clock=set_clock)
    assert len(times) == len(truths) == 3600
    assert end == START + 7200 * SECOND
    steps = np.diff(times)
    assert steps.min() > 0
    assert np.abs(steps - EVERY).max() <= EVERY * SLEW_PPM // SECOND + 1
    assert abs(int(times[-1]) - int(truths[-1]) - (SLEWED_US - 50_000)) < 50_000


def test_the_first_frames_of_a_burst_are_not_late():
    """A source that is probed for 800 ms hands over what it has all at once; the last packets are on time."""
    timeline = Timeline(0)
    media = np.arange(0, 2_000_000, 40_000, dtype=np.int64)
    for tick in media.tolist():
        timeline.observe(tick, START + max(tick, 800_000) + 3_000)
    times = timeline.place(media)
    assert times.tolist() == (START + 3_000 + media).tolist()


@pytest.mark.parametrize(("floor_us", "shift_us"), [(0, -600_000), (START + 403_000, -400_000)])
def test_what_was_placed_before_its_delay_was_known_moves_at_once(floor_us, shift_us):
    """Never before the time that is filled; and later frames follow."""
    timeline = Timeline(floor_us)
    timeline.observe(0, START + 803_000)
    timeline.observe(200_000, START + 1_003_000)
    first = timeline.place(np.array([0, 40_000], dtype=np.int64))
    assert first.tolist() == [START + 803_000, START + 843_000]
    timeline.observe(1_000_000, START + 1_203_000)
    assert timeline.settle() == shift_us
    assert timeline.settle() == 0
    (later,) = timeline.place(np.array([1_000_000], dtype=np.int64))
    assert abs(int(later) - int(first[0]) - shift_us - 1_000_000) <= SLEW_PPM
    assert not timeline.has_gone_astray


def test_nothing_moves_that_was_not_placed():
    assert Timeline(0).settle() == 0


def test_a_run_begins_where_the_one_before_ended_if_that_is_close():
    timeline = Timeline(START + 300_000)
    media = np.array([0, 1, 2, 40_000], dtype=np.int64)
    for tick in media.tolist():
        timeline.observe(tick, START + tick)
    # Back to the clock at once, by 500 millionths of the 40 ms; a microsecond apart stays a microsecond apart.
    assert (timeline.place(media) - START - 300_000).tolist() == [0, 1, 2, 40_000 - 20]
    assert timeline.offset_us == 300_000 - 20


def test_timestamps_that_leave_the_clock_behind_are_noticed():
    """60 s of media in 72 s of wall time."""
    timeline = Timeline(0)
    for number in range(2000):
        timeline.observe(number * 100_000, START + number * 120_000)
        timeline.place(np.array([number * 100_000], dtype=np.int64))
    assert timeline.has_gone_astray
