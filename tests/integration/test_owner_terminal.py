"""What owners type and see: the live view on a real terminal, and completion in a real shell."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from privid.testing.services import running_server
from privid.testing.system import program

PROGRAMS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("home")) as server:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PRIVID_")}
        yield clean | {
            "PRIVID_HOME": str(server.home.root),
            "PRIVID_ADMIN_SERVER": server.addresses.owners,
            "TERM": "xterm-256color",
            "COLUMNS": "120",
            "LINES": "40",
        }


def read_until(terminal, text, seconds=60.0):
    seen = b""
    end = time.monotonic() + seconds
    while text not in seen:
        assert time.monotonic() < end, seen
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65536)
    return seen


def on_a_terminal(environment, *arguments):
    mine, theirs = pty.openpty()
    running = subprocess.Popen(
        [*program("privid-admin"), *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    return running, mine


@pytest.mark.parametrize("end", ["q", "interrupt"])
def test_the_live_view_ends_on_q_and_on_an_interrupt_and_restores_the_terminal(environment, end):
    running, terminal = on_a_terminal(environment, "watch", "--every", "0.2")
    read_until(terminal, b"q ends")
    if end == "q":
        os.write(terminal, b"xq")
    else:
        running.send_signal(signal.SIGINT)
    rest = read_until(terminal, b"\x1b[?1049l")  # the screen that was there before
    assert running.wait(30) == 0
    assert b"Traceback" not in rest
    os.close(terminal)


def test_without_a_terminal_it_prints_lines_until_it_is_interrupted(environment):
    running = subprocess.Popen(
        [*program("privid-admin"), "watch", "--every", "0.2", "--json"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stdout.readline().startswith('{"now_us"')
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (0, "")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("privid-admin", "bud"), "budget"),
        (("privid-admin", "budget", "fore"), "forecast"),
        (("privid-admin", "analyst", "limit", "ana", "--ep"), "--epsilon"),
        (("privid", "expl"), "explain"),
        (("privid-server", "doc"), "doctor"),
        (("privid-ingest", "stat"), "status"),
    ],
)
def test_bash_completes_commands_and_options(words, offered, tmp_path):
    name = words[0]
    function = f"_{name.replace('-', '_')}_completion"
    script = f"""
    eval "$({name} --show-completion)"
    complete -p {name}
    COMP_WORDS=({" ".join(words)}) COMP_CWORD={len(words) - 1}
    {function} {name}
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        env={"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        timeout=60,
        check=False,
    )
    registered, *found = done.stdout.splitlines()
    assert f"-F {function} {name}" in registered, done.stderr
    assert [line.strip() for line in found] == [offered]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("name", ["privid", "privid-admin", "privid-server", "privid-ingest"])
def test_every_program_has_a_script_for_every_shell(name, shell):
    variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
    done = subprocess.run(
        [PROGRAMS / name], env={variable: f"source_{shell}"}, capture_output=True, text=True, timeout=60, check=True
    )
    assert f"complete_{shell}" in done.stdout
    assert name in done.stdout
