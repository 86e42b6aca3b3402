"""Network addresses."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach `host`. A name other than localhost could be anything."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
