"""The schema equals all migrations, and databases open as they should, on both kinds."""

import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from privid.database.connect import open_database
from privid.database.errors import (
    BadDatabaseUrl,
    DatabaseError,
    DatabaseTooNew,
    DatabaseTooOld,
    DatabaseUnreachable,
)
from privid.database.schema import metadata
from privid.database.transactions import reading, write

VERSIONS = sa.table("alembic_version", sa.column("version_num"))


def definitions(connection: sa.Connection) -> set[str]:
    """Everything that a database knows about its tables, constraints and indexes, in its own words."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("SELECT type, name, sql FROM sqlite_master").all()
        rows = [(kind, name, *ordered(sql or "")) for kind, name, sql in rows]
    else:
        rows = [
            *connection.exec_driver_sql(
                "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default"
                " FROM information_schema.columns WHERE table_schema = 'public'"
            ),
            *connection.exec_driver_sql("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"),
            *connection.exec_driver_sql(
                "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
                " WHERE connamespace = 'public'::regnamespace"
            ),
        ]
    return {str(tuple(row)) for row in rows if "alembic_version" not in str(row)}


def ordered(statement: str) -> list[str]:
    """The parts of a CREATE TABLE; the order of its constraints means nothing."""
    plain = " ".join(statement.replace('"', "").replace(")", " )").split())
    return sorted(part.strip(" ,)") for part in plain.split(" CONSTRAINT "))


def test_the_schema_equals_all_migrations(engine: sa.Engine, new_database: Callable[..., str]) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        migrated = definitions(connection)
    plain = sa.create_engine(open_url(new_database(empty=True)))
    metadata.create_all(plain)
    with plain.connect() as connection:
        assert definitions(connection) == migrated
    plain.dispose()


def open_url(location: str) -> str:
    prefix = "" if "://" in location else "sqlite:///"
    return prefix + location.replace("postgresql://", "postgresql+psycopg://")


def test_several_processes_may_migrate_at_the_same_time(new_database: Callable[..., str]) -> None:
    location = new_database(empty=True)
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            open_database(location).dispose()
        except Exception as error:  # noqa: BLE001 - reported by the main thread
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_database_of_a_later_version_is_refused(engine: sa.Engine, database: str) -> None:
    with engine.begin() as connection:
        connection.execute(VERSIONS.update().values(version_num="9999"))
    for migrate in (True, False):
        with pytest.raises(DatabaseTooNew, match=r"'9999'.*install the version"):
            open_database(database, migrate=migrate)


def test_without_migrate_an_old_database_is_refused_and_left_alone(new_database: Callable[..., str]) -> None:
    location = new_database(empty=True)
    with pytest.raises(DatabaseTooOld, match="start privid-server"):
        open_database(location, migrate=False)
    with pytest.raises(DatabaseTooOld):
        open_database(location, migrate=False)


def test_a_readers_transaction_sees_one_state(engine: sa.Engine) -> None:
    counting = sa.text("SELECT entries FROM audit_head")
    with reading(engine) as connection:
        assert connection.scalar(counting) == 0
        write(engine, lambda other: other.execute(sa.text("UPDATE audit_head SET entries = 7")))
        assert connection.scalar(counting) == 0
    with reading(engine) as connection:
        assert connection.scalar(counting) == 7


def test_a_failed_transaction_leaves_nothing(engine: sa.Engine) -> None:
    def work(connection: sa.Connection) -> None:
        connection.execute(sa.text("UPDATE audit_head SET entries = 7"))
        raise KeyError

    with pytest.raises(KeyError):
        write(engine, work)
    with reading(engine) as connection:
        assert connection.scalar(sa.text("SELECT entries FROM audit_head")) == 0


def test_a_sqlite_file_is_its_users_alone_and_commits_reach_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "privid.sqlite3"
    path.touch(0o644)
    engine = open_database(path)
    with engine.begin() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
        assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
        assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    engine.dispose()


@pytest.mark.parametrize(
    ("location", "error", "message"),
    [
        ("mysql://somewhere/db", BadDatabaseUrl, "'mysql' databases are not supported"),
        ("sqlite://", BadDatabaseUrl, "name a file"),
        ("sqlite:///:memory:", BadDatabaseUrl, "name a file"),
        ("://", BadDatabaseUrl, "cannot be read"),
        ("/no/such/folder/privid.sqlite3", DatabaseUnreachable, "No such file"),
    ],
)
def test_a_location_that_cannot_be_used(location: str, error: type[DatabaseError], message: str) -> None:
    with pytest.raises(error, match=message):
        open_database(location)


def test_an_unreachable_server_does_not_tell_the_password() -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'privid[postgres]'")
    with pytest.raises(DatabaseUnreachable, match="cannot open postgresql") as caught:
        open_database("postgresql://someone:s3cret@127.0.0.1:1/db")
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(DatabaseUnreachable, match="not a database"):
        open_database(path)
