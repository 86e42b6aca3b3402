"""The guest's root file system: a small tmpfs with Python files, read-only, the same for every chunk of a query.

Why a copy in memory and not bind mounts: *caches are state*. The first read of a page of a file on disk takes ten
times as long as the second, and the first look-up of a name that does not exist leaves a negative entry in the
kernel's directory cache; either is a message from one chunk to the next. Pages of a tmpfs are always resident, and it
keeps no negative entries. Shared libraries are not copied: the zygote has them mapped, and `warm` reads them in.
"""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import workers
from workers.host import namespaces, profile

_SUFFIXES = (".py", ".json", ".yaml", ".yml", f".{sys.implementation.cache_tag}.pyc")
_MOUNT_POINTS = ("/mnt", "/media", "/srv", "/opt", "/var/tmp", "/tmp", "/run")  # noqa: S108  covered by a mount, unused
_TMPFS_OPTIONS = "mode=0755,size=1g,nr_inodes=200k"
_GUEST_PARTS = ("__init__.py", "limits.py", "wire.py", "guest", "detectors")


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


def files(libraries: Iterable[str]) -> Iterator[Path]:
    """Every file of the root, by its path on the host, which is also its path inside."""
    standard = Path(sysconfig.get_path("stdlib"))
    yield from _walk(standard)
    yield from (path for path in (standard / "lib-dynload").glob("*.so") if "test" not in path.name)
    for library in libraries:
        for package in profile.LIBRARIES[library].packages:
            yield from _package(package)
    ours = Path(workers.__file__).parent
    for part in _GUEST_PARTS:
        yield from _walk(ours / part) if (ours / part).is_dir() else (ours / part,)


def _mount_point(sources: list[Path]) -> Path:
    for name in _MOUNT_POINTS:
        point = Path(name)
        if point.is_dir() and not any(path.is_relative_to(point) for path in sources):
            return point
    raise OSError(f"no free folder to build the guest's root on among {', '.join(_MOUNT_POINTS)}")


def enter(libraries: Iterable[str]) -> None:
    """Build the root in this mount namespace and move into it. What was mounted before is out of reach afterwards."""
    sources = list(files(libraries))
    namespaces.mount("none", "/", "none", namespaces.MS_REC | namespaces.MS_PRIVATE)
    root = _mount_point(sources)
    namespaces.mount("privid", str(root), "tmpfs", 0, _TMPFS_OPTIONS)
    old_mask = os.umask(0o022)
    made: set[Path] = set()
    for source in sources:
        target = root / source.relative_to("/")
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
        shutil.copyfile(source, target)
        stat = source.stat()
        os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # compiled files are checked against it
    os.umask(old_mask)
    attributes = (
        namespaces.MOUNT_ATTR_RDONLY
        | namespaces.MOUNT_ATTR_NOSUID
        | namespaces.MOUNT_ATTR_NODEV
        | namespaces.MOUNT_ATTR_NOATIME
    )
    namespaces.restrict_mount(str(root), attributes)
    namespaces.pivot_root(str(root))


def _mapped_files(maps: str) -> Iterator[tuple[int, int, str, int, str]]:
    """Start, length, rights, offset in the file, and path of each readable file mapping in a /proc/self/maps."""
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith("/") and fields[1].startswith("r"):
            start, end = (int(part, 16) for part in fields[0].split("-"))
            yield start, end - start, fields[1], int(fields[2], 16), fields[5]


def map_data_sections(maps: str) -> None:
    """Map what libraries have mapped for writing once more, for reading: so that `warm` can hold on to it, too.

    Populating the writable mappings themselves would make every later fork copy their page tables.
    """
    for _, length, rights, offset, path in _mapped_files(maps):
        if "w" in rights and Path(path).exists():
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            namespaces.map_read_only(fd, offset, length)
            os.close(fd)


def warm(maps: str) -> None:
    """Read every file that is mapped into this process (`maps`: its /proc/self/maps), and keep it mapped.

    No chunk is then the first to touch a page of it, and the kernel drops pages that are mapped here only if the
    machine runs out of memory.
    """
    for start, length, rights, _, _ in _mapped_files(maps):
        if "w" not in rights:
            namespaces.populate(start, length)
