"""The keys of cameras, on both databases: made once, opened by the master key that wrapped them, wrapped anew."""

import base64
import threading

import pytest
import sqlalchemy as sa

from privid.database import schema
from privid.video.catalog import Catalog
from privid.video.errors import BadKeyFile, StoreFailure
from privid.video.keys import KeyRing, master_id, new_master_key, read_master_keys


def key_file(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(0o600)
    return path


@pytest.fixture
def cameras(engine):
    catalog = Catalog(engine)
    catalog.add_camera("plaza", created_us=1)
    catalog.add_camera("gate", created_us=1)
    return engine


def test_each_camera_has_a_key_of_its_own_that_stays(cameras, tmp_path):
    masters = read_master_keys(key_file(tmp_path / "keys", new_master_key()))
    plaza, gate = KeyRing(cameras, masters).current("plaza"), KeyRing(cameras, masters).current("gate")
    assert plaza.key != gate.key
    assert len(plaza.key) == 32
    again = KeyRing(cameras, masters)
    assert again.current("plaza") == plaza
    assert again.key(gate.id) == gate.key


def test_many_threads_make_one_key(cameras, tmp_path):
    masters = read_master_keys(key_file(tmp_path / "keys", new_master_key()))
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(KeyRing(cameras, masters).current("plaza"))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 6
    assert len(set(found)) == 1


def test_no_key_is_in_the_database_or_in_a_representation(cameras, tmp_path):
    line = new_master_key()
    masters = read_master_keys(key_file(tmp_path / "keys", line))
    ring = KeyRing(cameras, masters)
    key = ring.current("plaza")
    with cameras.connect() as connection:
        (row,) = connection.execute(sa.select(schema.video_keys)).all()
    assert key.key not in row.wrapped
    assert base64.b64decode(line) not in row.wrapped
    assert line not in repr(masters)
    assert repr(base64.b64decode(line)) not in repr(masters)


def test_rotation_wraps_anew_and_the_old_master_key_can_go(cameras, tmp_path):
    old, new = new_master_key(), new_master_key()
    ring = KeyRing(cameras, read_master_keys(key_file(tmp_path / "keys", old)))
    plaza, gate = ring.current("plaza"), ring.current("gate")
    both = KeyRing(cameras, read_master_keys(key_file(tmp_path / "keys", new, old)))
    assert both.key(plaza.id) == plaza.key
    assert both.rotate() == 2
    assert both.rotate() == 0
    alone = KeyRing(cameras, read_master_keys(key_file(tmp_path / "keys", new)))
    assert (alone.key(plaza.id), alone.key(gate.id)) == (plaza.key, gate.key)
    assert {key.master for key in alone.listing()} == {master_id(base64.b64decode(new))}
    with pytest.raises(StoreFailure, match="not in"):
        KeyRing(cameras, read_master_keys(key_file(tmp_path / "keys", old))).key(plaza.id)


def test_a_rotation_that_cannot_open_one_key_changes_none(cameras, tmp_path):
    old, lost, new = new_master_key(), new_master_key(), new_master_key()
    KeyRing(cameras, read_master_keys(key_file(tmp_path / "keys", old))).current("plaza")
    KeyRing(cameras, read_master_keys(key_file(tmp_path / "keys", lost))).current("gate")
    ring = KeyRing(cameras, read_master_keys(key_file(tmp_path / "keys", new, old)))
    before = ring.listing()
    with pytest.raises(StoreFailure, match="gate"):
        ring.rotate()
    assert ring.listing() == before


def test_a_wrong_or_missing_master_key_names_the_camera_and_what_to_do(cameras, tmp_path):
    first = key_file(tmp_path / "keys", new_master_key())
    key = KeyRing(cameras, read_master_keys(first)).current("plaza")
    with pytest.raises(
        StoreFailure, match="the video of plaza is sealed, and there is no file of master keys: set PRIV"
    ):
        KeyRing(cameras, None).key(key.id)
    other = read_master_keys(key_file(tmp_path / "other", new_master_key()))
    with pytest.raises(
        StoreFailure, match=r"plaza is sealed under the master key [0-9a-f]{16}, which is not in .*other"
    ):
        KeyRing(cameras, other).key(key.id)


def test_a_key_that_was_exchanged_in_the_database_does_not_open(cameras, tmp_path):
    masters = read_master_keys(key_file(tmp_path / "keys", new_master_key()))
    ring = KeyRing(cameras, masters)
    plaza, gate = ring.current("plaza"), ring.current("gate")
    table = schema.video_keys
    with cameras.begin() as connection:
        wrapped = connection.scalar(sa.select(table.c.wrapped).where(table.c.id == gate.id))
        connection.execute(table.update().where(table.c.id == plaza.id).values(wrapped=wrapped))
    with pytest.raises(StoreFailure, match="the data key of plaza in the database is damaged"):
        KeyRing(cameras, masters).key(plaza.id)


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (b"c2hvcnQ=\n", 0o600, "line 1: a master key is 32 bytes"),
        (b"# nothing\n\n", 0o600, "holds no master key"),
        (b"\xff\xfe", 0o600, "no file of master keys"),
        (base64.b64encode(bytes(32)), 0o640, "others can read"),
    ],
)
def test_files_that_are_no_good(tmp_path, content, mode, message):
    file = tmp_path / "keys"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(BadKeyFile, match=message) as caught:
        read_master_keys(file)
    assert content.decode(errors="replace").strip() not in str(caught.value) or not content.strip()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadKeyFile, match="cannot read the master keys"):
        read_master_keys(tmp_path / "none")
