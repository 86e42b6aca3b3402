"""A video file as if a camera had recorded it, in a temporary store of its own."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from privid.database.connect import open_database
from privid.ingest.importer import import_file
from privid.video.catalog import Catalog
from privid.video.chunking import Chunk, chunks
from privid.video.frames import ChunkFrames, read_chunks
from privid.video.store import SegmentStore
from query_lang.logical import Split
from workers.guest.chunk import Colour


@dataclass(frozen=True, slots=True)
class Footage:
    """A file that has been read once. `fps` is nominal; `length_us` is from its first frame to the end of its last."""

    path: Path
    width: int
    height: int
    fps: Fraction
    length_us: int
    _catalog: Catalog
    _store: SegmentStore

    def chunks(self, split: Split) -> tuple[Chunk, ...]:
        """The chunks of a SPLIT that lie within the file, if its first frame is taken at the SPLIT's BEGIN."""
        end_us = min(split.end_us, split.begin_us + self.length_us)
        return chunks(split.begin_us, end_us, split.chunk_us, split.chunk_us + split.stride_us)

    def frames(self, split: Split, wanted: tuple[Chunk, ...], colour: Colour) -> Iterator[ChunkFrames]:
        """Their frames, exactly as a query's slots get them. Raises BadVideoFile, TimeConflict, OSError."""
        camera = f"from_{split.begin_us}"
        if camera not in {known.name for known in self._catalog.cameras()}:
            self._catalog.add_camera(camera, created_us=0)
            import_file(self._catalog, self._store, self.path, camera, split.begin_us)
        return read_chunks(
            self._catalog, self._store, camera, wanted, fps=split.fps, resize=split.resize, colour=colour
        )


@contextmanager
def footage(path: Path) -> Iterator[Footage]:
    """Read a video file; what was made is removed in the end. Raises BadVideoFile, OSError."""
    with tempfile.TemporaryDirectory(prefix="privid-trial-") as name:
        folder = Path(name)
        database = open_database(folder / "catalog.sqlite3")
        try:
            catalog, store = Catalog(database), SegmentStore(folder / "video")
            catalog.add_camera("file", created_us=0)
            imported = import_file(catalog, store, path, "file", 0)
            yield Footage(
                path, imported.width, imported.height, _rate(path), imported.end_us - imported.begin_us, catalog, store
            )
        finally:
            database.dispose()


def _rate(path: Path) -> Fraction:
    with av.open(f"file:{path}") as container:
        return Fraction(container.streams.video[0].average_rate or 10)
