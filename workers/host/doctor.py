"""Checks that this host can confine executables, by doing it; `privid-server doctor` prints the findings.

Nothing here only looks: namespaces are made, filters loaded, memory sealed, a pool of each
backend is started, and an executable in it attacks its own sandbox (`workers.guest.probe`). The attack that gets
through is named. Each runtime of models runs a graph for an executable, behind its walls.
"""

import errno
import fcntl
import importlib.util
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import workers
from workers import limits, wire
from workers.host import backends, caches, cgroups, landlock, launcher, models, namespaces, profile, seccomp
from workers.host.errors import SandboxError
from workers.host.feeder import FRAME_SEALS, Slot
from workers.host.pool import ExecutableSpec, LocalPool
from workers.inference.runtime import DeviceMissing, Runtime, RuntimeMissing, choose, install_hint
from workers.inference.runtimes import RUNTIMES
from workers.inference.spec import ModelSpec

TORCH_SECONDS = 5.0
_NAMESPACES = {
    "mount": namespaces.CLONE_NEWNS,
    "pid": namespaces.CLONE_NEWPID,
    "net": namespaces.CLONE_NEWNET,
    "ipc": namespaces.CLONE_NEWIPC,
    "uts": namespaces.CLONE_NEWUTS,
    "cgroup": namespaces.CLONE_NEWCGROUP,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: whether it went well, and what was found or what to do."""

    name: str
    ok: bool
    detail: str


def _in_child(action: Callable[[], None]) -> str | None:
    """What went wrong with an action in a child process; None if nothing did."""
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except Exception as error:  # noqa: BLE001  told to the parent
            os.write(write, str(error).encode()[:500] or b"failed")
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return said.decode(errors="replace") or None


def _finding(name: str, wrong: str | None, good: str, remedy: str) -> Finding:
    return Finding(name, wrong is None, good if wrong is None else f"{wrong}. {remedy}")


def _user_namespaces() -> Finding:
    def action() -> None:
        uid, gid = os.geteuid(), os.getegid()
        namespaces.unshare(namespaces.CLONE_NEWUSER)
        proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
        namespaces.map_user(proc, profile.INSIDE_ID, uid, gid)

    remedy = (
        "Allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces, "
        "kernel.apparmor_restrict_unprivileged_userns=0); in a container use docker/seccomp.json"
    )
    return _finding("user namespaces", _in_child(action), "made and mapped", remedy)


def _other_namespaces() -> Finding:
    def action() -> None:
        uid, gid = os.geteuid(), os.getegid()
        proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
        namespaces.unshare(namespaces.CLONE_NEWUSER)
        namespaces.map_user(proc, 0, uid, gid)
        for kind, flag in _NAMESPACES.items():
            try:
                namespaces.unshare(flag)
            except OSError as error:
                raise OSError(error.errno, f"no {kind} namespace: {error.strerror}") from None

    return _finding(
        "namespaces", _in_child(action), f"made: {', '.join(_NAMESPACES)}", "The kernel must be built with them"
    )


def _seccomp() -> Finding:
    def action() -> None:
        namespaces.prctl(namespaces.PR_SET_NO_NEW_PRIVS, 1)
        seccomp.install(seccomp.program(profile.RULES, profile.X86_64))
        try:
            os.pipe()
        except PermissionError:
            return
        raise OSError(errno.EPERM, "the filter was loaded and does not filter")

    return _finding("seccomp filter", _in_child(action), "loaded, and it filters", "Workers refuse to start without it")


def _landlock() -> Finding:
    abi = landlock.version()

    def action() -> None:
        namespaces.prctl(namespaces.PR_SET_NO_NEW_PRIVS, 1)
        landlock.restrict(landlock.read_only_ruleset("/", abi))
        try:
            os.close(os.open("/dev/null", os.O_WRONLY))
        except PermissionError:
            return
        raise OSError(errno.EPERM, "the rules were loaded and do not hold")

    if abi == 0:
        return Finding("Landlock", True, "this kernel has none; the read-only root and seccomp hold without it")
    return _finding(
        "Landlock", _in_child(action), f"version {abi}, and it holds", "The read-only root holds without it"
    )


def _memfd() -> Finding:
    def action() -> None:
        fd = os.memfd_create("doctor", os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, 4096)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, FRAME_SEALS)
        try:
            os.write(fd, b"x")
        except PermissionError:
            return
        raise OSError(errno.EPERM, "sealed memory can be written")

    return _finding("sealed memory", _in_child(action), "sealed, and it stays as it is", "Linux 5.1 or later has it")


def _groups() -> Finding:
    found = cgroups.parents()
    names = sorted({name for parent in found for name in parent.controllers})
    if names:
        return Finding("cgroups", True, f"{', '.join(names)} (version {found[0].version})")
    return Finding("cgroups", True, "none to be had: memory and processes are limited by rlimits alone")


def _memory() -> Finding:
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available, swap = (int(fields[name].split()[0]) // 1024 for name in ("MemAvailable", "SwapTotal"))
    needed = 2 * limits.DEFAULT_MEMORY_BYTES // 2**20 + 512
    detail = f"{available} MiB available"
    if swap:
        detail += f", {swap} MiB of swap: what is swapped out can be felt; better none (swapoff -a)"
    if available < needed:
        return Finding("memory", False, f"{detail}; a slot core needs about {needed} MiB")
    return Finding("memory", True, detail)


def _cores() -> Finding:
    count = len(os.sched_getaffinity(0))
    if count == 1:
        return Finding(
            "processors", True, "one: slots share it with decoding, and can feel it. Slotted timing needs two"
        )
    return Finding("processors", True, f"{count}")


def _caches() -> Finding:
    core = max(os.sched_getaffinity(0))
    size = caches.sweep_bytes(caches.share_bytes(core, {core}), 1_000_000_000)
    sweeper = caches.Sweeper(core, size)
    allowed_ms, took_ms = caches.allowed_ns(size) / 1e6, min(_milliseconds(sweeper.sweep) for _ in range(5))
    detail = f"swept in {took_ms:.1f} ms before each slot ({size >> 20} MiB are read), of {allowed_ms:.1f} ms"
    if took_ms > allowed_ms:
        return Finding("caches", False, f"{detail}: every slot would be late. Is the machine overloaded?")
    return Finding("caches", True, detail)


def _milliseconds(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return (time.perf_counter() - started) * 1000


def _limits() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1024:
        return Finding("open files", False, f"the limit is {hard}; raise it to 1024 or more (ulimit -n)")
    return Finding("open files", True, "enough")


def _pool(
    source: bytes,
    libraries: tuple[str, ...],
    seconds: float,
    walls: profile.Profile | None = None,
    backend: backends.Name = "fork",
    model: ModelSpec | None = None,
) -> tuple[list[str], float]:
    """The `got` column of one slot, and how long it took, in seconds."""
    table = wire.TableSpec((wire.ColumnSpec("got", "STRING", "(it did not get to the end)"),), 100)
    spec = ExecutableSpec("0" * 64, source, table, int(seconds * 1_000_000), libraries=libraries, model=model)
    got: list[str] = []
    with LocalPool(spec, "open", (min(os.sched_getaffinity(0)),), backend=backend, walls=walls) as pool:
        slot = Slot(0, None, 0, 0, 0, 3, (), 0, 1, "doctor", "", 1.0)
        started = time.monotonic()
        pool.run(iter([slot]), 1, lambda _, rows: got.extend(str(row[0]) for row in rows))
        return got, time.monotonic() - started


def attack_itself(walls: profile.Profile | None = None, backend: backends.Name = "fork") -> list[Finding]:
    """Start a pool with the probe in it. `walls` other than the default are for tests."""
    sandbox, attack = (name if backend == "fork" else f"{name} ({backend})" for name in ("sandbox", "self-attack"))
    if missing := backends.BACKENDS[backend].missing():
        return [Finding(sandbox, True, f"not here, so policies that ask for it are refused: {missing}")]
    probe = (Path(workers.__file__).parent / "guest" / "probe.py").read_bytes()
    who = "as root, guests as a user of their own" if launcher.unprivileged_id() is not None else "as an ordinary user"
    try:
        got, _ = _pool(probe, ("numpy", "cv2"), 10, walls, backend)
    except SandboxError as error:
        return [Finding(sandbox, False, str(error))]
    through = [name for name in got if name != "end"]
    detail = "every attack was stopped" if not through else f"these got through: {', '.join(through)}"
    return [Finding(sandbox, True, f"starts {who}"), Finding(attack, got == ["end"], detail)]


_TORCH = b"""
def process(chunk):
    import torch
    with torch.inference_mode():
        torch.nn.Conv2d(3, 8, 3)(torch.zeros(1, 3, 64, 64)).sum().item()
    yield {"got": "end"}
"""


def _torch() -> Finding:
    try:
        got, seconds = _pool(_TORCH, ("numpy", "torch"), 4 * TORCH_SECONDS)
    except SandboxError as error:
        return Finding("torch", False, str(error))
    ok = got == ["end"] and seconds < TORCH_SECONDS
    return Finding(
        "torch", ok, f"one inference in a forked guest in {seconds:.1f} s" if got == ["end"] else "it failed"
    )


_CALLS = b"""
def process(chunk):
    import time
    import numpy as np
    from workers.guest.sdk import infer
    given = np.arange(6, dtype=np.float32).reshape(2, 3)
    took = []
    for _ in range(50):
        began = time.monotonic()
        twice, negative = infer(given)
        took.append(time.monotonic() - began)
        if (twice != 2 * given).any() or (negative != -given).any():
            return {"got": "wrong"}
    return {"got": f"{1e6 * sorted(took)[25]:.0f}"}
"""


def can_run_models(runtime: Runtime, device: str) -> Finding:
    """Whether models of a runtime run here: the smallest one, in its confined process, asked by a guest."""
    name = f"models ({runtime.suffix})"
    if importlib.util.find_spec(runtime.package) is None:
        return Finding(name, True, f"not here, so they are refused: {install_hint(runtime)}")
    try:
        chosen = choose(device, runtime, models.look(runtime)["kinds"])
        (said,), _ = _pool(_CALLS, ("numpy",), 10, model=ModelSpec(runtime.smallest(), chosen))
    except (SandboxError, DeviceMissing, RuntimeMissing) as error:
        return Finding(name, False, str(error))
    if not said.isdigit():
        wrong = "it gave wrong answers" if said == "wrong" else "it was asked, and gave no answer"
        return Finding(name, False, f"{runtime.name} started on {chosen}: {wrong}")
    return Finding(name, True, f"{runtime.name} runs on {chosen}; a call of the smallest takes {said} microseconds")


def check(*, torch: bool | None = None, device: str = "auto") -> list[Finding]:
    """Run every check. `torch`: also an inference in a guest (None: if it is installed). Takes some seconds.

    `device` is where models are to run (`workers.inference.runtime`).
    """
    findings = [
        _user_namespaces(), _other_namespaces(), _seccomp(), _landlock(), _memfd(), _groups(), _memory(), _cores(),
        _caches(), _limits(),
    ]  # fmt: skip
    for backend in backends.BACKENDS:
        findings += attack_itself(backend=backend)
    if importlib.util.find_spec("torch") is not None if torch is None else torch:
        findings.append(_torch())
    findings += [can_run_models(runtime, device) for runtime in RUNTIMES]
    return findings
