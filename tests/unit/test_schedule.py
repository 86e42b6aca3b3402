"""The public schedule: every slot has a turn, the reserve is public, longer work never ends earlier."""

from hypothesis import given
from hypothesis import strategies as st

from privid.domain.schedule import FINISH_ROWS, FINISH_US, MINIMUM_RESERVE_TURNS, SETUP_US, PublicSchedule

counts = st.integers(1, 100_000)


@given(counts, st.integers(1, 64), st.integers(1, 10**9), st.integers(1, 10_000))
def test_every_slot_has_a_turn_and_a_reserve(slots: int, cores: int, timeout_us: int, max_rows: int) -> None:
    schedule = PublicSchedule(slots, cores, timeout_us, max_rows)
    assert schedule.turns * cores >= slots > (schedule.turns - 1) * cores
    assert schedule.reserve_turns >= max(MINIMUM_RESERVE_TURNS, schedule.turns / 10)
    assert schedule.duration_us >= SETUP_US + (slots / cores) * timeout_us + FINISH_US
    assert PublicSchedule(slots + 1, cores, timeout_us, max_rows).duration_us >= schedule.duration_us


def test_the_time_to_finish_follows_the_most_rows_that_there_can_be() -> None:
    few, many = PublicSchedule(FINISH_ROWS, 1, 1, 1), PublicSchedule(FINISH_ROWS, 1, 1, 10)
    assert many.duration_us - few.duration_us == 9 * FINISH_US
