"""Opening the database: SQLite in one file by default, PostgreSQL by URL."""

import importlib.util
import os
import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from privid.database.errors import BadDatabaseUrl, DatabaseUnreachable, DriverMissing
from privid.database.migrate import migrate as run_migrations
from privid.database.migrate import require_current

BUSY_SECONDS = 30
"""How long a writer waits for another one before it gives up."""
_POOL = {"pool_size": 16, "max_overflow": 32}
"""More connections than the services have threads, so that waiting is for locks only."""
READ_ONLY = "privid_read_only"
"""The execution option of a connection that will not write: see `privid.database.transactions.reading`."""


def open_database(location: str | Path, *, migrate: bool = True) -> sa.Engine:
    """An engine for the SQLite file or the URL `location`, its schema brought up to date unless `migrate` is False.

    A SQLite file has mode 0600, and so have its journal files. Every transaction takes the writer's lock at once
    (`BEGIN IMMEDIATE`), so none can fail half-way because another one wrote; `transactions.reading` opens one that
    takes no lock. A commit returns when the data is on disk.

    Raises DatabaseError (its subclasses say what is wrong and what to do).
    """
    url = _url(location)
    engine = _open_sqlite(url) if url.get_backend_name() == "sqlite" else _open_postgresql(url)
    try:
        with engine.begin() as connection:
            (run_migrations if migrate else require_current)(connection)
    except DBAPIError as error:
        engine.dispose()
        reason = str(error.orig).strip().splitlines()[0]
        raise DatabaseUnreachable(f"cannot open {url.render_as_string(hide_password=True)}: {reason}") from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def _url(location: str | Path) -> sa.URL:
    if isinstance(location, Path) or "://" not in location:
        return sa.URL.create("sqlite+pysqlite", database=str(location))
    try:
        url = sa.make_url(location)
    except ArgumentError:
        raise BadDatabaseUrl(
            "the database URL cannot be read; write postgresql://user@host/database or sqlite:////path/to/file"
        ) from None
    match url.get_backend_name():
        case "sqlite" if url.database and url.database != ":memory:":
            return url.set(drivername="sqlite+pysqlite")
        case "sqlite":
            raise BadDatabaseUrl("a ledger in memory protects nobody; name a file: sqlite:////path/to/file")
        case "postgresql":
            if importlib.util.find_spec("psycopg") is None:
                raise DriverMissing()
            return url.set(drivername="postgresql+psycopg")
        case other:
            raise BadDatabaseUrl(f"{other!r} databases are not supported; use sqlite:////path or postgresql://...")


def _open_sqlite(url: sa.URL) -> sa.Engine:
    assert url.database is not None
    try:
        # Created here and not by SQLite, which would follow the umask; its journal files copy the file's mode.
        file = os.open(url.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(file).st_uid == os.geteuid():
                os.fchmod(file, 0o600)  # one that was restored from a copy
        finally:
            os.close(file)
    except OSError as error:
        raise DatabaseUnreachable(f"cannot open {url.database}: {error.strerror}") from error
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS}, **_POOL)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions are begun below, never by the driver's guess
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    read_only = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _open_postgresql(url: sa.URL) -> sa.Engine:
    # READ COMMITTED under row locks: what a decision rests on is locked before it is read, so it sees the latest state.
    return sa.create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=True, **_POOL)
