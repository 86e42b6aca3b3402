"""Databases for tests: a SQLite file, and PostgreSQL on a socket in a temporary folder."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import sqlalchemy as sa

from privid.database.connect import open_database


def postgresql_binaries() -> Path | None:
    """The folder of the newest PostgreSQL server that Debian's package installed, or the one on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path else None


def why_no_postgresql() -> str | None:
    """The reason to skip tests of PostgreSQL, or None if they can run."""
    if find_spec("psycopg") is None:
        return "psycopg is not installed: pip install 'privid[postgres]'"
    if postgresql_binaries() is None:
        return "no PostgreSQL server: apt-get install postgresql"
    return None


@dataclass
class PostgresServer:
    """A running server; `new_database` copies a template that holds the current schema."""

    folder: Path

    def url(self, database: str) -> str:
        return f"postgresql://tester@/{database}?host={self.folder}"

    def __post_init__(self) -> None:
        self._names = (f"test_{number}" for number in count())
        self._admin = sa.create_engine(
            self.url("postgres").replace("postgresql", "postgresql+psycopg", 1), isolation_level="AUTOCOMMIT"
        )
        self._run("CREATE DATABASE template_privid")
        open_database(self.url("template_privid")).dispose()

    def _run(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.exec_driver_sql(statement)

    def new_database(self, *, empty: bool = False) -> str:
        """The URL of a database of its own."""
        name = next(self._names)
        self._run(f"CREATE DATABASE {name}" + ("" if empty else " TEMPLATE template_privid"))
        return self.url(name)

    def close(self) -> None:
        self._admin.dispose()


def _unprivileged() -> dict[str, int]:
    """PostgreSQL refuses to run as root: whom to run it as, for subprocess."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid}


@contextmanager
def postgresql_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """A server of its own, stopped and removed at the end. Unless `durable`, it does not wait for the disk."""
    binaries = postgresql_binaries()
    assert binaries is not None, why_no_postgresql()
    # Directly under the temporary folder: a socket's path has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="privid-pg-"))
    runner = _unprivileged()
    if runner:
        os.chown(folder, runner["user"], runner["group"])
    data = folder / "data"
    subprocess.run(
        [binaries / "initdb", "--no-sync", "--auth=trust", "--username=tester", "--pgdata", data],
        check=True, stdout=subprocess.DEVNULL, cwd=folder, **runner,
    )  # fmt: skip
    settings = ["-c", f"unix_socket_directories={folder}", "-c", "listen_addresses=", "-c", "max_connections=200"]
    if not durable:
        settings += ["-c", "fsync=off", "-c", "full_page_writes=off"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, *settings], stdout=log, stderr=log, cwd=folder, **runner
        )
    try:
        _await_ready(binaries, folder, server)
        running = PostgresServer(folder)
        try:
            yield running
        finally:
            running.close()
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown: does not wait for clients
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _await_ready(binaries: Path, folder: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while subprocess.run([binaries / "pg_isready", "--quiet", "--host", folder], check=False).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("PostgreSQL did not start:\n" + (folder / "log").read_text())
        time.sleep(0.05)
