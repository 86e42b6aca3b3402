"""The owner's tool against both services on loopback: limits, forecasts, queries, the audit log, export and import."""

import json
import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import structlog

from privid.cli import admin, main
from privid.domain.budget import Charge, Grid, Loss
from privid.domain.units import NANO, SECOND
from privid.ledger import BudgetExceeded, LimitExceeded, Refusal, Reservation
from privid.testing.services import START_US, running_server
from privid.video.catalog import Catalog, NewSegment
from privid.video.frame_index import FrameIndex

BEGIN, END = "2026-12-01T08:00:00Z", "2026-12-01T08:10:00Z"
QUERY = "SELECT 1;\n"
CERTIFICATE = {"public_time_s": 0, "charges": [{"camera": "plaza", "epsilon": 0.5, "profile": []}]}


def installation(folder: Path):
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return running_server(folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with installation(tmp_path_factory.mktemp("home")) as running:
        yield running
    structlog.reset_defaults()


@pytest.fixture
def point_at(monkeypatch):
    """Make the programs talk to an installation."""
    for name in [name for name in os.environ if name.startswith("PRIVID_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "160")

    def point(server):
        monkeypatch.setenv("PRIVID_HOME", str(server.home.root))
        monkeypatch.setenv("PRIVID_ADMIN_SERVER", server.addresses.owners)

    return point


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*arguments, program="privid-admin"):
        monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            {"privid": main.run, "privid-admin": admin.run}[program]()
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return left.value.code or 0, out, err

    return call


@pytest.fixture
def owner(server, point_at, run):
    """Runs privid-admin against an installation with plaza, ten minutes of recording, and transport."""
    point_at(server)
    server.engine.trouble = None
    if "ready" not in server.engine.calls:
        server.engine.calls.append("ready")
        prepare(server, run)
    return run


def prepare(server, run):
    assert run("camera", "add", "plaza")[0] == 0
    assert run("policy", "set", "plaza", "--rho", "30s", "-K", 1, "--epsilon", 2, "--yes")[0] == 0
    ticks = np.arange(600, dtype=np.int64)
    index = FrameIndex(START_US + ticks * SECOND, ticks, ticks[:1], ticks[:1])
    Catalog(server.parts.database).add_segments(
        "plaza", [NewSegment("plaza/1.mp4", START_US + 600 * SECOND, index, 768, 576, "h264", 1, "cut")]
    )
    assert run("analyst", "add", "transport", "--cameras", "plaza", "--epsilon", "1.5")[0] == 0


def document(outcome):
    status, out, err = outcome
    assert status == 0, out + err
    return json.loads(out)


def charge(server, epsilon_nano, number, chunks=120):
    """Charge plaza as an admitted query of transport would."""
    grid = Grid(START_US, 5 * SECOND, 5 * SECOND, chunks)
    return server.parts.ledger.reserve(
        Reservation(
            analyst_id=1,
            request_id=f"request-{number}",
            text=f"SELECT {number};",
            default_epsilon_nano=NANO,
            cache_key=f"{number:064d}",
            plan="{}",
            certificate=json.dumps(CERTIFICATE),
            charges=(Charge("plaza", (Loss("none", epsilon_nano // 7, None, grid),)),),
            policy_versions={"plaza": server.parts.policies.current("plaza").version},
            visible_us=server.parts.clock(),
        )
    )


# --- analysts -----------------------------------------------------------------------------------------------


def test_an_analysts_limit_and_spending_are_shown_and_changed(owner, server):
    charge(server, NANO // 2, 1)
    shown = document(owner("analyst", "show", "transport", "--json"))
    assert shown["epsilon_limit"] == 1.5
    assert shown["spent"] == [{"camera": "plaza", "queries": 1, "spent_max": 0.499999997, "left_min": 1.000000003}]
    assert document(owner("analyst", "limit", "transport", "--epsilon", "0.6", "--json"))["epsilon_limit"] == 0.6
    with pytest.raises(LimitExceeded):
        charge(server, NANO // 2, 2)
    status, out, _ = owner("analyst", "limit", "transport", "--none")
    assert (status, "budgets allow" in out) == (0, True)
    status, out, _ = owner("analyst", "show", "transport")
    assert status == 0
    assert "no limit of their own" in out
    assert owner("analyst", "limit", "transport")[0] == 2
    assert owner("analyst", "show", "nobody")[0] == 2


def test_revoking_and_rotating_ask_first(owner, server):
    added = document(owner("analyst", "add", "guest", "--json"))
    for command in ("revoke", "rotate"):
        status, _, err = owner("analyst", command, "guest")
        assert (status, "--yes" in err) == (2, True)
    assert server.parts.database  # nothing changed: the token is still known
    assert document(owner("analyst", "revoke", "guest", "--yes", "--json"))["revoked_us"]
    again = document(owner("analyst", "rotate", "guest", "--yes", "--json"))
    assert again["revoked_us"] is None
    assert again["token"] not in ("", added["token"])
    status, out, _ = owner("analyst", "rotate", "guest", "--yes", "--token-file", "guest.token")
    assert (status, Path("guest.token").read_text().strip() in out) == (0, False)
    assert Path("guest.token").stat().st_mode & 0o077 == 0


# --- cameras ------------------------------------------------------------------------------------------------


def test_a_cameras_timeline(server, owner, tmp_path):
    Catalog(server.parts.database).keep_gap("plaza", START_US + 600 * SECOND, START_US + 630 * SECOND, "refused")
    window = ("--from", BEGIN, "--to", "2026-12-01T08:11:00Z")
    found = document(owner("camera", "timeline", "plaza", *window, "--json"))
    assert [(s["state"], (s["to_us"] - s["from_us"]) // SECOND) for s in found["spans"]] == [
        ("covered", 600),
        ("gap", 30),
        ("unknown", 30),
    ]
    assert found["gaps"] == [
        {"begin_us": START_US + 600 * SECOND, "end_us": START_US + 630 * SECOND, "reason": "refused"}
    ]
    status, out, err = owner("camera", "timeline", "plaza", *window, "--png", "plaza.png")
    assert status == 0
    assert "recorded  " in out
    assert "refused" in out
    assert "drawn in plaza.png" in err
    assert (tmp_path / "plaza.png").read_bytes().startswith(b"\x89PNG")
    whole = document(owner("camera", "timeline", "plaza", "--json"))
    assert (whole["from_us"], whole["to_us"]) == (START_US, START_US + 600 * SECOND)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere",), "no camera"),
        (("plaza", "--from", "soon"), "--from"),
        (("plaza", "--from", END, "--to", BEGIN), "its end must come after its beginning"),
        (("plaza", "--png", "nowhere/plaza.png"), "cannot write nowhere/plaza.png"),
    ],
)
def test_a_timeline_that_cannot_be_drawn(owner, arguments, says):
    status, out, err = owner("camera", "timeline", *arguments)
    assert (status, out) == (2, "")
    assert says in err


# --- budgets ------------------------------------------------------------------------------------------------


def test_a_forecast_counts_a_query_and_says_where_it_ends(owner, server, tmp_path):
    (tmp_path / "people.sql").write_text(QUERY)
    found = document(owner("budget", "forecast", "plaza", "--query", "people.sql", "--epsilon", "0.5", "--json"))
    assert found["query"]["times"] == 6
    assert found["query"]["then_refused"][0]["camera"] == "plaza"
    assert (found["queries"], found["such"]["times_least"]) == (1, 3)
    assert "at least a day of history" in found["why_no_date"]
    status, out, err = owner("budget", "forecast", "plaza", "--query", "people.sql", "--png", "forecast.png")
    assert status == 0, err
    assert f"people.sql takes 0.5 of each moment from {BEGIN} to {END}: it would be admitted 3 times" in out
    assert Path("forecast.png").read_bytes().startswith(b"\x89PNG")
    assert owner("budget", "forecast", "plaza", "--png", "typical.png")[0] == 0
    assert owner("budget", "forecast", "nowhere")[0] == 2
    assert owner("budget", "forecast", "plaza", "--epsilon", "1")[0] == 2


def test_a_refusal_offers_an_epsilon_and_a_window(owner, server, monkeypatch, tmp_path):
    token = document(owner("analyst", "add", "asker", "--cameras", "plaza", "--json"))["token"]
    monkeypatch.setenv("PRIVID_SERVER", server.addresses.analysts)
    monkeypatch.setenv("PRIVID_TOKEN", token)
    (tmp_path / "people.sql").write_text(QUERY)
    refusal = Refusal("plaza", START_US, START_US + 60 * SECOND, NANO // 2, NANO)
    window = (START_US + 60 * SECOND, START_US + 600 * SECOND)
    server.engine.trouble = BudgetExceeded([refusal], NANO // 2, window)
    status, _, err = owner("submit", "people.sql", "--no-upload", program="privid")
    assert status == 2
    assert "epsilon 0.5 would be admitted" in err
    assert f"or BEGIN 2026-12-01T08:01:00Z END {END} would be admitted" in err
    status, out, _ = owner("submit", "people.sql", "--no-upload", "--json", program="privid")
    error = json.loads(out)["error"]
    assert error["admissible_window"] == {"from_us": window[0], "to_us": window[1]}
    server.engine.trouble = LimitExceeded([refusal], NANO).instead(NANO // 2, window)
    error = json.loads(owner("submit", "people.sql", "--no-upload", "--json", program="privid")[1])["error"]
    assert error["code"] == "limit_exceeded"
    assert "ask the owner" in error["hint"]
    assert error["refusals"][0]["camera"] == "plaza"


# --- queries ------------------------------------------------------------------------------------------------


def test_queries_are_filtered_shown_and_cancelled(owner, server):
    with server.parts.database.connect() as connection:
        (first,) = connection.exec_driver_sql("SELECT id FROM queries WHERE request_id = 'request-1'").one()
    pretended = server.engine.submit(1, "another-one", QUERY, NANO)
    server.engine.queries[pretended.query_id].visible_us += 3_600 * SECOND
    server.engine.queries[first] = server.engine.queries[pretended.query_id].__class__(
        first, "reserved", 0, 0, START_US, {"plaza": NANO // 2}
    )

    def listed(*options):
        return [query["query_id"] for query in document(owner("queries", "list", *options, "--json"))["queries"]]

    assert set(listed()) == {first, pretended.query_id}
    assert listed("--camera", "plaza") == [first]
    assert listed("--state", "running") == [pretended.query_id]
    assert listed("--state", "failed", "--analyst", "transport") == []
    assert listed("--since", "2100-01-01T00:00:00Z") == []
    assert owner("queries", "list", "--state", "asleep")[0] == 2
    assert owner("queries", "list", "--camera", "nowhere")[1].strip() == "no such queries"
    shown = document(owner("queries", "show", first, "--json"))
    assert (shown["analyst"], shown["explain"]) == ("transport", CERTIFICATE)
    assert "SELECT 1;" in owner("queries", "show", first)[1]
    assert owner("queries", "show", "nothing")[0] == 2
    status, _, err = owner("queries", "cancel", pretended.query_id)
    assert (status, "--yes" in err) == (2, True)
    assert document(owner("queries", "cancel", pretended.query_id, "--yes", "--json"))["state"] == "cancelled"


# --- the audit log ------------------------------------------------------------------------------------------


def test_the_audit_log_is_shown_verified_and_exported(owner, tmp_path):
    status, out, _ = owner("audit", "verify")
    assert status == 0
    head = out.split()[-1]
    assert document(owner("audit", "verify", "--known", head, "--json"))["ok"]
    status, out, _ = owner("audit", "verify", "--known", f"1:{'0' * 64}", "--json")
    assert (status, json.loads(out)["seq"]) == (2, 1)
    events = document(owner("audit", "show", "--event", "analyst", "--json"))["entries"]
    assert {"analyst.added", "analyst.revoked", "analyst.token_rotated", "analyst.limited"} <= {
        entry["event"] for entry in events
    }
    status, out, _ = owner("audit", "show", "--event", "query.refused")
    assert status == 0
    assert "transport" in out
    assert owner("audit", "export", "log.jsonl")[0] == 0
    assert document(owner("audit", "verify", "--file", "log.jsonl", "--json"))["ok"]
    lines = Path("log.jsonl").read_text().splitlines()
    Path("cut.jsonl").write_text("\n".join([lines[0], lines[1].replace("plaza", "plazA"), *lines[2:]]))
    status, out, _ = owner("audit", "verify", "--file", "cut.jsonl", "--json")
    assert (status, json.loads(out)["seq"]) == (2, 2)
    Path("none.jsonl").write_text('{"seq": 1}\n')
    assert owner("audit", "verify", "--file", "none.jsonl")[0] == 2
    assert owner("audit", "verify", "--known", "x")[0] == 2


# --- live ---------------------------------------------------------------------------------------------------


def test_watch_shows_one_look(owner):
    status, out, _ = owner("watch", "--once")
    assert status == 0
    for part in ("cores: 1 for slots, 1 for the rest", "CAMERA", "plaza", "transport", "admitted", "refused"):
        assert part in out
    look = document(owner("watch", "--once", "--json"))
    assert [camera["name"] for camera in look["cameras"]] == ["plaza"]
    assert {"query.reserved", "query.refused"} <= {event["event"] for event in look["recent"]}
    assert all(0 <= query["fraction"] <= 1 for query in look["queries"])


# --- export and import --------------------------------------------------------------------------------------


def test_what_is_exported_is_imported_and_never_lowers_a_ledger(owner, run, server, point_at, tmp_path):
    assert owner("export", "out", "--json")[0] == 0
    assert owner("export", "out")[0] == 2  # not empty
    assert document(owner("import", "out", "--json")) == {
        "applied": False,
        "cameras": [],
        "policies": {},
        "kept_policies": [],
        "analysts": [],
        "charged_queries": {"added": 0, "known": 1},
    }
    spent = server.parts.ledger.spent("plaza", START_US, START_US + 600 * SECOND)
    with installation(tmp_path / "other") as other:
        point_at(other)
        status, _, err = run("import", "out")
        assert (status, "--yes" in err) == (2, True)
        done = document(run("import", "out", "--yes", "--json"))
        assert done["charged_queries"] == {"added": 1, "known": 0}
        assert (done["cameras"], set(done["analysts"])) == (["plaza"], {"transport", "guest", "asker"})
        assert other.parts.ledger.spent("plaza", START_US, START_US + 600 * SECOND) == spent
        assert other.parts.policies.versions("plaza") == server.parts.policies.versions("plaza")
        assert not document(run("import", "out", "--yes", "--json"))["applied"]
        assert document(run("analyst", "show", "transport", "--json"))["spent"][0]["queries"] == 1
        assert document(run("audit", "verify", "--json"))["ok"]
    ledger = tmp_path / "out" / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace('"q_nano":"', '"q_nano":"1'))
    status, _, err = run("import", "out", "--yes")
    assert (status, "not as it was written" in err) == (2, True)
    assert run("import", "nowhere")[0] == 2


def test_masks_travel_with_their_pictures_and_a_policy_of_ones_own_is_kept(owner, run, server, point_at, tmp_path):
    assert owner("mask", "add", "plaza", "benches", "--polygon", "0,0 90,0 90,90", "--rho", "10s", "--yes")[0] == 0
    document(owner("export", "out", "--json"))
    with installation(tmp_path / "other") as other:
        point_at(other)
        assert run("camera", "add", "plaza")[0] == 0
        assert document(run("import", "out", "--yes", "--json"))["policies"] == {
            "plaza": len(server.parts.policies.versions("plaza"))
        }
        (mask,) = other.parts.policies.current("plaza").masks.values()
        digest = server.parts.policies.current("plaza").masks["benches"].picture
        assert mask.picture == digest
        assert (tmp_path / "out" / "pictures" / f"{digest}.pbm").is_file()
        assert run("mask", "show", "plaza", "benches")[0] == 0
        assert run("policy", "set", "plaza", "--epsilon", 1, "--yes")[0] == 0
        again = document(run("import", "out", "--yes", "--json"))
        assert (again["applied"], again["kept_policies"]) == (False, ["plaza"])
