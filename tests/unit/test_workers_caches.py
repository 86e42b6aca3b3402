"""How much is read between two slots, and in what time."""

import os
from collections.abc import Collection
from pathlib import Path

import pytest

from workers import wire
from workers.host import caches
from workers.host.pool import GUARD_NS, ExecutableSpec, LocalPool
from workers.host.profile import Profile

MIB = 2**20
SECOND_NS = 1_000_000_000


def processor(root: Path, *found: tuple[str, str]) -> Path:
    for i, (size, shared) in enumerate(found):
        folder = root / f"cpu3/cache/index{i}"
        folder.mkdir(parents=True)
        (folder / "size").write_text(size + "\n")
        (folder / "shared_cpu_list").write_text(shared + "\n")
    return root


@pytest.mark.parametrize(
    ("found", "slot_cores", "share"),
    [
        ((("32K", "3"), ("1024K", "3"), ("32768K", "0-7")), {3}, 32 * MIB),
        ((("32K", "3"), ("1024K", "3"), ("32768K", "0-7")), {1, 2, 3, 7}, 8 * MIB),
        ((("2M", "3,11"), ("96M", "0-5,8-13")), {3, 6, 7}, 96 * MIB),
        ((("2M", "3"), ("16M", "0-15")), range(16), 2 * MIB),
        ((("48K", "3"), ("2048K", "3")), {3}, 2 * MIB),
        ((("4M", "0-1"),), {3}, 4 * MIB),  # a system that contradicts itself
        ((), {3}, 32 * MIB),
        ((("", "3"), ("K", "3"), ("many", "3"), ("12", "3"), ("1M", ""), ("1M", "x-y")), {3}, 32 * MIB),
    ],
)
def test_the_largest_part_of_a_cache(
    tmp_path: Path, found: tuple[tuple[str, str], ...], slot_cores: Collection[int], share: int
) -> None:
    assert caches.share_bytes(3, slot_cores, processor(tmp_path, *found)) == share


def test_a_sweep_is_larger_than_any_cache_and_fits_its_turn() -> None:
    assert caches.sweep_bytes(32 * MIB, SECOND_NS) == 128 * MIB
    assert caches.sweep_bytes(2 * MIB, SECOND_NS) == 8 * MIB
    assert caches.sweep_bytes(1024 * MIB, 10 * SECOND_NS) == 512 * MIB
    for turn_ns in (20_000_000, 100_000_000, SECOND_NS):
        for size in (MIB, 32 * MIB, 1024 * MIB):
            assert caches.allowed_ns(caches.sweep_bytes(size, turn_ns)) <= turn_ns // 8


def test_it_is_read_on_the_slots_core_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.sched_getaffinity(0)
    core = max(own)
    sweeper = caches.Sweeper(core, 4 * MIB)
    moves: list[set[int]] = []
    monkeypatch.setattr("workers.host.caches.os.sched_setaffinity", lambda _pid, cores: moves.append(set(cores)))
    sweeper.sweep()
    assert moves == [{core}, own]


def test_its_memory_is_its_own() -> None:
    """Pages that nobody has written to are all the same one: reading them would clear a cache of nothing."""
    before = _resident_bytes()
    sweeper = caches.Sweeper(0, 64 * MIB)
    assert _resident_bytes() - before > 60 * MIB
    del sweeper


def test_a_guest_ends_early_enough_for_it_where_slots_keep_time() -> None:
    table = wire.TableSpec((wire.ColumnSpec("n", "NUMBER", 0),), 1)
    spec = ExecutableSpec("0" * 64, b"def process(chunk):\n    return []\n", table, 2_000_000)
    slotted, strict, started_at_once = (LocalPool(spec, timing) for timing in ("slotted", "strict", "open"))
    swept = caches.sweep_bytes(caches.share_bytes(0, {0}), 2 * SECOND_NS)
    for pool in (slotted, strict):
        assert (pool._sweep_bytes, pool._guard_ns) == (swept, GUARD_NS[1] + caches.allowed_ns(swept))
    assert (started_at_once._sweep_bytes, started_at_once._guard_ns) == (0, GUARD_NS[1])
    assert LocalPool(spec, walls=Profile.weakened(caches=False))._sweep_bytes == 0


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
