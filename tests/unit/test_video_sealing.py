"""Sealed files: the same bytes wherever one looks, and nothing that was changed, cut, moved or exchanged."""

import io
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privid.video.errors import StoreFailure
from privid.video.sealing import SealedFile, seal_file

KEY = bytes(range(32))
CHUNK = 64 * 1024
HEADER, TAG = 32, 16
CONTENT = os.urandom(3 * CHUNK + 1234)


def sealed(folder, content=CONTENT, key=KEY, name="sealed"):
    (folder / "clear").write_bytes(content)
    (folder / name).unlink(missing_ok=True)
    return folder / name, seal_file(folder / "clear", folder / name, key)


def whole(path, file_id, key=KEY):
    with SealedFile(path, key, file_id, "plaza/1.mp4") as file:
        return b"".join(iter(lambda: file.read(CHUNK), b""))


@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, len(CONTENT)])
def test_what_was_sealed_is_read(tmp_path, length):
    path, file_id = sealed(tmp_path, CONTENT[:length])
    assert whole(path, file_id) == CONTENT[:length]
    assert path.stat().st_mode & 0o777 == 0o600


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(CONTENT) + 10), st.integers(0, 2 * CHUNK)), max_size=20))
def test_any_part_is_the_same_as_of_the_clear_file(tmp_path, jumps):
    path, file_id = sealed(tmp_path)
    clear = io.BytesIO(CONTENT)
    with SealedFile(path, KEY, file_id, "x") as file:
        for at, size in jumps:
            assert file.seek(at) == clear.seek(at)
            part = file.read(size)
            assert part == clear.read(len(part))
            assert part or not size or at >= len(CONTENT)
        assert file.seek(-10, io.SEEK_END) == len(CONTENT) - 10
        assert file.read() == CONTENT[-10:]
        file.seek(5)
        assert io.BufferedReader(file).read() == CONTENT[5:]


def test_nothing_of_the_clear_file_is_in_the_sealed_one_and_no_two_are_alike(tmp_path):
    first, first_id = sealed(tmp_path, bytes(CHUNK), name="a")
    second, second_id = sealed(tmp_path, bytes(CHUNK), name="b")
    assert first_id != second_id
    one, two = first.read_bytes()[HEADER:], second.read_bytes()[HEADER:]
    assert bytes(64) not in one
    assert sum(a == b for a, b in zip(one, two, strict=True)) < len(one) / 50


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


STEP = CHUNK + TAG
DAMAGE = {
    "a bit of the mark": lambda d: flipped(d, 0),
    "a bit of the id": lambda d: flipped(d, 8),
    "a bit of the length": lambda d: flipped(d, 31),
    "a bit of the first chunk": lambda d: flipped(d, HEADER),
    "a bit of a tag": lambda d: flipped(d, HEADER + STEP - 1),
    "a bit of the last chunk": lambda d: flipped(d, len(d) - TAG - 1),
    "the last byte gone": lambda d: d[:-1],
    "the last chunk gone": lambda d: d[: HEADER + 3 * STEP],
    "all but the header gone": lambda d: d[:HEADER],
    "half of the header": lambda d: d[: HEADER // 2],
    "empty": lambda _: b"",
    "a byte more": lambda d: d + b"\0",
    "two chunks exchanged": lambda d: (
        d[:HEADER] + d[HEADER + STEP : HEADER + 2 * STEP] + d[HEADER : HEADER + STEP] + d[HEADER + 2 * STEP :]
    ),
    "a chunk twice": lambda d: d[: HEADER + STEP] + d[HEADER : HEADER + STEP] + d[HEADER + 2 * STEP :],
    "the length that fits what is left": lambda d: d[:24] + (3 * CHUNK).to_bytes(8) + d[HEADER : HEADER + 3 * STEP],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed(tmp_path, damage):
    path, file_id = sealed(tmp_path)
    data = path.read_bytes()
    assert DAMAGE[damage](data) != data
    path.write_bytes(DAMAGE[damage](data))
    with pytest.raises(StoreFailure, match=r"plaza/1\.mp4 is damaged, cut short, or not the file"):
        whole(path, file_id)


def test_another_file_of_the_same_camera_is_noticed(tmp_path):
    first, _ = sealed(tmp_path, name="a")
    _, second_id = sealed(tmp_path, name="b")
    with pytest.raises(StoreFailure, match="not the file"):
        whole(first, second_id)


def test_another_key_opens_nothing(tmp_path):
    path, file_id = sealed(tmp_path)
    with pytest.raises(StoreFailure):
        whole(path, file_id, bytes(32))
