"""The guest's root file system: a small tmpfs with Python files, read-only, the same for every chunk of a query.

Why a copy in memory and not bind mounts: *caches are state*. The first read of a page of a file on disk takes ten
times as long as the second, and the first look-up of a name that does not exist leaves a negative entry in the
kernel's directory cache; either is a message from one chunk to the next. Pages of a tmpfs are always resident, and it
keeps no negative entries. For forked guests shared libraries are not copied: the zygote has them mapped, and the warden
locks the same parts of the same files in memory (`hold`). Fresh processes map their own, from copies in the root.
"""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import workers
from workers.host import namespaces, profile

_SUFFIXES = (".py", ".json", ".yaml", ".yml", f".{sys.implementation.cache_tag}.pyc")
_MOUNT_POINTS = ("/mnt", "/media", "/srv", "/opt", "/var/tmp", "/tmp", "/run")  # noqa: S108  covered by a mount, unused
MOST_BYTES = 6 * 2**30
"""Of a root. torch with the libraries for GPUs, which it loads though there is none, is 3.5 GB."""
_TMPFS_OPTIONS = f"mode=0755,size={MOST_BYTES},nr_inodes=200k"
_TOP_LINKS = (Path("/bin"), Path("/lib"), Path("/lib64"))
_NOTHING: Mapping[str, bytes] = MappingProxyType({})
_DEVICE_FOLDERS = (Path("/dev"), Path("/proc"), Path("/sys"))
_GUEST_PARTS = ("__init__.py", "bundle.py", "limits.py", "tensors.py", "wire.py", "guest", "detectors")


def _wanted(name: str) -> bool:
    return name.endswith(_SUFFIXES)


def _walk(folder: Path) -> Iterator[Path]:
    for path, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name == "__pycache__" or name not in profile.HIDDEN_STDLIB]
        yield from (Path(path, name) for name in files if _wanted(name))


def _package(name: str) -> Iterator[Path]:
    if name.endswith(".py"):
        spec = find_spec(name.removesuffix(".py"))
        if spec and spec.origin:
            yield Path(spec.origin)
        return
    spec = find_spec(name)
    if spec and spec.submodule_search_locations:
        yield from _walk(Path(next(iter(spec.submodule_search_locations))))


def _shared_libraries(package: str) -> Iterator[Path]:
    spec = find_spec(package)
    if spec and spec.submodule_search_locations:
        yield from Path(next(iter(spec.submodule_search_locations))).rglob("*.so*")


def files(libraries: Iterable[str]) -> Iterator[Path]:
    """Every file of the root, by its path on the host, which is also its path inside."""
    standard = Path(sysconfig.get_path("stdlib"))
    yield from _walk(standard)
    yield from (path for path in (standard / "lib-dynload").glob("*.so") if "test" not in path.name)
    for library in libraries:
        for package in profile.LIBRARIES[library].packages:
            yield from _package(package)
        for package in profile.LIBRARIES[library].natives:
            yield from _shared_libraries(package)
        for name in profile.LIBRARIES[library].distributions:
            yield from (Path(str(file.locate())) for file in distribution(name).files or () if file.name == "METADATA")
    ours = Path(workers.__file__).parent
    for part in _GUEST_PARTS:
        yield from _walk(ours / part) if (ours / part).is_dir() else (ours / part,)


def mount_point(taken: Iterable[Path]) -> Path:
    """A folder that nothing here lies in. Raises OSError."""
    taken = list(taken)
    for name in _MOUNT_POINTS:
        point = Path(name)
        if point.is_dir() and not any(path.is_relative_to(point) for path in taken):
            return point
    raise OSError(f"no free folder to build the guest's root on among {', '.join(_MOUNT_POINTS)}")


def native_files(paths: Iterable[str]) -> list[Path]:
    """What the dynamic linker needs to load these files: programs and libraries that a process has mapped.

    The files themselves, the links by whose names the linker asks for them, and its cache of names.
    """
    mapped = {Path(path) for path in paths if Path(path).is_file()}
    folders = {path.parent for path in mapped} | {Path("/lib64").resolve()}  # programs name their loader there
    links = {
        link
        for folder in folders
        if folder.is_dir()
        for link in folder.iterdir()
        if link.is_symlink() and link.resolve() in mapped
    }
    cache = Path("/etc/ld.so.cache")
    return sorted(mapped | links | ({cache} if cache.exists() else set()))


def build(
    libraries: Iterable[str],
    natives: Iterable[Path] = (),
    added: Mapping[str, bytes] = _NOTHING,
    mount_points: Iterable[Path] = (),
) -> Path:
    """Build the root on a tmpfs in this mount namespace; where it is.

    `natives` are executable files besides those of Python, `added` the contents of files that only the root has, and
    `mount_points` empty folders of it.
    """
    sources, natives = list(files(libraries)), list(natives)
    namespaces.mount("none", "/", "none", namespaces.MS_REC | namespaces.MS_PRIVATE)
    root = mount_point(sources + natives)
    namespaces.mount("privid", str(root), "tmpfs", 0, _TMPFS_OPTIONS)
    old_mask = os.umask(0o022)
    if natives:
        for link in _TOP_LINKS:
            if link.is_symlink():
                (root / link.name).symlink_to(link.readlink())
    made: set[Path] = set()
    for source in sources + natives:
        target = root / source.relative_to("/")
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
        if source.is_symlink():
            target.unlink(missing_ok=True)
            target.symlink_to(source.readlink())
            continue
        shutil.copyfile(source, target)
        stat = source.stat()
        os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # compiled files are checked against it
    for source in natives:
        if not source.is_symlink():
            (root / source.relative_to("/")).chmod(0o555)
    for name, content in added.items():
        target = root / name.removeprefix("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(0o555)
    for folder in mount_points:
        (root / folder.relative_to("/")).mkdir()
    os.umask(old_mask)
    namespaces.restrict_mount(str(root), namespaces.MOUNT_ATTR_RDONLY)  # times of access stay as they are, too
    return root


def enter(libraries: Iterable[str], natives: Iterable[Path] = (), nodes: Iterable[Path] = ()) -> None:
    """Build the root in this mount namespace and move into it. What was mounted before is out of reach afterwards.

    `nodes` are devices, or folders of them, that are in it as they are on the host; with what drivers ask for, /proc
    and /sys.
    """
    nodes = list(nodes)
    root = str(build(libraries, natives, mount_points=_DEVICE_FOLDERS if nodes else ()))
    attributes = namespaces.MOUNT_ATTR_NOSUID | namespaces.MOUNT_ATTR_NODEV | namespaces.MOUNT_ATTR_NOATIME
    namespaces.restrict_mount(root, attributes)
    if nodes:
        _add_devices(Path(root), nodes)
    namespaces.pivot_root(root)


def _add_devices(root: Path, nodes: Iterable[Path]) -> None:
    namespaces.mount("devices", str(root / "dev"), "tmpfs", 0, "mode=0755,size=64k")
    for node in nodes:
        target = root / node.relative_to("/")
        if node.is_dir():
            target.mkdir()
        else:
            target.touch()
        namespaces.mount(str(node), str(target), "none", namespaces.MS_BIND | namespaces.MS_REC)
    for folder in ("proc", "sys"):
        namespaces.mount(f"/{folder}", str(root / folder), "none", namespaces.MS_BIND | namespaces.MS_REC)
        namespaces.restrict_mount(str(root / folder), namespaces.MOUNT_ATTR_RDONLY)


def mapped_files(maps: str) -> list[tuple[str, int, int]]:
    """Path, offset and length of each part of a file that a process has mapped, from its /proc/PID/maps."""
    parts = set()
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith("/"):
            start, end = (int(part, 16) for part in fields[0].split("-"))
            parts.add((fields[5], int(fields[2], 16), end - start))
    return sorted(parts)


def loaded_files(maps: str) -> set[str]:
    """Of the files that a process has mapped, those with code: what the dynamic linker has loaded, and nothing held."""
    lines = (line.split(maxsplit=5) for line in maps.splitlines())
    return {fields[5] for fields in lines if len(fields) == 6 and "x" in fields[1] and fields[5].startswith("/")}


def hold(parts: Iterable[tuple[str, int, int]]) -> bool:
    """Map these parts of files, read them in, and lock them in memory for the life of this process.

    No chunk is then the first to touch a page of a library, and no page is dropped and read again in between. Locking
    takes CAP_IPC_LOCK or a generous limit on locked memory; without it (False) the pages are only read and kept mapped,
    which lasts unless the machine runs short of memory.
    """
    locked = True
    for path, offset, length in parts:
        if not Path(path).exists():  # deleted since
            continue
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        length = min(length, os.fstat(fd).st_size - offset)
        if length > 0:
            address = namespaces.map_read_only(fd, offset, length)
            if not namespaces.lock(address, length):
                namespaces.populate(address, length)
                locked = False
        os.close(fd)
    return locked
