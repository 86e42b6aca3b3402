# ruff: noqa: F821  appended to prelude.py
def attack_io_uring(chunk):
    return through(setup=call(425, 8, ctypes.create_string_buffer(256)), enter=call(426, 3, 0, 0, 0, 0, 0))


def attack_userfaultfd(chunk):
    return through(plain=call(323, 0), user_only=call(323, 1))


def attack_keys(chunk):
    return through(
        add=call(248, b"user", b"left", b"1", 1, -3),
        request=call(249, b"user", b"left", 0, -3),
        session=call(250, 1, 0),
        keyring=call(250, 0, -4, 1),
    )


def attack_perf(chunk):
    return through(perf=call(298, ctypes.create_string_buffer(struct.pack("II", 1, 128), 128), 0, -1, -1, 0))


def attack_bpf(chunk):
    return through(bpf=call(321, 0, ctypes.create_string_buffer(128), 128))


def attack_mount(chunk):
    return through(
        mount=call(165, b"none", b"/", b"tmpfs", 0, 0),
        umount=call(166, b"/", 2),
        fsopen=call(430, b"tmpfs", 0),
        open_tree=call(428, -100, b"/", 1),
        pivot=call(155, b"/", b"/"),
        attributes=call(442, -100, b"/", 0, 0, 0),
        remount=call(165, b"none", b"/", b"none", 32 | 4096, 0),
        swapon=call(167, b"/", 0),
    )


def attack_unshare(chunk):
    flags = {"user": 0x10000000, "net": 0x40000000, "mount": 0x20000, "pid": 0x20000000, "time": 0x80, "files": 0x400}
    return through(**{name: call(272, flag) for name, flag in flags.items()})


def attack_setns(chunk):
    return through(**{f"fd{fd}": call(308, fd, 0) for fd in range(8)})


def attack_setuid(chunk):
    return through(
        setuid=call(105, 0),
        setgid=call(106, 0),
        setresuid=call(117, 0, 0, 0),
        setgroups=call(116, 0, 0),
        setfsuid=call(122, 0) if os.getuid() == 0 else -1,
        capset=call(126, struct.pack("II", 0x20080522, 0), struct.pack("IIIIII", *[0xFFFFFFFF] * 6)),
    )


def attack_clocks(chunk):
    now = struct.pack("qq", 0, 0)
    return through(
        settime=call(227, 0, now),
        settimeofday=call(164, now, 0),
        adjtime=call(159, ctypes.create_string_buffer(208)),
        clock_adjtime=call(305, 0, ctypes.create_string_buffer(208)),
        process_clock=call(228, -14, now),
    )


def attack_own_cost(chunk):
    """How long its own start took, which the slot before it and the decoder could have made longer."""
    return through(
        process=call(228, 2, ctypes.create_string_buffer(16)),
        thread=call(228, 3, ctypes.create_string_buffer(16)),
        usage=call(98, 0, ctypes.create_string_buffer(144)),
        children=call(98, -1, ctypes.create_string_buffer(144)),
        times=call(100, ctypes.create_string_buffer(32)),
        process_resolution=call(229, 2, ctypes.create_string_buffer(16)),
    )


def attack_prctl(chunk):
    return through(
        dumpable=call(157, 4, 1),
        deathsig=call(157, 1, 0),
        securebits=call(157, 28, 0),
        slack=call(157, 29, 1),
        subreaper=call(157, 36, 1),
        speculation=call(157, 53, 0, 2),
        thp=call(157, 41, 1),
        mce=call(157, 33, 1),
        ptracer=call(157, 0x59616D61, -1),
    )


def attack_seccomp(chunk):
    return through(
        strict=call(317, 0, 0, 0), filter=call(317, 1, 0, ctypes.create_string_buffer(16)), landlock=call(444, 0, 0, 1)
    )


def attack_terminal(chunk):
    byte = ctypes.create_string_buffer(b"x")
    return through(
        **{f"tiocsti{fd}": call(16, fd, 0x5412, byte) for fd in range(4)},
        console=call(16, 0, 0x541C, byte),
        controlling=call(16, 0, 0x540E, 0),
        hangup=call(153),
    )


def attack_notify(chunk):
    return through(inotify=call(253), inotify1=call(294, 0), fanotify=call(300, 0, 0))


def attack_handles(chunk):
    handle = ctypes.create_string_buffer(struct.pack("II", 128, 0), 144)
    number = ctypes.c_int()
    return through(name=call(303, -100, b"/", handle, ctypes.byref(number), 0), open=call(304, -100, handle, 0))


def attack_page_cache(chunk):
    fd = os.open(os.__file__, os.O_RDONLY)
    mapped = mmap.mmap(fd, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    page = ctypes.addressof(ctypes.c_char.from_buffer(mapped)) & ~4095
    vector = ctypes.create_string_buffer(16)
    stat = (ctypes.c_ulong * 5)()
    return through(
        mincore=call(27, page, 4096, vector),
        cachestat=call(451, fd, (ctypes.c_ulong * 2)(0, 4096), stat, 0),
        fadvise=call(221, fd, 0, 0, 4),
        readahead=call(187, fd, 0, 4096),
        sync_range=call(277, fd, 0, 0, 0),
        msync=call(26, page, 4096, 4),
        nowait=call(327, fd, (ctypes.c_ulong * 2)(ctypes.addressof(vector), 16), 1, 0, 0, 8),
    )


def attack_madvise(chunk):
    page = call(9, 0, 1 << 20, 3, 0x22, -1, 0)
    advice = {
        "pageout": 21,
        "cold": 20,
        "mergeable": 12,
        "remove": 9,
        "willneed": 3,
        "populate": 22,
        "collapse": 25,
        "hwpoison": 100,
        "guard": 102,
    }
    return through(
        **{name: call(28, page, 4096, number) for name, number in advice.items()}, process=call(440, 0, 0, 0, 21, 0)
    )


def attack_anonymous_objects(chunk):
    """Each is counted for the user, over all slots: a full counter is a message."""
    pair = (ctypes.c_int * 2)()
    return through(
        pipe=call(22, pair),
        pipe2=call(293, pair, 0),
        epoll=call(213, 1),
        epoll1=call(291, 0),
        eventfd=call(290, 0, 0),
        timerfd=call(283, 1, 0),
        signalfd=call(289, -1, struct.pack("Q", 0), 8, 0),
        timer=call(222, 1, 0, ctypes.byref(ctypes.c_int())),
        itimer=call(38, 0, ctypes.create_string_buffer(32), 0),
        aio=call(206, 8, ctypes.byref(ctypes.c_ulong())),
    )


def attack_shared_futex(chunk):
    """A futex on a page of a file that every slot maps is a signal between slots that run side by side."""
    fd = os.open(os.__file__, os.O_RDONLY)
    address = call(9, 0, 4096, 1, 1, fd, 0)
    value = ctypes.c_uint32.from_address(address).value
    waited = call(202, address, 0, value, ctypes.byref((ctypes.c_long * 2)(0, 1000)), 0, 0)
    return through(
        wake=call(202, address, 1, 1, 0, 0, 0), waitv=call(449, 0, 0, 0, 0, 0), new_wake=call(454, address, 1, 1, 0)
    ) + (" waited" if waited in (0, -errno.ETIMEDOUT) else "")


def attack_admin(chunk):
    buffer = ctypes.create_string_buffer(256)
    return through(
        reboot=call(169, 0, 0, 0, 0),
        module=call(175, buffer, 0, b""),
        acct=call(163, b"/x"),
        hostname=call(170, b"x", 1),
        iopl=call(172, 3),
        ioperm=call(173, 0, 8, 1),
        ldt=call(154, 0, buffer, 16),
        personality=call(135, 0x40000),
        quota=call(179, 0, 0, 0, 0),
        vhangup=call(153),
        kexec=call(246, 0, 0, 0, 0),
        lookup=call(212, 0, buffer, 16),
        membarrier=call(324, 1, 0, 0),
        mempolicy=call(238, 1, 0, 0),
    )


def attack_copying(chunk):
    return through(
        splice=call(275, 0, 0, ROWS_FD, 0, 1, 0),
        tee=call(276, 0, ROWS_FD, 1, 0),
        sendfile=call(40, ROWS_FD, 0, 0, 1),
        copy=call(326, 0, 0, 0, 0, 1, 0),
        vmsplice=call(278, ROWS_FD, 0, 0, 0),
    )


def _machine_code(code):
    page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 7)
    page.write(code)
    return ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))


def attack_x32(chunk):
    """getpid of the x32 table: a second way to every system call."""
    return f"x32 {call(0x40000000 | 39)}"


def attack_int80(chunk):
    """getpid of the 32 bit table: mov eax, 20; int 0x80; ret."""
    return f"int80 {_machine_code(bytes.fromhex('b814000000cd80c3'))()}"
