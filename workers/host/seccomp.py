"""A small assembler: the syscall rules of `workers.host.profile` to a classic BPF program for seccomp(2).

The program is an allow-list. In order: foreign architectures and the x32 table are killed; each rule's syscalls are
allowed if one of its conditions holds, otherwise they fail with the rule's errno; everything else fails with EPERM.
"""

import ctypes
import errno
import platform
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workers.host import namespaces

_AUDIT_ARCH = {"x86_64": 0xC000003E}
_SECCOMP_CALL = {"x86_64": 317}
_X32_BIT = 0x40000000

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP_EQUAL, _JUMP_SET = 0x15, 0x45
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGUMENTS = 0, 4, 16


@dataclass(frozen=True, slots=True)
class Check:
    """`(argument & mask) == value` on one 32 bit half of an argument: the low one, or the high one if `high`."""

    argument: int
    mask: int
    value: int
    high: bool = False


def only_bits(argument: int, allowed: int) -> Check:
    """No bit outside `allowed` is set in the argument's low half."""
    return Check(argument, ~allowed & 0xFFFFFFFF, 0)


def equals(argument: int, value: int) -> Check:
    """The argument's low half (what the kernel reads of an int) is `value`."""
    return Check(argument, 0xFFFFFFFF, value)


def is_null(argument: int) -> tuple[Check, Check]:
    """A pointer argument is NULL."""
    return Check(argument, 0xFFFFFFFF, 0), Check(argument, 0xFFFFFFFF, 0, high=True)


@dataclass(frozen=True, slots=True)
class Rule:
    """Syscalls that share a treatment.

    `when`: alternatives, each a conjunction of checks; a call is allowed if one alternative holds. No alternatives:
    never allowed. An empty conjunction: always allowed. `stops` names the leak or the attack that the rule stops, or
    says what the guest needs the call for.
    """

    names: tuple[str, ...]
    stops: str
    when: tuple[tuple[Check, ...], ...] = ((),)
    otherwise: int = errno.EPERM


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _alternative(checks: Sequence[Check]) -> bytes:
    """Allow if all checks hold, otherwise fall through to what follows."""
    code = _instruction(_RETURN, _ALLOW)
    for check in reversed(checks):
        skip = len(code) // 8
        offset = _OFFSET_ARGUMENTS + 8 * check.argument + (4 if check.high else 0)
        code = (
            _instruction(_LOAD, offset)
            + (_instruction(_AND, check.mask) if check.mask != 0xFFFFFFFF else b"")
            + _instruction(_JUMP_EQUAL, check.value, 0, skip)
            + code
        )
    return code


def assemble(rules: Sequence[Rule], numbers: Mapping[str, int], arch: int) -> bytes:
    """The BPF program of these rules. Raises ValueError for an unknown or repeated syscall."""
    program = (
        _instruction(_LOAD, _OFFSET_ARCH)
        + _instruction(_JUMP_EQUAL, arch, 1, 0)
        + _instruction(_RETURN, _KILL_PROCESS)
        + _instruction(_LOAD, _OFFSET_NUMBER)
        + _instruction(_JUMP_SET, _X32_BIT, 0, 1)
        + _instruction(_RETURN, _KILL_PROCESS)
    )
    seen: set[str] = set()
    for rule in rules:
        body = b"".join(_alternative(checks) for checks in rule.when)
        if () not in rule.when:
            body += _instruction(_RETURN, _ERRNO | rule.otherwise)
        for name in rule.names:
            if name in seen or name not in numbers:
                raise ValueError(f"syscall {name!r} is unknown or has two rules")
            seen.add(name)
            program += _instruction(_JUMP_EQUAL, numbers[name], 0, len(body) // 8) + body
    return program + _instruction(_RETURN, _ERRNO | errno.EPERM)


def supported() -> bool:
    """Whether there is a syscall table for this machine."""
    return platform.machine() in _AUDIT_ARCH


def program(rules: Sequence[Rule], numbers: Mapping[str, int]) -> bytes:
    """The program for this machine. Raises OSError if there is no table for it."""
    if not supported():
        raise OSError(errno.ENOSYS, f"no seccomp table for {platform.machine()}; the sandbox runs on x86_64")
    return assemble(rules, numbers, _AUDIT_ARCH[platform.machine()])


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def install(code: bytes) -> None:
    """Filter this thread's system calls from now on. Needs no-new-privs."""
    fprog = _Program(len(code) // 8, code)
    set_mode_filter = 1
    namespaces.syscall(_SECCOMP_CALL[platform.machine()], set_mode_filter, 0, ctypes.byref(fprog), what="seccomp")
