"""Every command in the documentation works: each page's commands run, in order, in an empty home.

A page's ```sh and ```console blocks are one script, run from a folder that holds `examples/` as the repository does. A
command line of a console block begins with `$ `; `# exit status N` behind a command says that it fails, and how. A page
that goes on where another one ends says so: `<!-- commands: after tutorial/first-query.md -->`, and the two are run
together, once; one that needs an extra, too: `<!-- commands: with detectors -->`. What cannot run here is listed in
ELSEWHERE with the reason and the check that stands for it.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from _pytest.mark import ParameterSet

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GENERATED = DOCS / "reference" / "cli.md"
"""Its examples come from the help texts and name files of the reader's; they are checked against the commands."""
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
SECONDS = 600
"""At most, for the commands of a page: on a busy machine slots are late, and answers come schedules later."""
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_AFTER = re.compile(r"<!-- commands: after (\S+) -->")
_WITH = re.compile(r"<!-- commands: with (\w+) -->")
_STATUS = re.compile(r"#.*\bexit status (\d)")


@dataclass(frozen=True)
class Command:
    """One command of a page, with the exit status that the page says it has."""

    text: str
    status: int


def commands(page: Path) -> Iterator[Command]:
    for language, body in _FENCE.findall(page.read_text()):
        if language == "console":
            body = re.sub(r"\\\n> *", "", body)
            lines = [line[2:] for line in body.splitlines() if line.startswith("$ ")]
        elif language == "sh":
            lines = body.replace("\\\n", " ").splitlines()
        else:
            continue
        for line in lines:
            if line.strip() and not line.lstrip().startswith("#"):
                status = _STATUS.search(line)
                yield Command(line.strip(), int(status[1]) if status else 0)


def shown_output(page: Path) -> list[str]:
    """The lines of output that the page shows below its commands."""
    bodies = [body for language, body in _FENCE.findall(page.read_text()) if language == "console"]
    return [line for body in bodies for line in body.splitlines() if line.strip() and not line.startswith(("$ ", "> "))]


def comparable(line: str) -> str:
    """A line without what differs from run to run: noisy values, query ids, times of day, ports, blanks."""
    for pattern, name in (
        (r"-?\d+(\.\d+)?(?= ±)", "VALUE"),
        (r"\b[0-9a-f]{32}\b", "ID"),
        (r"(?<!T)\b\d\d:\d\d:\d\d\b", "TIME"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
    ):
        line = re.sub(pattern, name, line)
    return " ".join(line.split())


def _make_target_exists(text: str) -> None:
    (target, *_) = [word for word in text.split("#")[0].split()[1:] if "=" not in word]
    assert re.search(rf"^{re.escape(target)}:.*##", (ROOT / "Makefile").read_text(), re.MULTILINE), text


def _compose_service_exists(text: str) -> None:
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
    words = text.split("#")[0].split()
    assert words[:4] == ["docker", "compose", "-f", "docker/compose.yaml"], text
    assert [word for word in words[5:] if word in services], text


def _makefile_makes_it(text: str) -> None:
    assert text == "source .venv/bin/activate"
    assert re.search(r"^VENV \?= \.venv$", (ROOT / "Makefile").read_text(), re.MULTILINE)


ELSEWHERE: list[tuple[re.Pattern[str], str, Callable[[str], None]]] = [
    (re.compile(r"make "), "would build environments and run these tests; CI runs them", _make_target_exists),
    (re.compile(r"source "), "the tests run in an environment of their own", _makefile_makes_it),
    (re.compile(r"docker "), "no container engine here; see `make docker-check`", _compose_service_exists),
]


def elsewhere(command: Command) -> Callable[[str], None] | None:
    return next((check for pattern, _, check in ELSEWHERE if pattern.match(command.text)), None)


def pages_up_to(page: Path) -> list[Path]:
    """A page, after the one that it goes on from."""
    before = _AFTER.search(page.read_text())
    return [*(pages_up_to(DOCS / before[1]) if before else ()), page]


def script_of(page: Path) -> list[Command]:
    """The commands of a page that can run."""
    return [command for command in commands(page) if elsewhere(command) is None]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def bash(script: list[Command], ports: list[int]) -> str:
    """The script as bash sees it: one shell for the page, ports that nobody else uses, an echo of each command."""
    lines = ["set -uo pipefail", "trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null' EXIT"]
    for command in script:
        text = command.text.replace("7741", str(ports[0])).replace("7742", str(ports[1])).replace("7743", str(ports[2]))
        lines.append(f"echo {json.dumps('$ ' + text.replace('$', chr(92) + '$'))}")
        lines.append(text)
        if text.split("#")[0].rstrip().endswith("&"):
            wait = f"until (exec 3<>/dev/tcp/127.0.0.1/{ports[0]}) 2>/dev/null; do sleep 0.1; done"
            lines.append(f"timeout 60 bash -c '{wait}' || exit 97")
        else:
            lines.append(f'status=$?; [ $status = {command.status} ] || {{ echo "exit status $status"; exit 98; }}')
    return "\n".join(lines)


def pages_with_commands() -> list[ParameterSet]:
    """Lists of pages that are run one after the other, in one shell; every page with commands is in one at least."""
    runs = [pages_up_to(page) for page in PAGES if page != GENERATED and script_of(page)]
    begun = {page for run in runs for page in run[:-1]}
    return [_parameter(run) for run in runs if run[-1] not in begun]


def _parameter(run: list[Path]) -> ParameterSet:
    extras = [found[1] for page in run if (found := _WITH.search(page.read_text()))]
    name = "+".join(str(page.relative_to(ROOT)) for page in run)
    return pytest.param(run, id=name, marks=[getattr(pytest.mark, extra) for extra in extras])


@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize("pages", pages_with_commands())
def test_the_commands_of_pages_work(pages: list[Path], tmp_path: Path) -> None:
    ports = free_ports(3)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    environment = {
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PRIVID_LISTEN": f"127.0.0.1:{ports[0]}",
        "PRIVID_ADMIN_LISTEN": f"127.0.0.1:{ports[1]}",
        "PRIVID_ADMIN_SERVER": f"127.0.0.1:{ports[1]}",
        "PRIVID_INGEST_LISTEN": f"127.0.0.1:{ports[2]}",
    }
    with (tmp_path / "output").open("w+") as output:
        shell = subprocess.Popen(
            ["bash", "-c", bash([command for page in pages for command in script_of(page)], ports)],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status: int | str = shell.wait(SECONDS)
        except subprocess.TimeoutExpired:
            status = f"not done after {SECONDS} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    said = (tmp_path / "output").read_text()
    assert status == 0, f"{status}\n{said[-6000:]}"
    assert "Traceback" not in said, said[-6000:]
    printed = {comparable(line) for line in said.splitlines()}
    shown = [line for page in pages for line in shown_output(page)]
    assert [line for line in shown if comparable(line) not in printed] == [], said[-6000:]


def test_examples_of_the_help_texts_use_commands_and_options_that_exist() -> None:
    text = GENERATED.read_text()
    sections = dict(re.findall(r"^### (privid[^\n]*)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    known = {
        re.sub(r" \[?[A-Z].*", "", title): set(re.findall(r"`(-[^`]*)`", body)) | {"--help"}
        for title, body in sections.items()
    }
    found = list(commands(GENERATED))
    assert found
    for command in found:
        words = shlex.split(command.text)
        (title,) = [title for title in known if words[: len(title.split())] == title.split()]
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= known[title], command.text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_cannot_run_here_exists(page: Path) -> None:
    for command in commands(page):
        if check := elsewhere(command):
            check(command.text)


def test_the_harness_notices_a_command_that_fails(tmp_path: Path) -> None:
    def run(*script: Command) -> int:
        text = bash(list(script), [1, 2, 3])
        return subprocess.run(["bash", "-c", text], cwd=tmp_path, capture_output=True).returncode

    assert run(Command("true", 0), Command("false # exit status 1", 1)) == 0
    assert run(Command("false", 0), Command("true", 0)) == 98
    assert run(Command("true # exit status 2", 2)) == 98
