"""The audit log: whole, and found out wherever it is not."""

import dataclasses

import pytest
import sqlalchemy as sa

from privid.database.schema import audit_log
from privid.database.transactions import reading
from privid.domain.units import NANO
from privid.ledger import audit
from privid.ledger.audit import AuditReport, Head
from tests.support.ledgers import World, charge


@pytest.fixture
def log(engine: sa.Engine) -> sa.Engine:
    for number in range(1, 11):
        with engine.begin() as connection:
            audit.append(connection, number, "owner:olga", "test", {"b": number, "a": "ü"})
    return engine


def report(engine: sa.Engine, known: Head | None = None) -> AuditReport:
    with reading(engine) as connection:
        return audit.verify(connection, known)


def damage(engine: sa.Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def rewrite_from(engine: sa.Engine, seq: int, event: str) -> None:
    """What somebody does who can write to the database and knows how the log is made."""
    with engine.begin() as connection:
        old = audit.entries(connection, seq - 1)
        connection.exec_driver_sql(f"DELETE FROM audit_log WHERE seq >= {seq}")
        before = audit.entries(connection, seq - 2)[0] if seq > 1 else None
        digest = before.hash if before else audit.GENESIS
        connection.exec_driver_sql(f"UPDATE audit_head SET entries = {seq - 1}, hash = '{digest}'")
        for entry in old:
            audit.append(connection, entry.at_us, entry.actor, event if entry.seq == seq else entry.event, {})


def test_a_whole_log_is_whole(log: sa.Engine) -> None:
    found = report(log)
    assert (found.seq, found.problem, found.head.entries) == (None, None, 10)
    with reading(log) as connection:
        first, *_, last = audit.entries(connection)
    assert first.document == '{"a":"ü","b":1}'
    assert first.previous == audit.GENESIS
    assert last.hash == found.head.hash
    assert report(log, found.head).problem is None


def test_an_empty_log_is_whole(engine: sa.Engine) -> None:
    assert report(engine) == AuditReport(Head(0, audit.GENESIS))


@pytest.mark.parametrize(
    ("statements", "seq", "words"),
    [
        (["UPDATE audit_log SET document = '{}' WHERE seq = 4"], 4, "was changed"),
        (["UPDATE audit_log SET actor = 'nobody' WHERE seq = 1"], 1, "was changed"),
        (["UPDATE audit_log SET at_us = at_us + 1 WHERE seq = 10"], 10, "was changed"),
        (["UPDATE audit_log SET event = 'x' WHERE seq = 7"], 7, "was changed"),
        (["DELETE FROM audit_log WHERE seq = 5"], 5, "is missing: 6 follows 4"),
        (["DELETE FROM audit_log WHERE seq = 1"], 1, "is missing"),
        (["DELETE FROM audit_log WHERE seq > 8"], 9, "ends at 8 but had 10"),
        (["DELETE FROM audit_log"], 1, "ends at 0 but had 10"),
        (["DELETE FROM audit_log WHERE seq = 5", "UPDATE audit_log SET seq = seq - 1 WHERE seq = 6"], 5, "follow"),
        (
            [
                "UPDATE audit_log SET seq = 99 WHERE seq = 3",
                "UPDATE audit_log SET seq = 3 WHERE seq = 4",
                "UPDATE audit_log SET seq = 4 WHERE seq = 99",
            ],
            3,
            "order changed",
        ),
        (["UPDATE audit_log SET seq = 0 WHERE seq = 5"], 1, "0 was put before it"),
        (["UPDATE audit_log SET seq = -7 WHERE seq = 10"], 1, "-7 was put before it"),
        (["DELETE FROM audit_head"], 1, "the head of the log is gone"),
        (["DELETE FROM audit_head", "DELETE FROM audit_log"], 1, "the head of the log is gone"),
        (["UPDATE audit_head SET entries = 9"], 10, "not written through the log"),
        ([f"UPDATE audit_head SET hash = '{'1' * 64}'"], 10, "not written through the log"),
    ],
)
def test_damage_is_found_at_its_entry(log: sa.Engine, statements: list[str], seq: int, words: str) -> None:
    damage(log, *statements)
    found = report(log)
    assert found.seq == seq
    assert words in (found.problem or "")


CHANGES = {
    "at_us": "at_us - 1",
    "actor": "'owner:otto'",
    "event": "'query.cancelled'",
    "document": '\'{"a":"u","b":1}\'',
    "previous": f"'{'0' * 63}1'",
    "hash": f"'{'0' * 63}1'",
}


def tampered(connection: sa.Connection, *statements: str) -> int | None:
    """The entry at which verification finds what these statements did; they are undone again."""
    with connection.begin() as transaction:
        for statement in statements:
            connection.exec_driver_sql(statement)
        found = audit.verify(connection).seq
        transaction.rollback()
    return found


def test_every_kind_of_tampering_is_found_at_every_entry(log: sa.Engine) -> None:
    with log.connect() as connection:
        for seq in range(1, 11):
            for column, value in CHANGES.items():
                assert tampered(connection, f"UPDATE audit_log SET {column} = {value} WHERE seq = {seq}") == seq, column
            assert tampered(connection, f"DELETE FROM audit_log WHERE seq = {seq}") == seq
            assert tampered(connection, f"DELETE FROM audit_log WHERE seq >= {seq}") == seq
            copy = (
                "INSERT INTO audit_log (seq, at_us, actor, event, document, previous, hash)"
                f" SELECT 11, at_us, actor, event, document, previous, hash FROM audit_log WHERE seq = {seq}"
            )
            assert tampered(connection, copy) == 11
            for other in range(seq + 1, 11):
                swap = [
                    f"UPDATE audit_log SET seq = {new} WHERE seq = {old}"
                    for old, new in ((seq, 99), (other, seq), (99, other))
                ]
                assert tampered(connection, *swap) == seq
        assert audit.verify(connection).problem is None


def test_an_entry_that_follows_but_was_not_written_through_the_log(log: sa.Engine) -> None:
    last = report(log).head
    forged = audit.Entry(11, 11, "owner:olga", "test", "{}", last.hash, "")
    with log.begin() as connection:
        row = dataclasses.asdict(forged) | {"hash": forged.expected_hash()}
        connection.execute(audit_log.insert(), row)
    found = report(log)
    assert (found.seq, found.problem) == (11, "was not written through the log: the head does not know it")


def test_a_recomputed_entry_no_longer_fits_the_next(log: sa.Engine) -> None:
    with log.begin() as connection:
        entry = audit.entries(connection, 3, 1)[0]
        forged = audit.Entry(4, entry.at_us, entry.actor, "forged", entry.document, entry.previous, "")
        connection.execute(
            sa.text("UPDATE audit_log SET event = 'forged', hash = :hash WHERE seq = 4"),
            {"hash": forged.expected_hash()},
        )
    assert report(log).seq == 5


def test_a_rewritten_log_does_not_match_a_head_that_was_noted(log: sa.Engine) -> None:
    noted = report(log).head
    rewrite_from(log, 8, "forged")
    assert report(log).problem is None
    assert report(log, noted).seq == 10
    rewrite_from(log, 8, "forged again")
    damage(log, "DELETE FROM audit_log WHERE seq > 8")
    with log.begin() as connection:
        last = audit.entries(connection, 7)[0]
        connection.exec_driver_sql(f"UPDATE audit_head SET entries = 8, hash = '{last.hash}'")
    assert report(log).problem is None
    assert report(log, noted).seq == 9


def test_an_undone_transaction_leaves_no_entry(engine: sa.Engine) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        audit.append(connection, 1, "owner:olga", "test", {})
        transaction.rollback()
    assert report(engine).head.entries == 0


def test_every_step_of_a_query_is_logged(engine: sa.Engine) -> None:
    world = World(engine)
    first = world.reserve(charge(NANO // 2), cache_key="same")
    world.reserve(charge(NANO // 2), cache_key="same")
    world.ledger.start(first.query_id)
    world.ledger.release(first.query_id, "{}")
    second = world.reserve(charge(NANO // 2))
    world.ledger.cancel(second.query_id, actor="analyst:ana")
    third = world.reserve(charge(NANO // 2))
    world.ledger.fail(third.query_id, "disk")
    with reading(engine) as connection:
        events = [entry.event for entry in audit.entries(connection)]
    assert events == [
        "policy.set", "query.reserved", "query.shared", "query.started", "query.released",
        "query.reserved", "query.cancelled", "query.reserved", "query.failed",
    ]  # fmt: skip
    assert report(engine).problem is None


def test_the_writer_fills_in_the_time(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        audit.writer(lambda: 77)(connection, "owner:olga", "camera.added", {"camera": "plaza"})
        assert audit.entries(connection)[0].at_us == 77
