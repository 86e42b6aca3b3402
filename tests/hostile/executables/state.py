# ruff: noqa: F821  appended to prelude.py
"""Pairs: leave_X in one slot, find_X in a later one. `find` gives back what it found, "" for nothing."""


def leave_globals(chunk):
    import json

    import numpy

    globals()["SEEN"] = True
    sys.SEEN = True
    json.dumps = lambda *a, **k: "patched"
    os.environ["SEEN"] = "1"
    sys.modules["seen"] = sys
    sys.path.append("/seen")
    numpy.random.seed(1)
    numpy.SEEN = numpy.ones(8)
    os.umask(0o111)
    sys.setrecursionlimit(4321)
    threading.current_thread().name = "seen"
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def find_globals(chunk):
    import json

    import numpy

    found = {
        "global": "SEEN" in globals(),
        "sys": hasattr(sys, "SEEN"),
        "patch": json.dumps(1) != "1",
        "environment": "SEEN" in os.environ,
        "module": "seen" in sys.modules,
        "path": "/seen" in sys.path,
        "numpy": hasattr(numpy, "SEEN"),
        "random": numpy.random.random() == 0.417022004702574,
        "recursion": sys.getrecursionlimit() == 4321,
        "thread": threading.current_thread().name == "seen",
        "handler": signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN,
    }
    return " ".join(name for name, yes in found.items() if yes)


def leave_builtin_memory(chunk):
    """Write over memory that the zygote has loaded: an interned string, a library's data, the sandbox's own code."""
    import workers.guest.main as runtime

    ctypes.memmove(id("workers") + sys.getsizeof("workers") - 8, b"WORKERS\0", 8)
    runtime.encode = lambda result, table: b'{"verdict":"patched"}\nend\n'
    runtime.MODULE = "seen"


def find_builtin_memory(chunk):
    import workers.guest.main as runtime

    return "" if runtime.MODULE == "executable" and "".join(["work", "ers"]) == "workers" else "patched"


def leave_files(chunk):
    for place in ("/dev/shm/seen", "/tmp/seen", "/seen", "/run/seen", "/var/tmp/seen"):
        opened(place, os.O_CREAT | os.O_WRONLY)


def find_files(chunk):
    return " ".join(
        p for p in ("/dev/shm/seen", "/tmp/seen", "/seen", "/run/seen", "/var/tmp/seen") if os.path.exists(p)
    )


def leave_kernel_objects(chunk):
    call(29, 0x1234, 4096, 0o1666)
    call(64, 0x1234, 1, 0o1666)
    call(68, 0x1234, 0o1666)
    call(240, b"seen", os.O_RDWR | os.O_CREAT, 0o600, 0)
    call(248, b"user", b"seen", b"1", 1, -4)


def find_kernel_objects(chunk):
    return through(
        shm=call(29, 0x1234, 4096, 0),
        sem=call(64, 0x1234, 1, 0),
        msg=call(68, 0x1234, 0),
        mq=call(240, b"seen", os.O_RDONLY, 0, 0),
        key=call(250, 10, -4, b"user", b"seen", 0),
    )


def leave_descriptors(chunk):
    import fcntl

    for fd in range(4):
        for flags in (os.O_NONBLOCK, os.O_APPEND):
            tried(fcntl.fcntl, fd, fcntl.F_SETFL, flags)
        tried(os.lseek, fd, 7, os.SEEK_SET)


def find_descriptors(chunk):
    import fcntl

    plain = [fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_NONBLOCK | os.O_APPEND) for fd in range(4)]
    positions = [os.lseek(fd, 0, os.SEEK_CUR) for fd in range(3)]
    return "" if not any(plain) and not any(positions) else f"{plain} {positions}"


def leave_orphan(chunk):
    def stay():
        while True:
            time.sleep(0.01)

    threading.Thread(target=stay).start()
    if call(57) == 0:
        stay()


def find_orphan(chunk):
    return through(second=call(234, 2, 2, 0), third=call(62, 2, 0)) or (
        "" if threading.active_count() == 1 else "thread"
    )


def leave_usage(chunk):
    """Use much: time, memory, faults. Its successor must start from nothing, or see nothing."""
    end = time.monotonic() + 0.1
    block = bytearray(32 << 20)
    while time.monotonic() < end:
        block[0] = 1


def find_usage(chunk):
    import resource

    cpu = ctypes.create_string_buffer(16)
    clocks = [struct.unpack("qq", cpu.raw) for clock in (2, 3) if call(228, clock, cpu) == 0]
    if any(seconds + nanoseconds / 1e9 > 0.09 for seconds, nanoseconds in clocks):
        return f"{clocks}"
    try:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = resource.getrusage(resource.RUSAGE_SELF)
        times = os.times()
    except OSError:
        return ""
    spent = children.ru_utime + children.ru_maxrss + children.ru_minflt
    free = spent == 0 and own.ru_utime + own.ru_stime < 0.09 and sum(times[2:4]) == 0
    return "" if free else f"{children} {own}"


def leave_output(chunk):
    """Nothing to do: its own row holds the secret."""


def attack_names(chunk):
    """Asks for 20,000 names that do not exist. The kernel must not remember the answers (the host looks)."""
    for i in range(20_000):
        tried(os.stat, f"{os.path.dirname(os.__file__)}/no{i}")
    return ""
