"""Sample clips: video of a camera that its owner shows to the analysts who may ask about it.

What is in a sample is published: no budget and no noise protects it. So it is a file that the owner chose, never cut
from the recording by anything but the owner's own hand.
"""

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from privid.database import schema
from privid.database.transactions import reading, write
from privid.domain.files import write_whole
from privid.ledger import audit
from privid.server.clock import Clock
from privid.server.errors import Refused
from privid.video import clips

MAX_SAMPLE_BYTES = 30 << 20
"""A minute or two; it travels in one message."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A published clip; its file is named by its SHA-256."""

    sha256: str
    size_bytes: int
    length_us: int
    published_us: int


class Samples:
    """The samples of one installation, one for each camera at most."""

    def __init__(self, engine: sa.Engine, folder: Path, clock: Clock) -> None:
        self._engine = engine
        self._folder = folder
        self._clock = clock
        self._changing = threading.Lock()  # a file that is not in the table yet is not an unused one

    def all(self) -> Mapping[str, Sample]:
        """By the camera's name."""
        table = schema.samples.c
        query = sa.select(
            schema.cameras.c.name, table.sha256, table.size_bytes, table.length_us, table.published_us
        ).join(schema.cameras, schema.cameras.c.id == table.camera_id)
        with reading(self._engine) as connection:
            return {name: Sample(*rest) for name, *rest in connection.execute(query)}

    def publish(self, actor: str, camera: str, content: bytes) -> Sample:
        """Show a clip to all analysts of a camera, in place of an earlier one. Raises Refused, OSError."""
        if len(content) > MAX_SAMPLE_BYTES:
            raise Refused(
                "too_large",
                f"the sample has {len(content):,} bytes, more than {MAX_SAMPLE_BYTES:,}",
                "cut it shorter: a minute is enough to try a detector",
            )
        try:
            clip = clips.describe(content)
        except ValueError as error:
            raise Refused("invalid_request", f"the sample cannot be published: {error}", "give a video file") from None
        sample = Sample(hashlib.sha256(content).hexdigest(), len(content), clip.length_us, self._clock())
        table = schema.samples

        def work(connection: sa.Connection) -> None:
            camera_id = _camera_id(connection, camera)
            connection.execute(table.delete().where(table.c.camera_id == camera_id))
            connection.execute(
                table.insert().values(
                    camera_id=camera_id,
                    sha256=sample.sha256,
                    size_bytes=sample.size_bytes,
                    length_us=sample.length_us,
                    published_us=sample.published_us,
                )
            )
            audit.append(
                connection,
                sample.published_us,
                actor,
                "sample.published",
                {"camera": camera, "sha256": sample.sha256, "length_us": sample.length_us},
            )

        with self._changing:
            try:
                path = self._folder / sample.sha256
                if not path.exists():
                    write_whole(path, content)
                write(self._engine, work)
            finally:
                self._discard_unused()
        return sample

    def withdraw(self, actor: str, camera: str) -> None:
        """Show it to nobody any more; who has it, has it. Raises Refused if there is none."""
        table = schema.samples

        def work(connection: sa.Connection) -> None:
            camera_id = _camera_id(connection, camera)
            if not connection.execute(table.delete().where(table.c.camera_id == camera_id)).rowcount:
                raise _none_of(camera)
            audit.append(connection, self._clock(), actor, "sample.withdrawn", {"camera": camera})

        with self._changing:
            write(self._engine, work)
            self._discard_unused()

    def content(self, camera: str) -> bytes:
        """The clip of a camera. Raises Refused if there is none, OSError."""
        sample = self.all().get(camera)
        if sample is None:
            raise _none_of(camera)
        return (self._folder / sample.sha256).read_bytes()

    def _discard_unused(self) -> None:
        with reading(self._engine) as connection:
            used = set(connection.execute(sa.select(schema.samples.c.sha256)).scalars())
        for path in self._folder.iterdir():
            if path.name not in used:
                path.unlink(missing_ok=True)


def _camera_id(connection: sa.Connection, name: str) -> int:
    found = connection.execute(sa.select(schema.cameras.c.id).where(schema.cameras.c.name == name)).scalar()
    if found is None:
        raise Refused("unknown_camera", f"there is no camera {name!r}", "privid-admin camera list")
    return int(found)


def _none_of(camera: str) -> Refused:
    return Refused("no_sample", f"camera {camera} has no sample", "privid cameras lists those that have one")
