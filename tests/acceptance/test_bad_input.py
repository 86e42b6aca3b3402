"""Bad input of every kind: one clear message, exit status 2, nothing half done, no traceback."""

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from privid.client.connection import ANALYST_PORT, Connection, Target
from privid.rpc.v1 import query_pb2, query_pb2_grpc
from privid.testing.system import LocalSystem
from tests.support.minute import COUNT_FRAMES, POLICY, query


@pytest.fixture(scope="module")
def system(module_install: Callable[..., LocalSystem]) -> LocalSystem:
    return module_install()


@pytest.fixture(scope="module")
def token(system: LocalSystem) -> Iterator[str]:
    token = system.add_analyst("alice", "plaza")
    with system.client(token) as client:
        client.upload("frames.py", COUNT_FRAMES)
    return token


def state(system: LocalSystem) -> object:
    """Everything that a command could have changed. That it was refused is in the audit log, so that is left out."""
    with closing(sqlite3.connect(f"file:{system.home.database}?mode=ro", uri=True)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {
            name: sorted(map(repr, database.execute(f"SELECT * FROM {name}")))
            for name in names
            if not name.startswith(("audit", "sqlite"))
        }
    files = [p for p in system.home.root.rglob("*") if p.is_file() and "sqlite3" not in p.name and p != system.log]
    return rows, sorted(map(str, files))


QUERIES = {
    "empty": "",
    "not a query": "please count the people",
    "unknown camera": query().replace("plaza", "plazza"),
    "unknown executable": query("missing.py"),
    "no range": query(select="SUM(n)"),
    "misspelt keyword": query().replace("PROCESS", "PROCES"),
    "no rows": query(rows="0"),
    "window without video": query().replace("2026-09-01", "2025-09-01"),
    "no end and no horizon": re.sub(r"END \S+", "END NEVER EVERY 1 min", query()),
    "epsilon too small": query(epsilon="0.000000001"),
    "not an aggregate": query(select="n"),
    "binary": "\x00\x01\x02\ufffd",
    "mask": query().replace("INTO chunks", "WITH MASK benches INTO chunks"),
    "ten thousand brackets": query(select="SUM(" + "(" * 10_000),
}


@pytest.mark.parametrize("kind", list(QUERIES))
@pytest.mark.parametrize("command", ["explain", "submit"])
def test_queries(system: LocalSystem, token: str, tmp_path: Path, kind: str, command: str) -> None:
    path = tmp_path / "bad.sql"
    path.write_text(QUERIES[kind])
    refused(system, token, "privid", command, path)


def test_a_query_that_is_too_dear(system: LocalSystem, token: str, tmp_path: Path) -> None:
    path = tmp_path / "dear.sql"
    path.write_text(query(epsilon="1.5"))
    error = refused(system, token, "privid", "submit", path)
    assert error["code"] == "budget_exceeded"
    assert "epsilon 1 would be admitted" in error["hint"]
    assert "plaza 2026-09-01T13:00:00Z" in error["message"]


POLICIES = {
    "not TOML": "epsilon == 1",
    "negative epsilon": POLICY.format(epsilon=-1, timing="slotted"),
    "unknown timing": POLICY.format(epsilon=1, timing="sloted"),
    "unknown key": POLICY.format(epsilon=1, timing="slotted") + "rhoo = 3\n",
    "bad duration": POLICY.format(epsilon=1, timing="slotted").replace("4s", "four seconds"),
    "unknown camera": POLICY.format(epsilon=1, timing="slotted").replace("plaza", "piazza"),
}


@pytest.mark.parametrize("kind", list(POLICIES))
def test_policy_files(system: LocalSystem, token: str, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(POLICIES[kind])
    refused(system, token, "privid-admin", "policy", "apply", path, "--yes")


@pytest.mark.parametrize(
    "kind", ["missing", "empty", "text", "truncated", "directory", "same time", "bad time", "camera"]
)
def test_video_files(system: LocalSystem, token: str, tmp_path: Path, module_clip: Path, kind: str) -> None:
    path, start, camera = tmp_path / "clip.mp4", "2026-09-02T13:00:00Z", "plaza"
    whole = module_clip.read_bytes()
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("not a video\n" * 1000)
        case "truncated":
            path.write_bytes(whole[: len(whole) // 2])
        case "directory":
            path.mkdir()
        case "same time" | "bad time" | "camera":
            path.write_bytes(whole)
            start = {"same time": "2026-09-01T13:00:30Z", "bad time": "yesterday"}.get(kind, start)
            camera = "plazza" if kind == "camera" else camera
    refused(system, token, "privid-ingest", "import", path, "--camera", camera, "--start", start)


EXECUTABLES = {
    "empty": b"",
    "syntax error": b"def process(chunk:\n",
    "no process": b"x = 1\n",
    "not text": b"\xff\xfe\x00\x01",
    "too large": b"#" * (5 << 20) + b"\ndef process(chunk):\n    pass\n",
}


@pytest.mark.parametrize("kind", list(EXECUTABLES))
def test_executables(system: LocalSystem, token: str, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.py"
    path.write_bytes(EXECUTABLES[kind])
    refused(system, token, "privid", "upload", path)


@pytest.mark.parametrize("bad", ["", "wrong", "\u00e4", "x" * 10_000])
def test_tokens(system: LocalSystem, token: str, bad: str) -> None:
    refused(system, token, "privid", "cameras", use=bad)


def test_an_owner_s_port_takes_no_analyst(system: LocalSystem, token: str) -> None:
    with Connection(Target(system.owners, token), ANALYST_PORT) as connection:
        stub = query_pb2_grpc.QueryServiceStub(connection.channel)
        with pytest.raises(grpc.RpcError) as error:
            stub.ListCameras(query_pb2.ListCamerasRequest(), timeout=10)
    assert error.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED)


def test_a_truncated_upload_leaves_nothing(system: LocalSystem, token: str) -> None:
    before = state(system)
    content = b"def process(chunk):\n    pass\n"
    header = query_pb2.UploadHeader(name="half.py", size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    parts = [
        query_pb2.UploadExecutableRequest(header=header),
        query_pb2.UploadExecutableRequest(data=content[:9]),
    ]
    with Connection(Target(system.analysts, token), ANALYST_PORT) as connection:
        stub = query_pb2_grpc.QueryServiceStub(connection.channel)
        with pytest.raises(grpc.RpcError) as error:
            stub.UploadExecutable(iter(parts), timeout=10)
    assert error.value.code() is not grpc.StatusCode.INTERNAL
    assert state(system) == before


def refused(
    system: LocalSystem, token: str, program: str, *arguments: str | Path, use: str | None = None
) -> dict[str, str]:
    """Run a command that must be refused, with and without --json; gives the error document."""
    before = state(system)
    who = token if use is None else use
    plain = system.run(program, *arguments, token=who, check=False)
    assert plain.returncode == 2, plain.stdout + plain.stderr
    assert "Traceback" not in plain.stdout + plain.stderr
    assert plain.stderr.strip()
    as_json = system.run(program, *arguments, "--json", token=who, check=False)
    assert as_json.returncode == 2, as_json.stdout + as_json.stderr
    error = json.loads(as_json.stdout)["error"]
    assert set(error) >= {"code", "message", "line", "column", "hint"}
    assert error["message"]
    assert error["hint"]
    assert state(system) == before
    return error
