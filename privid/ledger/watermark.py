"""How far the ledger of an installation has come, noted beside its database.

A database that is restored from a copy has forgotten what was spent since. So the head of its audit log is noted in a
file after every release, and a server does not start on a database whose log does not contain it (privacy-model.md,
section 5: restoring a backup never lowers the ledger). Servers that share a database have each a note of their own.
"""

from pathlib import Path

import sqlalchemy as sa

from privid.database.errors import DatabaseError
from privid.database.schema import audit_head, audit_log
from privid.database.transactions import reading
from privid.domain.files import write_whole
from privid.ledger.audit import GENESIS, Head


class LedgerWentBack(DatabaseError):
    """The database is an older one, or another one, than the installation has worked with."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"the database is older than what {path} has noted, so it has forgotten what was spent since: bring the "
            "newest one back; if there is none, start with --restored, which serves owners only, import your last "
            "export with privid-admin import, and start again without it"
        )


class Watermark:
    """The note of one installation."""

    def __init__(self, path: Path, engine: sa.Engine) -> None:
        self._path = path
        self._engine = engine

    def require(self) -> None:
        """Raises LedgerWentBack unless the log contains what was noted; without a note there is nothing to compare."""
        if not self._path.exists():
            return
        entries, _, noted = self._path.read_text().strip().partition(":")
        if not entries.isdigit() or self._hash_of(int(entries)) != noted:
            raise LedgerWentBack(self._path)

    def advance(self) -> None:
        """Note where the log ends now. Raises OSError."""
        with reading(self._engine) as connection:
            head = Head(*connection.execute(sa.select(audit_head.c.entries, audit_head.c.hash)).one())
        write_whole(self._path, f"{head.entries}:{head.hash}\n".encode())

    def _hash_of(self, seq: int) -> str | None:
        if seq == 0:
            return GENESIS
        with reading(self._engine) as connection:
            found: str | None = connection.scalar(sa.select(audit_log.c.hash).where(audit_log.c.seq == seq))
        return found
