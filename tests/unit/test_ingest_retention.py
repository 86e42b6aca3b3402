"""Retention: the oldest goes first, what a query has reserved stays, and nobody is killed half-way."""

import pytest

from privid.database.connect import open_database
from privid.domain.budget import Charge, Grid, Loss
from privid.domain.units import SECOND
from privid.ingest.importer import import_file
from privid.ingest.retention import Limits, Policy, Retention
from privid.testing.video import write_clip
from privid.video.catalog import EXPIRED, Catalog
from privid.video.store import SegmentStore
from tests.support.ledgers import World

START = 1_800_000_000 * SECOND
CLIP = 5 * SECOND


@pytest.fixture
def world(tmp_path):
    """Camera plaza with ten imported clips of 5 s, one after the other, and gate with one of them."""
    engine = open_database(tmp_path / "privid.sqlite3")
    found = World(engine)
    found.catalog = Catalog(engine)
    found.catalog.add_camera("gate", created_us=1)
    (tmp_path / "video").mkdir()
    found.store = SegmentStore(tmp_path / "video")
    clip = write_clip(tmp_path / "a.mp4", 50)
    for number in range(10):
        import_file(found.catalog, found.store, clip, "plaza", START + number * CLIP)
    import_file(found.catalog, found.store, clip, "gate", START)
    found.size = found.catalog.sizes()["gate"]
    found.retention = Retention(found.catalog, found.store)
    return found


def begins(world, camera="plaza"):
    """Numbers of the clips that are there; each has its file, and there are no other files."""
    segments = world.catalog.segments(camera, 0, 1 << 61)
    assert all(world.store.path(segment.path).is_file() for segment in segments)
    return [(segment.begin_us - START) // CLIP for segment in segments]


def files(world):
    return sorted(str(p) for p in world.store.path("x").parent.rglob("*.mp4"))


def reserve(world, clip):
    """A query over one clip's time is admitted and not finished."""
    grid = Grid(START + clip * CLIP, CLIP, CLIP, 1, 1)
    return world.reserve(Charge("plaza", (Loss("none", 1000, None, grid),)))


def test_by_age(world):
    swept = world.retention.apply(Policy({"plaza": Limits(keep_us=20 * SECOND)}), START + 10 * CLIP)
    assert begins(world) == [6, 7, 8, 9]
    assert begins(world, "gate") == [0]
    assert (swept.segments, swept.size_bytes, swept.blocked_bytes) == (6, 6 * world.size, 0)
    assert len(files(world)) == 5
    spans = world.catalog.coverage("plaza", START, START + 10 * CLIP)
    assert [(s.state, (s.to_us - s.from_us) // CLIP) for s in spans] == [("gap", 6), ("covered", 4)]


def test_by_size_of_a_camera_and_of_all(world):
    world.retention.apply(Policy({"plaza": Limits(max_bytes=4 * world.size)}), START)
    assert begins(world) == [6, 7, 8, 9]
    world.retention.apply(Policy(max_bytes=2 * world.size), START)
    assert begins(world) == [8, 9]
    assert begins(world, "gate") == []
    (gap,) = world.catalog.gaps("plaza", 0, 1 << 61)
    assert gap == (START, START + 8 * CLIP, EXPIRED)  # one row that grows, not one for each segment


def test_so_that_the_disk_has_room(world, monkeypatch):
    room = [10 * world.size, len(files(world))]

    def free(_store):
        return room[0] + (room[1] - len(files(world))) * world.size

    monkeypatch.setattr(SegmentStore, "free_bytes", free)
    world.retention.apply(Policy(min_free_bytes=13 * world.size), START)
    assert len(files(world)) == 8
    assert begins(world)[-7:] == [3, 4, 5, 6, 7, 8, 9]
    # More than there is: everything goes, and it ends.
    world.retention.apply(Policy(min_free_bytes=1 << 60), START)
    assert files(world) == []


def test_what_a_query_has_reserved_stays_until_it_is_finished(world):
    reserved = reserve(world, 2)
    policy = Policy({"plaza": Limits(max_bytes=4 * world.size)})
    swept = world.retention.apply(policy, START)
    assert begins(world) == [2, 7, 8, 9]
    assert swept.blocked_bytes == world.size
    aged = world.retention.apply(Policy({"plaza": Limits(keep_us=0, max_bytes=0)}, max_bytes=0), START + 10 * CLIP)
    assert begins(world) == [2]
    assert aged.blocked_bytes == world.size
    world.ledger.start(reserved.query_id)
    world.ledger.release(reserved.query_id, "{}")
    world.retention.apply(Policy({"plaza": Limits(keep_us=0)}), START + 10 * CLIP)
    assert begins(world) == []


def test_killed_between_the_rows_and_the_files(world, monkeypatch):
    def killed(_store, _paths, _known):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SegmentStore, "discard", killed)
        patch.setattr("shutil.rmtree", lambda *_a, **_k: None)  # a killed process tidies nothing
        with pytest.raises(KeyboardInterrupt):
            world.retention.apply(Policy({"plaza": Limits(max_bytes=4 * world.size)}), START)
    assert begins(world) == [6, 7, 8, 9]
    assert len(files(world)) == 11
    assert world.store.sweep(world.catalog.known_paths) == 1
    assert len(files(world)) == 5
    assert begins(world) == [6, 7, 8, 9]
