"""Run a command as an ordinary user who can read this Python, wherever it is installed. Started as root.

    python tests/hostile/as_nobody.py COMMAND...

In a mount namespace of its own, folders on the way to the interpreter that others may not enter are covered by empty
ones in which only the needed folder is mounted.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from workers.host import namespaces

NOBODY = 65534


def closed_ancestor(path: Path) -> Path | None:
    """The first folder on the way that others may not enter."""
    return next((p for p in reversed(path.parents) if not p.stat().st_mode & 0o001), None)


def reveal(path: Path) -> None:
    """Make `path` reachable for everybody, in this mount namespace."""
    closed = closed_ancestor(path)
    if closed is None:
        return
    spare = Path(tempfile.mkdtemp(dir="/var/tmp"))
    subprocess.run(["mount", "--bind", path, spare], check=True)
    namespaces.mount("none", str(closed), "tmpfs", 0, "mode=0755")
    path.mkdir(parents=True)
    subprocess.run(["mount", "--move", spare, path], check=True)
    spare.rmdir()


def main() -> None:
    namespaces.unshare(namespaces.CLONE_NEWNS)
    namespaces.mount("none", "/", "none", namespaces.MS_REC | namespaces.MS_PRIVATE)
    for needed in {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), Path(__file__).resolve().parents[2]}:
        reveal(needed)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    os.execvpe(sys.argv[1], sys.argv[1:], {"PATH": os.environ["PATH"], "HOME": "/nonexistent"})


if __name__ == "__main__":
    main()
