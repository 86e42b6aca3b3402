"""Statelessness: nothing that one chunk leaves is there for the next, on the same core, in either order."""

import mmap
import os
import time
from pathlib import Path

import pytest

from tests.hostile.arena import STOPPED, Arena, make_arena, names
from workers.host import fresh, rootfs
from workers.host.profile import Profile

PAIRS = sorted(set(names("state", "leave")) & set(names("state", "find")))
PERSISTENT = {
    "allocator", "builtin_memory", "environment", "globals", "hash_seed", "interpreter", "library_code", "modules",
    "orphan", "pids", "prctl", "random", "rounding", "signals", "weights",
}  # fmt: skip
"""What a guest may do to itself; nothing but its end keeps it from the next one."""
BEHIND_THE_FILTER = PERSISTENT | {
    "descriptors", "kernel_objects", "keyrings", "limits", "memfd", "page_cache", "priority", "sockets", "timers",
    "tracing", "umask", "working_folder",
}  # fmt: skip


def test_there_are_many_ways_to_leave_something() -> None:
    assert len(PAIRS) >= 30
    assert set(PAIRS) > BEHIND_THE_FILTER


@pytest.mark.parametrize("name", PAIRS)
def test_nothing_is_left_for_the_next_chunk(arena: Arena, name: str) -> None:
    count = len(arena.pool._lanes)
    rows = arena.rows(*([f"leave:{name}"] * count), *([f"find:{name}"] * count))
    for index in range(2 * count):
        assert rows[index] == (STOPPED,), f"{'a later chunk found' if index >= count else 'not left:'} {name}"


def test_nothing_of_all_of_it_is_left_for_the_next_chunk(every_arena: Arena) -> None:
    """All at once, again and again."""
    count = len(every_arena.pool._lanes)
    rows = every_arena.rows(*(["many:leave"] * count), *(["many:find"] * count), "many:leave", "many:find")
    assert rows == dict.fromkeys(range(2 * count + 2), (STOPPED,))


def _left_in_one_guest(walls: Profile | None) -> set[str]:
    """What a guest finds of what it left itself."""
    for arena in make_arena(walls):
        rows = arena.rows(*(f"both:{name}" for name in PAIRS if name != "quota"))
        return {name for i, name in enumerate(name for name in PAIRS if name != "quota") if rows[i] != (STOPPED,)}
    raise AssertionError


def test_in_the_same_chunk_it_is_found() -> None:
    """The searches work: what may be left is found by whoever left it."""
    assert _left_in_one_guest(None) >= PERSISTENT


def test_without_the_filter_more_is_found() -> None:
    assert _left_in_one_guest(Profile.weakened(seccomp=False)) >= BEHIND_THE_FILTER


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _zygotes(arena: Arena) -> list[int]:
    return [child for lane in arena.pool._lanes for child in _children(lane.worker.pid)]


def test_no_process_outlives_its_chunk(every_arena: Arena) -> None:
    every_arena.rows("leave:orphan", "attack:stray_thread", "attack:fork_bomb", "attack:thread_bomb")
    zygotes = _zygotes(every_arena)
    assert len(zygotes) == len(every_arena.pool._lanes)
    deadline = time.monotonic() + 10  # what has died may still be listed for a moment
    while any(_children(pid) for pid in zygotes) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [_children(pid) for pid in zygotes] == [[]] * len(zygotes)


def _memory_contains(pid: int, wanted: bytes) -> bool:
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            span, rights, _ = line.split(maxsplit=2)
            if not rights.startswith("rw"):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            memory.seek(start)
            if wanted in memory.read(end - start):
                return True
    return False


@pytest.mark.skipif(os.geteuid() != 0, reason="looks into the zygote's memory")
def test_the_zygote_never_holds_what_a_guest_wrote(every_arena: Arena) -> None:
    """Its memory is copied into every later guest, freed blocks included."""
    rows = every_arena.rows("secret", "secret", "secret", "secret")
    secret = str(rows[0][0][0]).encode()
    assert len(secret) == 96
    for zygote in _zygotes(every_arena):
        assert not _memory_contains(zygote, secret)
        assert _memory_contains(zygote, b"fake_greeting"), "the search itself does not work"


def _resident(path: Path, offset: int, length: int) -> tuple[int, int]:
    """How many pages of a part of a file are in memory, and how many there are."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    with path.open("rb") as file:
        view = mmap.mmap(file.fileno(), length, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE, offset=offset)
        found = ctypes.create_string_buffer(-(-length // mmap.PAGESIZE))
        assert libc.mincore(ctypes.addressof(ctypes.c_char.from_buffer(view)), length, found) == 0
        pages = found.raw[: -(-length // mmap.PAGESIZE)]
        return sum(byte & 1 for byte in pages), len(pages)


def _held(arena: Arena) -> list[tuple[Path, int, int]]:
    """What guests can feel of files on disks: the zygote's libraries, or the program around fresh processes."""
    sandbox = {"exec": "bwrap", "oci": "runsc"}.get(arena.pool._backend.name)
    if sandbox is not None:
        program = Path(fresh.found(sandbox) or "").resolve()
        return [(program, 0, program.stat().st_size)]
    parts = rootfs.mapped_files(Path(f"/proc/{_zygotes(arena)[0]}/maps").read_text())
    libraries = [(Path(path), at, length) for path, at, length in parts if ".so" in path and Path(path).exists()]
    return [(path, at, min(length, path.stat().st_size - at)) for path, at, length in libraries]


@pytest.mark.skipif(os.geteuid() != 0, reason="asks for the residency of files it does not own")
def test_every_page_of_every_mapped_library_is_in_memory(every_arena: Arena) -> None:
    """Page cache is state: no guest may be the first to touch a page."""
    found = {path: _resident(path, at, length) for path, at, length in _held(every_arena) if length > 0}
    assert found
    assert {path: pages for path, pages in found.items() if pages[0] != pages[1]} == {}


def _negative_names() -> int:
    return int(Path("/proc/sys/fs/dentry-state").read_text().split()[4])


def test_names_that_do_not_exist_leave_no_trace(every_arena: Arena) -> None:
    """A disk's file system would remember each of the 20,000 answers in a cache that all slots share."""
    before = _negative_names()
    assert every_arena.alone("attack:names") == (STOPPED,)
    assert _negative_names() - before < 10_000


def test_the_root_holds_no_host_code() -> None:
    paths = [str(path) for path in rootfs.files(("numpy",))]
    assert any(path.endswith("workers/guest/main.py") for path in paths)
    assert not any("/workers/host/" in path or "/privid/" in path for path in paths)
