# ruff: noqa: F821  appended to prelude.py
MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE, MAP_HUGETLB, MAP_LOCKED = 1, 2, 0x20, 0x4000, 0x40000, 0x2000


def attack_bomb_4g(chunk):
    block = []
    try:
        for _ in range(4096):
            block.append(bytearray(1 << 20))
    except MemoryError:
        pass
    return "" if len(block) < 1024 else f"{len(block)} MiB"


def attack_bomb_100g(chunk):
    got = call(9, 0, 100 << 30, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    return "" if got < 0 else "mapped"


def attack_bomb_kept(chunk):
    """Keeps what it can get until it dies of it."""
    block = []
    while True:
        block.append(bytearray(1 << 20))


def attack_mprotect_bomb(chunk):
    """Read-only mappings do not count towards the limit; making them writable must."""
    got = 0
    for _ in range(64):
        address = call(9, 0, 64 << 20, 1, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if address > 0 and call(10, address, 64 << 20, 3) == 0:
            ctypes.memset(address, 1, 64 << 20)
            got += 64
    return "" if got < 1024 else f"{got} MiB"


def attack_sysv(chunk):
    return through(shm=call(29, 0x1234, 4096, 0o1666), sem=call(64, 0x1234, 1, 0o1666), msg=call(68, 0x1234, 0o1666))


def attack_mqueue(chunk):
    return through(mq=call(240, b"left", os.O_RDWR | os.O_CREAT, 0o600, 0))


def attack_memfd(chunk):
    return through(memfd=call(319, b"left", 0), secret=call(447, 0))


def attack_shared_mmap(chunk):
    fd = os.open(os.__file__, os.O_RDONLY)
    return through(
        anonymous=call(9, 0, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
        anonymous_read=call(9, 0, 4096, 1, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
        validate=call(9, 0, 4096, 3, 3 | MAP_ANONYMOUS, -1, 0),
        file=call(9, 0, 4096, 3, MAP_SHARED, fd, 0),
        module=tried(mmap.mmap, -1, 4096),
    )


def attack_huge_pages(chunk):
    return through(huge=call(9, 0, 2 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0))


def attack_locked_memory(chunk):
    page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return through(
        mlock=call(149, address, 4096),
        mlock2=call(325, address, 4096, 0),
        mlockall=call(151, 1),
        mapped=call(9, 0, 1 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0),
    )


def _frames_address(chunk):
    return chunk.frames.ctypes.data


def attack_frames_mprotect(chunk):
    page = _frames_address(chunk) & ~4095
    return through(write=call(10, page, 4096, 3))


def attack_frames_flags(chunk):
    frames = chunk.frames
    got = through(flags=tried(lambda: setattr(frames.flags, "writeable", True)))
    try:
        frames[0, 0, 0, 0] = 1
    except ValueError:
        return got
    return got + " assigned"


def attack_frames_write(chunk):
    ctypes.memset(_frames_address(chunk), 255, 1)
    return "written"


def attack_frames_unseal(chunk):
    """No descriptor of the frames is left; any descriptor that is left has nothing to unseal."""
    got = [str(fd) for fd in range(4, 4096) if call(72, fd, 1033, 0) >= 0 or call(77, fd, 0) >= 0]
    return " ".join(got)


def attack_remap(chunk):
    page = _frames_address(chunk) & ~4095
    return through(
        remap_file_pages=call(216, page, 4096, 0, 0, 0), pkey=call(330, 0, 0), migrate=call(279, 1, 0, 0, 0, 0, 0)
    )


def attack_page_tables(chunk):
    """Empty read-only mappings cost nothing but their page tables; 64 TiB of them would be 128 GiB of tables."""
    got = 0
    for _ in range(64 * 1024):
        if call(9, 0, 1 << 30, 1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) < 0:
            break
        got += 1
    return "" if got < 16 else f"{got} GiB of addresses"
