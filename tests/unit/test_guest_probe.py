"""What the doctor's probe takes for seeing the host."""

import sys

from workers.guest import probe


def test_the_way_to_an_installation_is_not_seeing_the_host(tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / "alice" / "venv" / "lib").mkdir(parents=True)
    assert probe._is_seen(str(home))
    monkeypatch.setattr(sys, "path", [str(home / "alice" / "venv" / "lib")])
    assert not probe._is_seen(str(home))
    (home / "bob").mkdir()
    assert probe._is_seen(str(home))


def test_files_are_seen_and_what_is_not_there_is_not(tmp_path):
    (tmp_path / "passwd").touch()
    assert probe._is_seen(str(tmp_path / "passwd"))
    assert not probe._is_seen(str(tmp_path / "shadow"))
