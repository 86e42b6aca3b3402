"""The suite is itself tested: with a barrier missing, its attacks get through and it notices."""

import pytest

from tests.hostile.arena import DEFAULT, STOPPED, Arena, make_arena, names
from workers.host.profile import Profile

FAMILIES = ("writing", "reading", "network", "processes", "memory", "kernel")
DEADLY = {"fork_bomb", "ignore_signals", "close_and_sleep", "spin", "bomb_kept", "kill"}
"""Would harm the machine, or only wait, without the filter."""


def _got_through(arena: Arena) -> set[str]:
    attacks = [name for family in FAMILIES for name in names(family, "attack") if name not in DEADLY]
    rows = arena.rows(*(f"attack:{name}" for name in attacks))
    return {name for index, name in enumerate(attacks) if rows[index] not in ((STOPPED,), (DEFAULT,))}


@pytest.fixture(scope="module", params=["fork", "exec"])
def without_seccomp(request: pytest.FixtureRequest) -> set[str]:
    for arena in make_arena(Profile.weakened(seccomp=False), backend=request.param):
        return _got_through(arena)
    raise AssertionError


def test_without_seccomp_attacks_get_through(without_seccomp: set[str]) -> None:
    expected = {
        "vsock", "fork", "shared_mmap", "memfd", "sysv", "keys", "prctl", "madvise", "notify", "page_cache",
        "anonymous_objects", "shared_futex", "locks", "shared_flags", "machine_facts", "socketpair", "affinity",
        "unshare",
    }  # fmt: skip
    assert expected <= without_seccomp


def test_without_seccomp_namespaces_and_landlock_still_hold(without_seccomp: set[str]) -> None:
    assert (
        not {"files", "overwrite_module", "mkdir", "passwords", "proc", "devices", "one_file_system"} & without_seccomp
    )


def test_a_pool_without_walls_is_not_the_default() -> None:
    assert Profile() == Profile(seccomp=True, landlock=True)
