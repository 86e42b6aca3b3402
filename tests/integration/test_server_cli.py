"""The command lines of analysts and owners against both services on loopback."""

import json
import logging
import os
import stat
import subprocess
import sys

import pytest
import structlog

from privid.cli import admin, main
from privid.ledger import BudgetExceeded, Refusal
from privid.testing.services import running_server
from query_lang.errors import QueryError

QUERY = """SPLIT plaza BEGIN 0 END 40 BY TIME 5sec INTO c;
PROCESS c USING 'people.py' TIMEOUT 1sec PRODUCING 1 ROWS WITH SCHEMA (people:NUMBER=0) INTO t;
SELECT COUNT(*) FROM t;
"""
EXECUTABLE = "def process(chunk):\n    yield {'people': 1}\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    # The server runs in this process: its log would be among what the programs print.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with running_server(tmp_path_factory.mktemp("home")) as running:
        yield running
    structlog.reset_defaults()


@pytest.fixture
def call(server, monkeypatch, capfd, tmp_path):
    """Runs a program in this process; returns exit status, standard output and standard error."""
    for name in list(os.environ):
        if name.startswith("PRIVID_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PRIVID_HOME", str(server.home.root))
    monkeypatch.setenv("PRIVID_ADMIN_SERVER", server.addresses.owners)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    server.engine.trouble = None

    def run(program, *arguments):
        monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            {"privid": main.run, "privid-admin": admin.run}[program]()
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return left.value.code or 0, out, err

    return run


def document(outcome):
    status, out, err = outcome
    assert status == 0, out + err
    return json.loads(out)


@pytest.fixture
def analyst(call, server, monkeypatch, tmp_path):
    """The same, with a camera, its policy, and an analyst whose token is in the environment."""
    if server.engine.calls.count("ready") == 0:
        server.engine.calls.append("ready")
        assert call("privid-admin", "camera", "add", "plaza")[0] == 0
        assert call("privid-admin", "policy", "set", "plaza", "--rho", "30s", "-K", 1, "--epsilon", 2, "--yes")[0] == 0
        added = document(call("privid-admin", "analyst", "add", "transport", "--cameras", "plaza", "--json"))
        server.home.root.joinpath("test.token").write_text(added["token"])
    monkeypatch.setenv("PRIVID_SERVER", server.addresses.analysts)
    monkeypatch.setenv("PRIVID_TOKEN", server.home.root.joinpath("test.token").read_text())
    (tmp_path / "people.sql").write_text(QUERY)
    (tmp_path / "people.py").write_text(EXECUTABLE)
    return call


# --- owners -------------------------------------------------------------------------------------------------


def test_cameras_are_listed_for_people_and_programs(analyst):
    status, out, _ = analyst("privid-admin", "camera", "list")
    assert status == 0
    assert "plaza" in out
    assert "30 s / 1" in out
    (camera,) = document(analyst("privid-admin", "camera", "list", "--json"))["cameras"]
    assert (camera["name"], camera["policy"]["rho"], camera["policy"]["K"]) == ("plaza", "30s", 1)


def test_a_policy_change_shows_diff_and_guarantee_and_asks(analyst):
    status, out, err = analyst("privid-admin", "policy", "set", "plaza", "--rho", "90s")
    assert status == 2
    assert "- rho = 30s" in out
    assert "+ rho = 90s" in out
    assert "guarantee: Whoever is in view of plaza once, for at most 90 s" in out
    assert "--yes" in err
    shown = document(analyst("privid-admin", "policy", "show", "plaza", "--json"))
    assert shown["policies"]["plaza"]["rho"] == "30s"


def test_a_first_policy_needs_its_three_numbers(analyst):
    assert analyst("privid-admin", "camera", "add", "gate")[0] == 0
    status, _, err = analyst("privid-admin", "policy", "set", "gate", "--rho", "30s")
    assert status == 2
    assert "--rho, --K and --epsilon" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--rho", "30 parsec"), "parsec"),
        (("--epsilon", "lots"), "not a number"),
        (("--epsilon", "0"), "not an amount"),
        (("--K", "0"), "K must be at least 1"),
        (("--K", "x"), "integer"),
        (("--fps", "1/0"), "--fps"),
        (("--fps", "1e99999"), "--fps"),
        (("--mask", "benches"), "NAME.png:RHO"),
        (("--mask", "benches:10s:many"), "NAME.png:RHO"),
        (("--mask", "benches:10s"), "has no picture"),
        (("--mask", "missing.png:10s"), "cannot read missing.png"),
        (("--mask", "benches:99s"), "must not be more"),
        (("--timing", "loose"), "timing must be one of"),
        (("--isolation", "none"), "isolation must be one of"),
        (("--colour", "red"), "--colour"),
    ],
)
def test_bad_policy_options_change_nothing(analyst, arguments, says):
    before = document(analyst("privid-admin", "policy", "show", "--json"))
    status, _, err = analyst("privid-admin", "policy", "set", "plaza", "--yes", *arguments)
    assert status == 2
    assert says in err
    assert document(analyst("privid-admin", "policy", "show", "--json")) == before


def test_an_exported_file_is_applied_again_and_edits_are_shown(analyst, tmp_path):
    file = tmp_path / "policy.toml"
    assert analyst("privid-admin", "policy", "export", "plaza", "--output", file)[0] == 0
    status, out, _ = analyst("privid-admin", "policy", "apply", file)
    assert (status, "nothing changes" in out) == (0, True)
    file.write_text(file.read_text().replace("K = 1", "K = 2"))
    applied = document(analyst("privid-admin", "policy", "apply", file, "--yes", "--json"))
    assert applied["applied"]
    assert applied["changes"][0]["before"]["K"] == 1
    assert "on at most 2 occasions" in applied["changes"][0]["guarantee"]
    document(analyst("privid-admin", "policy", "set", "plaza", "--K", 1, "--yes", "--json"))


def test_a_bad_policy_file_names_file_and_key(analyst, tmp_path):
    file = tmp_path / "policy.toml"
    file.write_text('[camera.plaza]\nepsilon = 1\nrho = "30s"\nk = 1\n')
    status, out, _ = analyst("privid-admin", "policy", "apply", file, "--json")
    error = json.loads(out)["error"]
    assert status == 2
    assert error["message"] == f"{file}: camera.plaza.k is not a setting; did you mean K?"


def test_analysts_are_granted_and_revoked(analyst):
    added = document(analyst("privid-admin", "analyst", "add", "guest", "--epsilon", "0.5", "--json"))
    assert added["epsilon_limit"] == 0.5
    assert document(analyst("privid-admin", "analyst", "grant", "guest", "--cameras", "plaza", "--json"))[
        "cameras"
    ] == ["plaza"]
    assert analyst("privid-admin", "analyst", "grant", "guest")[0] == 2
    assert document(analyst("privid-admin", "analyst", "revoke", "guest", "--yes", "--json"))["revoked_us"]
    status, out, _ = analyst("privid-admin", "analyst", "list")
    assert status == 0
    assert "guest" in out
    assert added["token"] not in out


def test_a_budget_is_shown_as_bars_picture_and_json(analyst, tmp_path):
    window = ("--from", "2026-12-01T00:00:00Z", "--to", "2026-12-01T01:00:00Z")
    status, out, err = analyst("privid-admin", "budget", "show", "plaza", *window, "--png", tmp_path / "b.png")
    assert status == 0
    assert "plaza: budget 2, left 2 .. 2" in out
    assert "████" in out
    assert "b.png" in err
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    picture = tmp_path / "plot.png"
    assert analyst("privid-admin", "budget", "plot", "plaza", "plaza", *window, "--png", picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    shown = document(analyst("privid-admin", "budget", "show", "plaza", *window, "--json"))
    assert (shown["epsilon"], shown["left_min"], len(shown["steps"])) == (2.0, 2.0, 1)
    assert analyst("privid-admin", "budget", "show", "plaza", "--from", "yesterday")[0] == 2
    status, _, err = analyst("privid-admin", "budget", "show", "plaza", *window, "--png", tmp_path / "no" / "b.png")
    assert (status, "cannot write" in err) == (2, True)


def test_without_the_owners_token_it_says_where_to_find_it(call, monkeypatch, tmp_path):
    monkeypatch.setenv("PRIVID_HOME", str(tmp_path))
    status, _, err = call("privid-admin", "camera", "list")
    assert status == 2
    assert "owner.token" in err
    monkeypatch.setenv("PRIVID_OWNER_TOKEN", "pvd_wrong")
    status, out, _ = call("privid-admin", "camera", "list", "--json")
    assert status == 2
    assert json.loads(out)["error"]["code"] == "unauthenticated"


# --- analysts -----------------------------------------------------------------------------------------------


def test_login_remembers_a_server_that_accepted_the_token(analyst, server, monkeypatch, tmp_path):
    token = os.environ["PRIVID_TOKEN"]
    monkeypatch.delenv("PRIVID_TOKEN")
    monkeypatch.delenv("PRIVID_SERVER")
    config = tmp_path / "config" / "privid" / "config.toml"
    (tmp_path / "wrong").write_text("pvd_wrong")
    (tmp_path / "right").write_text(token + "\n")
    status, _, err = analyst("privid", "login", server.addresses.analysts, "--token-file", tmp_path / "wrong")
    assert status == 2
    assert "not valid" in err
    assert not config.exists()
    status, out, _ = analyst("privid", "login", server.addresses.analysts, "--token-file", tmp_path / "right")
    assert status == 0
    assert token not in out
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert [c["name"] for c in document(analyst("privid", "cameras", "--json"))["cameras"]] == ["plaza"]
    monkeypatch.setenv("PRIVID_SERVER", "127.0.0.1:1")  # the stored token belongs to the other server
    assert "no token for 127.0.0.1:1" in analyst("privid", "cameras")[2]


def test_a_token_is_never_sent_in_clear_to_another_machine(analyst, tmp_path):
    (tmp_path / "token").write_text("pvd_x")
    status, _, err = analyst("privid", "login", "http://privid.example", "--token-file", tmp_path / "token")
    assert status == 2
    assert "https://privid.example" in err


def test_not_logged_in_says_what_to_do(call):
    status, _, err = call("privid", "cameras")
    assert status == 2
    assert "privid login" in err


def test_explain_prints_the_servers_document(analyst):
    assert document(analyst("privid", "explain", "people.sql", "--json"))["canonical"] == QUERY
    status, out, _ = analyst("privid", "explain", "people.sql", "--server")
    assert status == 0
    assert "8 chunks, answer visible 2 s after it begins" in out
    assert "admissible now: yes (up to 0.65 for all of it)" in out


def test_submit_uploads_what_lies_beside_the_query_waits_and_draws(analyst, tmp_path):
    (tmp_path / "people.py").write_text(EXECUTABLE + "# of this test\n")
    status, out, err = analyst("privid", "submit", "people.sql", "--epsilon", "0.5", "--watch", "--plot", "out.png")
    assert status == 0
    assert "uploaded people.py version" in out
    assert "charge plaza 0.5" in out
    assert "42.0 ± 3.0" in out
    assert "out.png" in err
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    again = document(analyst("privid", "submit", "people.sql", "--watch", "--json"))
    assert again["uploads"][0]["existing"]
    assert again["result"]["tables"][0]["rows"][1] == [
        9,
        {"value": 17.25, "noise_scale": 1.0, "interval95": 3.0, "epsilon": 0.5},
    ]
    assert document(analyst("privid", "result", again["query_id"], "--json")) == again["result"]


def test_named_executables_come_from_where_they_are_said_to_be(analyst, tmp_path):
    (tmp_path / "people.py").unlink()
    (tmp_path / "elsewhere.py").write_text(EXECUTABLE + "# other\n")
    found = document(analyst("privid", "submit", "people.sql", "--executable", "people.py=elsewhere.py", "--json"))
    assert [upload["name"] for upload in found["uploads"]] == ["people.py"]
    assert document(analyst("privid", "submit", "people.sql", "--json"))["uploads"] == []
    for bad in ("people.py", "=x", "people.py="):
        assert analyst("privid", "submit", "people.sql", "--executable", bad)[0] == 2
    status, _, err = analyst("privid", "submit", "people.sql", "--executable", "people.py=missing.py")
    assert (status, "missing.py" in err) == (2, True)


def test_a_request_id_makes_submitting_twice_one_query(analyst):
    first = document(analyst("privid", "submit", "people.sql", "--request-id", "same-request", "--json"))
    again = document(analyst("privid", "submit", "people.sql", "--request-id", "same-request", "--json"))
    assert (again["query_id"], again["existing"]) == (first["query_id"], True)
    listed = [query["query_id"] for query in document(analyst("privid", "list", "--json"))["queries"]]
    assert listed.count(first["query_id"]) == 1


def test_queries_are_listed_watched_and_cancelled(analyst, server):
    query_id = document(analyst("privid", "submit", "people.sql", "--json"))["query_id"]
    server.engine.queries[query_id].visible_us += 60_000_000
    status, out, _ = analyst("privid", "result", query_id, "--json")
    assert (status, json.loads(out)["error"]["code"]) == (2, "not_visible")
    status, out, _ = analyst("privid", "list")
    assert status == 0
    assert query_id in out
    assert document(analyst("privid", "cancel", query_id, "--json"))["state"] == "cancelled"
    assert analyst("privid", "watch", query_id)[0] == 2
    assert analyst("privid", "cancel", query_id)[0] == 2
    assert analyst("privid", "result", "nothing")[0] == 2
    assert "transport" in analyst("privid-admin", "queries", "list")[1]


def test_a_query_that_the_system_failed_is_a_failure_of_the_system(analyst, server):
    query_id = document(analyst("privid", "submit", "people.sql", "--json"))["query_id"]
    server.engine.queries[query_id].state = "failed"
    status, out, _ = analyst("privid", "watch", query_id, "--json")
    assert (status, json.loads(out)["error"]["code"]) == (1, "query_failed")
    assert analyst("privid", "result", query_id)[0] == 1


def test_an_error_of_the_server_is_shown_at_its_place(analyst, server):
    server.engine.trouble = QueryError(
        "unknown_name", "unknown camera 'plaza'", text=QUERY, span=(6, 11), hint="there is: bridge"
    )
    status, _, err = analyst("privid", "submit", "people.sql")
    assert status == 2
    assert err.splitlines()[:3] == [
        "people.sql:1:7  unknown camera 'plaza'",
        "  SPLIT plaza BEGIN 0 END 40 BY TIME 5sec INTO c;",
        "        ^^^^^  there is: bridge",
    ]
    status, out, _ = analyst("privid", "explain", "people.sql", "--json")
    error = json.loads(out)["error"]
    assert status == 2
    assert (error["code"], error["line"], error["column"]) == ("unknown_name", 1, 7)


def test_a_refusal_for_budget_names_place_and_admissible_epsilon(analyst, server):
    server.engine.trouble = BudgetExceeded([Refusal("plaza", 0, 2_400_000_000, 5 * 10**8, 8 * 10**8)], 5 * 10**8)
    status, _, err = analyst("privid", "submit", "people.sql")
    assert status == 2
    assert "0.5 left there, 0.8 asked" in err
    assert "0.5 would be admitted" in err
    error = json.loads(analyst("privid", "submit", "people.sql", "--json")[1])["error"]
    assert (error["code"], error["admissible_epsilon"]) == ("budget_exceeded", 0.5)
    assert error["refusals"][0]["left"] == 0.5


def test_a_failure_of_the_system_has_status_1(analyst, server, monkeypatch):
    server.engine.trouble = RuntimeError("plate 12-AB-34")
    status, out, _ = analyst("privid", "submit", "people.sql", "--json")
    assert status == 1
    assert "12-AB-34" not in out
    monkeypatch.setenv("PRIVID_SERVER", "127.0.0.1:1")
    status, out, _ = analyst("privid", "cameras", "--json")
    assert (status, json.loads(out)["error"]["code"]) == (1, "unavailable")


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit", "missing.sql"),
        ("submit", "."),
        ("submit", "broken.sql"),
        ("submit", "latin.sql"),
        ("submit", "people.sql", "--epsilon", "x"),
        ("submit", "people.sql", "--epsilon", "-1"),
        ("submit", "people.sql", "--epsilon", "1e99"),
        ("submit", "people.sql", "--plot", "no/folder.png"),
        ("submit", "people.sql", "--request-id", "short"),
        ("submit",),
        ("explain", "people.sql", "--policy", "missing.toml"),
        ("explain", "people.sql", "--policy", "p.toml", "--server"),
        ("upload", "missing.py"),
        ("upload", "people.sql"),
        ("upload", "people.py", "--name", "a/b"),
        ("list", "--limit", "0"),
        ("nonsense",),
    ],
)
def test_bad_input_is_one_message_and_status_2(analyst, server, tmp_path, arguments):
    (tmp_path / "broken.sql").write_text("SELECT FROM WHERE;")
    (tmp_path / "latin.sql").write_bytes("SELECT 'é'".encode("latin-1"))
    before = len(server.engine.queries), len(list(server.home.executables.iterdir()))
    status, out, _ = analyst("privid", *arguments, "--json")
    assert status == 2
    error = json.loads(out)["error"]
    assert set(error) >= {"code", "message", "line", "column", "hint"}
    assert error["message"]
    status, out, err = analyst("privid", *arguments)
    assert (status, out) == (2, "")
    assert err.strip()
    assert (len(server.engine.queries), len(list(server.home.executables.iterdir()))) == before


# --- as processes -------------------------------------------------------------------------------------------


def process(*arguments, env=None, **options):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PRIVID_")}
    return subprocess.run(
        [sys.executable, "-c", "from privid.cli.main import run; run()", *arguments],
        capture_output=True,
        text=True,
        env=clean | (env or {}),
        timeout=60,
        check=False,
        **options,
    )


def test_a_reader_that_goes_away_causes_no_noise(tmp_path):
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -c 'from privid.cli.main import run; run()' --help | head -1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_nothing_is_coloured_that_is_not_a_terminal(tmp_path):
    done = process("explain", "missing.sql", cwd=tmp_path)
    assert done.returncode == 2
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("program", ["main", "admin", "serve"])
def test_every_command_has_help_with_an_example(program):
    import importlib

    from typer.main import get_command

    def leaves(command):
        children = getattr(command, "commands", None)
        if children is None:
            yield command
        else:
            for child in children.values():
                yield from leaves(child)

    for command in leaves(get_command(importlib.import_module(f"privid.cli.{program}").app)):
        assert "$ privid" in command.help, command.name
        assert any("--json" in parameter.opts for parameter in command.params), command.name
