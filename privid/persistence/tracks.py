"""What a tracker, or a scene's ground truth, says was in view: one box for each object and sampled moment."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privid.domain.files import write_whole

VERSION = 1
"""Of the file format."""

_COLUMNS: dict[str, npt.DTypeLike] = {
    "track": np.int32,
    "time_us": np.int64,
    "x0": np.float32,
    "y0": np.float32,
    "x1": np.float32,
    "y1": np.float32,
    "confidence": np.float32,
}
_SCALARS = ("width", "height", "start_us", "end_us", "sample_us")


class BadTracks(ValueError):
    """A file that holds no tracks, or those of another version."""


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """Boxes, one a row, sorted by track and then by time; all columns have shape (rows,).

    Boxes are in pixels of a picture of `width` x `height`, right and bottom exclusive; they may reach beyond it.
    Moments lie in [start_us, end_us), `sample_us` apart: a box stands for what is there from its moment to the next.
    A track is what a tracker could follow. It is not a person: one person may be several.
    """

    track: npt.NDArray[np.int32]
    time_us: npt.NDArray[np.int64]
    x0: npt.NDArray[np.float32]
    y0: npt.NDArray[np.float32]
    x1: npt.NDArray[np.float32]
    y1: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    width: int
    height: int
    start_us: int
    end_us: int
    sample_us: int

    def __post_init__(self) -> None:
        rows = self.track.shape
        if len(rows) != 1 or any(getattr(self, name).shape != rows for name in _COLUMNS):
            raise ValueError("the columns of tracks differ in length")
        if min(self.width, self.height, self.sample_us) < 1 or self.end_us < self.start_us:
            raise ValueError("tracks need a picture, a step and an interval of time")
        for name, dtype in _COLUMNS.items():
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype))
        order = np.lexsort((self.time_us, self.track))
        if (np.diff(order) != 1).any():
            for name in _COLUMNS:
                object.__setattr__(self, name, getattr(self, name)[order])

    def __len__(self) -> int:
        """The number of boxes."""
        return len(self.track)

    def each(self) -> Iterator[tuple[int, slice]]:
        """Every track with the rows that it takes."""
        for track, begin, end in zip(*self.spans(), strict=True):
            yield int(track), slice(int(begin), int(end))

    def spans(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The tracks, in order, and the first row and the end of the rows of each; all of shape (tracks,)."""
        first = np.flatnonzero(np.r_[True, np.diff(self.track) != 0]) if len(self) else np.zeros(0, np.int64)
        return self.track[first], first.astype(np.int64), np.r_[first[1:], len(self)].astype(np.int64)[: len(first)]

    def where(self, rows: npt.NDArray[np.bool_]) -> "Tracks":
        """The same view with some rows only; `rows` has shape (rows,)."""
        columns = (getattr(self, name)[rows] for name in _COLUMNS)
        return Tracks(*columns, *(getattr(self, name) for name in _SCALARS))


def save_tracks(tracks: Tracks, path: Path) -> None:
    """Write them so that a reader finds all of them or the file as it was before. Raises OSError."""
    content = io.BytesIO()
    values = {field.name: getattr(tracks, field.name) for field in fields(tracks)}
    np.savez_compressed(content, version=np.int64(VERSION), **values)
    write_whole(path, content.getvalue())


def load_tracks(path: Path) -> Tracks:
    """Read what `save_tracks` wrote. Raises BadTracks, OSError."""
    try:
        with np.load(path, allow_pickle=False) as content:
            if int(content["version"]) != VERSION:
                raise BadTracks(f"{path} holds tracks of version {int(content['version'])}; this is {VERSION}")
            columns = [content[name] for name in _COLUMNS]
            return Tracks(*columns, *(int(content[name]) for name in _SCALARS))
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, BadTracks):
            raise
        raise BadTracks(f"{path} holds no tracks") from None
