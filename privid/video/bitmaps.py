"""Bitmaps of what a mask or the regions of a scheme hide, as bytes and as arrays.

The bytes are binary PBM (https://netpbm.sourceforge.net/doc/pbm.html), several pictures of one size one after the
other; black (1) is what is hidden. A bitmap has exactly one such text, so its SHA-256 names the picture itself, and a
later version of whatever drew it cannot change what it hides.
"""

import hashlib
import re

import numpy as np
import numpy.typing as npt

MOST_SIDE = 16_384
"""Pixels of the longest side."""
MOST_BYTES = 8 * 2**20
"""Of one set of bitmaps: 32 of 1920 x 1080, or 8 of 3840 x 2160."""

Bitmaps = npt.NDArray[np.bool_]
"""Shape (pictures, height, width); True is hidden."""

_HEADER = re.compile(rb"P4\n([1-9][0-9]{0,4}) ([1-9][0-9]{0,4})\n")


def encode(hidden: Bitmaps) -> bytes:
    """The bytes of bitmaps. Raises ValueError if there are none, or if they are too large."""
    count, height, width = hidden.shape
    if not (count and 0 < width <= MOST_SIDE and 0 < height <= MOST_SIDE):
        raise ValueError(f"a picture has from 1 to {MOST_SIDE} pixels a side")
    header = b"P4\n%d %d\n" % (width, height)
    content = b"".join(header + np.packbits(picture, axis=1).tobytes() for picture in hidden)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{count} pictures of {width}x{height} are more than {MOST_BYTES >> 20} MiB")
    return content


def decode(content: bytes) -> Bitmaps:
    """The bitmaps in bytes of any origin. Raises ValueError unless `encode` would give the same bytes."""
    found: list[Bitmaps] = []
    at = 0
    if len(content) > MOST_BYTES:
        raise ValueError(f"a picture has at most {MOST_BYTES >> 20} MiB")
    while at < len(content) or not found:
        header = _HEADER.match(content, at)
        if header is None:
            raise ValueError("this is not a binary PBM picture")
        width, height = int(header[1]), int(header[2])
        if max(width, height) > MOST_SIDE or (found and found[0].shape != (height, width)):
            raise ValueError(f"pictures have one size, of at most {MOST_SIDE} pixels a side")
        row_bytes = -(-width // 8)
        at = header.end() + height * row_bytes
        if at > len(content):
            raise ValueError("the picture ends too early")
        packed = np.frombuffer(content, np.uint8, height * row_bytes, header.end()).reshape(height, row_bytes)
        found.append(np.unpackbits(packed, axis=1, count=width).astype(np.bool_))
    hidden = np.stack(found)
    if encode(hidden) != content:
        raise ValueError("the picture has bits beyond its edge")
    return hidden


def digest(content: bytes) -> str:
    """The name of a picture: the SHA-256 of its bytes, lower-case hexadecimal."""
    return hashlib.sha256(content).hexdigest()
