"""Telling systemd how the program is (sd_notify(3)): a datagram to the socket that it names, if it does."""

import os
import socket


def notify(state: str) -> None:
    """Send `READY=1`, `RELOADING=1`, `STOPPING=1`, `WATCHDOG=1` or the like. Not started by systemd: does nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.connect(name)
        sender.sendall(state.encode())
