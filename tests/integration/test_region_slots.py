"""Slots are chunks times regions: in order, with their own frames and names, whichever of them are still wanted."""

import mmap

import numpy as np
import pytest

from privid.database.connect import open_database
from privid.domain.policy import CameraPolicy, MaskPolicy, RegionScheme
from privid.engine import tables
from privid.engine.errors import CannotEnforce
from privid.engine.slots import slots
from privid.ingest.importer import import_file
from privid.testing.video import write_clip
from privid.video import bitmaps
from privid.video.catalog import Catalog
from privid.video.errors import StoreFailure
from privid.video.pictures import PictureStore
from privid.video.store import SegmentStore
from query_lang import CameraSchema, compile_script
from query_lang import Catalog as Names

START = 1_788_267_600_000_000
HALVES = np.ones((2, 96, 160), bool)
HALVES[0, :, :80] = HALVES[1, :40, 80:] = False
BAR = np.zeros((1, 96, 160), bool)
BAR[0, :, 70:90] = True
SMALL = np.eye(9, dtype=bool)[None]


@pytest.fixture
def place(tmp_path):
    catalog, store = Catalog(open_database(tmp_path / "privid.sqlite3")), SegmentStore(tmp_path / "video")
    catalog.add_camera("plaza", created_us=START)
    import_file(catalog, store, write_clip(tmp_path / "a.mp4", 50), "plaza", START)
    (tmp_path / "pictures").mkdir()
    return catalog, store, PictureStore(tmp_path / "pictures")


def policy(pictures):
    return CameraPolicy(
        epsilon_nano=1,
        rho_us=10**7,
        K=1,
        masks={
            "bar": MaskPolicy(10**6, 1, pictures.add(bitmaps.encode(BAR))),
            "small": MaskPolicy(10**6, 1, pictures.add(bitmaps.encode(SMALL))),
            "undrawn": MaskPolicy(10**6),
        },
        regions={
            "halves": RegionScheme(("west", "east"), "hard", pictures.add(bitmaps.encode(HALVES))),
            "undrawn": RegionScheme(("a", "b")),
        },
    )


def process(clauses=""):
    regions = {"halves": ("west", "east"), "undrawn": ("a", "b")}
    camera = CameraSchema("plaza", masks=("bar", "small", "undrawn"), regions=regions)
    text = (
        f"SPLIT plaza BEGIN 2026-09-01T13:00:00Z END 2026-09-01T13:00:06Z BY TIME 1500ms STRIDE 500ms {clauses} INTO c;"
        "PROCESS c USING 'p.py' TIMEOUT 1sec PRODUCING 2 ROWS WITH SCHEMA (n:NUMBER=0) INTO t; SELECT COUNT(*) FROM t;"
    )
    return compile_script(text, Names({"plaza": camera})).processes[0]


def read(place, clauses, wanted, colour="bgr"):
    catalog, store, pictures = place
    found = []
    for slot in slots(catalog, store, pictures, process(clauses).split, policy(pictures), frozenset(wanted), colour):
        slot.check()
        assert slot.frames is not None
        with mmap.mmap(slot.frames.fd, 0, prot=mmap.PROT_READ) as view:
            pixels = np.frombuffer(view[:], np.uint8).reshape(slot.frame_count, slot.height, slot.width, 3)
        slot.close()
        found.append((slot, pixels))
    return found


def test_frames_are_in_the_colour_that_is_asked_for_and_say_so(place):
    clauses = "WITH MASK bar BY REGION halves"
    (bgr, before), (rgb, swapped), (yuv, after) = (read(place, clauses, {0}, c)[0] for c in ("bgr", "rgb", "yuv"))
    assert (bgr.colour, rgb.colour, yuv.colour) == ("bgr", "rgb", "yuv")
    assert np.array_equal(before[..., ::-1], swapped)
    hidden = (before == 0).all(axis=(0, 3))
    assert hidden[:, 70:80].all()
    assert (after[:, :, 70:80] == (0, 128, 128)).all()
    assert (after[:, 40:, :60] != (0, 128, 128)).any(axis=-1).all()


def test_every_chunk_gives_a_slot_for_each_region(place):
    found = read(place, "BY REGION halves", range(6))
    assert [(slot.index, slot.region, slot.start_us - START) for slot, _ in found] == [
        (0, "west", 0),
        (1, "east", 0),
        (2, "west", 2_000_000),
        (3, "east", 2_000_000),
        (4, "west", 4_000_000),
        (5, "east", 4_000_000),
    ]
    assert {(slot.region, slot.width, slot.height) for slot, _ in found} == {("west", 80, 96), ("east", 80, 40)}
    assert [slot.frame_count for slot, _ in found] == [15, 15, 15, 15, 10, 10]


@pytest.mark.parametrize("wanted", [{3}, {0, 3, 4}, {1, 2}, set()])
def test_only_the_slots_that_have_no_rows_yet(place, wanted):
    whole = {slot.index: pixels for slot, pixels in read(place, "BY REGION halves WITH MASK bar", range(6))}
    some = read(place, "BY REGION halves WITH MASK bar", wanted)
    assert [slot.index for slot, _ in some] == sorted(wanted)
    assert all(np.array_equal(pixels, whole[slot.index]) for slot, pixels in some)


def test_without_regions_a_slot_is_a_chunk(place):
    found = read(place, "WITH MASK bar RESIZE 80x48", range(3))
    assert [(slot.index, slot.region, slot.width, slot.height) for slot, _ in found] == [
        (i, "", 80, 48) for i in range(3)
    ]
    assert not any(pixels[:, :, 36:44].any() for _, pixels in found)


def test_the_table_has_the_region_of_each_slot(place):
    rows = {slot: ((float(slot),),) * (1 + slot % 2) for slot in range(6)}
    table = tables.build(process("BY REGION halves"), rows, ("west", "east"))
    assert table.column_names == ["chunk", "camera", "region", "n"]
    assert table.column("region").to_pylist() == ["west", "east", "east"] * 3
    assert table.column("n").to_pylist() == [0, 1, 1, 2, 3, 3, 4, 5, 5]
    assert [moment - START for moment in table.column("chunk").to_pylist()] == [0] * 3 + [2_000_000] * 3 + [
        4_000_000
    ] * 3


@pytest.mark.parametrize(
    ("clauses", "says"),
    [
        ("WITH MASK undrawn", "the mask 'undrawn' of camera plaza has no picture"),
        ("BY REGION undrawn", "the region scheme 'undrawn' of camera plaza has no picture"),
        ("WITH MASK bar, small", "differ in size"),
        ("WITH MASK small BY REGION halves", "differ in size"),
    ],
)
def test_what_nobody_can_hide_is_refused(place, clauses, says):
    with pytest.raises(CannotEnforce, match=says):
        read(place, clauses, {0})


def test_a_picture_that_is_gone_is_a_failure_of_the_system(place, tmp_path):
    catalog, store, pictures = place
    held = policy(pictures)
    (tmp_path / "pictures" / held.masks["bar"].picture).unlink()
    with pytest.raises(StoreFailure, match="restore it"):
        next(slots(catalog, store, pictures, process("WITH MASK bar").split, held, frozenset({0}), "bgr"))
