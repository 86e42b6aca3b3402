"""Which kind of walls a query's slots get: the least of this host that every policy is content with."""

from privid.domain.policy import Isolation
from privid.engine.errors import CannotEnforce
from workers.host import backends
from workers.host.errors import SandboxUnavailable


def require(least: Isolation, timeout_us: int) -> None:
    """Check that slots of this TIMEOUT can have at least these walls here. Raises CannotEnforce."""
    try:
        backend = backends.choose(least)
    except SandboxUnavailable as error:
        raise CannotEnforce(
            f"a camera of this query asks for isolation {least!r}, which this host cannot give: {error}",
            "ask whoever runs the server to install it (privid-server doctor says what is missing)",
        ) from None
    if timeout_us < backend.least_timeout_us:
        seconds = backend.least_timeout_us // 1_000_000
        raise CannotEnforce(
            f"under isolation {backend.name!r} a slot takes longer to start than this TIMEOUT",
            f"give a TIMEOUT of at least {seconds}sec",
        )
