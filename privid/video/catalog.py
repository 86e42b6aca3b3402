"""The catalog: which video there is, of which moments. One contract on SQLite and PostgreSQL.

Times are integer microseconds UTC, intervals half-open. Segments of one camera never overlap, and inside a segment
the times of frames strictly increase, so the frames of a camera form one sequence in time.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from privid.database import schema
from privid.database.transactions import reading, write
from privid.domain.units import isoformat
from privid.video import frame_index
from privid.video.addresses import scheme_of
from privid.video.errors import BadCamera, TimeConflict, UnknownCamera
from privid.video.frame_index import FrameIndex
from privid.video.sealing import Seal

Coverage = Literal["covered", "gap", "unknown"]

EXPIRED = "expired"
"""Why there is a gap where retention has removed video."""
_EVER = 1 << 62
_CAMERA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera. One physical view is one camera (privacy-model.md, section 1)."""

    id: int
    name: str
    timezone: str
    url: str | None


@dataclass(frozen=True, slots=True)
class NewSegment:
    """A segment file that is complete and in its place, about to be entered. `path` is relative to the store.

    The last frame is shown until `end_us`, exclusive; the first begins the segment. `offset_us`, of a live recording:
    the time of its last frame less what the clock says, still to be slewed away.
    """

    path: str
    end_us: int
    index: FrameIndex
    width: int
    height: int
    codec: str
    size_bytes: int
    end_reason: str
    offset_us: int | None = None
    seal: Seal | None = None

    @property
    def begin_us(self) -> int:
        """The time of the first frame."""
        return int(self.index.times_us[0])


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as the catalog has it. `times` is its index of frames, encoded: see `index`; the last two, `seal`."""

    id: int
    path: str
    begin_us: int
    end_us: int
    frame_count: int
    times: bytes
    width: int
    height: int
    codec: str
    key_id: int | None = None
    file_id: bytes | None = None

    @property
    def seal(self) -> Seal | None:
        """What opens its file; None if that is clear."""
        return None if self.key_id is None or self.file_id is None else Seal(self.key_id, self.file_id)

    def index(self) -> FrameIndex:
        """The index of its frames, decoded anew at each call."""
        return frame_index.decode(self.times, self.begin_us)


class Span(NamedTuple):
    """What is known of one interval: `covered` by video, a recorded `gap`, or `unknown`."""

    from_us: int
    to_us: int
    state: Coverage


class Recorded(NamedTuple):
    """Everything recorded by one camera: from its first frame to its last one's end, `covered_us` of it."""

    begin_us: int
    end_us: int
    covered_us: int
    segments: int
    frames: int
    size_bytes: int


class Gap(NamedTuple):
    """An interval without video, and why."""

    begin_us: int
    end_us: int
    reason: str


class Stored(NamedTuple):
    """A segment as retention sees it."""

    id: int
    camera: str
    path: str
    begin_us: int
    end_us: int
    size_bytes: int


InUse = Callable[[sa.Connection, int], Sequence[tuple[int, int]]]
"""The intervals of a camera (its id) whose video is still needed, asked inside the transaction that removes some."""


class Catalog:
    """Cameras, their segments and their gaps."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add_camera(self, name: str, *, created_us: int, timezone: str = "UTC", url: str | None = None) -> Camera:
        """Enter a camera. Raises BadCamera."""
        if not _CAMERA_NAME.fullmatch(name):
            raise BadCamera(
                f"{name!r} cannot be a camera's name: use up to 64 letters, digits and underscores, a letter first"
            )
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise BadCamera(f"{timezone!r} is not a time zone: use an IANA name such as Europe/Lisbon or UTC") from None
        if url:
            scheme_of(url)

        def work(connection: sa.Connection) -> Camera:
            if (taken := _find(connection, name)) is not None:
                raise BadCamera(f"there is a camera {taken.name!r} already: choose another name")
            values = {"name": name, "timezone": timezone, "url": url, "created_us": created_us}
            key = connection.execute(schema.cameras.insert().values(values)).inserted_primary_key
            assert key is not None
            return Camera(key[0], name, timezone, url)

        return write(self._engine, work)

    def camera(self, name: str) -> Camera:
        """The camera of this name, whatever the case of its letters. Raises UnknownCamera."""
        with reading(self._engine) as connection:
            return _get(connection, name)

    def cameras(self) -> tuple[Camera, ...]:
        """All cameras by name."""
        with reading(self._engine) as connection:
            return tuple(_camera(row) for row in connection.execute(_CAMERAS.order_by(schema.cameras.c.name)))

    def add_segments(self, camera: str, segments: Sequence[NewSegment]) -> None:
        """Enter segments, all or none. Raises UnknownCamera, TimeConflict (see `require_free`)."""
        for earlier, later in pairwise(segments):
            _require_order(earlier.end_us, later.begin_us)
        for segment in segments:
            _require_order(int(segment.index.times_us[-1]) + 1, segment.end_us)
        if segments:
            write(self._engine, lambda connection: _insert_segments(connection, camera, segments))

    def require_free(self, camera: str, begin_us: int, end_us: int) -> None:
        """Check that nothing is recorded in an interval. Raises UnknownCamera, TimeConflict."""
        with reading(self._engine) as connection:
            _require_free(connection, _get(connection, camera), begin_us, end_us)

    def add_gap(self, camera: str, begin_us: int, end_us: int, reason: str) -> None:
        """Record that there is no video of [begin_us, end_us), and why. Raises UnknownCamera, TimeConflict."""
        _require_order(begin_us + 1, end_us)

        def work(connection: sa.Connection) -> None:
            connection.execute(
                schema.gaps.insert().values(
                    camera_id=_lock(connection, camera).id, begin_us=begin_us, end_us=end_us, reason=reason
                )
            )

        write(self._engine, work)

    def keep_gap(self, camera: str, begin_us: int, end_us: int, reason: str) -> None:
        """Let the gap that begins there for this reason end at `end_us`; make it if need be, remove it if empty.

        Raises UnknownCamera.
        """
        table = schema.gaps

        def work(connection: sa.Connection) -> None:
            camera_id = _lock(connection, camera).id
            same = (table.c.camera_id == camera_id, table.c.begin_us == begin_us, table.c.reason == reason)
            if end_us <= begin_us:
                connection.execute(table.delete().where(*same))
            elif not connection.execute(table.update().where(*same).values(end_us=end_us)).rowcount:
                connection.execute(
                    table.insert().values(camera_id=camera_id, begin_us=begin_us, end_us=end_us, reason=reason)
                )

        write(self._engine, work)

    def gaps(self, camera: str, begin_us: int, end_us: int) -> tuple[Gap, ...]:
        """The gaps that meet [begin_us, end_us), in order, as they were recorded. Raises UnknownCamera."""
        table = schema.gaps.c
        with reading(self._engine) as connection:
            rows = connection.execute(
                sa.select(table.begin_us, table.end_us, table.reason)
                .where(table.camera_id == _get(connection, camera).id, table.begin_us < end_us, table.end_us > begin_us)
                .order_by(table.begin_us, table.id)
            )
            return tuple(Gap(*row) for row in rows)

    def last_end(self, camera: str) -> int | None:
        """When the camera's last segment or gap ends; None if it has neither. Raises UnknownCamera."""
        with reading(self._engine) as connection:
            camera_id = _get(connection, camera).id
            ends = [
                connection.scalar(sa.select(sa.func.max(table.c.end_us)).where(table.c.camera_id == camera_id))
                for table in (schema.segments, schema.gaps)
            ]
        return max((end for end in ends if end is not None), default=None)

    def has_segment(self, camera: str, begin_us: int) -> bool:
        """Whether a segment begins at this very moment. Raises UnknownCamera."""
        table = schema.segments.c
        with reading(self._engine) as connection:
            camera_id = _get(connection, camera).id
            found = sa.select(table.id).where(table.camera_id == camera_id, table.begin_us == begin_us)
            return connection.scalar(found) is not None

    def oldest(
        self, camera: str | None = None, *, before_us: int | None = None, after: Stored | None = None, limit: int = 500
    ) -> list[Stored]:
        """The oldest segments, of one camera or of all, that come after `after` and have ended by `before_us`."""
        table = schema.segments.c
        query = (
            sa.select(table.id, schema.cameras.c.name, table.path, table.begin_us, table.end_us, table.size_bytes)
            .join(schema.cameras, schema.cameras.c.id == table.camera_id)
            .order_by(table.begin_us, table.id)
            .limit(limit)
        )
        if camera is not None:
            query = query.where(schema.cameras.c.name == camera)
        if before_us is not None:
            query = query.where(table.end_us <= before_us)
        if after is not None:
            query = query.where(sa.tuple_(table.begin_us, table.id) > (after.begin_us, after.id))
        with reading(self._engine) as connection:
            return [Stored(*row) for row in connection.execute(query)]

    def sizes(self) -> dict[str, int]:
        """Bytes of each camera's segments as the catalog counts them: shared files once for each segment."""
        table = schema.segments.c
        with reading(self._engine) as connection:
            return {
                name: int(size)
                for name, size in connection.execute(
                    sa.select(schema.cameras.c.name, sa.func.sum(table.size_bytes))
                    .join(schema.cameras, schema.cameras.c.id == table.camera_id)
                    .group_by(schema.cameras.c.name)
                )
            }

    def expire(self, camera: str, segments: Sequence[Stored], in_use: InUse) -> list[Stored]:
        """Take segments (in order) of a camera out, but none that is in use; what was theirs becomes a gap, "expired".

        Gives those that were taken out. Raises UnknownCamera.
        """
        table, gaps = schema.segments, schema.gaps

        def work(connection: sa.Connection) -> list[Stored]:
            camera_id = _get(connection, camera).id
            needed = in_use(connection, camera_id)
            removed = [
                segment
                for segment in segments
                if not any(begin < segment.end_us and segment.begin_us < end for begin, end in needed)
            ]
            if removed:
                connection.execute(table.delete().where(table.c.id.in_([segment.id for segment in removed])))
            for begin_us, end_us in _merged([(s.begin_us, s.end_us) for s in removed], -_EVER, _EVER):
                goes_on = (gaps.c.camera_id == camera_id, gaps.c.end_us == begin_us, gaps.c.reason == EXPIRED)
                if not connection.execute(gaps.update().where(*goes_on).values(end_us=end_us)).rowcount:
                    connection.execute(
                        gaps.insert().values(camera_id=camera_id, begin_us=begin_us, end_us=end_us, reason=EXPIRED)
                    )
            return removed

        return write(self._engine, work)

    def segments(self, camera: str, begin_us: int, end_us: int) -> tuple[Segment, ...]:
        """The segments that meet [begin_us, end_us), in order. Raises UnknownCamera."""
        table = schema.segments.c
        with reading(self._engine) as connection:
            row_of = _get(connection, camera)
            rows = connection.execute(
                sa.select(*(table[name] for name in Segment.__slots__))
                .where(_meets(connection, row_of.id, begin_us, end_us))
                .order_by(table.begin_us)
            )
            return tuple(Segment(*row) for row in rows)

    def known_paths(self, paths: Sequence[str]) -> frozenset[str]:
        """Those of `paths` that are files of the catalog."""
        column = schema.segments.c.path
        known: set[str] = set()
        with reading(self._engine) as connection:
            for start in range(0, len(paths), 500):  # databases limit the number of parameters
                known.update(connection.scalars(sa.select(column).where(column.in_(paths[start : start + 500]))))
        return frozenset(known)

    def paths(self, after: str = "", limit: int = 1000) -> list[str]:
        """Paths of all segments, in their order, behind `after`."""
        column = schema.segments.c.path
        with reading(self._engine) as connection:
            return list(connection.scalars(sa.select(column).where(column > after).order_by(column).limit(limit)))

    def frame_times(self, camera: str, begin_us: int, end_us: int) -> npt.NDArray[np.int64]:
        """The times of all frames taken in [begin_us, end_us), ascending, in microseconds. Raises UnknownCamera."""
        found = [np.empty(0, dtype=np.int64)]
        for segment in self.segments(camera, begin_us, end_us):
            index = segment.index()
            found.append(index.times_us[index.within(begin_us, end_us)])
        return np.concatenate(found)

    def frame_size(self, camera: str) -> tuple[int, int] | None:
        """Width and height of the camera's earliest segment; None if it has none. Raises UnknownCamera."""
        table = schema.segments.c
        with reading(self._engine) as connection:
            row = connection.execute(
                sa.select(table.width, table.height)
                .where(table.camera_id == _get(connection, camera).id)
                .order_by(table.begin_us)
                .limit(1)
            ).one_or_none()
        return None if row is None else (row.width, row.height)

    def recorded(self, camera: str) -> Recorded | None:
        """Totals of a camera's segments; None if it has none. Raises UnknownCamera."""
        table = schema.segments.c
        with reading(self._engine) as connection:
            row = connection.execute(
                sa.select(
                    sa.func.min(table.begin_us),
                    sa.func.max(table.end_us),
                    sa.func.sum(table.end_us - table.begin_us),
                    sa.func.count(),
                    sa.func.sum(table.frame_count),
                    sa.func.sum(table.size_bytes),
                ).where(table.camera_id == _get(connection, camera).id)
            ).one()
        return None if row[0] is None else Recorded(*(int(value) for value in row))

    def coverage(self, camera: str, begin_us: int, end_us: int) -> tuple[Span, ...]:
        """What is known of [begin_us, end_us): consecutive spans that fill it exactly, neighbours differing in state.

        Video wins over a gap that was recorded for the same moment. Raises UnknownCamera.
        """
        segments, gaps = schema.segments.c, schema.gaps.c
        with reading(self._engine) as connection:
            row = _get(connection, camera)
            covered = connection.execute(
                sa.select(segments.begin_us, segments.end_us)
                .where(_meets(connection, row.id, begin_us, end_us))
                .order_by(segments.begin_us)
            ).all()
            empty = connection.execute(
                sa.select(gaps.begin_us, gaps.end_us)
                .where(gaps.camera_id == row.id, gaps.begin_us < end_us, gaps.end_us > begin_us)
                .order_by(gaps.begin_us)
            ).all()
        return _spans(begin_us, end_us, [tuple(r) for r in covered], [tuple(r) for r in empty])


_CAMERAS = sa.select(schema.cameras.c.id, schema.cameras.c.name, schema.cameras.c.timezone, schema.cameras.c.url)


def _camera(row: sa.Row[Any, Any, Any, Any]) -> Camera:
    return Camera(row.id, row.name, row.timezone, row.url)


def _find(connection: sa.Connection, name: str) -> Camera | None:
    row = connection.execute(_CAMERAS.where(sa.func.lower(schema.cameras.c.name) == name.lower())).one_or_none()
    return None if row is None else _camera(row)


def _get(connection: sa.Connection, name: str) -> Camera:
    found = _find(connection, name)
    if found is None:
        raise UnknownCamera(name, connection.scalars(sa.select(schema.cameras.c.name)))
    return found


def _lock(connection: sa.Connection, name: str) -> Camera:
    """The camera, held until the end of the transaction: whoever checks its segments next sees ours."""
    camera = _get(connection, name)
    connection.execute(sa.select(schema.cameras.c.id).where(schema.cameras.c.id == camera.id).with_for_update())
    return camera


def _insert_segments(connection: sa.Connection, name: str, segments: Sequence[NewSegment]) -> None:
    camera = _lock(connection, name)
    for segment in segments:
        _require_free(connection, camera, segment.begin_us, segment.end_us)
    connection.execute(
        schema.segments.insert(),
        [
            {
                "camera_id": camera.id,
                "path": segment.path,
                "begin_us": segment.begin_us,
                "end_us": segment.end_us,
                "frame_count": len(segment.index),
                "times": frame_index.encode(segment.index),
                "width": segment.width,
                "height": segment.height,
                "codec": segment.codec,
                "size_bytes": segment.size_bytes,
                "end_reason": segment.end_reason,
                "offset_us": segment.offset_us,
                "key_id": segment.seal and segment.seal.key_id,
                "file_id": segment.seal and segment.seal.file_id,
            }
            for segment in segments
        ],
    )


def _meets(connection: sa.Connection, camera_id: int, begin_us: int, end_us: int) -> sa.ColumnElement[bool]:
    """The condition that a segment meets an interval, in a form that the index on (camera, begin) answers."""
    table = schema.segments.c
    first = connection.scalar(
        sa.select(sa.func.max(table.begin_us)).where(table.camera_id == camera_id, table.begin_us <= begin_us)
    )
    # Segments do not overlap, so only the last one that begins before the interval can reach into it.
    return sa.and_(
        table.camera_id == camera_id,
        table.begin_us >= (begin_us if first is None else first),
        table.begin_us < end_us,
        table.end_us > begin_us,
    )


def _require_free(connection: sa.Connection, camera: Camera, begin_us: int, end_us: int) -> None:
    table = schema.segments.c
    row = connection.execute(
        sa.select(table.begin_us, table.end_us)
        .where(_meets(connection, camera.id, begin_us, end_us))
        .order_by(table.begin_us)
        .limit(1)
    ).one_or_none()
    if row is not None:
        raise TimeConflict(
            f"{camera.name} has video from {isoformat(row.begin_us)} to {isoformat(row.end_us)} already, which "
            f"overlaps {isoformat(begin_us)} to {isoformat(end_us)}: choose another time"
        )


def _require_order(earlier_us: int, later_us: int) -> None:
    if later_us < earlier_us:
        raise TimeConflict(f"time goes backwards, from {isoformat(earlier_us)} to {isoformat(later_us)}")


def _spans(
    begin_us: int, end_us: int, covered: Sequence[tuple[int, ...]], gaps: Sequence[tuple[int, ...]]
) -> tuple[Span, ...]:
    video = _merged(covered, begin_us, end_us)
    holes = zip([begin_us, *(to_us for _, to_us in video)], [*(from_us for from_us, _ in video), end_us], strict=True)
    spans = [Span(from_us, to_us, "covered") for from_us, to_us in video]
    missing = _merged(gaps, begin_us, end_us)
    position = 0
    for hole_from, hole_to in holes:
        at = hole_from
        while position < len(missing) and missing[position][0] < hole_to:
            from_us, to_us = max(missing[position][0], at), min(missing[position][1], hole_to)
            if from_us < to_us:
                spans += [Span(at, from_us, "unknown"), Span(from_us, to_us, "gap")]
                at = to_us
            if missing[position][1] > hole_to:
                break  # it goes on behind the video
            position += 1
        spans.append(Span(at, hole_to, "unknown"))
    return tuple(sorted(span for span in spans if span.from_us < span.to_us))


def _merged(intervals: Sequence[tuple[int, ...]], begin_us: int, end_us: int) -> list[tuple[int, int]]:
    """Intervals (in order of their begins) cut to [begin_us, end_us), those that touch or overlap made one."""
    merged: list[tuple[int, int]] = []
    for from_us, to_us in ((max(a, begin_us), min(b, end_us)) for a, b in intervals):
        if merged and from_us <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], to_us))
        else:
            merged.append((from_us, to_us))
    return merged
