"""A whole installation in one directory, the real programs on loopback: for the demo and for acceptance tests."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from privid.client import Client, Target
from privid.domain.home import Home

START_SECONDS = 60.0
_PROGRAMS = {
    "privid": "privid.cli.main",
    "privid-admin": "privid.cli.admin",
    "privid-ingest": "privid.cli.ingest",
    "privid-server": "privid.cli.serve",
}


class DidNotStart(Exception):
    """The server ended, or said nothing, instead of becoming ready; the text is what it wrote."""


class LocalSystem:
    """An installation under `root`. A context manager: entering starts the server, leaving stops it.

    `environment` adds to the server's environment (PRIVID_* settings). The server's log is `root/server.log`.
    """

    def __init__(self, root: Path, environment: Mapping[str, str] | None = None, log_level: str = "info") -> None:
        self.home = Home(root)
        self.log = root / "server.log"
        self._environment = dict(environment or {})
        self._log_level = log_level
        self._server: subprocess.Popen[bytes] | None = None
        self.analysts = ""
        self.owners = ""

    def __enter__(self) -> "LocalSystem":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._server is not None
        return self._server.pid

    def start(self) -> None:
        """Start the server on free ports and wait until it is ready. Raises DidNotStart."""
        self.home.create()
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                [*program("privid-server"), "run", "--json", "--log-level", self._log_level],
                env=self._environ({"PRIVID_LISTEN": "127.0.0.1:0", "PRIVID_ADMIN_LISTEN": "127.0.0.1:0"}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._server.stdout is not None
        try:
            ready = json.loads(self._server.stdout.readline())
            self.analysts, self.owners = ready["analysts"], ready["owners"]
        except (ValueError, KeyError):
            self.kill()
            raise DidNotStart(self.log.read_text(errors="replace")[-4000:]) from None

    def stop(self) -> None:
        """Stop the server gracefully and wait for it. Does nothing if it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """`kill -9` the server, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._server is None:
            return
        self._server.send_signal(number)
        self._server.wait(START_SECONDS)
        if self._server.stdout is not None:
            self._server.stdout.close()
        self._server = None

    def run(
        self, name: str, *arguments: str | Path, token: str = "", check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the programs, with the server's addresses and an analyst's token in its environment.

        Raises CalledProcessError (with its output as notes) if it fails and `check` is set.
        """
        done = subprocess.run(
            [*program(name), *map(str, arguments)],
            env=self._environ(
                {"PRIVID_SERVER": self.analysts, "PRIVID_ADMIN_SERVER": self.owners, "PRIVID_TOKEN": token}
            ),
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            **({"capture_output": True} | options),
        )
        if check and done.returncode != 0:
            error = subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
            error.add_note(f"{done.stdout}\n{done.stderr}")
            raise error
        return done

    def json(self, name: str, *arguments: str | Path, token: str = "") -> Any:
        """What a program prints with --json. Raises CalledProcessError if it fails."""
        return json.loads(self.run(name, *arguments, "--json", token=token).stdout)

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The server's log entries of one kind, of all its starts."""
        entries = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [entry for entry in entries if entry.get("event") == event]

    def client(self, token: str) -> Client:
        """An analyst's client."""
        return Client(Target(self.analysts, token))

    def add_analyst(self, name: str, *cameras: str) -> str:
        """A new analyst's token."""
        document = self.json("privid-admin", "analyst", "add", name, "--cameras", ",".join(cameras))
        return str(document["token"])

    def _environ(self, more: Mapping[str, str]) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PRIVID_")}
        return inherited | {"PRIVID_HOME": str(self.home.root)} | self._environment | dict(more)


def program(name: str) -> list[str]:
    """The command of one of the installation's programs, run by this very interpreter."""
    return [sys.executable, "-c", f"from {_PROGRAMS[name]} import run; run()"]


def memory_mb(pid: int) -> float:
    """Proportional set size of a process, in megabytes."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kilobytes = next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(kilobytes) / 1024


def descendants(pid: int) -> list[int]:
    """Every process below `pid`."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            tasks = [int(task.name) for task in Path(f"/proc/{parent}/task").iterdir() if task.name != str(parent)]
            for task in tasks:
                children += Path(f"/proc/{parent}/task/{task}/children").read_text().split()
        except OSError:
            continue
        found += map(int, children)
        waiting += map(int, children)
    return found


def wait_until(condition: Any, seconds: float = 60.0, step: float = 0.05) -> None:
    """Wait for something to become true. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(step)
