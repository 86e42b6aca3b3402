"""What recorder and retention ask of the catalog, on every database."""

import numpy as np
import pytest

from privid.domain.units import SECOND
from privid.ledger.needs import windows_needed
from privid.video.catalog import EXPIRED, Catalog, Gap, NewSegment
from privid.video.errors import UnknownCamera
from privid.video.frame_index import FrameIndex
from tests.support.ledgers import World, charge

START = 1_800_000_000 * SECOND


@pytest.fixture
def world(engine):
    found = World(engine)
    found.catalog = Catalog(engine)
    return found


def add(world, *begins, length=10, camera="plaza"):
    for begin in begins:
        times = START + np.arange(begin, begin + length, dtype=np.int64) * SECOND
        index = FrameIndex(times, times - times[0], np.array([0]), np.array([0]))
        world.catalog.add_segments(
            camera,
            [
                NewSegment(
                    f"{camera}/{begin}.mp4", START + (begin + length) * SECOND, index, 16, 16, "h264", 100, "cut", 7
                )
            ],
        )


def gaps(world):
    return [
        ((gap.begin_us - START) // SECOND, (gap.end_us - START) // SECOND, gap.reason)
        for gap in world.catalog.gaps("plaza", START - SECOND, START + 1000 * SECOND)
    ]


def test_a_gap_grows_shrinks_and_goes(world):
    for end in (5, 8, 7):
        world.catalog.keep_gap("plaza", START, START + end * SECOND, "refused")
        assert gaps(world) == [(0, end, "refused")]
    world.catalog.keep_gap("plaza", START, START + 3 * SECOND, "ended")
    world.catalog.keep_gap("plaza", START, START, "refused")
    assert gaps(world) == [(0, 3, "ended")]
    with pytest.raises(UnknownCamera):
        world.catalog.keep_gap("nobody", START, START + 1, "refused")


def test_where_a_recording_goes_on(world):
    assert world.catalog.last_end("plaza") is None
    add(world, 0)
    assert world.catalog.last_end("plaza") == START + 10 * SECOND
    world.catalog.keep_gap("plaza", START + 10 * SECOND, START + 15 * SECOND, "ended")
    assert world.catalog.last_end("plaza") == START + 15 * SECOND
    assert world.catalog.has_segment("plaza", START)
    assert not world.catalog.has_segment("plaza", START + 1)


def test_the_oldest_in_pages(world):
    world.catalog.add_camera("gate", created_us=1)
    add(world, 0, 10, 20)
    add(world, 5, camera="gate")
    first = world.catalog.oldest(limit=2)
    assert [(s.camera, s.path) for s in first] == [("plaza", "plaza/0.mp4"), ("gate", "gate/5.mp4")]
    assert [s.path for s in world.catalog.oldest(after=first[-1])] == ["plaza/10.mp4", "plaza/20.mp4"]
    assert [s.path for s in world.catalog.oldest("plaza", before_us=START + 20 * SECOND)] == [
        "plaza/0.mp4",
        "plaza/10.mp4",
    ]
    assert world.catalog.sizes() == {"plaza": 300, "gate": 100}


def test_what_expires_becomes_one_gap_and_what_is_needed_stays(world):
    add(world, 0, 10, 20, 40)
    world.catalog.keep_gap("plaza", START + 30 * SECOND, START + 40 * SECOND, "refused")
    reserved = world.reserve(charge(1_000_000, START + 20 * SECOND, 10 * SECOND))
    removed = world.catalog.expire("plaza", world.catalog.oldest("plaza", limit=1), windows_needed)
    assert [s.path for s in removed] == ["plaza/0.mp4"]
    assert gaps(world) == [(0, 10, EXPIRED), (30, 40, "refused")]
    removed = world.catalog.expire("plaza", world.catalog.oldest("plaza"), windows_needed)
    assert [s.path for s in removed] == ["plaza/10.mp4", "plaza/40.mp4"]
    assert gaps(world) == [(0, 20, EXPIRED), (30, 40, "refused"), (40, 50, EXPIRED)]
    world.ledger.start(reserved.query_id)
    assert world.catalog.expire("plaza", world.catalog.oldest("plaza"), windows_needed) == []
    world.ledger.release(reserved.query_id, "{}")
    assert len(world.catalog.expire("plaza", world.catalog.oldest("plaza"), windows_needed)) == 1
    assert world.catalog.oldest("plaza") == []
    assert Gap(START, START + 30 * SECOND, EXPIRED) in world.catalog.gaps("plaza", START, START + 1)
