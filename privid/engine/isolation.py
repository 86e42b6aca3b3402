"""Which kind of walls a query's slots get: the least of this host that every policy is content with."""

from collections.abc import Iterable

from privid.domain.policy import Isolation
from privid.engine.errors import CannotEnforce
from workers.host import backends
from workers.host.errors import SandboxUnavailable

MODELS = ("fork", "exec")
"""The walls that a model's memory reaches through."""


def require(
    least: Isolation, timeout_us: int, *, program: bool = False, model: bool = False, libraries: Iterable[str] = ()
) -> Isolation:
    """The walls that slots of this TIMEOUT get here, at least these, and what a program or a model needs.

    `libraries`: those that the executable has declared. Raises CannotEnforce.
    """
    try:
        backend = backends.choose(least, program=program).with_libraries(libraries)
    except SandboxUnavailable as error:
        raise CannotEnforce(
            f"a camera of this query asks for isolation {least!r}, which this host cannot give: {error}",
            "ask whoever runs the server to install it (privid-server doctor says what is missing)",
        ) from None
    if model and backend.name not in MODELS:
        raise CannotEnforce(
            f"WITH MODEL shares memory between a slot and its model, which isolation {backend.name!r} cannot",
            "bring the weights in the executable's own bundle",
        )
    if timeout_us < backend.least_timeout_us:
        seconds = backend.least_timeout_us // 1_000_000
        raise CannotEnforce(
            f"under isolation {backend.name!r} a slot with these libraries takes longer to start than this TIMEOUT",
            f"give a TIMEOUT of at least {seconds}sec",
        )
    return backend.name
