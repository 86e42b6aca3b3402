"""Segment files in an object store, by way of fsspec; read through local copies.

Credentials are for the store's own client to find (for S3 the environment and the files of AWS): none passes here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec

from privid.video.errors import BadStoreSetting, StoreFailure
from privid.video.storage.cache import SegmentCache
from privid.video.storage.contract import require_name

_CLIENTS = {"s3": "privid[s3]", "gs": "gcsfs", "abfs": "adlfs"}
"""Protocols, and what to install for each."""
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    # A bucket that does not answer must be told from a slow one within seconds: recording goes on meanwhile.
    "s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}},
}
_SECRET = re.compile(r"//[^/@\s]*@")


def connect(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The client of an address such as s3://bucket/prefix, and the prefix; nothing is asked of the store yet.

    Raises BadStoreSetting.
    """
    protocol, _, place = url.partition("://")
    if protocol not in _CLIENTS:
        raise BadStoreSetting(
            f"{_hidden(url)} is not a place for video: write an absolute path, or "
            + " or ".join(f"{name}://BUCKET/PREFIX" for name in _CLIENTS)
        )
    if "@" in place or "?" in place:
        raise BadStoreSetting(
            f"the address of the store, {_hidden(url)}, holds more than a bucket and a prefix: credentials go into the "
            "environment or into the files of the store's own client"
        )
    if not place.strip("/"):
        raise BadStoreSetting(f"{url} names no bucket: write {protocol}://BUCKET/PREFIX")
    try:
        options = {"skip_instance_cache": True, "use_listings_cache": False, **_OPTIONS.get(protocol, {})}
        filesystem, prefix = fsspec.url_to_fs(url, **options)
    except ImportError:
        raise BadStoreSetting(f"{protocol}:// needs a package: pip install '{_CLIENTS[protocol]}'") from None
    except (ValueError, OSError) as error:
        raise BadStoreSetting(f"{url} cannot be used: {_reason(error)}") from None
    return filesystem, prefix


class ObjectStorage:
    """Files below a prefix of an fsspec file system."""

    is_remote = True

    def __init__(
        self, filesystem: fsspec.AbstractFileSystem, prefix: str, label: str, cache_folder: Path, cache_bytes: int
    ) -> None:
        self._filesystem = filesystem
        self._prefix = prefix.rstrip("/")
        self._label = label
        self._cache = SegmentCache(cache_folder, cache_bytes, self)
        self._ahead = ThreadPoolExecutor(1, "prefetch")

    @property
    def label(self) -> str:
        """The address."""
        return self._label

    def put(self, files: Mapping[str, Path]) -> None:
        """Upload files; bytes that are there under another name already are copied over there."""
        stored: dict[Path, str] = {}
        for name, file in files.items():
            target = self._object(name)
            with self._talking(f"cannot store {name}"):
                if file in stored:
                    self._filesystem.cp_file(stored[file], target)
                else:
                    self._filesystem.put_file(str(file), target)
            stored.setdefault(file, target)

    def open(self, name: str) -> AbstractContextManager[Path]:
        """A local copy."""
        return self._cache.hold(require_name(name))

    def prefetch(self, names: Sequence[str]) -> None:
        """Fetch them in the background, one after the other."""
        for name in names:
            self._ahead.submit(self._fill, name)

    def remove(self, name: str) -> None:
        """Remove an object."""
        with self._talking(f"cannot remove {name}"), suppress(FileNotFoundError):
            self._filesystem.rm_file(self._object(name))

    def abandon(self, names: Sequence[str]) -> None:
        """End unfinished uploads of large files, which S3 keeps out of sight; not allowed to see them is fine."""
        if not hasattr(self._filesystem, "abort_mpu"):
            return
        bucket = self._prefix.split("/")[0]
        keys = {self._object(name).removeprefix(f"{bucket}/") for name in names}
        with self._talking("cannot end unfinished uploads"), suppress(PermissionError):
            for upload in self._filesystem.list_multipart_uploads(bucket):
                if upload["Key"] in keys:
                    self._filesystem.abort_mpu(bucket, upload["Key"], upload["UploadId"])

    def names(self) -> Iterator[str]:
        """Every object below the prefix."""
        with self._talking("cannot list what is stored"):
            found = self._filesystem.find(self._prefix)
        for path in found:
            yield path.removeprefix(self._prefix).lstrip("/")

    def size(self, name: str) -> int:
        """Bytes of an object."""
        with self._talking(f"cannot read {name}"):
            return int(self._filesystem.info(self._object(name))["size"])

    def fetch(self, name: str, target: Path) -> None:
        """Download an object."""
        with self._talking(f"cannot read {name}"):
            self._filesystem.get_file(self._object(name), str(target))

    def _fill(self, name: str) -> None:
        with suppress(StoreFailure, OSError), self.open(name):
            pass

    def _object(self, name: str) -> str:
        return f"{self._prefix}/{require_name(name)}"

    @contextmanager
    def _talking(self, failed: str) -> Iterator[None]:
        """What a client raises, in our words. Clients share no class of errors below Exception."""
        try:
            yield
        except StoreFailure:
            raise
        except FileNotFoundError as error:
            raise StoreFailure(f"{failed} in {self._label}: it is not there ({_reason(error)})") from None
        except Exception as error:
            raise StoreFailure(f"{failed} in {self._label}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    text = str(error).splitlines()
    return _hidden(text[0]) if text else type(error).__name__


def _hidden(text: str) -> str:
    return _SECRET.sub("//", text).split("?")[0]
