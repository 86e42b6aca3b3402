"""docker/seccomp.json lets the sandbox work in a container without capabilities, and lets nothing dangerous in.

No engine runs here, so the profile itself is put on a process (as an ordinary user, with no-new-privileges, as in
compose.yaml), and a pool is started in it.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from workers.host import namespaces, profile, seccomp
from workers.host.backends import Name

PROFILE = Path(__file__).parents[2] / "docker" / "seccomp.json"
HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
NEVER = {
    "bpf", "perf_event_open", "keyctl", "add_key", "request_key", "userfaultfd", "io_uring_setup", "ptrace",
    "kexec_load", "init_module", "finit_module", "delete_module", "reboot", "swapon", "swapoff", "settimeofday",
    "clock_settime",
    "open_by_handle_at", "name_to_handle_at", "process_vm_readv", "process_vm_writev", "acct", "quotactl", "iopl",
    "ioperm", "syslog", "fanotify_init", "clone3", "chroot", "fsopen", "open_tree", "move_mount",
}  # fmt: skip
SANDBOX = {"clone", "mount", "mount_setattr", "pivot_root", "setns", "umount2", "unshare", "seccomp"}


def allowed() -> set[str]:
    document = json.loads(PROFILE.read_text())
    assert document["defaultAction"] == "SCMP_ACT_ERRNO"
    return {
        name
        for entry in document["syscalls"]
        if entry["action"] == "SCMP_ACT_ALLOW" and not entry.get("args")
        for name in entry["names"]
    }


def test_nothing_dangerous_is_allowed_and_what_the_sandbox_needs_is() -> None:
    assert not allowed() & NEVER
    assert allowed() >= SANDBOX
    names = {name for rule in profile.RULES if rule.when for name in rule.names}
    assert allowed() >= names, "a guest may do it, but its container may not"


def container_filter() -> bytes:
    """The profile as a BPF program, by the numbers of the system's own header."""
    numbers = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text())}
    document = json.loads(PROFILE.read_text())
    families = tuple(
        (seccomp.equals(0, entry["args"][0]["value"]),) for entry in document["syscalls"] if entry.get("args")
    )
    known = tuple(sorted(allowed() & set(numbers)))
    assert len(known) > 250
    rules = (
        seccomp.Rule(known, "the profile"),
        seccomp.Rule(("socket",), "families", families),
        seccomp.Rule(("clone3",), "falls back to clone", (), 38),
    )
    return seccomp.program(rules, numbers)


NAMES: tuple[Name, ...] = ("fork", "exec")


def inside() -> None:
    """Runs in the subprocess: put the profile on, and use a pool."""
    from tests.hostile.arena import make_arena

    namespaces.prctl(namespaces.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(container_filter())
    for backend in NAMES:
        for arena in make_arena(backend=backend):
            assert arena.alone("attack:vsock") == (("stopped", 1.0, True),)
            assert arena.alone("attack:mount") == (("stopped", 1.0, True),)
    print("contained")


def test_the_pool_works_under_the_containers_profile() -> None:
    here = Path(__file__)
    if not HEADER.exists():
        pytest.skip(f"{HEADER} is missing (package linux-libc-dev)")
    command = [sys.executable, "-c", "from tests.hostile.test_hostile_container import inside; inside()"]
    if os.geteuid() == 0:
        command = [sys.executable, str(here.parent / "as_nobody.py"), *command]
    done = subprocess.run(command, cwd=here.parents[2], capture_output=True, text=True, check=False)
    assert done.stdout == "contained\n", done.stderr[-2000:]
