"""Files that are there whole or not at all."""

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, content: bytes, *, prefix: str = ".new-") -> None:
    """Write a file (mode 0600) so that whoever sees its name sees all of it, even after a crash of the machine.

    What a crash leaves half written has a name beginning with `prefix`. Raises OSError.
    """
    handle, name = tempfile.mkstemp(prefix=prefix, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        keep_whole(Path(name), path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def keep_whole(file: Path, path: Path) -> None:
    """Rename a complete file of the same folder, so that all of it is there under its new name. Raises OSError."""
    with file.open("rb") as written:
        os.fsync(written.fileno())
    file.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
