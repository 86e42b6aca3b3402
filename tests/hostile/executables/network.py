# ruff: noqa: F821  appended to prelude.py
SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET = 1, 2, 3, 5


def _socket(family):
    return through(
        stream=call(41, family, SOCK_STREAM, 0),
        dgram=call(41, family, SOCK_DGRAM, 0),
        raw=call(41, family, SOCK_RAW, 0),
        packet=call(41, family, SOCK_SEQPACKET, 0),
    )


def attack_inet(chunk):
    return _socket(2)


def attack_inet6(chunk):
    return _socket(10)


def attack_unix(chunk):
    return _socket(1)


def attack_netlink(chunk):
    return _socket(16)


def attack_packet(chunk):
    return _socket(17)


def attack_vsock(chunk):
    return _socket(40)


def attack_alg(chunk):
    return _socket(38)


def attack_socketpair(chunk):
    pair = (ctypes.c_int * 2)()
    return through(pair=call(53, 1, SOCK_STREAM, 0, pair))


def attack_socket_calls(chunk):
    """On the descriptors that there are, too."""
    one = ctypes.create_string_buffer(16)
    return through(
        connect=call(42, ROWS_FD, one, 16),
        bind=call(49, ROWS_FD, one, 16),
        sendto=call(44, ROWS_FD, one, 1),
        shutdown=call(48, ROWS_FD, 2),
        getsockopt=call(55, 0, 1, 1, one, one),
    )
