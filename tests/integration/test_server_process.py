"""`privid-server` as a process: first start, ready line, signals, and what keeps it from starting."""

import json
import os
import signal
import stat
import subprocess
import sys

import pytest

from privid.cli import serve
from privid.client import OwnerClient, Target

RUN = [sys.executable, "-c", "from privid.cli.serve import run; run()", "run"]
PORTS = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]


def environment(**variables):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PRIVID_")}
    return clean | variables


@pytest.fixture
def server(tmp_path):
    with subprocess.Popen(
        [*RUN, *PORTS, "--home", tmp_path / "home", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        line = process.stdout.readline()
        try:
            yield process, json.loads(line), tmp_path / "home"
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_when_it_is_ready_and_ends_on_a_signal(server, number):
    process, ready, home = server
    assert ready["ready"]
    token = (home / "owner.token").read_text().strip()
    assert stat.S_IMODE((home / "owner.token").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    with OwnerClient(Target(ready["owners"], token)) as owner:
        assert owner.cameras() == ()
    process.send_signal(number)
    log = process.communicate(timeout=30)[1]
    assert process.returncode == 0
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert events[-1] == "stopped"
    assert token not in log


def refused(*arguments, **variables):
    done = subprocess.run(
        [*RUN, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment(**variables),
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_a_second_server_on_the_same_data_directory_is_refused(server):
    _, _, home = server
    assert "already" in refused(*PORTS, "--home", home)


def test_a_port_in_use_is_refused(server, tmp_path):
    _, ready, _ = server
    said = refused("--home", tmp_path / "other", "--listen", ready["analysts"], "--admin-listen", "127.0.0.1:0")
    assert "in use" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--listen", "0.0.0.0:0"), "no TLS"),
        (("--listen", "nowhere"), "HOST:PORT"),
        (("--tls-cert", "missing.pem"), "both"),
        (("--slot-cores", "-1"), "slot_cores"),
        (("--colour",), "--colour"),
    ],
)
def test_bad_options_are_one_message(monkeypatch, capsys, tmp_path, arguments, says):
    monkeypatch.setattr(sys, "argv", ["privid-server", "run", "--home", str(tmp_path / "home"), *arguments])
    with pytest.raises(SystemExit) as left:
        serve.run()
    assert left.value.code == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_a_database_that_is_none_is_one_message(tmp_path):
    (tmp_path / "privid.sqlite3").write_bytes(b"not a database at all, " * 100)
    error = json.loads(refused("--home", tmp_path, *PORTS, "--json"))["error"]
    assert "cannot open" in error["message"]


def test_a_data_directory_that_cannot_be_made_is_one_message(tmp_path):
    (tmp_path / "file").touch()
    assert "cannot use" in refused("--home", tmp_path / "file" / "home")


def test_more_slot_cores_than_there_are_is_one_message(tmp_path):
    assert "slot cores" in refused("--home", tmp_path / "home", *PORTS, "--slot-cores", "1000")
