"""Both services over real gRPC on loopback; only the engine pretends."""

import hashlib
import stat
import time
from itertools import pairwise

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from privid.client import BadAddress, CallFailed, Client, OwnerClient, Target
from privid.domain.policy import CameraPolicy, MaskPolicy
from privid.ledger import BudgetExceeded, Refusal
from privid.rpc.convert import ERROR_METADATA
from privid.rpc.v1 import query_pb2, query_pb2_grpc, types_pb2
from privid.testing.services import running_server
from privid.video import bitmaps
from query_lang.errors import QueryError

EXECUTABLE = b"def process(chunk):\n    yield {'people': 1}\n"
EXECUTABLE_BYTES = len(EXECUTABLE)
POLICY = CameraPolicy(epsilon_nano=2 * 10**9, rho_us=30_000_000, K=1, width=768, height=576)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def owner(server):
    with OwnerClient(Target(server.addresses.owners, server.owner_token)) as client:
        yield client


@pytest.fixture(scope="module")
def token(server):
    with OwnerClient(Target(server.addresses.owners, server.owner_token)) as client:
        client.add_camera("plaza", "UTC")
        client.add_camera("bridge", "Europe/Lisbon", "rtsp://secret@camera")
        policies = {"plaza": POLICY}
        client.apply(policies, client.preview(policies).confirmation)
        return client.add_analyst("transport", ["plaza"], 500_000_000)[1]


@pytest.fixture
def analyst(server, token):
    server.engine.trouble = None
    with Client(Target(server.addresses.analysts, token)) as client:
        yield client


def refused(code):
    return pytest.raises(CallFailed, check=lambda error: error.code == code)


# --- who may call -------------------------------------------------------------------------------------------


def test_the_owners_token_is_in_a_file_for_its_user_alone(server):
    assert stat.S_IMODE(server.home.owner_token.stat().st_mode) == 0o600


def test_no_token_is_stored_anywhere_but_in_its_file(server, token):
    for path in server.home.root.rglob("*"):
        if path.is_file() and path != server.home.owner_token:
            content = path.read_bytes()
            assert token.encode() not in content
            assert server.owner_token.encode() not in content


@pytest.mark.parametrize("wrong", ["pvd_nobody", "x"])
def test_an_unknown_token_is_refused_on_both_ports(server, wrong):
    with Client(Target(server.addresses.analysts, wrong)) as client, refused("unauthenticated") as error:
        client.cameras()
    assert not error.value.system
    assert "privid login" in error.value.hint
    with OwnerClient(Target(server.addresses.owners, wrong)) as client, refused("unauthenticated"):
        client.cameras()


def test_an_owners_token_is_nothing_on_the_analysts_port_and_the_other_way_round(server, token):
    with Client(Target(server.addresses.analysts, server.owner_token)) as client, refused("unauthenticated"):
        client.cameras()
    with OwnerClient(Target(server.addresses.owners, token)) as client, refused("unauthenticated"):
        client.cameras()


def test_the_owners_service_is_not_on_the_analysts_port(server, token):
    with OwnerClient(Target(server.addresses.analysts, token)) as client, refused("unimplemented"):
        client.cameras()


def test_streaming_calls_need_a_token_too(server):
    with Client(Target(server.addresses.analysts, "pvd_nobody")) as client:
        with refused("unauthenticated"):
            next(client.watch("q1"))
        with refused("unauthenticated"):
            client.upload("people.py", EXECUTABLE)


def test_a_revoked_analyst_is_out_at_once(server, owner):
    _, token = owner.add_analyst("leaver", [])
    with Client(Target(server.addresses.analysts, token)) as client:
        assert client.cameras() == ()
        owner.revoke_analyst("leaver")
        with refused("unauthenticated"):
            client.cameras()


def test_health_is_open_and_reflection_is_not(server):
    for address in (server.addresses.analysts, server.addresses.owners):
        with grpc.insecure_channel(address) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=""))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            ask = reflection_pb2.ServerReflectionRequest(list_services="")
            with pytest.raises(grpc.RpcError) as error:
                list(stub.ServerReflectionInfo(iter([ask])))
            assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_reflection_lists_the_service_to_whoever_has_a_token(server, token):
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    with grpc.insecure_channel(server.addresses.analysts) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([ask]), metadata=[("authorization", f"Bearer {token}")])
    names = [service.name for service in answer.list_services_response.service]
    assert "privid.rpc.v1.QueryService" in names
    assert "privid.rpc.v1.AdminService" not in names


# --- cameras and analysts -----------------------------------------------------------------------------------


def test_an_analyst_sees_granted_cameras_only_and_no_address(analyst, owner):
    (camera,) = analyst.cameras()
    assert (camera.name, camera.policy, camera.url) == ("plaza", POLICY, "")
    owner.grant("transport", add=["bridge"])
    assert [found.name for found in analyst.cameras()] == ["bridge", "plaza"]
    assert all(found.url == "" for found in analyst.cameras())
    owner.grant("transport", remove=["bridge"])
    assert [found.name for found in analyst.cameras()] == ["plaza"]
    assert [found.url for found in owner.cameras()] == ["rtsp://secret@camera", ""]


@pytest.mark.parametrize("name", ["", "1st", "a b", "plaza;", "x" * 65, "né"])
def test_camera_names_that_queries_could_not_write_are_refused(owner, name):
    with refused("invalid_request"):
        owner.add_camera(name, "UTC")


def test_a_camera_is_not_added_twice_in_whatever_case(owner, token):
    with refused("already_exists"):
        owner.add_camera("PLAZA", "UTC")


@pytest.mark.parametrize("zone", ["", "Lisbon", "../../etc/passwd", "\0"])
def test_unknown_time_zones_are_refused(owner, zone):
    with refused("invalid_request"):
        owner.add_camera("somewhere", zone)
    assert "somewhere" not in [camera.name for camera in owner.cameras()]


@pytest.mark.parametrize("address", ["ftp://u:hunter2@host/1", "rtsp://u:hunter2@host:99999/1", "rtsp://", "a.mp4"])
def test_addresses_that_nothing_can_be_recorded_from_are_refused(owner, address):
    with refused("invalid_request") as error:
        owner.add_camera("harbour", "UTC", address)
    assert "hunter2" not in str(error.value)


def test_an_analyst_is_added_whole_or_not_at_all(owner, token):
    with refused("unknown_camera"):
        owner.add_analyst("halfway", ["plaza", "moon"])
    assert "halfway" not in [analyst.name for analyst in owner.analysts()]
    with refused("already_exists"):
        owner.add_analyst("transport", [])
    with refused("unknown_analyst"):
        owner.grant("nobody", ["plaza"])
    with refused("invalid_request"):
        owner.grant("transport", ["plaza"], ["plaza"])


# --- policies -----------------------------------------------------------------------------------------------


def test_a_preview_changes_nothing_and_its_confirmation_applies_exactly_it(owner, token):
    owner.add_camera("gate", "UTC")
    first = {"gate": POLICY}
    preview = owner.preview(first)
    assert preview.changes[0].before is None
    assert "gate" not in owner.policies()[0]
    assert owner.apply(first, preview.confirmation)["gate"].version == 1

    picture = bitmaps.encode(np.eye(9, dtype=bool)[None])
    masks = {"benches": MaskPolicy(10**7, 1, bitmaps.digest(picture))}
    second = {"gate": CameraPolicy(epsilon_nano=10**9, rho_us=60_000_000, K=2, masks=masks)}
    preview = owner.preview(second, [picture])
    with refused("stale_preview"):
        owner.apply({"gate": POLICY}, preview.confirmation)
    with refused("invalid_policy"):
        owner.apply(second, preview.confirmation)  # without its picture
    assert owner.apply(second, preview.confirmation, [picture])["gate"].version == 2
    assert owner.picture(bitmaps.digest(picture)) == picture
    with refused("invalid_request"):
        owner.picture("0" * 64)
    with refused("stale_preview"):  # it has been applied: the ground has moved
        owner.apply({"gate": POLICY}, preview.confirmation)
    assert owner.policies(["gate"])[0]["gate"].K == 2


def test_applying_what_holds_makes_no_version(owner, token):
    same = {"plaza": POLICY}
    preview = owner.preview(same)
    assert not preview.changes[0].changed
    assert owner.apply(same, preview.confirmation)["plaza"].version == 1


def test_policies_of_several_cameras_change_together_or_not_at_all(owner, token):
    both = {"plaza": CameraPolicy(epsilon_nano=3 * 10**9, rho_us=30_000_000, K=1), "moon": POLICY}
    with refused("unknown_camera"):
        owner.preview(both)
    with refused("unknown_camera"):
        owner.apply(both, "whatever")
    assert owner.policies(["plaza"])[0]["plaza"] == POLICY


def test_a_policy_in_another_time_zone_than_its_camera_is_refused(owner, token):
    with refused("invalid_policy") as error:
        owner.preview({"bridge": POLICY})
    assert "Europe/Lisbon" in error.value.hint


def test_a_weaker_policy_comes_with_a_warning(owner, token):
    weaker = {"plaza": CameraPolicy(epsilon_nano=9 * 10**9, rho_us=10_000_000, K=1)}
    (change,) = owner.preview(weaker).changes
    assert "protects less" in change.warnings[0]


def test_a_policy_that_breaks_a_rule_is_refused_by_the_server_itself(server, owner, token):
    from privid.rpc.v1 import admin_pb2, admin_pb2_grpc

    with grpc.insecure_channel(server.addresses.owners) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        request = admin_pb2.PreviewPoliciesRequest(
            policies=[admin_pb2.CameraPolicy(camera="plaza", policy=types_pb2.Policy(epsilon_nano=-1))]
        )
        with pytest.raises(grpc.RpcError) as error:
            stub.PreviewPolicies(request, metadata=[("authorization", f"Bearer {server.owner_token}")])
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_timeline_needs_a_camera_and_a_window(owner, token):
    with refused("unknown_camera"):
        owner.timeline("moon")
    with refused("invalid_request"):
        owner.timeline("bridge")  # nothing is recorded
    with refused("invalid_request"):
        owner.timeline("bridge", 10, 10)
    assert owner.timeline("bridge", 0, 10).spans == ((0, 10, "unknown"),)


def test_budget_needs_a_policy_and_a_window(owner, token):
    with refused("unknown_camera"):
        owner.budget("moon")
    with refused("no_policy"):
        owner.budget("bridge", 0, 10)
    with refused("invalid_request"):
        owner.budget("plaza")  # nothing is recorded
    with refused("invalid_request"):
        owner.budget("plaza", 10, 10)
    budget = owner.budget("plaza", 0, 10)
    assert (budget.epsilon_nano, budget.steps) == (POLICY.epsilon_nano, ())


# --- uploads ------------------------------------------------------------------------------------------------


def files(server):
    return sorted(path.name for path in server.home.executables.iterdir())


def test_an_upload_is_stored_under_its_content_for_its_user_alone(server, analyst):
    executable, existing = analyst.upload("people.py", EXECUTABLE)
    assert not existing
    assert executable.sha256 == hashlib.sha256(EXECUTABLE).hexdigest()
    path = server.home.executables / executable.sha256
    assert path.read_bytes() == EXECUTABLE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert analyst.upload("people.py", EXECUTABLE) == (executable, True)
    newer, _ = analyst.upload("people.py", EXECUTABLE + b"# more\n")
    assert newer.version == executable.version + 1
    assert newer in analyst.executables()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe", "UTF-8"),
        (b"", "process"),
        (b"def other(chunk): pass", "process"),
        (b"def process(chunk)", "line 1"),
        (b"x = '\0'", "null bytes"),
        (b"-" * 200_000 + b"1", "parsed"),
        (b"def process(c): pass\nx = " + b"(" * 5000, "line 2"),
        (b"if True:\n    y = 1\n", "process"),
    ],
)
def test_what_cannot_be_an_executable_is_refused_and_leaves_nothing(server, analyst, content, says):
    before = files(server), analyst.executables()
    with refused("bad_executable") as error:
        analyst.upload("broken.py", content)
    assert says in error.value.message
    assert (files(server), analyst.executables()) == before


@pytest.mark.parametrize("name", ["", "../people.py", "a/b.py", ".hidden", "x" * 129, "people .py"])
def test_names_with_folders_or_blanks_are_refused(server, analyst, name):
    before = files(server)
    with refused("invalid_request"):
        analyst.upload(name, EXECUTABLE)
    assert files(server) == before


def upload_raw(server, token, parts):
    with grpc.insecure_channel(server.addresses.analysts) as channel:
        stub = query_pb2_grpc.QueryServiceStub(channel)
        with pytest.raises(grpc.RpcError) as error:
            stub.UploadExecutable(iter(parts), metadata=[("authorization", f"Bearer {token}")])
    for key, value in error.value.trailing_metadata():
        if key == ERROR_METADATA:
            return types_pb2.Error.FromString(value).code
    return error.value.code()


def part(**fields):
    return query_pb2.UploadExecutableRequest(**fields)


def test_truncated_changed_or_oversized_uploads_leave_nothing(server, analyst, token):
    before = files(server), analyst.executables()
    digest = hashlib.sha256(EXECUTABLE).hexdigest()

    def header(size=EXECUTABLE_BYTES, sha256=digest):
        return part(header=query_pb2.UploadHeader(name="people2.py", size_bytes=size, sha256=sha256))

    assert upload_raw(server, token, []) == "upload_incomplete"
    assert upload_raw(server, token, [header()]) == "upload_incomplete"
    assert upload_raw(server, token, [header(), part(data=EXECUTABLE[:-1])]) == "upload_incomplete"
    assert upload_raw(server, token, [header(), part(data=EXECUTABLE), part(data=b"x")]) == "upload_incomplete"
    assert upload_raw(server, token, [header(sha256="0" * 64), part(data=EXECUTABLE)]) == "upload_incomplete"
    assert upload_raw(server, token, [part(data=EXECUTABLE)]) == "invalid_request"
    assert upload_raw(server, token, [header(), header()]) == "invalid_request"
    assert upload_raw(server, token, [header(size=2**40)]) == "too_large"
    big = [header(size=10)] + [part(data=b"#" * 60_000)] * 20
    assert upload_raw(server, token, big) == "upload_incomplete"
    assert (files(server), analyst.executables()) == before


def test_an_analyst_over_the_limit_for_all_executables_leaves_nothing(tmp_path):
    with running_server(tmp_path, max_executables_bytes=100_000) as running:
        with OwnerClient(Target(running.addresses.owners, running.owner_token)) as owner:
            token = owner.add_analyst("hoarder", [])[1]
        with Client(Target(running.addresses.analysts, token)) as analyst:
            first = b"# " + b"1" * 60_000 + b"\n" + EXECUTABLE
            analyst.upload("first.py", first)
            before = files(running)
            with refused("too_large") as error:
                analyst.upload("second.py", first.replace(b"1", b"2"))
            assert "more than 100,000 bytes together" in error.value.message
            assert files(running) == before
            analyst.upload("again.py", first)  # the same content counts once
            assert files(running) == before


# --- queries ------------------------------------------------------------------------------------------------


def test_explain_passes_the_text_and_the_default_epsilon(server, analyst):
    document = analyst.explain("SELECT ü", 250_000_000)
    assert document["canonical"] == "SELECT ü"
    assert document["asked"][1] == 250_000_000
    assert analyst.explain("SELECT")["asked"][1] == 10**9  # the server's


def test_a_query_is_submitted_watched_and_read(server, analyst):
    submission = analyst.submit("SELECT 1", 500_000_000)
    assert (submission.existing, submission.shared) == (False, False)
    query = submission.query
    assert query.charges == {"plaza": 500_000_000}
    with refused("not_visible"):
        analyst.result(query.id)
    seen = list(analyst.watch(query.id))
    assert [progress.query.state for progress in seen][-1] == "released"
    assert all(a.fraction <= b.fraction for a, b in pairwise(seen))
    assert all(p.query.state == "running" for p in seen if p.now_us < query.visible_us)
    release = analyst.result(query.id)
    assert release.query == query.id
    assert release.released_us == query.visible_us  # never when it was really ready
    assert release.tables[0].rows[0][0] == 8
    assert release.tables[0].rows[1][1].value == 17.25
    assert query.id in [found.id for found in analyst.queries()]


def test_progress_is_the_share_of_the_public_schedule_that_has_passed(server, analyst):
    query = analyst.submit("SELECT 2").query
    for progress in analyst.watch(query.id):
        if progress.query.state == "running":
            share = (progress.now_us - query.starts_us) / (query.visible_us - query.starts_us)
            assert progress.fraction == pytest.approx(min(1.0, share))


def test_a_request_id_is_one_query(server, analyst):
    first = analyst.submit("SELECT 3", request_id="once-only")
    again = analyst.submit("SELECT 3", request_id="once-only")
    assert (again.existing, again.query.id) == (True, first.query.id)
    for bad in ("", "short", "x" * 65, "a b c d e f"):
        with refused("invalid_request"):
            analyst.submit("SELECT 3", request_id=bad) if bad else raw_submit(server, analyst)


def raw_submit(server, analyst):
    analyst._connection.once(analyst._stub.Submit, query_pb2.SubmitRequest(text="SELECT 3"))


def test_cancelled_queries_have_no_answer(server, analyst):
    query = analyst.submit("SELECT 4").query
    assert analyst.cancel(query.id).state == "cancelled"
    assert server.engine.calls[-1].startswith("cancel by analyst:")
    with refused("cancelled"):
        analyst.result(query.id)
    with refused("not_cancellable"):
        analyst.cancel(query.id)


def test_others_queries_are_as_unknown_as_those_that_do_not_exist(server, analyst, owner):
    query = analyst.submit("SELECT 5").query
    _, token = owner.add_analyst("curious", ["plaza"])
    with Client(Target(server.addresses.analysts, token)) as other:
        messages = set()
        for query_id in (query.id, "nothing"):
            for call in (other.result, other.cancel, lambda q: next(other.watch(q))):
                with refused("unknown_query") as error:
                    call(query_id)
                messages.add(error.value.message.replace(query_id, "ID"))
        assert len(messages) == 1
        assert other.queries() == ()
    mine = {found.id: found for found in owner.queries()}
    assert mine[query.id].analyst == "transport"
    assert [found.id for found in owner.queries(analyst="curious")] == []


def test_too_long_a_text_and_a_bad_default_are_refused(server, analyst):
    with refused("too_large"):
        analyst.explain("x" * 65_537)
    with refused("too_large"):
        analyst.submit("é" * 40_000)
    with refused("invalid_request"):
        analyst.explain("SELECT", 0)
    with refused("invalid_request"):
        analyst.queries(-1)


def test_watches_are_limited(server, analyst, token):
    query = analyst.submit("SELECT 6").query
    server.engine.queries[query.id].visible_us += 60_000_000
    with Client(Target(server.addresses.analysts, token)) as client:
        open_watches = [client.watch(query.id) for _ in range(16)]
        for stream in open_watches:
            next(stream)
        with refused("too_many_watches"):
            next(client.watch(query.id))
        for stream in open_watches:
            stream.close()
        deadline = time.monotonic() + 10
        while True:  # closing takes the server a moment to notice
            try:
                next(client.watch(query.id))
                break
            except CallFailed:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    analyst.cancel(query.id)


# --- errors -------------------------------------------------------------------------------------------------


def test_an_error_in_the_text_keeps_its_position_and_hint(server, analyst):
    text = "SELECT\n  COUNT(x)"
    server.engine.trouble = QueryError(
        "unknown_name", "unknown column 'x'", text=text, span=(15, 16), hint="there is y"
    )
    with refused("unknown_name") as error:
        analyst.explain(text)
    found = error.value
    assert (found.line, found.column, found.length, found.hint) == (2, 9, 1, "there is y")
    assert not found.system


def test_a_refusal_for_budget_says_where_and_what_would_be_admitted(server, analyst):
    server.engine.trouble = BudgetExceeded([Refusal("plaza", 10, 20, 500_000_000, 800_000_000)], 500_000_000)
    with refused("budget_exceeded") as error:
        analyst.submit("SELECT")
    assert error.value.admissible_epsilon_nano == 500_000_000
    assert error.value.refusals[0].left_nano == 500_000_000
    assert not error.value.system


def test_ever_so_many_refusals_still_fit_into_the_metadata(server, analyst):
    many = [Refusal("camera_with_a_rather_long_name", i, i + 1, 500_000_000, 800_000_000) for i in range(2_000)]
    server.engine.trouble = BudgetExceeded(many, 1)
    with refused("budget_exceeded") as error:
        analyst.submit("SELECT")
    assert 10 < len(error.value.refusals) < 2_000


def test_what_fails_inside_is_told_as_an_incident_and_nothing_else(server, analyst):
    server.engine.trouble = ZeroDivisionError("plate 12-AB-34 seen at 10:03")
    with refused("internal") as error:
        analyst.submit("SELECT")
    assert error.value.system
    assert "12-AB-34" not in str(error.value) + error.value.hint
    assert "incident" in error.value.message


def test_a_call_that_takes_too_long_ends(tmp_path):
    with running_server(tmp_path / "home", max_call_seconds=0.2) as server:
        with OwnerClient(Target(server.addresses.owners, server.owner_token)) as owner:
            _, token = owner.add_analyst("waiter", [])
        server.engine.delay_seconds = 1.0
        with Client(Target(server.addresses.analysts, token)) as client, refused("deadline") as error:
            client.explain("SELECT")
        assert error.value.system


# --- life ---------------------------------------------------------------------------------------------------


def test_a_restart_keeps_tokens_and_a_watch_survives_it(tmp_path):
    root = tmp_path / "home"
    with running_server(root) as server:
        with OwnerClient(Target(server.addresses.owners, server.owner_token)) as owner:
            owner.add_camera("plaza", "UTC")
            token = owner.add_analyst("transport", ["plaza"])[1]
        address, owner_token = server.addresses.analysts, server.owner_token
        with Client(Target(address, token)) as client:
            query = client.submit("SELECT").query
            server.engine.queries[query.id].visible_us += 60_000_000
            watch = client.watch(query.id)
            assert next(watch).query.state == "running"
            known = dict(server.engine.queries)
    assert server.engine.calls[0] == "start"
    assert server.engine.calls[-1] == "stop"
    with running_server(root, listen=address) as server:
        assert server.owner_token == owner_token
        server.engine.queries.update(known)
        server.engine.queries[query.id].visible_us = 0
        with Client(Target(address, token)) as client:
            assert [p.query.state for p in client.watch(query.id)][-1] == "released"


def test_a_port_in_use_is_one_clear_error(server, tmp_path):
    from privid.server.endpoints import CannotListen

    with pytest.raises(CannotListen, match="in use"), running_server(tmp_path / "h", listen=server.addresses.analysts):
        pass


def test_a_server_that_is_not_there_is_a_failure_of_the_system():
    with Client(Target("127.0.0.1:1", "pvd_x")) as client, refused("unavailable") as error:
        client.cameras()
    assert error.value.system


@pytest.mark.parametrize("address", ["http://privid.example", "ftp://x", "", "a b:1", "127.0.0.1:99999", "https://u@h"])
def test_addresses_that_cannot_be_used_say_what_to_write(address):
    with pytest.raises(BadAddress, match="https://"):
        Client(Target(address, "pvd_x"))


def test_the_token_is_not_in_a_targets_text():
    assert "pvd_secret" not in repr(Target("127.0.0.1:1", "pvd_secret"))


def test_leftovers_of_a_crashed_upload_are_swept_at_the_start(tmp_path):
    folder = tmp_path / "home" / "executables"
    folder.mkdir(parents=True)
    (folder / ".upload-abc").write_bytes(b"half")
    with running_server(tmp_path / "home"):
        assert list(folder.iterdir()) == []
