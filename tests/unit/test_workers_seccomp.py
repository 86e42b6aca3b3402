"""The filter, run in an interpreter of classic BPF: exactly the calls of the profile are allowed."""

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.host import profile, seccomp

X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
ALLOW, KILL = 0x7FFF0000, 0x80000000
PROGRAM = seccomp.assemble(profile.RULES, profile.X86_64, X86_64)


def refused(code: int) -> int:
    return 0x00050000 | code


def run(number: int, *arguments: int, arch: int = X86_64, program: bytes = PROGRAM) -> int:
    """What the kernel would answer."""
    words = [argument & (2**64 - 1) for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("<IIQ6Q", number, arch, 0, *words)
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("<HBBI", program, 8 * at)
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x15:
            at += if_true if accumulator == value else if_false
        elif code == 0x45:
            at += if_true if accumulator & value else if_false
        elif code == 0x06:
            return value
        else:
            raise AssertionError(f"unknown instruction {code:#x}")


NUMBER = profile.X86_64


@given(st.integers(0, 2**30 - 1), st.tuples(*[st.integers(0, 2**64 - 1)] * 6))
def test_what_has_no_rule_is_refused(number: int, arguments: tuple[int, ...]) -> None:
    if number not in NUMBER.values():
        assert run(number, *arguments) == refused(errno.EPERM)


@given(st.integers(0, 600), st.sampled_from([I386, AARCH64, 0]))
def test_foreign_architectures_are_killed(number: int, arch: int) -> None:
    assert run(number, arch=arch) == KILL


@given(st.integers(0, 600))
def test_the_x32_table_is_killed(number: int) -> None:
    assert run(number | 0x40000000) == KILL


def test_every_rule_names_what_it_stops_and_every_number_has_a_rule() -> None:
    rules = (*profile.RULES, *profile.STARTING_RULES, *profile.MODEL_RULES, *profile.DEVICE_RULES)
    assert all(len(rule.stops) > 5 for rule in rules)
    assert {name for rule in rules for name in rule.names} == set(NUMBER)
    assert len(set(NUMBER.values())) == len(NUMBER)


@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("openat", (-100, 0, 0o2000000), ALLOW),
        ("openat", (-100, 0, 1), refused(errno.EPERM)),
        ("openat", (-100, 0, 2), refused(errno.EPERM)),
        ("openat", (-100, 0, 0o100), refused(errno.EPERM)),
        ("openat", (-100, 0, 0o10000000), refused(errno.EPERM)),
        ("openat", (-100, 0, 0o20200000), refused(errno.EPERM)),
        ("open", (0, 1), refused(errno.EPERM)),
        ("mmap", (0, 4096, 3, 0x22), ALLOW),
        ("mmap", (0, 4096, 1, 0x01), ALLOW),
        ("mmap", (0, 4096, 3, 0x01), refused(errno.EPERM)),
        ("mmap", (0, 4096, 1, 0x21), refused(errno.EPERM)),
        ("mmap", (0, 4096, 3, 0x21), refused(errno.EPERM)),
        ("mmap", (0, 4096, 3, 0x03), refused(errno.EPERM)),
        ("mmap", (0, 4096, 3, 0x40022), refused(errno.EPERM)),
        ("clone", (0x3D0F00,), ALLOW),
        ("clone", (17,), refused(errno.EPERM)),
        ("clone", (0x3D0F00 | 0x10000000,), refused(errno.EPERM)),
        ("clone3", (0, 0), refused(errno.ENOSYS)),
        ("futex", (0, 129), ALLOW),
        ("futex", (0, 1), refused(errno.EAGAIN)),
        ("fcntl", (0, 1030), ALLOW),
        ("fcntl", (0, 4), refused(errno.EPERM)),
        ("ioctl", (0, 0x5412), refused(errno.ENOTTY)),
        ("tgkill", (1, 1, 6), ALLOW),
        ("tgkill", (2, 2, 9), refused(errno.EPERM)),
        ("prlimit64", (0, 7, 0, 1), ALLOW),
        ("prlimit64", (0, 7, 1 << 32, 0), refused(errno.EPERM)),
        ("prlimit64", (1, 7, 0, 0), refused(errno.EPERM)),
        ("prctl", (15,), ALLOW),
        ("prctl", (4, 1), refused(errno.EPERM)),
        ("madvise", (0, 0, 4), ALLOW),
        ("madvise", (0, 0, 21), refused(errno.EPERM)),
        ("clock_gettime", (1,), ALLOW),
        ("clock_gettime", (-6,), refused(errno.EINVAL)),
    ],
)
def test_arguments(name: str, arguments: tuple[int, ...], answer: int) -> None:
    assert run(NUMBER[name], *arguments) == answer


@given(st.integers(0, 2**32 - 1))
def test_high_halves_of_ints_change_nothing(high: int) -> None:
    """The kernel reads 32 bits of an int argument: whatever is above must not open a way."""
    assert run(NUMBER["openat"], 0, 0, high << 32 | 1) == refused(errno.EPERM)
    assert run(NUMBER["prctl"], high << 32 | 4) == refused(errno.EPERM)


def test_a_syscall_with_two_rules_is_an_error() -> None:
    rule = seccomp.Rule(("read",), "twice")
    with pytest.raises(ValueError, match="two rules"):
        seccomp.assemble((rule, rule), {"read": 0}, X86_64)
    with pytest.raises(ValueError, match="unknown"):
        seccomp.assemble((seccomp.Rule(("nothing",), "unknown"),), {}, X86_64)
