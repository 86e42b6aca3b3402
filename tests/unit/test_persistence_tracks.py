"""Tracks: the columns, their order, and files of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from privid.persistence.tracks import BadTracks, Tracks, load_tracks, save_tracks


def _tracks(track: list[int], time_us: list[int]) -> Tracks:
    rows = len(track)
    x0, y0, x1, y1 = np.arange(4 * rows, dtype=np.float32).reshape(4, rows)
    numbers, times = np.array(track, np.int32), np.array(time_us, np.int64)
    return Tracks(numbers, times, x0, y0, x1, y1, np.ones(rows, np.float32), 64, 48, 0, 100, 10)


def test_rows_are_sorted_by_track_and_time() -> None:
    tracks = _tracks([2, 1, 2, 1], [10, 20, 0, 0])
    assert tracks.track.tolist() == [1, 1, 2, 2]
    assert tracks.time_us.tolist() == [0, 20, 0, 10]
    assert tracks.x0.tolist() == [3, 1, 2, 0]  # the boxes moved along
    assert list(tracks.each()) == [(1, slice(0, 2)), (2, slice(2, 4))]


def test_no_rows() -> None:
    assert list(_tracks([], []).each()) == []


def test_columns_of_one_length() -> None:
    good = _tracks([1, 2], [0, 0])
    with pytest.raises(ValueError, match="length"):
        replace(good, track=good.track[:1])


def test_where_keeps_the_view() -> None:
    kept = _tracks([1, 1, 2], [0, 10, 0]).where(np.array([True, False, True]))
    assert (kept.track.tolist(), kept.width, kept.sample_us) == ([1, 2], 64, 10)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    tracks = _tracks([3, 1], [0, 10])
    save_tracks(tracks, path)
    again = load_tracks(path)
    assert all(np.array_equal(getattr(tracks, name), getattr(again, name)) for name in Tracks.__slots__)
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("cut", [0, 10, -30])
def test_a_damaged_file_is_no_tracks(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.npz"
    save_tracks(_tracks([3, 1], [0, 10]), path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BadTracks, match="holds no tracks"):
        load_tracks(path)
