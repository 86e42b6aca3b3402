"""Cameras over TLS: who is believed, what is said of who is not, and that nothing of those is recorded."""

import signal
import socket
import threading
from dataclasses import replace
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from privid.ingest.clock import WallClock
from privid.ingest.errors import SourceFailure
from privid.ingest.groups import groups
from privid.ingest.live import Source, open_live
from privid.ingest.trust import CAREFUL, Trust
from privid.testing.video import write_clip
from tests.support.rtsp import Recorder, Server, free_port, killed_in_the_end, wait_for, write_source
from tests.support.tls import Relay, make_authority, make_certificate, server_context

FRAMES = 20


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """`ca`, what it has signed, and `stranger`, which nobody has."""
    folder = tmp_path_factory.mktemp("certificates")
    strange = tmp_path_factory.mktemp("strange")
    make_authority(strange)
    return {
        "ca": make_authority(folder),
        "good": make_certificate(folder, "good"),
        "elsewhere": make_certificate(folder, "elsewhere", "DNS:elsewhere.example"),
        "expired": make_certificate(folder, "expired", days=-1),
        "stranger": make_certificate(strange, "stranger"),
    }


@pytest.fixture(scope="module")
def rtsp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    write_source(folder)
    server = Server(folder).start()
    yield server
    server.kill()


@pytest.fixture
def started():
    with killed_in_the_end() as found:
        yield found


@pytest.fixture(scope="module")
def https(certificates, tmp_path_factory):
    """Gives the address of a server with a certificate. It has MPEG-TS, and a playlist of what another one has."""
    clip = write_clip(tmp_path_factory.mktemp("clip") / "a.ts", FRAMES, fps=Fraction(20), gop=10).read_bytes()
    servers = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            parts = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\n{address('stranger')}/a.ts\n#EXT-X-ENDLIST\n"
            self.wfile.write(parts.encode() if self.path == "/parts.m3u8" else clip)

        def log_message(self, *_):
            pass

    def address(name):
        if name not in servers:
            server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            server.daemon_threads = True
            server.handle_error = lambda *_: None  # of those who do not believe it
            server.socket = server_context(certificates[name]).wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
            threading.Thread(target=server.serve_forever, daemon=True).start()
            servers[name] = server
        return f"https://127.0.0.1:{servers[name].server_port}"

    yield address
    for server in servers.values():
        server.shutdown()
        server.server_close()


def received(url, trust=CAREFUL, transport="tcp"):
    """Sizes of packets that come, until the source ends or there are as many as FRAMES."""
    sizes = []
    with open_live(replace(Source.of(url, transport, timeout_seconds=5), trust=trust)) as stream:
        for found in groups(stream, WallClock(), lambda *_: None):
            sizes += [] if isinstance(found, SourceFailure) else [packet.size for packet in found.packets]
            if len(sizes) >= FRAMES:
                break
    return sizes


def refused(url, trust=CAREFUL, seconds=5):
    with pytest.raises(SourceFailure) as failure:
        open_live(replace(Source.of(url, timeout_seconds=seconds), trust=trust)).__exit__()
    assert "127.0.0.1" not in str(failure.value)
    return str(failure.value)


def test_a_camera_with_a_certificate_of_a_known_authority(certificates, https, rtsp, started):
    known = Trust(ca_file=certificates["ca"])
    assert len(received(f"{https('good')}/a.ts", known)) == FRAMES
    relay = Relay(certificates["good"], rtsp.port)
    started.append(relay)
    sizes = received(f"rtsps://127.0.0.1:{relay.port}/camera.mp4", known, "udp")
    assert len(sizes) == FRAMES
    assert relay.sent > sum(sizes)  # all of it came through TLS, whatever was asked for


@pytest.mark.parametrize("over", ["https", "rtsps"])
def test_who_is_not_believed(certificates, https, rtsp, started, over):
    def url(name):
        if over == "https":
            return f"{https(name)}/a.ts"
        relay = Relay(certificates[name], rtsp.port)
        started.append(relay)
        return f"rtsps://127.0.0.1:{relay.port}/camera.mp4"

    known = Trust(ca_file=certificates["ca"])
    assert refused(url("good")).startswith("not trusted: the camera's certificate is signed by nobody who is known")
    assert refused(url("stranger"), known).startswith("not trusted: the camera's certificate is signed by nobody")
    assert refused(url("expired"), known).startswith("not trusted: the camera's certificate has expired")
    other = url("elsewhere")
    assert refused(other, known).startswith("not trusted: the camera's certificate is for another name")
    assert len(received(other, replace(known, name="elsewhere.example"))) == FRAMES
    # Only if the owner says so.
    assert len(received(url("stranger"), Trust(verify=False))) == FRAMES


def test_a_self_signed_certificate_is_its_own_authority(certificates, rtsp, started):
    """As cameras make it for themselves: for a name that is not their address."""
    relay = Relay(certificates["ca"], rtsp.port)
    started.append(relay)
    url = f"rtsps://127.0.0.1:{relay.port}/camera.mp4"
    assert refused(url, Trust(ca_file=certificates["ca"])).startswith("not trusted: the camera's certificate is for")
    assert len(received(url, Trust(ca_file=certificates["ca"], name="test ca"))) == FRAMES


def test_authorities_of_this_machine(certificates, https, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates["ca"]))
    assert len(received(f"{https('good')}/a.ts")) == FRAMES
    assert refused(f"{https('stranger')}/a.ts").startswith("not trusted")


def test_authorities_that_have_gone(certificates, https, tmp_path):
    copy = tmp_path / "ca.pem"
    for left in (None, "nothing"):
        if left is not None:
            copy.write_text(left)
        assert refused(f"{https('good')}/a.ts", Trust(ca_file=copy)).startswith("not trusted: the authorities")


def test_parts_of_a_playlist_come_from_anybody(certificates, https):
    """FFmpeg checks the playlist's server and not that of the parts, so a playlist is as good as no check."""
    url, known = f"{https('good')}/parts.m3u8", Trust(ca_file=certificates["ca"])
    assert refused(url, known).startswith("unsupported: of a playlist's parts no certificate can be checked")
    assert len(received(url, Trust(verify=False))) == FRAMES


def test_what_is_no_tls_at_all(certificates, rtsp, started):
    known = Trust(ca_file=certificates["ca"])
    assert refused(f"rtsps://127.0.0.1:{free_port()}/camera.mp4", known) == "refused"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert refused(f"rtsps://127.0.0.1:{silent.getsockname()[1]}/camera.mp4", known, seconds=1) == "timed out"
    server = Server(rtsp.folder).start()
    started.append(server)
    relay = Relay(certificates["good"], server.port)
    started.append(relay)
    frozen = replace(Source.of(f"rtsps://127.0.0.1:{relay.port}/camera.mp4", timeout_seconds=2), trust=known)
    with open_live(frozen) as stream:
        packets = stream.packets()
        next(packets)
        server.freeze()
        with pytest.raises(SourceFailure, match="timed out"):
            for _ in packets:
                pass
    with pytest.raises(SourceFailure, match="timed out"):
        open_live(frozen)


@pytest.mark.timeout(400)
def test_nothing_is_recorded_of_who_is_not_believed_until_the_owner_says_so(certificates, tmp_path, rtsp, started):
    relay, stranger = (Relay(certificates[name], rtsp.port) for name in ("good", "stranger"))
    started += [relay, stranger]
    urls = {
        name: f"rtsps://127.0.0.1:{port}/camera.mp4" for name, port in (("gate", relay.port), ("yard", stranger.port))
    }
    recorder = Recorder(tmp_path, urls).start()
    started.append(recorder)
    for name in urls:
        wait_for(lambda name=name: recorder.camera(name).get("failures", {}).get("not trusted"), name)
        assert recorder.camera(name)["connections"] == 0
    wait_for(lambda: recorder.camera("gate").get("reason") == "not trusted", "the state")
    recorder.config.write_text(
        f'segment = "2s"\n[cameras.gate]\ntls_ca = "{certificates["ca"]}"\n[cameras.yard]\ntls_verify = false\n'
    )
    recorder.process.send_signal(signal.SIGHUP)
    for name in urls:
        wait_for(lambda name=name: recorder.camera(name).get("packets", 0) > 20, name)
    assert recorder.stop() == 0
    said = recorder.log.read_text()
    assert "signed by nobody who is known here: give the authority as tls_ca" in said
    assert "127.0.0.1" not in "".join(line for line in said.splitlines() if "no video" in line)
    recorder.check_files()
    for name in urls:
        frames, _ = recorder.frames(name)
        assert [number for number, _ in frames] == list(range(len(frames)))
