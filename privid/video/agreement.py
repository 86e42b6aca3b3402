"""Whether the catalog and the store agree: every segment has its file, and every file its segment."""

from collections.abc import Iterator
from dataclasses import dataclass

from privid.video.catalog import Catalog
from privid.video.store import SegmentStore

_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Agreement:
    """Paths of segments whose file is `missing`, and `unknown` files, each in their order."""

    segments: int
    missing: tuple[str, ...]
    unknown: tuple[str, ...]


def compare(catalog: Catalog, store: SegmentStore) -> Agreement:
    """Compare all paths. What killed processes left is removed first, so that only what nobody accounts for is unknown.

    What this machine publishes meanwhile is not taken for unknown: a name is announced before its file is there, until
    its row is, and rows are asked for last. Raises StoreFailure, OSError, SQLAlchemyError.
    """
    store.sweep(catalog.known_paths)
    segments = set(_segments(catalog))
    files = set(store.storage.names())
    missing = segments - files
    unknown = sorted(files - segments - store.announced())
    unknown_still = set(unknown) - catalog.known_paths(unknown)
    missing_still = catalog.known_paths(sorted(missing))  # retention may have removed some meanwhile
    return Agreement(len(segments), tuple(sorted(missing_still)), tuple(sorted(unknown_still)))


def _segments(catalog: Catalog) -> Iterator[str]:
    after = ""
    while batch := catalog.paths(after, _BATCH):
        yield from batch
        after = batch[-1]
