import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privid.database.connect import open_database
from privid.video.catalog import Catalog, NewSegment, Span, _spans
from privid.video.errors import BadCamera, TimeConflict, UnknownCamera
from privid.video.frame_index import FrameIndex


@pytest.fixture
def catalog(tmp_path):
    catalog = Catalog(open_database(tmp_path / "privid.sqlite3"))
    catalog.add_camera("plaza", created_us=1, timezone="Europe/Lisbon")
    catalog.add_camera("bridge", created_us=1, url="rtsp://somewhere")
    return catalog


def segment(begin, end, times=None, path=None):
    taken = np.array(times or [begin], dtype=np.int64)
    positions = np.arange(len(taken))
    index = FrameIndex(taken, positions, positions[:1], positions[:1])
    return NewSegment(path or f"plaza/{begin}.mp4", end, index, 160, 96, "h264", 1000, "cut")


def test_cameras(catalog):
    assert [c.name for c in catalog.cameras()] == ["bridge", "plaza"]
    plaza = catalog.camera("PLAZA")
    assert (plaza.name, plaza.timezone, plaza.url) == ("plaza", "Europe/Lisbon", None)


def test_an_unknown_camera_is_named_with_the_one_that_was_meant(catalog):
    for ask in (catalog.camera, lambda n: catalog.coverage(n, 0, 1), lambda n: catalog.frame_times(n, 0, 1)):
        with pytest.raises(UnknownCamera, match="unknown camera 'plasa': did you mean 'plaza'"):
            ask("plasa")
    with pytest.raises(UnknownCamera, match="there is bridge, plaza"):
        catalog.camera("xyz")


@pytest.mark.parametrize(
    ("name", "zone", "message"),
    [
        ("plaza", "UTC", "already"),
        ("Plaza", "UTC", "already"),
        ("", "UTC", "name"),
        ("../up", "UTC", "name"),
        ("a b", "UTC", "name"),
        ("x" * 65, "UTC", "name"),
        ("park", "Mars/Olympus", "time zone"),
        ("park", "/etc/passwd", "time zone"),
    ],
)
def test_cameras_that_cannot_be_added(catalog, name, zone, message):
    with pytest.raises(BadCamera, match=message):
        catalog.add_camera(name, created_us=1, timezone=zone)
    assert len(catalog.cameras()) == 2


def test_frame_times_of_a_window_across_segments_and_cameras(catalog):
    catalog.add_segments("plaza", [segment(10, 20, [10, 15, 19]), segment(20, 30, [20, 27])])
    catalog.add_segments("bridge", [segment(12, 18, [12, 13], "bridge/a.mp4")])
    assert catalog.frame_times("plaza", 0, 100).tolist() == [10, 15, 19, 20, 27]
    assert catalog.frame_times("plaza", 15, 27).tolist() == [15, 19, 20]
    assert catalog.frame_times("plaza", 28, 100).tolist() == []
    assert catalog.frame_times("bridge", 0, 100).tolist() == [12, 13]
    assert [s.begin_us for s in catalog.segments("plaza", 19, 20)] == [10]
    assert catalog.frame_size("plaza") == (160, 96)
    assert catalog.recorded("plaza") == (10, 30, 20, 2, 5, 2000)


def test_nothing_recorded(catalog):
    assert catalog.recorded("plaza") is None
    assert catalog.frame_size("plaza") is None
    assert catalog.coverage("plaza", 5, 9) == ((5, 9, "unknown"),)


@pytest.mark.parametrize(
    "bad",
    [
        [segment(19, 25)],
        [segment(5, 11)],
        [segment(12, 13)],
        [segment(0, 100)],
        [segment(10, 20)],
        [segment(30, 40), segment(39, 50)],
        [segment(40, 50), segment(30, 40)],
        [segment(30, 35, [30, 35])],
        [segment(50, 60), segment(15, 70, path="x")],
    ],
)
def test_overlaps_and_time_that_goes_backwards_are_refused_whole(catalog, bad):
    catalog.add_segments("plaza", [segment(10, 20)])
    with pytest.raises(TimeConflict):
        catalog.add_segments("plaza", bad)
    assert len(catalog.segments("plaza", 0, 1000)) == 1


def test_segments_may_touch(catalog):
    catalog.add_segments("plaza", [segment(10, 20)])
    catalog.add_segments("plaza", [segment(20, 30)])
    catalog.add_segments("plaza", [segment(5, 10)])
    assert catalog.coverage("plaza", 0, 40) == (Span(0, 5, "unknown"), Span(5, 30, "covered"), Span(30, 40, "unknown"))


def test_a_segment_fails_with_the_others_of_its_batch(catalog):
    with pytest.raises(Exception, match="UNIQUE"):
        catalog.add_segments("plaza", [segment(10, 20, path="same"), segment(20, 30, path="same")])
    assert catalog.recorded("plaza") is None


def test_gaps_and_what_nobody_knows(catalog):
    catalog.add_segments("plaza", [segment(10, 20), segment(40, 50)])
    catalog.add_gap("plaza", 15, 30, "camera unreachable")
    assert catalog.coverage("plaza", 0, 60) == (
        (0, 10, "unknown"),
        (10, 20, "covered"),
        (20, 30, "gap"),
        (30, 40, "unknown"),
        (40, 50, "covered"),
        (50, 60, "unknown"),
    )
    assert catalog.coverage("plaza", 12, 18) == ((12, 18, "covered"),)
    with pytest.raises(TimeConflict):
        catalog.add_gap("plaza", 30, 30, "nothing")


def test_known_paths(catalog):
    catalog.add_segments("plaza", [segment(i * 10, i * 10 + 10) for i in range(1, 4)])
    asked = [f"plaza/{i}.mp4" for i in range(2000)]
    assert catalog.known_paths(asked) == {"plaza/10.mp4", "plaza/20.mp4", "plaza/30.mp4"}


edges = st.lists(st.integers(0, 30), unique=True, max_size=12).map(sorted)
interval = st.tuples(st.integers(0, 30), st.integers(1, 10)).map(lambda p: (p[0], p[0] + p[1]))


@given(edges, st.lists(interval, max_size=6).map(sorted), st.integers(-3, 20), st.integers(1, 20))
def test_coverage_moment_by_moment(cuts, gaps, begin, length):
    covered = list(zip(cuts[::2], cuts[1::2], strict=False))
    end = begin + length

    def meets(intervals):
        return [i for i in intervals if i[0] < end and i[1] > begin]

    spans = _spans(begin, end, meets(covered), meets(gaps))
    assert [spans[0].from_us, *(s.to_us for s in spans)] == [*(s.from_us for s in spans), end]
    assert spans[0].from_us == begin
    assert all(a.state != b.state for a, b in zip(spans, spans[1:], strict=False))
    for moment in range(begin, end):
        expected = (
            "covered"
            if any(a <= moment < b for a, b in covered)
            else "gap"
            if any(a <= moment < b for a, b in gaps)
            else "unknown"
        )
        assert [s.state for s in spans if s.from_us <= moment < s.to_us] == [expected]
