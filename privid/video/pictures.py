"""The pictures of masks and regions, in files named by their SHA-256 that are never changed."""

import re
from pathlib import Path

from privid.domain.files import write_whole
from privid.video import bitmaps
from privid.video.bitmaps import Bitmaps
from privid.video.errors import StoreFailure

_NAME = re.compile(r"[0-9a-f]{64}")


class PictureStore:
    """The pictures under one folder. Policies name them; whatever reads one checks that it is the one named."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, content: bytes) -> str:
        """Keep a picture, durably, and give its name. Raises OSError."""
        name = bitmaps.digest(content)
        if not self.has(name):
            write_whole(self._folder / name, content)
        return name

    def has(self, name: str) -> bool:
        """Whether there is a picture of this name."""
        return _NAME.fullmatch(name) is not None and (self._folder / name).is_file()

    def content(self, name: str) -> bytes:
        """A picture's bytes. Raises StoreFailure if it is missing or not what it was: nothing may run without it."""
        if not self.has(name):
            raise StoreFailure(f"the picture {name!r} is missing from {self._folder}: restore it from a backup")
        content = (self._folder / name).read_bytes()
        if bitmaps.digest(content) != name:
            raise StoreFailure(f"the picture {self._folder / name} is damaged: restore it from a backup")
        return content

    def read(self, name: str) -> Bitmaps:
        """A picture. Raises StoreFailure."""
        return bitmaps.decode(self.content(name))
