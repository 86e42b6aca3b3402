"""The warden's decisions about one guest, without processes."""

import os

from workers.host.warden import Guest


def make_guest(go_ns: int = 0) -> Guest:
    read, write = os.pipe()
    return Guest(
        number=1, go_ns=go_ns, kill_ns=0, timeout_ns=1, rows_fd=read, go_fd=write, log_fd=-1, read_while_running=False
    )


def test_a_guest_is_not_started_before_it_is_known_who_it_is() -> None:
    """A guest can say that it waits before the zygote has sent its pidfd: it could be neither pinned nor killed."""
    guest = make_guest()
    guest.ready = True
    assert not guest.startable
    guest.pidfd = os.pidfd_open(os.getpid())
    assert guest.startable
    guest.close()


def test_it_is_gone_only_when_its_pipe_is_drained_too() -> None:
    guest = make_guest()
    guest.dead = True
    assert not guest.gone
    guest.at_end = True
    assert guest.gone
    guest.close()


def test_closing_twice_closes_nobody_elses_descriptor() -> None:
    guest = make_guest()
    guest.close()
    other = os.pipe()
    guest.close_go()
    guest.close()
    assert all(os.fstat(fd) for fd in other)
    for fd in other:
        os.close(fd)
