"""The backends: the ways to put walls around a guest, from the least to the strongest.

`fork` is the default and costs the least. `exec` starts a fresh process for each chunk, so that no memory of ours is
in it, and runs programs in any language. `oci` puts a second kernel between the guest and the machine's. All of them
have the same interface, the same walls inside and the same tests.
"""

import functools
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from workers.host import bubblewrap, gvisor, profile, zygote
from workers.host.errors import SandboxUnavailable
from workers.host.forked import ForkedGuests
from workers.host.fresh import FreshGuests, found

Name = Literal["fork", "exec", "oci"]

_TRIAL_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to run guests. `guests(config, source)` is what the builder and the zygote do.

    `prepare_ns`: a guest must be asked for this long before its time (at most half a turn). `least_timeout_us`: with
    shorter turns guests would hardly ever be ready for theirs. `missing()`: what this host lacks for it, and what to
    do; None if nothing.
    """

    name: Name
    prepare_ns: int
    least_timeout_us: int
    guests: Callable[[Mapping[str, Any], bytes], zygote.Guests]
    missing: Callable[[], str | None]

    @property
    def imports(self) -> bool:
        """Whether each guest imports its libraries itself."""
        return self.name != "fork"

    def with_libraries(self, libraries: Iterable[str]) -> "Backend":
        """The same, with the times of guests that have these libraries."""
        if not self.imports:
            return self
        times = max((profile.LIBRARIES[library].slower for library in libraries), default=1)
        return replace(self, prepare_ns=times * self.prepare_ns, least_timeout_us=times * self.least_timeout_us)


def _try(name: Name, program: str, package: str, trial: Callable[[str], list[str]]) -> str | None:
    path = found(program)
    if path is None:
        return f"isolation {name!r} needs {program}, which this host does not have: apt-get install {package}"
    try:
        # It may hang on hosts that it does not suit.
        done = subprocess.run(
            trial(path), stdin=subprocess.DEVNULL, capture_output=True, timeout=_TRIAL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"isolation {name!r} does not work on this host: {error}"
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"]
        return f"isolation {name!r} does not work on this host: {program} says: {said[-1][:300]}"
    return None


@functools.cache
def _exec_missing() -> str | None:
    return _try("exec", "bwrap", bubblewrap.PACKAGE, bubblewrap.trial)


@functools.cache
def _oci_missing() -> str | None:
    return _try("oci", "runsc", gvisor.PACKAGE, gvisor.trial)


BACKENDS: Mapping[Name, Backend] = {
    "fork": Backend("fork", 60_000_000, 0, ForkedGuests, lambda: None),
    "exec": Backend(
        "exec",
        500_000_000,
        1_000_000,
        lambda config, source: FreshGuests(config, source, bubblewrap.Bubblewrap()),
        _exec_missing,
    ),
    "oci": Backend(
        "oci",
        1_500_000_000,
        5_000_000,
        lambda config, source: FreshGuests(config, source, gvisor.Gvisor()),
        _oci_missing,
    ),
}
"""From the least to the strongest."""


def choose(least: Name, *, program: bool = False) -> Backend:
    """The least backend of this host that is at least `least`, and that runs programs if this is one.

    Raises SandboxUnavailable, which says what to install.
    """
    wanted: Name = "exec" if program and least == "fork" else least
    names = list(BACKENDS)
    lacking = []
    for name in names[names.index(wanted) :]:
        missing = BACKENDS[name].missing()
        if missing is None:
            return BACKENDS[name]
        lacking.append(missing)
    raise SandboxUnavailable(lacking[0])
