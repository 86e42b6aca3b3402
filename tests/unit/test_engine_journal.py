"""The spool of finished slots: survives tearing, keeps each slot once, is private."""

import stat
from pathlib import Path

import pytest

from privid.engine.journal import SlotJournal, discard

ROWS = (("RED", 1.5, True), ("é\n", -2.0, False))


def test_rows_survive_reopening(tmp_path: Path) -> None:
    path = tmp_path / "query" / "0.rows"
    with SlotJournal(path) as journal:
        journal.append(3, ROWS)
        journal.append(1, ())
    with SlotJournal(path) as journal:
        assert journal.rows == {3: ROWS, 1: ()}


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_a_torn_record_is_not_there_and_the_file_goes_on(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "0.rows"
    with SlotJournal(path) as journal:
        journal.append(0, ROWS)
        journal.append(1, ROWS)
    path.write_bytes(path.read_bytes()[:-cut])
    with SlotJournal(path) as journal:
        assert set(journal.rows) == {0}
        journal.append(2, ROWS)
    with SlotJournal(path) as journal:
        assert journal.rows == {0: ROWS, 2: ROWS}


def test_a_changed_byte_drops_the_record(tmp_path: Path) -> None:
    path = tmp_path / "0.rows"
    with SlotJournal(path) as journal:
        journal.append(0, ROWS)
    path.write_bytes(path.read_bytes().replace(b"1.5", b"2.5"))
    with SlotJournal(path) as journal:
        assert journal.rows == {}


def test_the_first_rows_of_a_slot_stay(tmp_path: Path) -> None:
    with SlotJournal(tmp_path / "0.rows") as journal:
        journal.append(0, ROWS)
        journal.append(0, ())
        assert journal.rows == {0: ROWS}


def test_files_are_private_and_are_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "query"
    with SlotJournal(folder / "0.rows") as journal:
        journal.append(0, ROWS)
    assert stat.S_IMODE((folder / "0.rows").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    discard(folder)
    assert not folder.exists()
