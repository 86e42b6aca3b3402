"""Bringing a database to the schema of this version."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from privid.database.errors import DatabaseTooNew, DatabaseTooOld

_LOCK = 0x7072_6976_6964
"""The advisory lock under which PostgreSQL databases are migrated: "privid" in ASCII."""


def _config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def migrate(connection: sa.Connection) -> None:
    """Run the missing migrations inside the connection's transaction: all of them or none.

    Raises DatabaseTooNew for a database that a later version has migrated.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    if _is_current(connection):
        return
    command.upgrade(_config(connection), "head")


def require_current(connection: sa.Connection) -> None:
    """Raises DatabaseTooOld or DatabaseTooNew unless the schema is this version's."""
    if not _is_current(connection):
        raise DatabaseTooOld()


def _is_current(connection: sa.Connection) -> bool:
    scripts = ScriptDirectory.from_config(_config(connection))
    present = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if present is not None and present not in known:
        raise DatabaseTooNew(present)
    return present == scripts.get_current_head()
