"""Transactions that read, and transactions that write and may have to be run again."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from privid.database.connect import READ_ONLY

T = TypeVar("T")

_ATTEMPTS = 8
_PAUSE_SECONDS = 0.01
_TRANSIENT_STATES = ("40001", "40P01")
"""PostgreSQL's serialization failure and deadlock: the transaction was undone and may be tried again."""


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that sees one state of the database, waits for nobody and must not write."""
    options: dict[str, bool | str] = {READ_ONLY: True}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


def write(engine: sa.Engine, work: Callable[[sa.Connection], T]) -> T:
    """Run `work` in one durable transaction and return what it returns; an exception undoes everything.

    `work` runs again if another transaction came in between: it must have no effect outside the database. A broken
    constraint is one such case, since whoever checked before inserting may have been overtaken (not on SQLite, where
    writers queue from their first statement on).
    """
    for attempt in range(1, _ATTEMPTS):
        try:
            with engine.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            if engine.dialect.name == "sqlite" or not _transient(error):
                raise
            time.sleep(_PAUSE_SECONDS * attempt)
    with engine.begin() as connection:
        return work(connection)


def _transient(error: DBAPIError) -> bool:
    return isinstance(error, IntegrityError) or getattr(error.orig, "sqlstate", None) in _TRANSIENT_STATES
