"""Queries and executables on the analyst's side: files, folders and zips become what is uploaded and run."""

from pathlib import Path

from privid.cli.terminal import InputError
from workers import bundle, formats
from workers.inference.runtimes import of_name


def content(path: Path, hint: str = "check the path") -> bytes:
    """What is uploaded of a file, a zip or a folder: its canonical form; a model as it is. Raises InputError."""
    try:
        if of_name(path.name) is not None:
            return path.read_bytes()
        return bundle.open_path(path).pack()
    except bundle.BadBundle as error:
        raise InputError("bad_executable", f"{path} cannot be an executable: {error}", "mend it") from None
    except OSError as error:
        raise InputError("unreadable", f"cannot read {path}: {error.strerror}", hint) from None


def runnable(path: Path, hint: str) -> bytes:
    """What is run of it on this machine. Raises InputError, also for what a server would refuse."""
    from workers.host.profile import LIBRARIES

    packed = content(path, hint)
    try:
        read = bundle.read(packed)
        bundle.check_libraries(read.manifest, LIBRARIES)
        formats.check(read.manifest, read.files)
    except bundle.BadBundle as error:
        raise InputError("bad_executable", f"{path} cannot be an executable: {error}", "mend it") from None
    return packed


def named(pairs: list[str]) -> dict[str, Path]:
    """Where executables are, from options NAME=PATH. Raises InputError."""
    files = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if not name or not path:
            raise InputError("usage", f"--executable {pair}: not NAME=PATH", "such as people.py=detectors/people.py")
        files[name] = Path(path)
    return files


def query_file(path: Path) -> Path:
    """A query, given as a file or as the folder that it is alone in. Raises InputError."""
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.sql"))
    if len(found) != 1:
        raise InputError("usage", f"{path} has {len(found)} queries (*.sql), not one", "name the query file")
    return found[0]


def beside(query: Path, name: str) -> Path:
    """Where a query's executable is by itself: a file or bundle beside it, or the bundle that the query lies in."""
    own = query.absolute().parent
    if name == own.name and (own / bundle.MANIFEST).is_file() and not (own / name).exists():
        return query.parent
    return query.parent / name
