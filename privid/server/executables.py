"""Uploaded executables: content-addressed files under PRIVID_HOME/executables, and their rows."""

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from privid.database import schema
from privid.database.transactions import reading, write
from privid.domain.files import write_whole
from privid.ledger import audit
from privid.server import models, source_check
from privid.server.clock import Clock
from privid.server.errors import Refused
from privid.server.names import check_executable_name
from workers.bundle import ELF
from workers.host import backends
from workers.host.errors import SandboxUnavailable

_CHECK_SECONDS = 20
_PYTHON, _PROGRAM = '{"runtime":"python"}', '{"runtime":"program"}'
_TEMPORARY = ".upload-"


@dataclass(frozen=True, slots=True)
class StoredExecutable:
    """One version of an analyst's executable."""

    analyst: str
    name: str
    version: int
    sha256: str
    size_bytes: int
    created_us: int


@dataclass(frozen=True, slots=True)
class Upload:
    """What arrived, beside what its sender announced. Checked by `checked`."""

    name: str
    announced_bytes: int
    announced_sha256: str
    content: bytes

    def checked(self, device: str) -> str:
        """The content's SHA-256. Raises Refused unless all of it arrived and it can be run; a model, on `device`."""
        check_executable_name(self.name)
        found = hashlib.sha256(self.content).hexdigest()
        if len(self.content) != self.announced_bytes:
            raise Refused(
                "upload_incomplete",
                f"{len(self.content)} of {self.announced_bytes} bytes of {self.name!r} arrived",
                "upload it again",
            )
        if found != self.announced_sha256.lower():
            raise Refused("upload_incomplete", f"{self.name!r} does not match its SHA-256", "upload it again")
        if models.is_model(self.name):
            if reason := models.complaint(self.content, device):
                raise Refused(
                    "bad_executable", f"{self.name!r} cannot be a model: {reason}", "mend it and upload it again"
                )
        elif reason := _complaint(self.content):
            raise Refused(
                "bad_executable", f"{self.name!r} cannot be an executable: {reason}", "mend it and upload it again"
            )
        return found


def _complaint(content: bytes) -> str:
    """What `privid.server.source_check` has to say, in a process of its own; of a program, what this host lacks."""
    if content.startswith(ELF):
        try:
            backends.choose("fork", program=True)
        except SandboxUnavailable as error:
            return f"it is a program and no Python, and {error}"
        return ""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", source_check.__file__],
            input=content,
            capture_output=True,
            timeout=_CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "it takes too long to parse"
    if done.returncode != 0:
        return "it cannot be parsed as Python"
    return done.stdout.decode("utf-8", "replace").strip()


def _manifest(upload: Upload) -> str:
    if models.is_model(upload.name):
        return models.MANIFEST
    return _PROGRAM if upload.content.startswith(ELF) else _PYTHON


class ExecutableStore:
    """The executables of one installation."""

    def __init__(self, engine: sa.Engine, folder: Path, clock: Clock, device: str = "cpu") -> None:
        self._engine = engine
        self._folder = folder
        self._clock = clock
        self._device = device

    def discard_leftovers(self) -> None:
        """Delete files that a crash left half written. Only while nothing is being uploaded."""
        for path in self._folder.glob(f"{_TEMPORARY}*"):
            path.unlink(missing_ok=True)

    def add(self, analyst_id: int, analyst: str, upload: Upload) -> tuple[StoredExecutable, bool]:
        """Store an upload as the newest version of its name; True if it was that already. Raises Refused."""
        digest = upload.checked(self._device)
        self._keep(digest, upload.content)
        return write(self._engine, lambda connection: self._record(connection, analyst_id, analyst, upload, digest))

    def _record(
        self, connection: sa.Connection, analyst_id: int, analyst: str, upload: Upload, digest: str
    ) -> tuple[StoredExecutable, bool]:
        table = schema.executables
        newest = connection.execute(
            sa.select(table.c.version, table.c.sha256, table.c.size_bytes, table.c.created_us)
            .where(table.c.analyst_id == analyst_id, table.c.name == upload.name)
            .order_by(table.c.version.desc())
            .limit(1)
        ).first()
        if newest is not None and newest.sha256 == digest:
            return StoredExecutable(
                analyst, upload.name, newest.version, digest, newest.size_bytes, newest.created_us
            ), True
        row = StoredExecutable(
            analyst=analyst,
            name=upload.name,
            version=1 if newest is None else newest.version + 1,
            sha256=digest,
            size_bytes=len(upload.content),
            created_us=self._clock(),
        )
        connection.execute(
            table.insert().values(
                analyst_id=analyst_id,
                name=row.name,
                version=row.version,
                sha256=digest,
                manifest=_manifest(upload),
                size_bytes=row.size_bytes,
                created_us=row.created_us,
            )
        )
        audit.append(
            connection,
            row.created_us,
            f"analyst:{analyst_id}",
            "executable.uploaded",
            {"name": row.name, "version": row.version, "sha256": digest, "size_bytes": row.size_bytes},
        )
        return row, False

    def newest(self, analyst_id: int | None = None) -> tuple[StoredExecutable, ...]:
        """The newest version of each name, of one analyst or of all."""
        table, people = schema.executables, schema.analysts
        last = (
            sa.select(table.c.analyst_id, table.c.name, sa.func.max(table.c.version).label("version"))
            .group_by(table.c.analyst_id, table.c.name)
            .subquery()
        )
        query = (
            sa.select(
                people.c.name.label("analyst"),
                table.c.name,
                table.c.version,
                table.c.sha256,
                table.c.size_bytes,
                table.c.created_us,
            )
            .join(people, people.c.id == table.c.analyst_id)
            .join(
                last,
                sa.and_(
                    last.c.analyst_id == table.c.analyst_id,
                    last.c.name == table.c.name,
                    last.c.version == table.c.version,
                ),
            )
            .order_by(people.c.name, table.c.name)
        )
        if analyst_id is not None:
            query = query.where(table.c.analyst_id == analyst_id)
        with reading(self._engine) as connection:
            return tuple(StoredExecutable(*row) for row in connection.execute(query))

    def _keep(self, digest: str, content: bytes) -> None:
        """Put the content in its place, whole and durable, before any row can name it."""
        path = self._folder / digest
        if path.exists():
            return
        write_whole(path, content, prefix=_TEMPORARY)
