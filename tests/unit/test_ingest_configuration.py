"""The recorder's configuration: what it takes, what it refuses, and that no message repeats a secret."""

import pytest

from privid.database.connect import open_database
from privid.domain.units import SECOND
from privid.ingest.configuration import load
from privid.ingest.errors import BadRecording, BadVideoFile
from privid.ingest.folder import time_in_name
from privid.ingest.live import Encoding, Source
from privid.ingest.trust import Trust
from privid.video.addresses import redacted
from privid.video.catalog import Catalog
from privid.video.errors import BadCamera
from tests.support.tls import make_authority


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    found = Catalog(open_database(tmp_path_factory.mktemp("catalog") / "privid.sqlite3"))
    found.add_camera("gate", created_us=1, url="rtsp://host/1")
    found.add_camera("yard", created_us=1)
    found.add_camera("clips", created_us=1)
    return found


def test_cameras_of_the_database_alone(catalog):
    found = load(catalog, None)
    assert found.sources == {"gate": Source("rtsp", "rtsp://host/1")}
    assert found.segment_us == 10 * SECOND
    assert found.retention.max_bytes is None
    assert found.retention.min_free_bytes == 0


def test_a_file_completes_and_overrides(catalog, tmp_path):
    (tmp_path / "incoming").mkdir()
    (tmp_path / "yard.password").write_text("p@ss/word\n")
    file = tmp_path / "ingest.toml"
    file.write_text(f"""
segment = "5s"
max_size = "1.5 TB"
min_free = "2GB"
[cameras.gate]
keep = "30 days"
max_size = "200 GB"
[cameras.yard]
url = "rtsp://ignored@10.0.0.5:8554/h264?a=1"
username = "admin"
password_file = "yard.password"
transport = "udp"
timeout = "8s"
[cameras.clips]
url = "{tmp_path}/incoming"
settled = "30s"
""")
    found = load(catalog, file)
    assert found.sources["yard"] == Source("rtsp", "rtsp://admin:p%40ss%2Fword@10.0.0.5:8554/h264?a=1", "udp", 8.0)
    assert found.sources["clips"].kind == "folder"
    assert found.settled_seconds["clips"] == 30
    assert found.segment_us == 5 * SECOND
    assert found.retention.cameras["gate"].keep_us == 30 * 86_400 * SECOND
    assert found.retention.cameras["gate"].max_bytes == 200 * 10**9
    assert found.retention.max_bytes == 1_500 * 10**9
    assert found.retention.min_free_bytes == 2 * 10**9
    assert load(catalog, file) == found


def test_video_is_coded_again_only_where_the_file_says_so(catalog, tmp_path):
    file = tmp_path / "ingest.toml"
    file.write_text('[cameras.yard]\nurl = "rtsp://host/2"\nreencode = "h264"\n')
    found = load(catalog, file).sources
    assert found["gate"].encoding is None
    assert found["yard"].encoding == Encoding(2 * SECOND, 23)
    file.write_text('[cameras.gate]\nreencode = "h264"\nkey_frames = "1s"\nquantiser = 30\n')
    assert load(catalog, file).sources["gate"].encoding == Encoding(SECOND, 30)


def test_who_is_believed_over_tls(catalog, tmp_path, monkeypatch):
    """Whom this machine knows, unless the file says otherwise."""
    folder = tmp_path / "authorities"
    folder.mkdir()
    make_authority(folder)
    file = tmp_path / "ingest.toml"
    file.write_text('[cameras.yard]\nurl = "https://host/1"\n')
    assert load(catalog, file).sources["yard"].trust == Trust(verify=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    assert Trust().options() == {"tls_verify": "1", "ca_file": str(folder / "ca.pem")}
    file.write_text('[cameras.yard]\nurl = "rtsps://host/1"\ntls_ca = "authorities/ca.pem"\ntls_name = "camera-17"\n')
    trust = load(catalog, file).sources["yard"].trust
    assert trust == Trust(True, folder / "ca.pem", "camera-17")
    assert trust.options() == {"tls_verify": "1", "ca_file": str(folder / "ca.pem"), "verifyhost": "camera-17"}
    file.write_text('[cameras.yard]\nurl = "rtsps://host/1"\ntls_verify = false\n')
    assert load(catalog, file).sources["yard"].trust.options() == {"tls_verify": "0"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("= 1", "not TOML"),
        ("segmnt = 1", "segmnt is not a setting; known: cameras"),
        ("[cameras.nobody]", "unknown camera 'nobody': privid-admin camera add nobody"),
        ("[cameras]\ngate = 1", "write [cameras.NAME]"),
        ("[cameras.gate]\nurl = 5", "cameras.gate: url is text in quotes"),
        ('[cameras.gate]\nkeep = "long"', "keep is a duration"),
        ('[cameras.gate]\nmax_size = "many"', "max_size is a size"),
        ('[cameras.gate]\ntransport = "carrier pigeon"', "transport is tcp or udp"),
        ('[cameras.gate]\ntimeout = "1h"', "timeout must be"),
        ("[cameras.gate]\nreencode = true", "reencode is text in quotes"),
        ('[cameras.gate]\nreencode = "av1"', "reencode is h264, or left out"),
        ('[cameras.gate]\nkey_frames = "1s"', 'key_frames goes with reencode = "h264"'),
        ("[cameras.gate]\nquantiser = 20", 'quantiser goes with reencode = "h264"'),
        ('[cameras.gate]\nreencode = "h264"\nkey_frames = "5m"', "key_frames must be 500ms to 30s"),
        ('[cameras.gate]\nreencode = "h264"\nquantiser = 0', "quantiser is a number from 1"),
        ('[cameras.gate]\nreencode = "h264"\nquantiser = "23"', "quantiser is a number from 1"),
        ('[cameras.clips]\nurl = "/"\nreencode = "h264"', "reencode is for live video"),
        ("[cameras.gate]\ntls_verify = false", "tls_verify goes with an address that begins with rtsps:// or https://"),
        ('[cameras.yard]\nurl = "rtsps://host/1"\ntls_verify = "no"', "tls_verify is true, or false to believe"),
        ('[cameras.yard]\nurl = "https://host/1"\ntls_name = 5', "tls_name is text in quotes"),
        ('[cameras.yard]\nurl = "https://host/1"\ntls_ca = "no.pem"', "cannot read certificates from"),
        ('[cameras.yard]\nurl = "https://host/1"\ntls_ca = "ingest.toml"', "holds no certificate in PEM"),
        ('[cameras.yard]\nurl = "https://host/1"\ntls_verify = false\ntls_name = "x"', "nothing is checked; leave out"),
        ('segment = "1h"', "segment must be"),
        ('[cameras.gate]\nusername = "x"', "go together"),
        ('[cameras.gate]\nusername = "x"\npassword_file = "nothing"', "cannot read the password"),
        ('[cameras.gate]\nurl = "ftp://u:hunter2@host/"', "ftp://host/ cannot be recorded"),
        ('[cameras.gate]\nurl = "rtsp://"', "names no host"),
        (
            '[cameras.gate]\nurl = "rtsp://u:hunter2@host:99999/"',
            "rtsp://host:99999/ has a host or port that cannot be",
        ),
        ('[cameras.gate]\nurl = "rtsps://[::1/x"', "has a host or port that cannot be"),
        ('[cameras.gate]\nurl = "clips/a.mp4"', "not an absolute path"),
        (
            '[cameras.clips]\nurl = "/clips"\nusername = "x"\npassword_file = "ingest.toml"',
            "go with an address such as",
        ),
        ('[cameras.gate]\nusername = ""\npassword_file = "ingest.toml"', "username is text in quotes"),
        ('[cameras.gate]\ntimeout = "0s"', "timeout must be more than nothing"),
        ('[cameras.gate]\nkeep = "0 days"', "keep must be more than nothing"),
        ('max_size = "0 GB"', "max_size must be more than nothing"),
    ],
)
def test_what_is_refused_says_what_to_do(catalog, tmp_path, text, says):
    file = tmp_path / "ingest.toml"
    file.write_text(text)
    with pytest.raises(BadRecording) as refused:
        load(catalog, file)
    assert says in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_file_that_is_not_there(catalog, tmp_path):
    with pytest.raises(BadRecording, match="No such file"):
        load(catalog, tmp_path / "nothing.toml")


def test_an_address_that_cannot_be_is_refused_when_a_camera_is_made(catalog):
    for address, says in (
        ("ftp://u:hunter2@host/", "ftp://host/ cannot be recorded"),
        ("rtsp://host:99999/1", "has a host or port that cannot be"),
        ("clips/a.mp4", "not an absolute path"),
    ):
        with pytest.raises(BadCamera) as refused:
            catalog.add_camera("other", created_us=1, url=address)
        assert says in str(refused.value)
        assert "hunter2" not in str(refused.value)
    assert "other" not in {camera.name for camera in catalog.cameras()}


def test_addresses_are_shown_without_secrets():
    assert redacted("rtsp://user:hunter2@host:554/1?token=hunter2#hunter2") == "rtsp://host:554/1"
    assert redacted("https://host/a") == "https://host/a"


def test_the_time_in_a_name():
    expected = 1_796_112_000 * SECOND  # 2026-12-01T08:00:00Z
    assert time_in_name("gate_2026-12-01_08-00-00.mp4", "UTC") == expected
    assert time_in_name("20261201T080000Z.mkv", "Europe/Berlin") == expected
    assert time_in_name("cam1 20261201090000.mp4", "Europe/Berlin") == expected
    for name in ("gate.mp4", "gate_2026-13-01_08-00-00.mp4", "12345678.mp4"):
        with pytest.raises(BadVideoFile):
            time_in_name(name, "UTC")
