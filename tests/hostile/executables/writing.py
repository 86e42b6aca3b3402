# ruff: noqa: F821  appended to prelude.py
def attack_files(chunk):
    library = os.path.dirname(os.__file__)
    places = ["/", "/tmp", "/dev/shm", "/root", "/var/tmp", "/run", library, ".", os.path.dirname(library), "/home"]
    got = [p for p in places if opened(os.path.join(p, "left"), os.O_WRONLY | os.O_CREAT) >= 0]
    return " ".join(got)


def attack_overwrite_module(chunk):
    return through(
        write=opened(os.__file__, os.O_WRONLY),
        append=opened(os.__file__, os.O_WRONLY | os.O_APPEND),
        truncate=opened(os.__file__, os.O_RDONLY | os.O_TRUNC),
        both=opened(os.__file__, os.O_RDWR),
    )


def attack_tmpfile(chunk):
    return through(**{p.strip("/") or "root": opened(p, os.O_TMPFILE | os.O_RDWR) for p in ("/", "/tmp", "/dev/shm")})


def attack_mkdir(chunk):
    return through(mkdir=tried(os.mkdir, "/left"), mkfifo=tried(os.mkfifo, "/fifo"), mknod=tried(os.mknod, "/node"))


def attack_links(chunk):
    return through(symlink=tried(os.symlink, "/", "/left"), link=tried(os.link, os.__file__, "/left2"))


def attack_unlink(chunk):
    return through(unlink=tried(os.unlink, os.__file__), rmdir=tried(os.rmdir, os.path.dirname(os.__file__)))


def attack_rename(chunk):
    return through(rename=tried(os.rename, os.__file__, os.__file__ + "2"))


def attack_xattr(chunk):
    return through(xattr=tried(os.setxattr, os.__file__, "user.left", b"1"), get=tried(os.listxattr, "/"))


def attack_utime(chunk):
    return through(utime=tried(os.utime, os.__file__), utime_root=tried(os.utime, "/"))


def attack_chmod(chunk):
    return through(chmod=tried(os.chmod, os.__file__, 0o777), chown=tried(os.chown, os.__file__, 0, 0))


def attack_locks(chunk):
    import fcntl

    fd = os.open(os.__file__, os.O_RDONLY)
    return through(
        flock=tried(fcntl.flock, fd, fcntl.LOCK_SH),
        posix=tried(fcntl.lockf, fd, fcntl.LOCK_SH),
        lease=tried(fcntl.fcntl, fd, fcntl.F_SETLEASE, fcntl.F_RDLCK),
        notify=tried(fcntl.fcntl, fd, fcntl.F_NOTIFY, 1),
    )


def attack_shared_flags(chunk):
    """Descriptors 0 to 2 are one description for all chunks: its flags would last."""
    import fcntl

    return through(
        **{f"fd{fd}": tried(fcntl.fcntl, fd, fcntl.F_SETFL, os.O_NONBLOCK) for fd in range(3)},
        fionbio=tried(fcntl.ioctl, 0, 0x5421, struct.pack("i", 1)),
    )
