"""What can be wrong with a database, as the person who runs the server should read it."""


class DatabaseError(Exception):
    """A database that cannot be used; the message says what to do."""


class DatabaseTooNew(DatabaseError):
    """A later version of the software has migrated it."""

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"the database has revision {revision!r}, which this version does not know: "
            "install the version that made it, or a later one"
        )


class DatabaseTooOld(DatabaseError):
    """Migrations are missing and were not asked for."""

    def __init__(self) -> None:
        super().__init__("the database lacks migrations of this version: start privid-server once, which runs them")


class BadDatabaseUrl(DatabaseError):
    """Neither SQLite nor PostgreSQL, or not a URL at all."""


class DriverMissing(DatabaseError):
    """PostgreSQL without its driver."""

    def __init__(self) -> None:
        super().__init__("PostgreSQL needs the driver psycopg: pip install 'privid[postgres]'")


class DatabaseUnreachable(DatabaseError):
    """It cannot be opened: no such folder, no permission, no server, wrong password."""
