"""Uploaded executables: content-addressed files under PRIVID_HOME/executables, and their rows."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from privid.database import schema
from privid.database.transactions import reading, write
from privid.domain.files import keep_whole
from privid.ledger import audit
from privid.server import models, source_check
from privid.server.clock import Clock
from privid.server.errors import Refused
from privid.server.names import check_executable_name
from privid.server.settings import Settings
from workers.host import backends, loading, profile
from workers.host.errors import ExecutableRefused, SandboxUnavailable

_CHECK_SECONDS = 40
_IMPORT_ROOT = Path(__file__).resolve().parents[2]
_TEMPORARY = ".upload-"


@dataclass(frozen=True, slots=True)
class Limits:
    """What executables of this server may have, in bytes; `total_bytes` is all that one analyst has uploaded.

    `device` is what models are run on.
    """

    upload_bytes: int
    total_bytes: int
    memory_bytes: int
    threads: int
    device: str


def limits_of(settings: Settings) -> Limits:
    """Those that an owner has set."""
    return Limits(
        upload_bytes=settings.max_upload_bytes,
        total_bytes=settings.max_executables_bytes,
        memory_bytes=settings.max_guest_memory_bytes,
        threads=settings.max_guest_threads,
        device=settings.inference_device,
    )


@dataclass(frozen=True, slots=True)
class StoredExecutable:
    """One version of an analyst's executable; `manifest` is what it says that it needs."""

    analyst: str
    name: str
    version: int
    sha256: str
    size_bytes: int
    created_us: int
    manifest: str


@dataclass(frozen=True, slots=True)
class Upload:
    """What arrived, in a file, beside what its sender announced."""

    name: str
    announced_bytes: int
    announced_sha256: str
    file: BufferedRandom

    def check_complete(self) -> None:
        """Raises Refused unless all of it arrived."""
        check_executable_name(self.name)
        size, found = self.file.tell(), _sha256(self.file)
        if size != self.announced_bytes:
            raise Refused(
                "upload_incomplete",
                f"{size} of {self.announced_bytes} bytes of {self.name!r} arrived",
                "upload it again",
            )
        if found != self.announced_sha256.lower():
            raise Refused("upload_incomplete", f"{self.name!r} does not match its SHA-256", "upload it again")


@dataclass(frozen=True, slots=True)
class _Checked:
    """An upload that can be run: its canonical form, in a file of its own."""

    file: Path
    sha256: str
    size_bytes: int
    manifest: Mapping[str, Any]


def _sha256(file: BufferedRandom | BufferedReader) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _bad(name: str, reason: str) -> Refused:
    return Refused("bad_executable", f"{name!r} cannot be an executable: {reason}", "mend it and upload it again")


def _parsed(name: str, file: Path, result: Path) -> Mapping[str, Any]:
    """The manifest, once a process of its own (`privid.server.source_check`) has written the canonical form."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", source_check.__file__, str(_IMPORT_ROOT), str(file), str(result)],
            capture_output=True,
            timeout=_CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _bad(name, "it takes too long to parse") from None
    if done.returncode != 0:
        raise _bad(name, "it cannot be parsed as Python")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "complaint" in answer:
        raise _bad(name, answer["complaint"])
    manifest: dict[str, Any] = answer["manifest"]
    return manifest


class ExecutableStore:
    """The executables of one installation."""

    def __init__(self, engine: sa.Engine, folder: Path, clock: Clock, limits: Limits) -> None:
        self._engine = engine
        self._folder = folder
        self._clock = clock
        self._limits = limits
        self._keeping = threading.Lock()

    def discard_leftovers(self) -> None:
        """Delete files that a crash left half written. Only while nothing is being uploaded."""
        for path in self._folder.glob(f"{_TEMPORARY}*"):
            path.unlink(missing_ok=True)

    @contextmanager
    def receiving(self) -> Iterator[BufferedRandom]:
        """A file for what arrives, gone in the end."""
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=self._folder)
        os.close(handle)
        try:
            with Path(name).open("w+b") as file:
                yield file
        finally:
            Path(name).unlink(missing_ok=True)

    def add(self, analyst_id: int, analyst: str, upload: Upload) -> tuple[StoredExecutable, bool]:
        """Store an upload as the newest version of its name; True if it was that already. Raises Refused."""
        upload.check_complete()
        with self.receiving() as result:
            checked = self._checked(upload, Path(result.name))
            path = self._folder / checked.sha256
            with self._keeping:
                is_new = not path.exists()
                if is_new:
                    # Before any row can name it. A hard link, so that the file for what arrives can go as it came.
                    copy = path.with_name(f"{_TEMPORARY}{checked.sha256}")
                    os.link(checked.file, copy)
                    keep_whole(copy, path)
                try:
                    return write(
                        self._engine, lambda connection: self._record(connection, analyst_id, analyst, upload, checked)
                    )
                except Refused:
                    if is_new:  # or whoever is refused could fill the disk
                        path.unlink()
                    raise

    def _checked(self, upload: Upload, result: Path) -> _Checked:
        manifest = self._model(upload, result) if models.is_model(upload.name) else self._executable(upload, result)
        with result.open("rb") as file:
            return _Checked(result, _sha256(file), file.tell(), manifest)

    def _model(self, upload: Upload, result: Path) -> Mapping[str, Any]:
        upload.file.seek(0)
        content = upload.file.read()
        if reason := models.complaint(upload.name, content, self._limits.device):
            raise Refused(
                "bad_executable", f"{upload.name!r} cannot be a model: {reason}", "mend it and upload it again"
            )
        result.write_bytes(content)
        manifest: dict[str, Any] = json.loads(models.MANIFEST)
        return manifest

    def _executable(self, upload: Upload, result: Path) -> Mapping[str, Any]:
        manifest = _parsed(upload.name, Path(upload.file.name), result)
        for what, asked, most in (
            ("bytes unpacked", result.stat().st_size, self._limits.upload_bytes),
            ("memory", manifest["memory_bytes"], self._limits.memory_bytes),
            ("threads", manifest["threads"], self._limits.threads),
        ):
            if asked > most:
                raise _bad(upload.name, f"{what}: this server allows {most:,}, and it has or asks for {asked:,}")
        for library in manifest["libraries"]:
            if importlib.util.find_spec(profile.LIBRARIES[library].modules[0]) is None:
                raise Refused(
                    "bad_executable",
                    f"{upload.name!r} needs {library}, which this server does not have",
                    "leave it out of the libraries, or ask whoever runs the server to install it",
                )
        try:
            if manifest["runtime"] == "program":
                backends.choose("fork", program=True)
            elif manifest["weights"]:
                loading.try_loading(result.read_bytes())
        except ExecutableRefused as error:
            raise _bad(upload.name, str(error)) from None
        except SandboxUnavailable as error:
            raise _bad(upload.name, f"this server cannot try it: {error}") from None
        return manifest

    def _record(
        self, connection: sa.Connection, analyst_id: int, analyst: str, upload: Upload, checked: _Checked
    ) -> tuple[StoredExecutable, bool]:
        table = schema.executables
        newest = connection.execute(
            sa.select(table.c.version, table.c.sha256, table.c.size_bytes, table.c.created_us, table.c.manifest)
            .where(table.c.analyst_id == analyst_id, table.c.name == upload.name)
            .order_by(table.c.version.desc())
            .limit(1)
        ).first()
        if newest is not None and newest.sha256 == checked.sha256:
            return StoredExecutable(
                analyst,
                upload.name,
                newest.version,
                newest.sha256,
                newest.size_bytes,
                newest.created_us,
                newest.manifest,
            ), True
        stored = sa.select(table.c.sha256, table.c.size_bytes).where(table.c.analyst_id == analyst_id).distinct()
        sizes = {row.sha256: row.size_bytes for row in connection.execute(stored)} | {
            checked.sha256: checked.size_bytes
        }
        if sum(sizes.values()) > self._limits.total_bytes:
            raise Refused(
                "too_large",
                f"with {upload.name!r} your executables have more than {self._limits.total_bytes:,} bytes together",
                "ask whoever runs the server for more (PRIVID_MAX_EXECUTABLES_BYTES)",
            )
        row = StoredExecutable(
            analyst=analyst,
            name=upload.name,
            version=1 if newest is None else newest.version + 1,
            sha256=checked.sha256,
            size_bytes=checked.size_bytes,
            created_us=self._clock(),
            manifest=json.dumps(checked.manifest, sort_keys=True, separators=(",", ":")),
        )
        connection.execute(
            table.insert().values(
                analyst_id=analyst_id,
                name=row.name,
                version=row.version,
                sha256=row.sha256,
                manifest=row.manifest,
                size_bytes=row.size_bytes,
                created_us=row.created_us,
            )
        )
        audit.append(
            connection,
            row.created_us,
            f"analyst:{analyst_id}",
            "executable.uploaded",
            {"name": row.name, "version": row.version, "sha256": row.sha256, "size_bytes": row.size_bytes},
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
                table.c.manifest,
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
