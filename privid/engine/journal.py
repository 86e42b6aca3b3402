"""Rows of finished slots, kept on disk until the query is released, so that a crash costs no slot twice.

One append-only file per PROCESS in one folder per query under PRIVID_HOME/spool (0700, files 0600). A record is
one line, `CRC-32 of the rest, a blank, JSON [slot, rows]`. A process that dies can only tear the last line; a
machine that dies can lose lines that were not yet on disk. Either way a record that does not check out is not
there, and its slot runs again: nothing has left the system before the release, so running it again is harmless.
"""

import json
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

Row = tuple[str | float | bool, ...]


def _record(slot: int, rows: tuple[Row, ...]) -> bytes:
    body = json.dumps([slot, rows], separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _records(content: bytes) -> Iterator[tuple[int, tuple[Row, ...], int]]:
    """Slot, rows and the offset behind each intact record, up to the first one that is torn."""
    offset = 0
    while (end := content.find(b"\n", offset)) >= 0:
        checksum, _, body = content[offset:end].partition(b" ")
        if checksum != b"%08x" % zlib.crc32(body):
            return
        slot, rows = json.loads(body)
        offset = end + 1
        yield slot, tuple(tuple(row) for row in rows), offset


class SlotJournal:
    """The finished slots of one PROCESS of one query. A context manager; not for several threads at once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.rows: dict[int, tuple[Row, ...]] = {}
        intact = 0
        for slot, rows, intact in _records(path.read_bytes()):  # noqa: B007 - the last offset is used below
            self.rows[slot] = rows
        os.ftruncate(self._file, intact)

    def append(self, slot: int, rows: tuple[Row, ...]) -> None:
        """Keep the rows of a slot. A slot that is kept already stays as it is."""
        if slot in self.rows:
            return
        record = _record(slot, rows)
        if os.write(self._file, record) != len(record):
            raise OSError("the spool is full: free space on the disk of PRIVID_HOME")
        self.rows[slot] = rows

    def __enter__(self) -> "SlotJournal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def discard(folder: Path) -> None:
    """Delete the rows of a query: it is released, or will never be."""
    shutil.rmtree(folder, ignore_errors=True)
