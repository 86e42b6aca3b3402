"""The recorder as a service of systemd."""

import configparser
import shlex
import socket
from pathlib import Path

from privid.ingest.systemd import notify

UNIT = Path(__file__).resolve().parents[2] / "docker" / "ingest" / "privid-ingest.service"


def test_readiness_is_told_where_systemd_says(tmp_path, monkeypatch):
    notify("READY=1")  # nobody asked
    for address in (str(tmp_path / "notify"), "@privid-test-" + tmp_path.name):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind("\0" + address[1:] if address.startswith("@") else address)
            monkeypatch.setenv("NOTIFY_SOCKET", address)
            notify("READY=1")
            assert receiver.recv(100) == b"READY=1"


def test_the_unit_starts_the_recorder_and_reloads_it():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string(UNIT.read_text())
    service = unit["Service"]
    program, command, option, _ = shlex.split(service["ExecStart"])
    assert (Path(program).name, command, option) == ("privid-ingest", "run", "--config")
    assert service["Type"] == "notify"
    assert "-HUP" in service["ExecReload"]
    assert service["Environment"].partition("=")[2] in service["ReadWritePaths"].split()
