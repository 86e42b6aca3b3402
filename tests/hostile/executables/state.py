# ruff: noqa: F821  appended to prelude.py
"""Pairs: leave_X in one slot, find_X in a later one. `find` gives back what it found, "" for nothing.

In one and the same slot `find` finds what `leave` left, wherever leaving is possible at all: the suite tests itself so.
"""

PLACES = ("/dev/shm/seen", "/tmp/seen", "/seen", "/run/seen", "/var/tmp/seen", "/sys/fs/cgroup/seen")
PATTERN = bytes((i * 53 + 29) % 251 for i in range(64))


def found(**answers):
    """Names of the questions that were answered with yes."""
    return " ".join(name for name, yes in answers.items() if yes)


def asked(function, *arguments):
    """What a call gives back, None where it is refused."""
    try:
        return function(*arguments)
    except (OSError, ValueError, AttributeError):
        return None


def leave_globals(chunk):
    import builtins

    import numpy

    globals()["SEEN"] = True
    sys.SEEN = True
    builtins.SEEN = True
    numpy.SEEN = numpy.ones(8)
    threading.current_thread().name = "seen"


def find_globals(chunk):
    import builtins

    import numpy

    return found(
        **{"global": "SEEN" in globals()},
        sys=hasattr(sys, "SEEN"),
        builtins=hasattr(builtins, "SEEN"),
        numpy=hasattr(numpy, "SEEN"),
        thread=threading.current_thread().name == "seen",
    )


def leave_modules(chunk):
    import json

    json.loads = lambda *a, **k: "patched"
    sys.modules["seen"] = sys
    sys.path.append("/seen")


def find_modules(chunk):
    import json

    return found(
        patch=json.loads("1") != 1,
        module="seen" in sys.modules,
        path="/seen" in sys.path,
    )


def leave_weights(chunk):
    """Write into arrays that were loaded before the chunk came."""
    from numpy.polynomial import polynomial

    polynomial.polyx[:] = 7


def find_weights(chunk):
    from numpy.polynomial import polynomial

    return found(weights=list(polynomial.polyx) != [0, 1])


def leave_builtin_memory(chunk):
    """Write over memory that the zygote has loaded: an interned string, the sandbox's own constants."""
    from workers import wire

    ctypes.memmove(id("workers") + sys.getsizeof("workers") - 8, b"WORKERS\0", 8)
    wire.SEEN, wire.END = True, b"end\n"


def find_builtin_memory(chunk):
    from workers import wire

    return found(constant=hasattr(wire, "SEEN"), string="".join(["work", "ers"]) != "workers")


def _code():
    """The address of a function of the C library that nobody needs."""
    return ctypes.cast(LIBC.a64l, ctypes.c_void_p).value


def leave_library_code(chunk):
    if call(10, _code() & ~4095, 4096, 7) == 0:
        ctypes.memset(_code(), 0xCC, 1)


def find_library_code(chunk):
    return found(code=ctypes.string_at(_code(), 1) == b"\xcc")


def leave_interpreter(chunk):
    import gc

    sys.setrecursionlimit(4321)
    sys.setswitchinterval(0.123)
    gc.set_threshold(7777)
    threading.excepthook = print


def find_interpreter(chunk):
    import gc

    return found(
        recursion=sys.getrecursionlimit() == 4321,
        switching=sys.getswitchinterval() > 0.1,
        collector=gc.get_threshold()[0] == 7777,
        hook=threading.excepthook is print,
    )


def leave_environment(chunk):
    os.environ["SEEN"] = "1"


def find_environment(chunk):
    LIBC.getenv.restype = ctypes.c_char_p
    return found(environment="SEEN" in os.environ, raw=LIBC.getenv(b"SEEN") is not None)


def leave_random(chunk):
    import random

    import numpy

    random.seed(1)
    numpy.random.seed(1)


def find_random(chunk):
    import random

    import numpy

    return found(
        python=random.random() == 0.13436424411240122,
        numpy=numpy.random.random() == 0.417022004702574,
    )


def _hash_secret():
    return (ctypes.c_char * 24).in_dll(ctypes.pythonapi, "_Py_HashSecret")


def leave_hash_seed(chunk):
    _hash_secret()[16:] = PATTERN[:8]


def find_hash_seed(chunk):
    return found(seed=_hash_secret().raw[16:] == PATTERN[:8])


def leave_allocator(chunk):
    block = bytearray(PATTERN * (4 << 14))  # 4 MiB
    small = [bytearray(PATTERN * 8) for _ in range(1000)]
    del block, small


def find_allocator(chunk):
    import numpy

    blocks = [numpy.empty(size, numpy.uint8).tobytes() for size in (512, 4 << 10, 64 << 10, 1 << 20, (4 << 20) + 57)]
    return found(freed=any(PATTERN[8:] in block for block in blocks))


def leave_rounding(chunk):
    """The processor's own state: how it rounds."""
    LIBC.fesetround(0x400)


def find_rounding(chunk):
    return found(rounding=LIBC.fegetround() != 0)


def leave_files(chunk):
    for place in PLACES:
        opened(place, os.O_CREAT | os.O_WRONLY)
        tried(os.mkdir, place)


def find_files(chunk):
    return " ".join(place for place in PLACES if os.path.exists(place))


def leave_times(chunk):
    """Of a file: when it was read, when it was changed, what is noted about it."""
    tried(os.utime, os.__file__, (1, 1))
    tried(os.setxattr, os.__file__, "user.seen", b"1")
    call(0, os.open(os.__file__, os.O_RDONLY), ctypes.create_string_buffer(4096), 4096)


def find_times(chunk):
    before = os.stat(os.__file__)
    call(0, os.open(os.__file__, os.O_RDONLY), ctypes.create_string_buffer(4096), 4096)
    return found(
        read=os.stat(os.__file__).st_atime_ns != before.st_atime_ns,
        changed=before.st_mtime == 1,
        noted=bool(asked(os.listxattr, os.__file__)),
    )


def leave_page_cache(chunk):
    fd = os.open(os.__file__, os.O_RDONLY)
    call(221, fd, 0, 0, 4)  # fadvise: drop it
    call(187, fd, 0, 1 << 20)  # readahead
    page = call(9, 0, 1 << 16, 1, 2, fd, 0)
    call(28, page, 1 << 16, 21)  # madvise: page out


def find_page_cache(chunk):
    fd = os.open(os.__file__, os.O_RDONLY)
    page = call(9, 0, 1 << 16, 1, 2, fd, 0)
    buffer = ctypes.create_string_buffer(4096)
    vector = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 4096)
    return through(
        mincore=call(27, page, 1 << 16, buffer),
        cachestat=call(451, fd, (ctypes.c_ulong * 2)(0, 4096), (ctypes.c_ulong * 5)(), 0),
        nowait=call(327, fd, vector, 1, 0, 0, 8),  # preadv2, only if it is in memory
    )


def leave_descriptors(chunk):
    import fcntl

    for fd in range(4):
        for flags in (os.O_NONBLOCK, os.O_APPEND):
            tried(fcntl.fcntl, fd, fcntl.F_SETFL, flags)
        tried(os.lseek, fd, 7, os.SEEK_SET)
        tried(fcntl.fcntl, fd, fcntl.F_SETOWN, 1)
    tried(fcntl.fcntl, ROWS_FD, 1031, 1 << 17)


def find_descriptors(chunk):
    import fcntl

    return found(
        flags=any(fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_NONBLOCK | os.O_APPEND) for fd in range(4)),
        positions=any(os.lseek(fd, 0, os.SEEK_CUR) for fd in range(3)),
        owner=bool(asked(fcntl.fcntl, 0, fcntl.F_GETOWN)),
    )


def leave_memfd(chunk):
    for number, name in ((319, b"seen"), (447, None), (290, 0)):  # memfd, memfd_secret, eventfd
        if (fd := call(number, name or 0, 0)) >= 0:
            tried(os.dup2, fd, 100 + fd)


def find_memfd(chunk):
    return " ".join(str(fd) for fd in range(4, 256) if tried(os.fstat, fd) == 0)


def leave_kernel_objects(chunk):
    call(29, 0x1234, 4096, 0o1666)
    call(64, 0x1234, 1, 0o1666)
    call(68, 0x1234, 0o1666)
    call(240, b"seen", os.O_RDWR | os.O_CREAT, 0o600, 0)


def find_kernel_objects(chunk):
    return through(
        shm=call(29, 0x1234, 4096, 0),
        sem=call(64, 0x1234, 1, 0),
        msg=call(68, 0x1234, 0),
        mq=call(240, b"seen", os.O_RDONLY, 0, 0),
    )


KEYRINGS = (-2, -3, -4, -5)
"""Of the process, the session, the user, the user's session."""


def leave_keyrings(chunk):
    for ring in KEYRINGS:
        call(248, b"user", b"seen", b"1", 1, ring)


def find_keyrings(chunk):
    return through(**{f"ring{-ring}": call(250, 10, ring, b"user", b"seen", 0) for ring in KEYRINGS})


def leave_sockets(chunk):
    import socket

    def bind():
        globals()["SERVER"] = server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        server.bind("\0seen")

    tried(bind)


def find_sockets(chunk):
    import socket

    return through(abstract=tried(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect("\0seen")))


def leave_orphan(chunk):
    def stay():
        while True:
            time.sleep(0.01)

    threading.Thread(target=stay, daemon=True).start()
    if call(57) == 0:
        stay()


def find_orphan(chunk):
    return through(second=call(234, 2, 2, 0), third=call(62, 2, 0)) or found(thread=threading.active_count() > 1)


def leave_pids(chunk):
    """Use up process numbers."""
    for _ in range(100):
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()


def find_pids(chunk):
    numbers = []
    thread = threading.Thread(target=lambda: numbers.append(threading.get_native_id()))
    thread.start()
    thread.join()
    return found(numbers=numbers[0] > 50)


def leave_signals(chunk):
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, 40])
    for number in (signal.SIGUSR2, *[40] * 300):  # pending ones are counted for the user
        call(234, os.getpid(), os.getpid(), number)


def find_signals(chunk):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [41])
    sent = sum(call(234, os.getpid(), os.getpid(), 41) == 0 for _ in range(20))
    return found(
        handler=signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN,
        blocked=signal.SIGUSR2 in before,
        counted=sent < 20,
        pending=bool(asked(signal.sigpending)) and signal.SIGUSR2 in signal.sigpending(),
    )


def leave_timers(chunk):
    tried(signal.setitimer, signal.ITIMER_REAL, 100)
    call(37, 100)  # alarm
    for clock in (0, 1, 7):
        call(222, clock, 0, ctypes.byref(ctypes.c_int()))


def find_timers(chunk):
    left = asked(signal.getitimer, signal.ITIMER_REAL)
    one = ctypes.c_int(-1)
    made = call(222, 1, 0, ctypes.byref(one))
    return found(running=left is not None and left[0] > 0, numbered=made == 0 and one.value > 0)


def leave_working_folder(chunk):
    tried(os.chdir, os.path.dirname(os.__file__))
    tried(os.chroot, os.path.dirname(os.__file__))


def find_working_folder(chunk):
    return found(folder=os.getcwd() != "/", root=not os.path.exists(os.__file__))


def leave_umask(chunk):
    tried(os.umask, 0o111)


def find_umask(chunk):
    return found(umask=asked(os.umask, 0o022) == 0o111)


def leave_limits(chunk):
    import resource

    for limit, value in ((resource.RLIMIT_NOFILE, 77), (resource.RLIMIT_STACK, 1 << 20), (resource.RLIMIT_CPU, 777)):
        tried(resource.setrlimit, limit, (value, value))


def find_limits(chunk):
    import resource

    return found(
        files=resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 77,
        stack=resource.getrlimit(resource.RLIMIT_STACK)[0] == 1 << 20,
        time=resource.getrlimit(resource.RLIMIT_CPU)[0] == 777,
    )


def leave_priority(chunk):
    tried(os.nice, 5)
    call(144, 0, 3, struct.pack("i", 0))  # scheduler: batch
    call(251, 1, 0, (2 << 13) | 5)  # ioprio


def find_priority(chunk):
    return found(nice=call(140, 0, 0) == 15, scheduler=call(145, 0) == 3, disk=call(252, 1, 0) == (2 << 13) | 5)


def leave_prctl(chunk):
    call(157, 15, b"seen")
    call(157, 29, 12345)  # timer slack
    call(157, 41, 1)  # no huge pages
    call(157, 4, 1)  # dumpable


def find_prctl(chunk):
    name = ctypes.create_string_buffer(16)
    call(157, 16, name)
    return found(name=name.value == b"seen", slack=call(157, 30) == 12345, pages=call(157, 42) == 1)


def leave_hostname(chunk):
    call(170, b"seen", 4)
    call(171, b"seen", 4)


def find_hostname(chunk):
    return found(name=os.uname().nodename != "sandbox")


def leave_mounts(chunk):
    call(272, 0x10000000 | 0x20000)
    call(165, b"none", b"/", b"tmpfs", 0, 0)


def find_mounts(chunk):
    return found(mounts=not os.path.exists(os.__file__), user=os.getuid() != 65534)


def leave_tracing(chunk):
    for pid in range(4):
        call(101, 0x4206, pid, 0, 0)  # seize
    call(101, 0, 0, 0, 0)  # traceme


def find_tracing(chunk):
    return found(traced=call(101, 0, 0, 0, 0) == -errno.EPERM and call(157, 3) >= 0)


def leave_quota(chunk):
    """Take all memory and all threads that it may have, and keep them to the end."""
    kept = globals()["KEPT"] = []
    try:
        while True:
            kept.append(bytearray(1 << 20))
    except MemoryError:
        del kept[-16:]
    stay = threading.Event()
    try:
        for _ in range(200):
            threading.Thread(target=stay.wait, daemon=True).start()
    except (RuntimeError, MemoryError):
        pass


def find_quota(chunk):
    """A whole allowance is there: half of the memory, several threads."""
    done = threading.Event()
    try:
        block = [bytearray(1 << 20) for _ in range(48)]
        for _ in range(4):
            threading.Thread(target=done.wait, daemon=True).start()
    except (RuntimeError, MemoryError) as error:
        return type(error).__name__
    done.set()
    return "" if block else "memory"


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


def attack_names(chunk):
    """Asks for 20,000 names that do not exist. The kernel must not remember the answers (the host looks)."""
    for i in range(20_000):
        tried(os.stat, f"{os.path.dirname(os.__file__)}/no{i}")
    return ""
