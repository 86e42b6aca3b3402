"""Tokens and who holds them. Only a token's SHA-256 is ever stored."""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from privid.database import schema
from privid.database.transactions import reading, write
from privid.server.clock import Clock

_PREFIX = "pvd_"
_FIRST_OWNER = "owner"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is calling: an analyst on the analysts' port, an owner on the owners'."""

    id: int
    name: str


def new_token() -> str:
    """A token of 256 random bits, with a prefix that secret scanners can find."""
    return _PREFIX + secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """What is stored of a token. It is random, so one SHA-256 is enough: there is nothing to guess."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Authenticator:
    """Finds the holder of a token."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def analyst(self, token: str) -> Identity | None:
        """The analyst with this token, unless revoked."""
        table = schema.analysts
        return self._holder(
            token, sa.select(table.c.id, table.c.name, table.c.token_hash).where(table.c.revoked_us.is_(None))
        )

    def owner(self, token: str) -> Identity | None:
        """The owner with this token."""
        table = schema.owners
        return self._holder(token, sa.select(table.c.id, table.c.name, table.c.token_hash))

    def _holder(self, token: str, people: sa.Select[tuple[int, str, str]]) -> Identity | None:
        # The index is searched by a hash of 256 random bits: how long that takes tells nothing about any token.
        digest = token_hash(token)
        with reading(self._engine) as connection:
            row = connection.execute(people.where(people.selected_columns.token_hash == digest)).first()
        if row is None or not hmac.compare_digest(row.token_hash, digest):
            return None
        return Identity(row.id, row.name)


def ensure_owner(engine: sa.Engine, path: Path, clock: Clock) -> bool:
    """At the first start, make an owner and write its token to `path`, mode 0600. True if it did.

    The file comes first: a crash in between leaves a file without an owner, which the next start replaces, and
    never an owner whose token nobody knows.
    """
    table = schema.owners

    def first(connection: sa.Connection) -> bool:
        if connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one():
            return False
        token = new_token()
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(token + "\n")
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        connection.execute(table.insert().values(name=_FIRST_OWNER, token_hash=token_hash(token), created_us=clock()))
        return True

    return write(engine, first)
