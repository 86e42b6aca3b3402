"""A video file as if a camera had recorded it, in a temporary store of its own."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av

from privid.database.connect import open_database
from privid.domain.policy import CameraPolicy
from privid.domain.units import NANO, SECOND
from privid.engine.seen import region_names, views_of
from privid.engine.slots import slots
from privid.ingest.importer import import_file
from privid.video.catalog import Catalog
from privid.video.chunking import Chunk, chunks
from privid.video.pictures import PictureStore
from privid.video.store import SegmentStore
from query_lang.logical import Split
from workers.guest.chunk import Colour
from workers.host.feeder import Slot


class OtherSize(ValueError):
    """The video is not as large as what masks and regions were drawn for; the text says so."""


@dataclass(frozen=True, slots=True)
class Published:
    """What owners publish of cameras: policies by name, and the pictures of masks and regions that these name."""

    policies: Mapping[str, CameraPolicy] = field(default_factory=dict)
    pictures: Iterable[bytes] = ()


@dataclass(frozen=True, slots=True)
class Footage:
    """A file that has been read once. `fps` is nominal; `length_us` is from its first frame to the end of its last.

    A camera without a published policy has no masks and no regions.
    """

    path: Path
    width: int
    height: int
    fps: Fraction
    length_us: int
    policies: Mapping[str, CameraPolicy]
    _catalog: Catalog
    _store: SegmentStore
    _pictures: PictureStore

    def chunks(self, split: Split) -> tuple[Chunk, ...]:
        """The chunks of a SPLIT that lie within the file, if its first frame is taken at the SPLIT's BEGIN."""
        end_us = min(split.end_us, split.begin_us + self.length_us)
        return chunks(split.begin_us, end_us, split.chunk_us, split.chunk_us + split.stride_us)

    def regions(self, split: Split) -> tuple[str, ...]:
        """The regions of each chunk, in the order of its slots; one without a name where there is no BY REGION."""
        return region_names(split, self._policy(split.camera))

    def unknown_masks(self, split: Split) -> tuple[str, ...]:
        """Masks of a SPLIT of which nobody has said what they hide. They are not applied."""
        known = self._policy(split.camera).masks
        return tuple(name for name in split.masks if name not in known or not known[name].picture)

    def check(self, split: Split) -> None:
        """Raise OtherSize if the SPLIT's masks and regions do not fit the file, CannotEnforce as `views_of` does."""
        for view in views_of(self._shown(split), self._policy(split.camera), self._pictures):
            if view is not None and view.visible.shape != (self.height, self.width):
                height, width = view.visible.shape
                raise OtherSize(
                    f"{self.path} has pictures of {self.width}x{self.height}; "
                    f"the masks and regions of {split.camera} are drawn for {width}x{height}"
                )

    def slots(self, split: Split, wanted: tuple[Chunk, ...], colour: Colour) -> Iterator[Slot]:
        """The slots of these chunks, exactly as a query's.

        Raises BadVideoFile, TimeConflict, CannotEnforce, OSError.
        """
        recorded = replace(self._shown(split), camera=f"from_{split.begin_us}")
        if recorded.camera not in {known.name for known in self._catalog.cameras()}:
            self._catalog.add_camera(recorded.camera, created_us=0)
            import_file(self._catalog, self._store, self.path, recorded.camera, split.begin_us)
        each = len(self.regions(split))
        indexes = {chunk.index * each + region for chunk in wanted for region in range(each)}
        policy = self._policy(split.camera)
        for slot in slots(self._catalog, self._store, self._pictures, recorded, policy, indexes, colour):
            yield replace(slot, camera=split.camera)

    def _policy(self, camera: str) -> CameraPolicy:
        unknown = CameraPolicy(epsilon_nano=NANO, rho_us=SECOND, K=1, fps=self.fps)
        return self.policies.get(camera, unknown)

    def _shown(self, split: Split) -> Split:
        unknown = self.unknown_masks(split)
        return replace(split, masks=tuple(name for name in split.masks if name not in unknown))


@contextmanager
def footage(path: Path, published: Published | None = None) -> Iterator[Footage]:
    """Read a video file; what was made is removed in the end. Raises BadVideoFile, OSError."""
    published = published or Published()
    with tempfile.TemporaryDirectory(prefix="privid-trial-") as name:
        folder = Path(name)
        database = open_database(folder / "catalog.sqlite3")
        try:
            catalog, store, pictures = Catalog(database), SegmentStore(folder / "video"), PictureStore(folder)
            for content in published.pictures:
                pictures.add(content)
            catalog.add_camera("file", created_us=0)
            imported = import_file(catalog, store, path, "file", 0)
            yield Footage(
                path,
                imported.width,
                imported.height,
                _rate(path),
                imported.end_us - imported.begin_us,
                published.policies,
                catalog,
                store,
                pictures,
            )
        finally:
            database.dispose()


def _rate(path: Path) -> Fraction:
    with av.open(f"file:{path}") as container:
        return Fraction(container.streams.video[0].average_rate or 10)
