"""Local copies of segments: bounded, the one used longest ago goes first, never one that is being read."""

import os
from pathlib import Path

import pytest

from privid.video.errors import StoreFailure
from privid.video.storage.cache import SegmentCache

SIZE = 1000


class Place:
    """An object store that counts what is asked of it."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.short = False

    def size(self, name: str) -> int:
        return SIZE

    def fetch(self, name: str, target: Path) -> None:
        self.fetched.append(name)
        target.write_bytes(name.encode().ljust(SIZE - self.short, b"."))


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def cache(tmp_path, place) -> SegmentCache:
    return SegmentCache(tmp_path, 3 * SIZE, place)


def use(cache: SegmentCache, name: str) -> None:
    with cache.hold(name) as path:
        assert path.read_bytes().startswith(name.encode())


def test_what_was_used_longest_ago_goes_first(cache, place, tmp_path):
    for name in "abc":
        use(cache, name)
        os.utime(tmp_path / name, ns=(0, ord(name)))
    use(cache, "a")
    use(cache, "d")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "c", "d"}
    use(cache, "a")
    assert place.fetched == ["a", "b", "c", "d"]


def test_what_is_being_read_is_never_removed(cache, tmp_path):
    with cache.hold("a") as path:
        for name in "bcdef":
            use(cache, name)
        assert path.exists()
        with SegmentCache(tmp_path, SIZE, Place()).hold("g"):  # nor by another process with a smaller limit
            assert path.exists()
    use(cache, "h")
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 3 * SIZE


def test_what_does_not_arrive_whole_is_not_kept(cache, place, tmp_path):
    place.short = True
    with pytest.raises(StoreFailure, match="did not arrive whole"):
        use(cache, "a")
    assert list(tmp_path.iterdir()) == []
    place.short = False
    use(cache, "a")


def test_what_a_killed_process_was_fetching_is_removed(tmp_path, place):
    (tmp_path / ".arriving-x").write_bytes(b"half")
    SegmentCache(tmp_path, SIZE, place)
    assert list(tmp_path.iterdir()) == []
