"""Where segments lie and whether they are sealed: what the environment says, alike for the server and the recorder."""

from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from privid.domain.home import Home
from privid.video.errors import BadStoreSetting
from privid.video.keys import KeyRing, read_master_keys
from privid.video.storage.objects import ObjectStorage, connect
from privid.video.store import SegmentStore

_CACHE = ".cache"


class StoreSettings(BaseSettings):
    """Of the video store; for the server and the recorder alike. Sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="PRIVID_STORE_", frozen=True, extra="ignore")

    url: str | None = None
    """Where segments lie: a folder (an absolute path), or s3://BUCKET/PREFIX; by default `video` under `home`."""
    cache_bytes: Annotated[int, Field(gt=0)] = 8 * 1024**3
    """Of a store elsewhere: local copies of what was read last, under `home`."""
    spool_bytes: Annotated[int, Field(gt=0)] = 16 * 1024**3
    """Of a store elsewhere: recordings that wait for it under `home`, at most; then nothing is recorded."""
    key_file: Path | None = None
    """Master keys; with it new segments are sealed. Made by `privid-ingest keys new`."""


def open_store(home: Home, database: sa.Engine) -> SegmentStore:
    """The store that the environment describes; a store elsewhere is not asked anything yet.

    Raises BadStoreSetting, OSError.
    """
    settings = _settings()
    keys = KeyRing(database, None if settings.key_file is None else read_master_keys(settings.key_file.expanduser()))
    if settings.url is None:
        return SegmentStore(home.video, keys=keys)
    if (folder := _folder(settings.url)) is not None:
        return SegmentStore(folder, keys=keys)
    filesystem, prefix = connect(settings.url)
    storage = ObjectStorage(filesystem, prefix, settings.url, home.video / _CACHE, settings.cache_bytes)
    return SegmentStore(home.video, storage, keys, settings.spool_bytes)


def _folder(url: str) -> Path | None:
    """The folder that an address means; None if it means something else. Raises BadStoreSetting."""
    if "://" not in url:
        folder = Path(url)
    elif url.startswith("file:///"):
        folder = Path(unquote(urlsplit(url).path))
    else:
        return None
    if not folder.is_absolute():
        raise BadStoreSetting(
            f"PRIVID_STORE_URL: {url} is neither an absolute path nor an address such as s3://BUCKET/PREFIX"
        )
    if not folder.is_dir():
        raise BadStoreSetting(f"PRIVID_STORE_URL: there is no folder {folder}: make it, or mount what belongs there")
    return folder


def _settings() -> StoreSettings:
    try:
        return StoreSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise BadStoreSetting(f"PRIVID_STORE_{name}: {first['msg']}") from None
