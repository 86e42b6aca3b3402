# ruff: noqa: F821  appended to prelude.py
def attack_kill(chunk):
    return through(
        parent=call(62, os.getppid() or 2, 9),
        everyone=call(62, -1, 9),
        group=call(62, 0, 9),
        tkill=call(200, 2, 9),
        tgkill=call(234, 2, 2, 9),
        sigqueue=call(129, 1, 10, 0),
    )


def attack_ptrace(chunk):
    return through(**{f"pid{p}": call(101, 16, p, 0, 0) for p in (0, 1, 2, 3)}, traceme=call(101, 0, 0, 0, 0))


def attack_process_vm(chunk):
    data = ctypes.create_string_buffer(64)
    vector = (ctypes.c_ulong * 2)(ctypes.addressof(data), 64)
    return through(read=call(310, 1, vector, 1, vector, 1, 0), write=call(311, 1, vector, 1, vector, 1, 0))


def attack_proc_mem(chunk):
    return through(**{f"pid{p}": opened(f"/proc/{p}/mem", os.O_RDWR) for p in ("self", 1, 2)})


def attack_pidfd(chunk):
    return through(
        open=call(434, 1, 0), getfd=call(438, 0, 0, 0), signal=call(424, 0, 9, 0, 0), kcmp=call(312, 1, 1, 0, 0, 0)
    )


def _child(pid):
    if pid == 0:
        os._exit(0)
    return pid


def attack_fork(chunk):
    got = through(fork=_child(call(57)), clone=_child(call(56, 17, 0, 0, 0, 0)))
    try:
        _child(os.fork())
    except OSError:
        return got
    return got + " os.fork"


def attack_vfork(chunk):
    # Called through libc: a raw vfork would return twice on one stack.
    LIBC.vfork.restype = ctypes.c_int
    result = LIBC.vfork()
    if result == 0:
        os._exit(0)
    return "" if result < 0 else "vfork"


def attack_clone3(chunk):
    arguments = (ctypes.c_ulong * 11)(0, 0, 0, 0, 17)
    return through(clone3=_child(call(435, arguments, ctypes.sizeof(arguments))))


def attack_clone_namespaces(chunk):
    flags = {"user": 0x10000000, "pid": 0x20000000, "net": 0x40000000, "mount": 0x20000, "vm": 0x100, "parent": 0x8000}
    return through(**{name: _child(call(56, flag | 17, 0, 0, 0, 0)) for name, flag in flags.items()})


def attack_exec(chunk):
    path = ctypes.c_char_p(sys.executable.encode())
    empty = (ctypes.c_char_p * 1)(None)
    return through(execve=call(59, path, empty, empty), execveat=call(322, -100, path, empty, empty, 0))


def attack_subprocess(chunk):
    import subprocess

    return through(run=tried(subprocess.run, ["/bin/true"]), system=-1 if os.system("true") else 0)


def attack_fork_bomb(chunk):
    return str(sum(1 for _ in range(1000) if _child(call(57)) >= 0) or "")


def attack_thread_bomb(chunk):
    stop = threading.Event()
    count = 0
    try:
        for count in range(10_000):  # noqa: B007
            threading.Thread(target=stop.wait, daemon=True).start()
    except RuntimeError:
        pass
    stop.set()
    return "" if count < 200 else f"{count} threads"


def attack_stray_thread(chunk):
    def spin():
        while True:
            time.sleep(0.001)

    threading.Thread(target=spin).start()
    return ""


def attack_ignore_signals(chunk):
    for number in range(1, 65):
        if number not in (9, 19, 32, 33):
            signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(10)


def attack_close_and_sleep(chunk):
    os.write(ROWS_FD, b'{"verdict":"lingered"}\nend\n')
    os.close(ROWS_FD)
    time.sleep(60)


def attack_spin(chunk):
    while True:
        pass


def attack_exit(chunk):
    sys.exit(0)


def attack_hard_exit(chunk):
    os._exit(0)


def attack_abort(chunk):
    os.abort()


def attack_segfault(chunk):
    ctypes.string_at(8)


def attack_raise(chunk):
    raise KeyboardInterrupt


def attack_affinity(chunk):
    return through(
        affinity=tried(os.sched_setaffinity, 0, {0}),
        scheduler=call(144, 0, 3, struct.pack("i", 0)),
        attributes=call(314, 0, ctypes.create_string_buffer(56), 0),
        nice=call(141, 0, 0, 5),
        ioprio=call(251, 1, 0, 0),
    )


def attack_limits(chunk):
    import resource

    new = (ctypes.c_ulong * 2)(1 << 30, 1 << 30)
    return through(
        set=tried(resource.setrlimit, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
        other=call(302, 2, 7, 0, new),
        raw=call(160, 1, new),
    )
