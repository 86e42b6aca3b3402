"""The server's parts that need no network: settings, tokens, the table of errors, names."""

import json
import os
import subprocess
import sys

import grpc
import pytest
from pydantic import ValidationError

import privid.engine.errors
import privid.ledger.errors
from privid.database.connect import open_database
from privid.domain.addresses import is_loopback
from privid.domain.home import Home
from privid.engine.errors import EngineError
from privid.ledger.errors import LedgerError
from privid.rpc.v1 import types_pb2
from privid.server.app import AlreadyRunning, hold
from privid.server.auth import Authenticator, ensure_owner, new_token, token_hash
from privid.server.errors import Refused
from privid.server.settings import Settings, split_address
from privid.server.translate import PUBLIC_ERRORS, translate
from query_lang.errors import QueryError


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("PRIVID_"):
            monkeypatch.delenv(name)


# --- settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "192.168.0.7:1", "privid.example:1", "127.0.0.1.evil:1"])
def test_without_tls_only_this_machine_is_served(address):
    with pytest.raises(ValidationError, match="no TLS"):
        Settings(listen=address)
    with pytest.raises(ValidationError, match="no TLS"):
        Settings(admin_listen=address)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.9.9.9:7741", "[::1]:7741", "localhost:7741"])
def test_loopback_addresses_are_served_without_tls(address):
    assert Settings(listen=address).listen == address


@pytest.mark.parametrize("address", ["", "7741", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "a b:1", "::1:80"])
def test_malformed_addresses_are_refused(address):
    with pytest.raises(ValidationError, match="HOST:PORT"):
        Settings(listen=address)


def test_tls_needs_both_files_and_they_must_exist(tmp_path):
    cert = tmp_path / "cert.pem"
    cert.touch()
    with pytest.raises(ValidationError, match="both"):
        Settings(tls_cert=cert)
    with pytest.raises(ValidationError, match="PRIVID_TLS_CERT"):
        Settings(tls_client_ca=cert)
    with pytest.raises(ValidationError, match="not a file"):
        Settings(tls_cert=cert, tls_key=tmp_path / "missing.pem", listen="0.0.0.0:1")


def test_settings_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PRIVID_HOME", str(tmp_path))
    monkeypatch.setenv("PRIVID_DEFAULT_EPSILON", "0.25")
    monkeypatch.setenv("PRIVID_LISTEN", "127.0.0.1:9")
    settings = Settings()
    assert (settings.home, settings.default_epsilon_nano, settings.listen) == (tmp_path, 250_000_000, "127.0.0.1:9")


def test_addresses_are_split():
    assert split_address("[::1]:80") == ("::1", 80)
    assert is_loopback("::1")
    assert not is_loopback("::")


# --- tokens -------------------------------------------------------------------------------------------------


def test_the_first_start_makes_one_owner_and_later_ones_none(tmp_path):
    home = Home(tmp_path / "home").create()
    database = open_database(home.database)
    assert ensure_owner(database, home.owner_token, lambda: 1)
    token = home.owner_token.read_text().strip()
    assert not ensure_owner(database, home.owner_token, lambda: 2)
    assert home.owner_token.read_text().strip() == token
    authenticator = Authenticator(database)
    assert authenticator.owner(token).name == "owner"
    assert authenticator.analyst(token) is None
    for wrong in ("", token[:-1], token + "x", token_hash(token), "\ud800"):
        assert authenticator.owner(wrong) is None
    database.dispose()


def test_tokens_differ_and_their_hashes_do_not_show_them():
    first, second = new_token(), new_token()
    assert first != second
    assert len(first) > 40
    assert first not in token_hash(first)


def test_one_server_a_data_directory(tmp_path):
    home = Home(tmp_path / "home").create()
    handle = hold(home)
    script = (
        "from pathlib import Path; from privid.domain.home import Home; from privid.server.app import hold; import sys"
    )
    script += "; hold(Home(Path(sys.argv[1])))"
    other = subprocess.run([sys.executable, "-c", script, str(home.root)], capture_output=True, text=True, check=False)
    assert "AlreadyRunning" in other.stderr
    with pytest.raises(AlreadyRunning):
        hold(home)
    os.close(handle)
    os.close(hold(home))


# --- the table of errors ------------------------------------------------------------------------------------


def subclasses(base):
    return {base, *(found for child in base.__subclasses__() for found in subclasses(child))}


def test_every_public_code_is_explained_and_none_is_ok():
    for code, error in PUBLIC_ERRORS.items():
        assert code.replace("_", "").isalpha()
        assert code.islower()
        assert error.meaning.endswith(".")
        assert error.status is not grpc.StatusCode.OK


def test_every_code_that_the_server_refuses_with_is_in_the_table():
    import re
    from pathlib import Path

    import privid.server

    used = set()
    for path in Path(privid.server.__file__).parent.glob("*.py"):
        used |= set(re.findall(r'Refused\(\s*"([a-z_]+)"', path.read_text()))
    assert used
    assert used <= PUBLIC_ERRORS.keys()


def test_every_refusal_of_engine_and_ledger_has_a_public_code():
    assert {error.code for error in subclasses(EngineError)} <= PUBLIC_ERRORS.keys()
    internal = {privid.ledger.errors.IllegalTransition, LedgerError}
    for kind in subclasses(LedgerError) - internal:
        error = kind.__new__(kind)
        error.args = ("x",)
        error.message, error.hint, error.refusals, error.admissible_epsilon_nano = "message", "hint", (), None
        error.admissible_window = None
        answer = translate(error)
        assert answer.error.code in PUBLIC_ERRORS
        assert not answer.incident, f"{kind.__name__} would be an internal error"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("bad_executable", "m", "h"), "bad_executable"),
        (QueryError("needs_range", "m", text="x", span=(0, 1), hint="h"), "needs_range"),
        (privid.engine.errors.NoVideo("m", "h"), "no_video"),
        (TimeoutError(), "deadline"),
    ],
)
def test_refusals_keep_their_code_message_and_hint(error, code):
    answer = translate(error)
    assert answer.error.code == code
    assert not answer.incident


@pytest.mark.parametrize("error", [ValueError("row 7: plate"), KeyError("plate"), RuntimeError(), EOFError("plate")])
def test_everything_else_is_one_sentence_and_an_incident(error):
    answer = translate(error)
    assert answer.status is grpc.StatusCode.INTERNAL
    assert answer.error.code == "internal"
    assert answer.incident in answer.error.message
    assert "plate" not in str(answer.error)
    assert translate(error).incident != answer.incident


def test_long_texts_are_cut_to_what_metadata_can_carry():
    answer = translate(Refused("invalid_request", "m" * 10**6, "h" * 10**6))
    assert len(answer.error.SerializeToString()) < 4_096


def test_an_error_without_a_position_says_so():
    error = translate(QueryError("too_large", "m")).error
    assert (error.line, error.column, error.length) == (0, 0, 0)
    assert isinstance(error, types_pb2.Error)


# --- logs ---------------------------------------------------------------------------------------------------


def test_logs_are_json_lines_on_standard_error():
    script = """
import logging, structlog
from privid.server.logs import configure_logs
configure_logs("info")
structlog.get_logger("privid.server").info("hello", number=1)
logging.getLogger("sqlalchemy").warning("from a library")
try: 1/0
except ZeroDivisionError as error: structlog.get_logger("privid.server").error("broken", exc_info=error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["hello", "from a library", "broken"]
    assert "ZeroDivisionError" in lines[2]["exception"]
