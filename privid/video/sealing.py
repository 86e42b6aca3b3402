"""Segment files sealed for where they lie: AES-256-GCM in chunks, so that any part can be read without the rest.

A sealed file is a header (a mark, the file's random id, the length of the clear file) and the clear file in chunks of
64 KiB, each encrypted and followed by its tag. The file's key is made from its camera's data key and its id (HKDF,
RFC 5869), so the number of a chunk can be its nonce: no key meets a nonce twice. The header goes into every tag, so
what is changed, moved, taken from another file or cut off does not open; which file belongs to which segment says the
catalog, which keeps the id. As in Tink's streaming encryption, with the length in the header instead of a mark on the
last chunk (Hoang, Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption, CRYPTO 2015).
"""

import io
import os
import secrets
import struct
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from privid.video.errors import StoreFailure

KEY_BYTES = 32
_HEADER = struct.Struct(">8s16sQ")
_MARK = b"PRIVIDs1"
_CHUNK = 64 * 1024
_TAG = 16


class Seal(NamedTuple):
    """What the catalog keeps of a sealed segment: the id of its camera's data key, and the id of the file."""

    key_id: int
    file_id: bytes


def seal_file(source: Path, target: Path, key: bytes) -> bytes:
    """Write `source` sealed with a data key to `target`, a new file; gives the file's id. Raises OSError."""
    file_id = secrets.token_bytes(16)
    with (
        source.open("rb") as clear,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out,
    ):
        header = _HEADER.pack(_MARK, file_id, os.fstat(clear.fileno()).st_size)
        cipher = _cipher(key, file_id)
        out.write(header)
        number = 0
        while chunk := clear.read(_CHUNK):
            out.write(cipher.encrypt(_nonce(number), chunk, header))
            number += 1
    return file_id


class SealedFile(io.RawIOBase):
    """The clear content of a sealed file: readable and seekable. Not for use by several threads at once.

    `name` is for messages. Raises StoreFailure, here and when it is read, for a file that is not whole, was changed, or
    is not the one with this id; OSError if it cannot be read.
    """

    def __init__(self, path: Path, key: bytes, file_id: bytes, name: str) -> None:
        super().__init__()
        self.name = name
        self._position = 0
        self._number = -1
        self._chunk = b""
        self._file = path.open("rb", buffering=0)
        try:
            self._header = self._file.read(_HEADER.size)
            size = os.fstat(self._file.fileno()).st_size
            if len(self._header) < _HEADER.size:
                raise self._damaged()
            mark, found, self._length = _HEADER.unpack(self._header)
            chunks = -(-self._length // _CHUNK)
            if mark != _MARK or found != file_id or size != _HEADER.size + self._length + chunks * _TAG:
                raise self._damaged()
        except BaseException:
            self._file.close()
            raise
        self._cipher = _cipher(key, file_id)

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position in the clear file."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go elsewhere; gives the new position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes from here on, less at the end of a chunk, none at the end of the file."""
        if size < 0:
            return self.readall()
        if self._position >= self._length:
            return b""
        number, offset = divmod(self._position, _CHUNK)
        if number != self._number:
            self._load(number)
        # What libav asks for is mostly smaller than a chunk: one slice, no copy besides.
        part = self._chunk[offset : offset + size]
        self._position += len(part)
        return part

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]  # any writable buffer
        """As `read`, into a buffer."""
        part = self.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        """Close the file and forget what was decrypted last."""
        self._chunk, self._number = b"", -1
        self._file.close()
        super().close()

    def _load(self, number: int) -> None:
        self._file.seek(_HEADER.size + number * (_CHUNK + _TAG))
        wanted = min(_CHUNK, self._length - number * _CHUNK) + _TAG
        sealed = self._file.read(wanted)
        try:
            self._chunk = self._cipher.decrypt(_nonce(number), sealed, self._header)
        except InvalidTag:
            raise self._damaged() from None
        self._number = number

    def _damaged(self) -> StoreFailure:
        return StoreFailure(
            f"the sealed segment {self.name} is damaged, cut short, or not the file that was stored there: restore it "
            "from a backup"
        )


def _cipher(key: bytes, file_id: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt=file_id, info=b"privid segment").derive(key))


def _nonce(number: int) -> bytes:
    return number.to_bytes(12)
