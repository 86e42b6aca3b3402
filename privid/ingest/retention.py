"""Removing the oldest video: by age and by size of each camera, by size of all, and so that the disk has room left.

Never a segment that an admitted, unfinished query needs. What was removed is a gap in the catalog, "expired". The rows
go first and the files after them, journalled: whoever is killed in between leaves nothing that the next sweep misses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate, groupby

import structlog

from privid.ledger.needs import windows_needed
from privid.video.catalog import Catalog, Stored
from privid.video.store import SegmentStore

_log = structlog.get_logger("privid.ingest")

_BATCH = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one camera. Video that ended longer ago than `keep_us` goes, and the oldest above `max_bytes`; None: stays."""

    keep_us: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept. `max_bytes` of all cameras together; `min_free_bytes` is what shall be left on the disk."""

    cameras: Mapping[str, Limits] = field(default_factory=dict)
    max_bytes: int | None = None
    min_free_bytes: int = 0


@dataclass(slots=True)
class Swept:
    """What one pass did. `blocked`: segments that should have gone, but queries need them, with their bytes."""

    segments: int = 0
    size_bytes: int = 0
    blocked: dict[int, int] = field(default_factory=dict)

    @property
    def blocked_bytes(self) -> int:
        """What should have gone, but queries need it; each segment once, however many limits it exceeds."""
        return sum(self.blocked.values())


class Retention:
    """Applies a policy to the catalog and the store."""

    def __init__(self, catalog: Catalog, store: SegmentStore) -> None:
        self._catalog = catalog
        self._store = store

    def apply(self, policy: Policy, now_us: int) -> Swept:
        """Remove what is too old or too much. Raises StoreFailure, OSError or SQLAlchemyError; the rest stays for the
        next pass.
        """
        self._store.settle(self._catalog.known_paths)
        swept = Swept()
        for camera, limits in policy.cameras.items():
            if limits.keep_us is not None:
                self._remove_aged(camera, now_us - limits.keep_us, swept)
            if limits.max_bytes is not None:
                self._remove_oldest(camera, self._catalog.sizes().get(camera, 0) - limits.max_bytes, swept)
        if policy.max_bytes is not None:
            self._remove_oldest(None, sum(self._catalog.sizes().values()) - policy.max_bytes, swept)
        # Removing what lies elsewhere makes no room here.
        while not self._store.is_remote and (missing := policy.min_free_bytes - self._store.free_bytes()) > 0:
            # Files can share their bytes, so the disk itself has to say what a removal was worth.
            before = swept.segments
            self._remove_oldest(None, missing, swept)
            if swept.segments == before:
                _log.error("the disk is full and nothing more can be removed", missing_bytes=missing)
                break
        if swept.segments or swept.blocked_bytes:
            _log.info("retention", segments=swept.segments, bytes=swept.size_bytes, blocked_bytes=swept.blocked_bytes)
        return swept

    def _remove_aged(self, camera: str, before_us: int, swept: Swept) -> None:
        after = None
        while batch := self._catalog.oldest(camera, before_us=before_us, after=after, limit=_BATCH):
            self._remove(batch, swept)
            after = batch[-1]

    def _remove_oldest(self, camera: str | None, excess: int, swept: Swept) -> None:
        """Remove segments, the oldest first, until `excess` bytes are gone."""
        after = None
        while excess > 0 and (batch := self._catalog.oldest(camera, after=after, limit=_BATCH)):
            before = accumulate((segment.size_bytes for segment in batch), initial=0)
            wanted = [segment for segment, size in zip(batch, before, strict=False) if size < excess]
            after = wanted[-1]
            excess -= self._remove(wanted, swept)

    def _remove(self, segments: list[Stored], swept: Swept) -> int:
        """Remove those that no query needs; gives their bytes."""
        gone = 0
        for camera, group in groupby(sorted(segments, key=lambda s: (s.camera, s.begin_us)), lambda s: s.camera):
            batch = list(group)
            removed: list[Stored] = []

            def leave(camera: str = camera, batch: list[Stored] = batch, removed: list[Stored] = removed) -> list[str]:
                removed += self._catalog.expire(camera, batch, windows_needed)
                return [segment.path for segment in removed]

            with self._store.staging() as staging:
                staging.withdraw(leave, [segment.path for segment in batch], self._catalog.known_paths)
            size = sum(segment.size_bytes for segment in removed)
            swept.segments += len(removed)
            swept.size_bytes += size
            kept = {segment.id for segment in batch} - {segment.id for segment in removed}
            swept.blocked |= {segment.id: segment.size_bytes for segment in batch if segment.id in kept}
            gone += size
        return gone
