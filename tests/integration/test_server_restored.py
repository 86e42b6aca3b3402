"""A database restored from a copy has forgotten what was spent: the server does not start on it unasked."""

import shutil
from pathlib import Path

import pytest

from privid.database.connect import open_database
from privid.database.transactions import write
from privid.domain.home import Home
from privid.ledger import audit
from privid.ledger.watermark import LedgerWentBack, Watermark
from privid.server.clock import system_clock
from privid.testing.system import LocalSystem


def note(home: Home) -> None:
    """What the server does after a release."""
    database = open_database(home.database, migrate=False)
    database_has_moved_on = audit.writer(system_clock)
    write(database, lambda connection: database_has_moved_on(connection, "test", "test.moved", {}))
    Watermark(home.ledger_head, database).advance()
    database.dispose()


def test_an_older_database_needs_a_decision(tmp_path: Path) -> None:
    system = LocalSystem(tmp_path / "home")
    with system:
        system.run("privid-admin", "camera", "add", "plaza")
    copy = tmp_path / "copy.sqlite3"
    shutil.copy(system.home.database, copy)
    note(system.home)

    shutil.copy(copy, system.home.database)
    refused = system.run("privid-server", "run", check=False)
    assert refused.returncode == 2
    assert "forgotten what was spent since" in refused.stderr
    assert "--restored" in refused.stderr

    with LocalSystem(system.home.root, {"PRIVID_RESTORED": "1"}) as restored:
        assert restored.analysts == ""
        assert [camera["name"] for camera in restored.json("privid-admin", "camera", "list")["cameras"]] == ["plaza"]
    with system:  # the older one is what it is now
        assert system.analysts != ""


def test_what_was_noted_has_to_be_in_the_log(tmp_path: Path) -> None:
    database = open_database(tmp_path / "privid.sqlite3")
    watermark = Watermark(tmp_path / "ledger.head", database)
    watermark.require()  # nothing noted yet
    watermark.advance()
    watermark.require()
    write(database, lambda connection: audit.append(connection, 0, "test", "test.moved", {}))
    watermark.require()  # a log that goes on is the same log
    watermark.advance()
    watermark.require()
    entries = (tmp_path / "ledger.head").read_text().partition(":")[0]
    for wrong in ("half a no", f"{entries}:{'0' * 64}", f"{int(entries) + 1}:{'0' * 64}", ""):
        (tmp_path / "ledger.head").write_text(wrong)
        with pytest.raises(LedgerWentBack):
            watermark.require()
    database.dispose()
