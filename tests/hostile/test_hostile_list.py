"""What must be tried at least, and the attacks that try it: nothing of the list is left out."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.arena import ATTACKS, FAMILIES, LETHAL, NEEDS_PLACES, names
from tests.hostile.test_hostile_ordinary_user import SUITES
from workers.host.backends import BACKENDS

LIST: dict[str, dict[str, str]] = {
    "writing": {
        "files in 8 places": "files", "O_TMPFILE": "tmpfile", "mkdir": "mkdir", "symlink": "links", "unlink": "unlink",
        "rename": "rename", "xattr": "xattr", "utime": "utime", "chmod": "chmod", "locks": "locks",
    },
    "reading": {
        "/etc/shadow": "passwords", "/proc/1/environ": "proc", "block devices": "devices", "the database": "host_files",
        "other chunks": "other_chunks", "the source tree": "source_tree", "environment variables": "environment",
    },
    "network": {
        "INET": "inet", "INET6": "inet6", "UNIX": "unix", "NETLINK": "netlink", "PACKET": "packet", "VSOCK": "vsock",
        "ALG": "alg", "socketpair": "socketpair",
    },
    "processes": {
        "kill parent, -1, 0": "kill", "ptrace": "ptrace", "process_vm": "process_vm", "/proc/PID/mem": "proc_mem",
        "pidfd": "pidfd", "fork": "fork", "vfork": "vfork", "clone3": "clone3", "exec": "exec",
        "fork bomb": "fork_bomb", "thread bomb": "thread_bomb", "a stray thread": "stray_thread",
        "ignoring signals": "ignore_signals", "closing the output and sleeping": "close_and_sleep",
        "a segfault": "segfault",
    },
    "memory": {
        "4 GiB": "bomb_4g", "100 GiB": "bomb_100g", "SysV": "sysv", "mq": "mqueue", "memfd": "memfd",
        "shared mmap": "shared_mmap", "unsealing": "frames_unseal", "mprotect on the frames": "frames_mprotect",
    },
    "kernel": {
        "io_uring": "io_uring", "userfaultfd": "userfaultfd", "keyctl": "keys", "perf": "perf", "bpf": "bpf",
        "mount": "mount", "unshare": "unshare", "setns": "setns", "setuid": "setuid", "clock_settime": "clocks",
        "prctl undo": "prctl", "TIOCSTI": "terminal", "inotify, fanotify": "notify", "name_to_handle": "handles",
        "mincore, cachestat": "page_cache", "madvise": "madvise", "x32": "x32",
    },
    "state": {
        "a global changed": "globals", "weights overwritten": "weights", "a module patched": "modules",
        "/dev/shm": "files", "page cache": "page_cache", "an orphan left running": "orphan",
    },
    "results": {
        "NaN": "nan", "inf": "infinity", "1e999": "1e999", "bad UTF-8": "bad_utf8", "60,000-deep JSON": "deep",
        "a 20,000-digit integer": "long_integer", "a pickle": "pickle", "a bool as string": "bool_as_string",
        "wrong width": "wrong_width", "a truncated row": "truncated", "5,000 rows": "many_rows",
        "1 GiB of output": "gigabyte", "nothing at all": "nothing",
    },
}  # fmt: skip
KIND = {"state": "leave", "results": "result"}


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_on_the_list_is_tried(family: str) -> None:
    there = names(family, KIND.get(family, "attack"))
    assert {what: name for what, name in LIST[family].items() if name not in there} == {}


def test_there_is_more_than_the_list() -> None:
    assert len({name for family in ATTACKS for name in names(family, "attack")}) > 80
    assert all(lethal <= set(names(family, "attack")) for family, lethal in LETHAL.items())


def _test_of(family: str, name: str, backend: str) -> str:
    """The end of a test's id, as pytest shows it."""
    if name in NEEDS_PLACES:
        return f"::test_reading_the_hosts_files[{backend}]"
    tests = {"state": "test_nothing_is_left_for_the_next_chunk", "results": "test_results"}
    return f"::{tests.get(family, f'test_{family}')}[{backend}-{name}]"


def test_each_has_a_test_of_its_own_on_every_backend() -> None:
    """In the files that run as root, and once more as an ordinary user; some in the soak only."""
    here = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--soak", "-p", "no:cacheprovider"]
    files = [str(here / name) for name in SUITES]
    done = subprocess.run([*command, *files], cwd=here.parents[1], capture_output=True, text=True, check=True)
    found = {f"::{line.rpartition('::')[2]}" for line in done.stdout.splitlines()}
    wanted = {
        _test_of(family, name, backend) for family in FAMILIES for name in LIST[family].values() for backend in BACKENDS
    }
    assert wanted - found == set()
