# ruff: noqa: F821  appended to prelude.py
def _readable(paths):
    return " ".join(p for p in paths if opened(p, os.O_RDONLY) >= 0)


def attack_passwords(chunk):
    return _readable(["/etc/shadow", "/etc/passwd", "/etc/hostname", "/root/.ssh", "/root/.bashrc"])


def attack_proc(chunk):
    return _readable(
        [
            "/proc",
            "/proc/1/environ",
            "/proc/self/maps",
            "/proc/meminfo",
            "/proc/uptime",
            "/proc/loadavg",
            "/sys",
            "/sys/fs/cgroup",
        ]
    )


def attack_devices(chunk):
    return _readable(["/dev", "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/mem", "/dev/kmsg", "/dev/tty"])


def attack_host_files(chunk):
    """Paths that the host planted; it passes them in the region."""
    return _readable(chunk.region.split(":"))


def attack_other_chunks(chunk):
    """What is handed to guests: frames and facts of this one and of others, wherever they may lie."""
    places = [
        f"{folder}/{name}" for folder in ("/chunk", "/guest/chunk", "/run", "/tmp") for name in ("frames", "facts")
    ]
    numbers = [f"/proc/{pid}/{what}" for pid in ("self", 1, 2, 3) for what in ("fd/0", "fd/3", "maps", "mem", "root")]
    return _readable([*places, *numbers, "/dev/fd", "/dev/fd/0", "/dev/fd/3"])


def attack_source_tree(chunk):
    import workers

    ours = os.path.dirname(workers.__file__)
    root = os.path.dirname(ours)
    return _readable([f"{root}/privid", f"{root}/tests", f"{root}/.git", f"{ours}/host", f"{ours}/host/warden.py"])


def attack_environment(chunk):
    known = {"LANG", "TZ", "OPENCV_LOG_LEVEL", "KMP_INIT_AT_FORK", "LC_CTYPE", "YOLO_OFFLINE", "ORT_DISABLE_TELEMETRY"}
    kinds = ("QT_", "LD_", "MALLOC_")
    odd = [n for n in os.environ if n not in known and not n.endswith("_NUM_THREADS") and not n.startswith(kinds)]
    return " ".join(odd)


def attack_descriptors(chunk):
    got = []
    for fd in range(4096):
        try:
            os.fstat(fd)
        except OSError:
            continue
        got.append(str(fd))
    return "" if got == ["0", "1", "2", "3"] else " ".join(got)


def attack_escape_root(chunk):
    up = os.path.join(*[".."] * 40)
    return _readable([f"/{up}/etc/passwd", "/.oldroot", "/proc/1/root"]) + through(
        chroot=tried(os.chroot, "/"), path=opened("/", os.O_PATH)
    )


def attack_machine_facts(chunk):
    info = ctypes.create_string_buffer(512)
    got = through(
        sysinfo=call(99, info),
        statfs=call(137, b"/", info),
        statx=call(332, -100, b"/", 0, 0xFFF, info),
        syslog=call(103, 10, 0, 0),
        ustat=call(136, 0, info),
    )
    if os.uname().nodename != "sandbox":
        got += " nodename"
    if os.getpid() != 1 or os.getppid() != 0:
        got += " pid"
    return got


def attack_one_file_system(chunk):
    """Everything in reach lies on one tmpfs: no page or name of a disk whose caching could be felt."""
    device = os.stat("/").st_dev
    for folder, folders, files in os.walk("/"):
        for name in folders + files:
            if os.lstat(os.path.join(folder, name)).st_dev != device:
                return os.path.join(folder, name)
    return ""
