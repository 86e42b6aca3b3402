# ruff: noqa: F821  appended to prelude.py
def _raw(data):
    left = memoryview(data)
    while left:
        left = left[os.write(ROWS_FD, left) :]
    os._exit(0)


def result_nan(chunk):
    return [{"verdict": "ok", "value": float("nan")}]


def result_infinity(chunk):
    return [{"verdict": "ok", "value": float("-inf")}]


def result_1e999(chunk):
    _raw(b'{"verdict":"ok","value":1e999}\nend\n')


def result_bad_utf8(chunk):
    _raw(b'{"verdict":"\xff\xfe"}\nend\n')


def result_deep(chunk):
    _raw(b"[" * 60_000 + b"]" * 60_000 + b"\nend\n")


def result_long_integer(chunk):
    _raw(b'{"verdict":"ok","value":' + b"9" * 20_000 + b"}\nend\n")


def result_pickle(chunk):
    import pickle

    _raw(pickle.dumps([{"verdict": "ok"}]) + b"\nend\n")


def result_bool_as_string(chunk):
    _raw(b'{"verdict":"ok","flag":"true","value":true}\nend\n')


def result_wrong_width(chunk):
    _raw(b'{"verdict":"ok","a":1,"b":2,"c":3}\n{}\nend\n')


def result_truncated(chunk):
    _raw(b'{"verdict":"ok","value":1}\n{"verdict":"ok","val')


def result_no_end(chunk):
    _raw(b'{"verdict":"ok","value":1}\n')


def result_many_rows(chunk):
    for i in range(5000):
        yield {"verdict": f"row {i}"}


def result_many_rows_raw(chunk):
    _raw(b"".join(b'{"verdict":"row %d"}\n' % i for i in range(3000)) + b"end\n")


def result_endless(chunk):
    while True:
        yield {"verdict": "again"}


def result_gigabyte(chunk):
    block = b"x" * (1 << 20)
    for _ in range(1024):
        os.write(ROWS_FD, block)


def result_nothing(chunk):
    os._exit(0)


def result_none(chunk):
    return None


def result_partial_then_crash(chunk):
    yield {"verdict": "ok", "value": 1}
    raise ValueError


def result_not_rows(chunk):
    return 17


def result_long_string(chunk):
    return [{"verdict": "é" * 129, "value": 1}]


def result_fake_greeting(chunk):
    """The trusted part says R and S before; repeating it must not look like a restart."""
    _raw(b"RS" + struct.pack("<q", 0) + b'{"verdict":"ok"}\nend\n')


def result_negative_zero(chunk):
    return [{"verdict": "ok", "value": -0.0}]
