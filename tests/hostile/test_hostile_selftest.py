"""The suite is itself tested: with a barrier missing, its attacks get through and it notices.

Under `oci` the filter inside is the second wall of two. Without it attacks succeed, but against gVisor's kernel, which
ends with its chunk: they are noticed, and neither the machine nor the next chunk is reached.
"""

from collections.abc import Iterator

import pytest

from tests.hostile.arena import ATTACKS, DEFAULT, STOPPED, Arena, make_arena, names, require
from workers.host import doctor
from workers.host.backends import BACKENDS, Name
from workers.host.profile import Profile

WITHOUT_SECCOMP = Profile.weakened(seccomp=False)
DEADLY = {"fork_bomb", "ignore_signals", "close_and_sleep", "spin", "bomb_kept", "kill"}
"""Would harm the machine, or only wait, without the filter."""
IN_ITS_OWN_KERNEL = ("fork", "memfd", "shared_mmap", "socketpair", "sysv", "affinity", "inet")
OF_THE_MACHINE = ("passwords", "proc", "devices", "files", "vsock", "keys")


def _got_through(arena: Arena, attacks: list[str]) -> set[str]:
    rows = arena.rows(*(f"attack:{name}" for name in attacks))
    return {name for index, name in enumerate(attacks) if rows[index] not in ((STOPPED,), (DEFAULT,))}


@pytest.fixture(scope="module", params=["fork", "exec"])
def open_arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    yield from make_arena(WITHOUT_SECCOMP, backend=request.param)


@pytest.fixture(scope="module")
def without_seccomp(open_arena: Arena) -> set[str]:
    return _got_through(open_arena, [n for f in ATTACKS for n in names(f, "attack") if n not in DEADLY])


def test_without_seccomp_attacks_get_through(without_seccomp: set[str]) -> None:
    expected = {
        "vsock", "fork", "shared_mmap", "memfd", "sysv", "keys", "prctl", "madvise", "notify", "page_cache",
        "anonymous_objects", "shared_futex", "locks", "shared_flags", "machine_facts", "socketpair", "affinity",
        "unshare", "own_cost",
    }  # fmt: skip
    assert expected <= without_seccomp


def test_without_seccomp_namespaces_and_landlock_still_hold(without_seccomp: set[str]) -> None:
    assert (
        not {"files", "overwrite_module", "mkdir", "passwords", "proc", "devices", "one_file_system"} & without_seccomp
    )


def test_without_seccomp_something_is_left_for_the_next_chunk(open_arena: Arena) -> None:
    lanes = len(open_arena.pool._lanes)
    rows = open_arena.rows(*["leave:descriptors"] * lanes, *["find:descriptors"] * 2 * lanes)
    assert any(str(row[0][0]).startswith("through: flags") for row in rows.values())


def test_without_the_filter_inside_attacks_reach_a_kernel_of_their_own_and_nothing_else() -> None:
    for arena in make_arena(WITHOUT_SECCOMP, backend="oci"):
        assert _got_through(arena, [*IN_ITS_OWN_KERNEL, *OF_THE_MACHINE]) == set(IN_ITS_OWN_KERNEL)
        lanes = len(arena.pool._lanes)
        rows = arena.rows(*["leave:kernel_objects"] * lanes, *["find:kernel_objects"] * lanes)
        assert set(rows.values()) == {(STOPPED,)}


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_doctor_notices_it_too(backend: Name) -> None:
    require(backend)
    *_, attack = doctor.attack_itself(WITHOUT_SECCOMP, backend)
    assert not attack.ok
    assert "a memfd" in attack.detail


def test_a_pool_without_walls_is_not_the_default() -> None:
    assert Profile() == Profile(seccomp=True, landlock=True, caches=True)
