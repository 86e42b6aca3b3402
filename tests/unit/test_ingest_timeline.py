"""The picture of what is recorded."""

from privid.owner.timeline_plot import COVERED, DAY, GAP, PARTLY, UNKNOWN, Timeline, rows, save


def test_less_than_a_day_is_one_row():
    spans = [(0, 50, "covered"), (50, 75, "gap"), (75, 90, "unknown"), (90, 100, "covered")]
    ((label, blocks),) = rows(Timeline("plaza", 0, 100, spans), 10)
    assert label == "1970-01-01T00:00:00Z"
    assert blocks == COVERED * 5 + GAP * 3 + UNKNOWN + COVERED
    assert rows(Timeline("plaza", 0, 100, spans), 1)[0][1] == PARTLY


def test_longer_windows_have_a_row_a_day():
    spans = [(DAY // 2, DAY + DAY // 4, "covered"), (DAY + DAY // 4, 2 * DAY, "gap")]
    found = rows(Timeline("plaza", DAY // 2, 2 * DAY, spans), 8)
    assert [label for label, _ in found] == ["1970-01-01", "1970-01-02"]
    assert [blocks for _, blocks in found] == [UNKNOWN * 4 + COVERED * 4, COVERED * 2 + GAP * 6]


def test_a_moment_of_video_is_never_drawn_as_a_gap():
    ((_, blocks),) = rows(Timeline("plaza", 0, 1000, [(0, 999, "gap"), (999, 1000, "covered")]), 4)
    assert blocks == GAP * 3 + PARTLY


def test_as_a_picture(tmp_path):
    save(Timeline("plaza", 0, 100, [(0, 50, "covered"), (50, 100, "gap")]), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
