"""Transactions that read, and transactions that write: one at a time, or those of many threads together."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from privid.database.connect import READ_ONLY

T = TypeVar("T")

_ATTEMPTS = 8
_PAUSE_SECONDS = 0.01
_MOST_TOGETHER = 64
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
            if not _transient(engine, error):
                raise
            time.sleep(_PAUSE_SECONDS * attempt)
    with engine.begin() as connection:
        return work(connection)


class GroupCommit:
    """Writes for many threads: what arrives while a transaction is under way goes into the next one, together.

    A commit waits for the disk, and those who write one ledger wait for each other; so many small transactions together
    take little longer than one. Each piece of work is still all or nothing by itself (a savepoint), sees what those
    before it did, and is on disk when `write` returns. Nobody works in the background and nothing waits for company:
    whoever finds nobody at work takes all that is there.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._waiting: deque[_Piece[Any]] = deque()
        self._turn = threading.Lock()

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """As the function `write`, in a transaction that may hold other threads' work too.

        If that cannot be committed, all whose work is in it get the error.
        """
        piece = _Piece(work)
        self._waiting.append(piece)
        with self._turn:
            while not piece.done:
                self._commit([self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_TOGETHER))])
        return piece.outcome()

    def _commit(self, together: list["_Piece[Any]"]) -> None:
        alone = together
        if len(together) > 1:
            try:
                with self._engine.begin() as connection:
                    for piece in together:
                        piece.attempt(connection)
            except BaseException as error:  # noqa: BLE001 - raised in every thread that waits for it
                for piece in together:
                    piece.error = error
            alone = [piece for piece in together if _transient(self._engine, piece.error)]
        for piece in alone:
            piece.run(self._engine)
        for piece in together:
            piece.done = True


class _Piece(Generic[T]):
    """One caller's work and what became of it."""

    def __init__(self, work: Callable[[sa.Connection], T]) -> None:
        self.done = False
        self.error: BaseException | None = None
        self._work = work
        self._results: list[T] = []

    def attempt(self, connection: sa.Connection) -> None:
        """Do it in a savepoint of a transaction that others share; an error undoes only this piece.

        What goes wrong with the savepoint itself is raised: then the transaction is gone, and with it everybody's work.
        """
        savepoint = connection.begin_nested()
        try:
            result = self._work(connection)
        except Exception as error:  # noqa: BLE001 - raised in the thread that asked for it
            savepoint.rollback()
            self.error = error
        else:
            savepoint.commit()
            self._results = [result]

    def run(self, engine: sa.Engine) -> None:
        """Do it in a transaction of its own."""
        self.error = None
        try:
            self._results = [write(engine, self._work)]
        except BaseException as error:  # noqa: BLE001 - raised in the thread that asked for it
            self.error = error

    def outcome(self) -> T:
        """Its result, or the exception that ended it."""
        if self.error is not None:
            raise self.error
        return self._results[0]


def _transient(engine: sa.Engine, error: BaseException | None) -> bool:
    """Whether another transaction was in the way, so that the same work may succeed now."""
    if engine.dialect.name == "sqlite" or not isinstance(error, DBAPIError):
        return False
    return isinstance(error, IntegrityError) or getattr(error.orig, "sqlstate", None) in _TRANSIENT_STATES
