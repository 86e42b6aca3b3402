"""Every attack of the families runs as a real executable in the real pool: no effect, and only its own row suffers."""

import os
import stat
from pathlib import Path

import pytest

from tests.hostile.arena import (
    ATTACKS,
    DEFAULT,
    LETHAL,
    NEEDS_PLACES,
    STOPPED,
    Arena,
    harmless,
    names,
)


def _cases(family: str) -> list[str]:
    return sorted(set(names(family, "attack")) - NEEDS_PLACES)


def _check(arena: Arena, family: str, name: str) -> None:
    expected = DEFAULT if name in LETHAL.get(family, ()) else STOPPED
    assert arena.run(f"attack:{name}") == (expected,)


@pytest.mark.parametrize("name", _cases("writing"))
def test_writing(arena: Arena, name: str) -> None:
    _check(arena, "writing", name)
    for place in ("/left", "/tmp/left", "/dev/shm/left", "/root/left", "/var/tmp/left", "/run/left", "/home/left"):
        assert not Path(place).exists()


@pytest.mark.parametrize("name", _cases("reading"))
def test_reading(arena: Arena, name: str) -> None:
    _check(arena, "reading", name)


def test_reading_the_hosts_files(every_arena: Arena, tmp_path: Path) -> None:
    database, spool, video = tmp_path / "privid.sqlite3", tmp_path / "spool", tmp_path / "video"
    database.write_text("rows")
    for folder in (spool, video):
        folder.mkdir()
    for path in (tmp_path, database):
        path.chmod(0o777 if path.is_dir() else 0o666)
    places = ":".join(map(str, (tmp_path, database, spool, video, Path(__file__))))
    assert every_arena.alone("attack:host_files", region=places) == (STOPPED,)


@pytest.mark.parametrize("name", _cases("network"))
def test_network(arena: Arena, name: str) -> None:
    _check(arena, "network", name)


@pytest.mark.parametrize("name", _cases("processes"))
def test_processes(arena: Arena, name: str) -> None:
    _check(arena, "processes", name)


@pytest.mark.parametrize("name", ["ignore_signals", "close_and_sleep", "spin"])
def test_a_guest_that_stays_is_killed_at_its_timeout(arena: Arena, name: str) -> None:
    arena.alone(f"attack:{name}")
    took = next((run.ended_ns - run.started_ns) / 1000 for run in arena.runs if run.index == 1)
    timeout_us = arena.pool._spec.timeout_us
    assert timeout_us * 0.9 < took < timeout_us + 1_000_000


@pytest.mark.parametrize("name", _cases("memory"))
def test_memory(arena: Arena, name: str) -> None:
    _check(arena, "memory", name)


@pytest.mark.parametrize("name", _cases("kernel"))
def test_kernel(arena: Arena, name: str) -> None:
    _check(arena, "kernel", name)


@pytest.mark.parametrize("family", ATTACKS)
def test_a_whole_family_in_one_guest(every_arena: Arena, family: str) -> None:
    """Whatever an attack leaves of itself helps no other of its family."""
    rows = every_arena.rows("many:attack", region=":".join(harmless(family)))
    assert rows[0] == (STOPPED,)


def test_what_kills_a_guest_kills_no_other(every_arena: Arena) -> None:
    lethal = ("attack:segfault", "attack:frames_write", "attack:hard_exit", "attack:int80", "attack:bomb_kept")
    rows = every_arena.rows("honest", *lethal, "honest")
    assert rows[0] == (("honest", 1.0, True),)
    assert rows[len(lethal) + 1] == (("honest", len(lethal) + 2.0, True),)
    assert [rows[i + 1] for i in range(len(lethal))] == [(DEFAULT,)] * len(lethal)


def test_nothing_of_the_host_was_changed(arena: Arena) -> None:
    arena.run("attack:chmod")
    assert not stat.S_IMODE(Path(os.__file__).stat().st_mode) & stat.S_IWOTH
