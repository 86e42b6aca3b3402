"""Where segments lie, as the environment says it; what cannot be used is refused in one sentence without a secret."""

import pytest

from privid.database.connect import open_database
from privid.domain.home import Home
from privid.video.errors import BadStoreSetting
from privid.video.keys import new_master_key
from privid.video.store_settings import open_store

SECRET = "do-not-show"


@pytest.fixture
def opened(tmp_path, monkeypatch):
    def call(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(f"PRIVID_STORE_{name}", str(value))
        return open_store(Home(tmp_path / "home").create(), open_database(tmp_path / "privid.sqlite3"))

    return call


def test_the_folder_of_the_home(opened, tmp_path):
    store = opened()
    assert store.label == str(tmp_path / "home" / "video")
    assert not store.is_remote
    assert store.spool() is None
    assert not store.keys.seals


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_another_folder(opened, tmp_path, prefix):
    (tmp_path / "disk").mkdir()
    store = opened(URL=f"{prefix}{tmp_path}/disk")
    assert store.path("plaza/x.mp4") == tmp_path / "disk" / "plaza" / "x.mp4"
    assert not store.is_remote


def test_a_bucket(opened, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(new_master_key())
    keys.chmod(0o600)
    store = opened(URL="s3://bucket/prefix", KEY_FILE=keys, SPOOL_BYTES=10)
    assert store.label == "s3://bucket/prefix"
    assert store.is_remote
    assert store.spool().limit_bytes == 10
    assert store.keys.seals


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("video", "neither an absolute path nor an address"),
        ("/no/such/folder", "there is no folder /no/such/folder"),
        ("file:///no/such/folder", "there is no folder"),
        ("ftp://host/x", "ftp://host/x is not a place for video"),
        ("memory://x", "is not a place for video"),
        ("s3://", "names no bucket"),
        (f"s3://key:{SECRET}@bucket/x", "credentials go into the environment"),
        (f"s3://bucket/x?secret={SECRET}", "credentials go into the environment"),
        (f"https://key:{SECRET}@host/x", "is not a place for video"),
    ],
)
def test_addresses_that_are_no_good(opened, url, message):
    with pytest.raises(BadStoreSetting, match=message) as caught:
        opened(URL=url)
    assert SECRET not in str(caught.value)


def test_a_client_that_is_not_installed(opened, monkeypatch):
    def without(_url, **_options):
        raise ImportError("s3fs")

    monkeypatch.setattr("fsspec.url_to_fs", without)
    with pytest.raises(BadStoreSetting, match=r"pip install 'privid\[s3\]'"):
        opened(URL="s3://bucket/x")


def test_sizes_that_are_none(opened):
    with pytest.raises(BadStoreSetting, match="PRIVID_STORE_CACHE_BYTES"):
        opened(CACHE_BYTES="lots")
