"""Public functions of slots against plain enumeration: domains, multiplicities, how many values a segment reaches."""

import random
from collections import Counter

import pytest

from privid.privacy.stability.expressions import engine_value
from privid.privacy.stability.slots import active_runs, reach, slot_counts
from query_lang.logical import Call, Case, Column, DataType, Literal
from tests.support.plans import number, text
from tests.support.worlds import MINUTE, table

N, S, T = DataType.NUMBER, DataType.STRING, DataType.TIMESTAMP
CHUNK = Column("chunk", T)
ZONES = ("UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo", "Africa/Casablanca")
# Spring forward and fall back in New York, half an hour back on Lord Howe, midnight skipped in Sao Paulo.
BEGINS = (0, 1710028800, 1730592000, 1712412000, 1541217600, 1711400000)


def calls(zone: str) -> list:
    z = text(zone)
    found = [Call(unit, (CHUNK, z), T) for unit in ("hour", "day", "week", "month")]
    found += [Call(unit, (CHUNK, z), N) for unit in ("hour_of_day", "day_of_week")]
    found += [Call("bin", (CHUNK, number(minutes * MINUTE), z), T) for minutes in (1, 7, 60, 1440)]
    found.append(Call("hour_of_day", (Call("day", (CHUNK, z), T), z), N))
    north = Call("eq", (Column("region", S), text("north")), DataType.BOOLEAN)
    found.append(Case(((north, number(1)),), Call("hour_of_day", (CHUNK, z), N), N))
    found.append(Call("lt", (CHUNK, Literal(1712412000_000000, T)), DataType.BOOLEAN))
    found.append(Call("between", (CHUNK, Literal(3, T), Literal(60 * MINUTE, T)), DataType.BOOLEAN))
    found.append(Call("div", (Call("hour_of_day", (CHUNK, z), N), number(3)), N))
    return [*found, CHUNK, Column("region", S), Column("camera", S)]


def enumerated(base, exprs) -> list[list[tuple]]:
    """The values of every region of every chunk, one by one."""
    chunks = []
    for i in range(base.grid.count):
        rows = [
            {"chunk": base.grid.begin_us + i * base.grid.period_us, "camera": base.camera, "region": region}
            for region in base.regions or ("",)
        ]
        chunks.append([tuple(engine_value(expr, row) for expr in exprs) for row in rows])
    return chunks


@pytest.mark.parametrize("seed", range(60))
def test_runs_give_what_enumeration_gives(seed):
    rng = random.Random(seed)
    zone = rng.choice(ZONES)
    base = table(
        chunks=rng.choice((1, 5, 200, 700)),
        chunk_us=rng.choice((1, 5, 17, 60)) * MINUTE,
        stride_us=rng.choice((0, 0, 13)) * MINUTE,
        begin_us=rng.choice(BEGINS) * 1_000_000 + rng.choice((0, 0, 1, 59_000_001)),
        timezone=zone,
        regions=rng.choice(((), ("north", "south"))),
        touched=rng.choice((2, 3, 9)),
    )
    exprs = tuple(rng.sample(calls(zone), rng.choice((0, 1, 1, 2, 3))))
    chunks = enumerated(base, exprs)
    expected = Counter(values for chunk in chunks for values in chunk)
    found = slot_counts(base, exprs)
    assert {tuple(map(_plain, key)): n for key, n in found.items()} == {
        tuple(map(_plain, key)): n for key, n in expected.items()
    }
    window = base.touched_chunks
    reached = max(
        len({values for chunk in chunks[i : i + window] for values in chunk}) for i in range(len(chunks) - window + 1)
    )
    if not exprs:
        assert reach(base, exprs) == 1
    elif CHUNK in exprs:
        assert reach(base, exprs) >= reached
    else:
        assert reach(base, exprs) == reached


def _plain(value):
    return round(float(value), 9) if not isinstance(value, str | bool | int) else value


def test_a_day_of_23_hours_is_not_covered_by_the_formula():
    # Trap: 25 chunks of an hour lie in 2 days by the formula; but 25 hours can meet a day of 23 and two more.
    zone = "America/New_York"
    base = table(chunks=60, chunk_us=60 * MINUTE, begin_us=1709942400 * 1_000_000, timezone=zone, touched=25)
    assert base.touched_chunks == 25
    assert reach(base, (Call("day", (CHUNK, text(zone)), T),)) == 3


def test_a_region_multiplies_what_a_segment_reaches():
    base = table(chunks=10, regions=("north", "south", "west"), slots_per_chunk=1, touched=4)
    hours = Call("hour", (CHUNK, text("UTC")), T)
    assert base.touched_slots == 4
    assert reach(base, (Column("region", S),)) == 3
    assert reach(base, (hours, Column("region", S))) == 3 * reach(base, (hours,))
    assert reach(base, (CHUNK, Column("region", S))) == 12
    assert reach(base, (Column("camera", S),)) == 1


def test_a_month_of_short_chunks_takes_no_time():
    base = table(chunks=518_400, chunk_us=5_000_000, touched=7)
    zone = text("America/New_York")
    assert len(slot_counts(base, (Call("hour", (CHUNK, zone), T),))) == 720
    assert reach(base, (Call("hour_of_day", (CHUNK, zone), N),)) == 2


def test_active_runs_are_where_the_predicate_is_true():
    base = table(chunks=300, chunk_us=10 * MINUTE, touched=3, regions=("north", "south"))
    hour = Call("hour_of_day", (CHUNK, text("UTC")), N)
    for predicate in (
        Call("lt", (hour, number(3)), DataType.BOOLEAN),
        Call("ge", (CHUNK, Literal(1000 * MINUTE + 1, T)), DataType.BOOLEAN),
        Call("eq", (Column("region", S), text("south")), DataType.BOOLEAN),
        Call("in", (hour, number(5), number(7), Literal(None, N)), DataType.BOOLEAN),
        Call("not", (Call("between", (hour, number(2), Literal(None, N)), DataType.BOOLEAN),), DataType.BOOLEAN),
        Literal(False, DataType.BOOLEAN),
        Call("or", (Literal(None, DataType.BOOLEAN), Literal(True, DataType.BOOLEAN)), DataType.BOOLEAN),
    ):
        runs = active_runs(base, predicate)
        true = {i for i, chunk in enumerate(enumerated(base, [predicate])) if (True,) in chunk}
        covered = {i for first, last in runs for i in range(first, last + 1)}
        assert true <= covered
        # What is covered beyond that lies between chunks that one segment can touch together.
        assert all(any(i - d in true for d in (1, 2)) and any(i + d in true for d in (1, 2)) for i in covered - true)
        assert all(b[0] - a[1] >= base.touched_chunks for a, b in zip(runs, runs[1:], strict=False))
