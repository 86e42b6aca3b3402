"""The keys that segments are sealed with: one data key for each camera, in the catalog, wrapped by a master key.

Master keys lie in a file that only the programs' user can read: one to a line, in base64, the first for what is
wrapped from now on, the others so that what was wrapped before can be opened. No key is ever logged or shown; a master
key is spoken of by its id, which is a digest of it.
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from privid.database import schema
from privid.database.transactions import reading, write
from privid.video.errors import BadKeyFile, StoreFailure
from privid.video.sealing import KEY_BYTES

VARIABLE = "PRIVID_STORE_KEY_FILE"
_NONCE = 12


@dataclass(frozen=True, slots=True)
class MasterKeys:
    """The master keys of a file by their ids; `current` is the id of its first."""

    file: Path
    current: str
    keys: Mapping[str, bytes] = field(repr=False)


class DataKey(NamedTuple):
    """A camera's key: its id in the catalog, and itself."""

    id: int
    key: bytes


class WrappedKey(NamedTuple):
    """A data key as the catalog has it: whose it is, which master key opens it, and how many segments it seals."""

    id: int
    camera: str
    master: str
    segments: int


def new_master_key() -> str:
    """A line for a file of master keys."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")


def master_id(key: bytes) -> str:
    """What a master key is called in messages and in the catalog."""
    return hashlib.sha256(b"privid master key\0" + key).hexdigest()[:16]


def read_master_keys(file: Path) -> MasterKeys:
    """Read a file of master keys. Raises BadKeyFile, which never quotes the file."""
    try:
        mode = file.stat().st_mode
        lines = file.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise BadKeyFile(
            f"cannot read the master keys ({VARIABLE}) from {file}: {error.strerror}: put them back there, or if "
            f"nothing has been sealed yet: privid-ingest keys new {file}"
        ) from None
    except UnicodeDecodeError:
        raise BadKeyFile(f"{file} is no file of master keys: write one key in base64 to a line") from None
    if mode & 0o077:
        raise BadKeyFile(f"others can read the master keys in {file}: chmod 600 {file}")
    keys: dict[str, bytes] = {}
    for number, line in enumerate(lines, start=1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        try:
            key = base64.b64decode(text, validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_BYTES:
            raise BadKeyFile(f"{file}, line {number}: a master key is {KEY_BYTES} bytes in base64")
        keys.setdefault(master_id(key), key)
    if not keys:
        raise BadKeyFile(f"{file} holds no master key: privid-ingest keys new {file} adds one")
    return MasterKeys(file, next(iter(keys)), keys)


class KeyRing:
    """The data keys of a catalog. Any thread may use it. `masters` is None where there is no file of master keys."""

    def __init__(self, database: sa.Engine, masters: MasterKeys | None) -> None:
        self._database = database
        self._masters = masters
        self._open: dict[int, bytes] = {}
        self._current: dict[str, int] = {}

    @property
    def seals(self) -> bool:
        """Whether what is stored from now on is sealed."""
        return self._masters is not None

    def current(self, camera: str) -> DataKey:
        """The key for a camera's new segments; made if it has none yet. Raises StoreFailure, SQLAlchemyError."""
        if camera not in self._current:
            self._current[camera] = write(self._database, lambda connection: self._ensure(connection, camera))
        key_id = self._current[camera]
        return DataKey(key_id, self.key(key_id))

    def key(self, key_id: int) -> bytes:
        """A data key by its id. Raises StoreFailure if no master key that is there opens it."""
        if key_id not in self._open:
            table = schema.video_keys.c
            with reading(self._database) as connection:
                row = connection.execute(
                    sa.select(schema.cameras.c.name, table.master, table.wrapped)
                    .join(schema.cameras, schema.cameras.c.id == table.camera_id)
                    .where(table.id == key_id)
                ).one_or_none()
            if row is None:
                raise StoreFailure(f"data key {key_id} is not in the database: restore the database from a backup")
            self._open[key_id] = self._unwrap(row.name, row.master, row.wrapped)
        return self._open[key_id]

    def rotate(self) -> int:
        """Wrap every data key with the current master key; gives how many were wrapped by another, all or none.

        Raises StoreFailure if one cannot be opened.
        """
        masters = self._require("the video")
        table = schema.video_keys

        def work(connection: sa.Connection) -> int:
            rows = connection.execute(
                sa.select(table.c.id, schema.cameras.c.name, table.c.master, table.c.wrapped)
                .join(schema.cameras, schema.cameras.c.id == table.c.camera_id)
                .where(table.c.master != masters.current)
                .with_for_update(of=table)
            ).all()
            for row in rows:
                wrapped = self._wrap(row.name, self._unwrap(row.name, row.master, row.wrapped))
                connection.execute(
                    table.update().where(table.c.id == row.id).values(master=masters.current, wrapped=wrapped)
                )
            return len(rows)

        return write(self._database, work)

    def listing(self) -> list[WrappedKey]:
        """Every data key, by camera."""
        table, segments = schema.video_keys.c, schema.segments.c
        with reading(self._database) as connection:
            rows = connection.execute(
                sa.select(table.id, schema.cameras.c.name, table.master, sa.func.count(segments.id))
                .join(schema.cameras, schema.cameras.c.id == table.camera_id)
                .outerjoin(schema.segments, segments.key_id == table.id)
                .group_by(table.id, schema.cameras.c.name, table.master)
                .order_by(schema.cameras.c.name, table.id)
            )
            return [WrappedKey(*row) for row in rows]

    def _ensure(self, connection: sa.Connection, camera: str) -> int:
        """The id of the camera's newest key, or of one that is made now; others wait for the camera's row meanwhile."""
        table, cameras = schema.video_keys, schema.cameras.c
        camera_id = connection.scalar(sa.select(cameras.id).where(cameras.name == camera).with_for_update())
        found = connection.scalar(sa.select(sa.func.max(table.c.id)).where(table.c.camera_id == camera_id))
        if found is not None:
            return int(found)
        masters = self._require(f"the video of {camera}")
        wrapped = self._wrap(camera, secrets.token_bytes(KEY_BYTES))
        made = connection.execute(
            table.insert().values(camera_id=camera_id, master=masters.current, wrapped=wrapped)
        ).inserted_primary_key
        assert made is not None
        return int(made[0])

    def _wrap(self, camera: str, key: bytes) -> bytes:
        masters = self._require(f"the video of {camera}")
        nonce = secrets.token_bytes(_NONCE)
        return nonce + AESGCM(masters.keys[masters.current]).encrypt(nonce, key, _purpose(camera))

    def _unwrap(self, camera: str, master: str, wrapped: bytes) -> bytes:
        masters = self._require(f"the video of {camera}")
        if master not in masters.keys:
            raise StoreFailure(
                f"the video of {camera} is sealed under the master key {master}, which is not in {masters.file}: put "
                "that key back there, on a line of its own"
            )
        try:
            return AESGCM(masters.keys[master]).decrypt(wrapped[:_NONCE], wrapped[_NONCE:], _purpose(camera))
        except InvalidTag:
            raise StoreFailure(
                f"the data key of {camera} in the database is damaged: restore the database from a backup"
            ) from None

    def _require(self, what: str) -> MasterKeys:
        if self._masters is None:
            raise StoreFailure(f"{what} is sealed, and there is no file of master keys: set {VARIABLE} to it")
        return self._masters


def _purpose(camera: str) -> bytes:
    return b"privid data key\0" + camera.encode()
