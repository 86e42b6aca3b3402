# ruff: noqa: F401  the families that are appended use them
"""The hostile executable: what all attacks share. The families are appended to it, then the entry.

An attack is a function `attack_NAME(chunk)`. It gives back what got through, "" if nothing did.
"""

import ctypes
import errno
import mmap
import os
import signal
import struct
import sys
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
ROWS_FD = 3
# Computed, so that looking for it does not find the source text.
SECRET = bytes((i * 37 + 11) % 251 for i in range(48))


def call(number, *arguments):
    """A raw system call: what it gave back, or minus the error."""
    words = [ctypes.c_ulong(a & (2**64 - 1)) if isinstance(a, int) else a for a in arguments]
    result = LIBC.syscall(ctypes.c_long(number), *words)
    return -ctypes.get_errno() if result == -1 else result


def through(**attempts):
    """Names of the attempts (system call results) that succeeded."""
    return " ".join(name for name, result in attempts.items() if result >= 0)


def opened(path, flags, mode=0o600):
    """Whether a file can be opened this way."""
    try:
        os.close(os.open(path, flags, mode))
    except OSError:
        return -1
    return 0


def tried(function, *arguments):
    """Whether a Python call succeeds."""
    try:
        function(*arguments)
    except (OSError, ValueError, RuntimeError, MemoryError, AttributeError):
        return -1
    return 0
