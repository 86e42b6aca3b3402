"""What every place for segment files does: a folder, and object stores of three kinds, one of them a real S3 server."""

import threading
import uuid
from pathlib import Path

import fsspec
import pytest

from privid.video.errors import StoreFailure
from privid.video.storage.contract import Storage
from privid.video.storage.local import LocalStorage
from privid.video.storage.objects import ObjectStorage, connect
from tests.support.s3 import S3Server, s3_server

NAME = "plaza/2026-12-01/080000-0123456789ab.mp4"
KINDS = ["folder", "memory", "file", "s3"]


@pytest.fixture(scope="module")
def s3():
    with s3_server() as server:
        yield server


@pytest.fixture(params=KINDS)
def storage(request, tmp_path) -> Storage:
    cache, limit = tmp_path / "cache", 1_000_000
    if request.param == "folder":
        (tmp_path / "store").mkdir()
        return LocalStorage(tmp_path / "store")
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        filesystem, prefix = connect(f"{server.url}/{uuid.uuid4().hex}")
    elif request.param == "memory":
        filesystem, prefix = fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}"
    else:
        filesystem, prefix = fsspec.filesystem("file", auto_mkdir=True), str(tmp_path / "objects")
    return ObjectStorage(filesystem, prefix, f"{request.param}://place", cache, limit)


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "staged"
    path.write_bytes(bytes(range(256)) * 500)
    return path


def read(storage: Storage, name: str) -> bytes:
    with storage.open(name) as path:
        return path.read_bytes()


def test_what_is_put_is_read_and_stays_when_the_staged_file_goes(storage, file):
    content = file.read_bytes()
    storage.put({NAME: file})
    file.unlink()
    assert read(storage, NAME) == content
    assert read(storage, NAME) == content
    assert list(storage.names()) == [NAME]


def test_several_names_of_one_file(storage, file):
    names = [f"plaza/2026-12-01/08000{i}-0123456789ab.mp4" for i in range(3)]
    storage.put(dict.fromkeys(names, file))
    storage.remove(names[0])
    assert sorted(storage.names()) == names[1:]
    assert [read(storage, name) for name in names[1:]] == [file.read_bytes()] * 2


def test_removing_what_is_not_there_is_fine(storage, file):
    storage.remove(NAME)
    storage.put({NAME: file})
    storage.remove(NAME)
    storage.remove(NAME)
    assert list(storage.names()) == []


def test_what_is_not_there_cannot_be_read(storage):
    with pytest.raises((StoreFailure, FileNotFoundError)):
        read(storage, NAME)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "", "plaza/../../x"])
def test_no_name_leads_out(storage, file, name):
    with pytest.raises(StoreFailure, match="not a path inside"):
        storage.put({name: file})
    with pytest.raises(StoreFailure, match="not a path inside"):
        read(storage, name)
    with pytest.raises(StoreFailure, match="not a path inside"):
        storage.remove(name)


def test_what_is_being_read_stays_readable_when_it_is_removed(storage, file):
    storage.put({NAME: file})
    with storage.open(NAME) as path, path.open("rb") as opened:
        storage.remove(NAME)
        assert opened.read() == file.read_bytes()


def test_threads_read_side_by_side(storage, file):
    names = [f"plaza/2026-12-01/08000{i}-0123456789ab.mp4" for i in range(4)]
    storage.put(dict.fromkeys(names, file))
    storage.prefetch(names)
    found = []
    threads = [
        threading.Thread(target=lambda: found.extend(read(storage, name) == file.read_bytes() for name in names))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [True] * 16
