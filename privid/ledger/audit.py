"""The audit log: append-only, each entry holding the hash of the one before it.

An entry is written inside the transaction that does what it records, so there is neither one without the other. The
hash covers the entry's number, time, actor, event, document and the previous hash. The number of entries and the last
hash stand in a row of their own, so a cut-off end is seen too. Whoever can rewrite the whole table can recompute all
of it: an owner who wants to notice that keeps `Head` elsewhere now and then, and verifies against it.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from privid.database.schema import audit_head, audit_log

GENESIS = "0" * 64
"""What the first entry has for the hash before it."""
_BATCH = 1_000
_BEFORE_ALL = -(2**63)

_LOCKED_HEAD = sa.select(audit_head.c.entries, audit_head.c.hash).with_for_update()
_HEAD = sa.select(audit_head.c.entries, audit_head.c.hash)
_INSERT = audit_log.insert()
_MOVE_HEAD = audit_head.update().values(entries=sa.bindparam("new_entries"), hash=sa.bindparam("new_hash"))


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; `document` is canonical JSON."""

    seq: int
    at_us: int
    actor: str
    event: str
    document: str
    previous: str
    hash: str

    def expected_hash(self) -> str:
        """The hash that the other fields give."""
        fields = [self.seq, self.at_us, self.actor, self.event, self.document, self.previous]
        return sha256(_canonical(fields).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Head:
    """How many entries there are, and the hash of the last one."""

    entries: int
    hash: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The result of a verification. If `problem` is not None, `seq` is the first entry that is not as written."""

    head: Head
    seq: int | None = None
    problem: str | None = None


def append(connection: sa.Connection, at_us: int, actor: str, event: str, document: Mapping[str, Any]) -> None:
    """Add an entry in the connection's transaction. `document` holds plain JSON values, no floats that matter.

    On PostgreSQL the head stays locked until the commit: call this last.
    """
    head = Head(*connection.execute(_LOCKED_HEAD).one())
    fields = {
        "seq": head.entries + 1,
        "at_us": at_us,
        "actor": actor,
        "event": event,
        "document": _canonical(document),
        "previous": head.hash,
    }
    digest = sha256(_canonical(list(fields.values())).encode()).hexdigest()
    connection.execute(_INSERT, fields | {"hash": digest})
    connection.execute(_MOVE_HEAD, {"new_entries": head.entries + 1, "new_hash": digest})


def writer(clock: Callable[[], int]) -> Callable[[sa.Connection, str, str, Mapping[str, Any]], None]:
    """`append` with the time filled in: called with a connection, an actor, an event and a document."""

    def write(connection: sa.Connection, actor: str, event: str, document: Mapping[str, Any]) -> None:
        append(connection, clock(), actor, event, document)

    return write


def entries(
    connection: sa.Connection, after: int = 0, limit: int = _BATCH, *, newest: bool = False, kinds: Iterable[str] = ()
) -> tuple[Entry, ...]:
    """Up to `limit` entries with numbers above `after`, in order, or the newest first.

    `kinds` keeps some of them: events (`query.refused`), or all events of what stands before the dot (`query`).
    """
    number, event = audit_log.c.seq, audit_log.c.event
    query = sa.select(audit_log).where(number > after).order_by(number.desc() if newest else number).limit(limit)
    wanted = [sa.or_(event == kind, event.startswith(f"{kind}.", autoescape=True)) for kind in kinds]
    if wanted:
        query = query.where(sa.or_(*wanted))
    return tuple(Entry(**row) for row in connection.execute(query).mappings())


def head(connection: sa.Connection) -> Head:
    """Of the log as it is."""
    return Head(*connection.execute(_HEAD).one())


def verify(connection: sa.Connection, known: Head | None = None) -> AuditReport:
    """Check the whole log against its head. Use a connection from `reading`, so that the log stands still."""
    noted = connection.execute(_HEAD).first()
    if noted is None:
        return AuditReport(
            Head(0, GENESIS), 1, "and all after it may be missing or replaced: the head of the log is gone"
        )
    return check(_all(connection), Head(*noted), known)


def check(log: Iterable[Entry], head: Head, known: Head | None = None) -> AuditReport:
    """Compare every entry with its hash, the one before it, and the head.

    With `known`, a head that was kept elsewhere, the log must also contain exactly that entry.
    """
    previous, seq = GENESIS, 0
    for entry in log:
        seq += 1
        if problem := _problem(entry, seq, previous, known):
            return AuditReport(head, seq, problem)
        previous = entry.hash
    if seq < head.entries:
        return AuditReport(head, seq + 1, f"is missing: the log ends at {seq} but had {head.entries} entries")
    if Head(seq, previous) != head:
        return AuditReport(
            head, min(head.entries + 1, seq), "was not written through the log: the head does not know it"
        )
    if known is not None and seq < known.entries:
        return AuditReport(head, seq + 1, f"is missing: the log had {known.entries} entries when its head was noted")
    return AuditReport(head)


def _all(connection: sa.Connection) -> Iterator[Entry]:
    seq = _BEFORE_ALL
    while batch := entries(connection, seq):
        yield from batch
        seq = batch[-1].seq


def _problem(entry: Entry, seq: int, previous: str, known: Head | None) -> str | None:
    if entry.seq < seq:
        return f"is not the first: {entry.seq} was put before it"
    if entry.seq != seq:
        return f"is missing: {entry.seq} follows {seq - 1}"
    if entry.previous != previous:
        return "does not follow the entry before it: one of the two was replaced, or their order changed"
    if entry.hash != entry.expected_hash():
        return "was changed after it was written"
    if known is not None and seq == known.entries and entry.hash != known.hash:
        return "is not the entry whose hash was noted: the log was rewritten at or before it"
    return None


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
