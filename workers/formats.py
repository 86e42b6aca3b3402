"""Whether a file of weights is of the format that its manifest says: by its structure, without loading it.

What these pass can still be nonsense to the library that loads it. They tell apart what people mix up, and what poses
as something else, in the time of reading the file once. Standard library only; everything read is hostile.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping

from workers import limits
from workers.bundle import ZIP, BadBundle, Manifest

_PICKLE = b"\x80"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_ONNX_IR_VERSION, _ONNX_GRAPH, _ONNX_LAST_FIELD = 1, 7, 32
_LONGEST_HEADER = 100 * 2**20


def check(manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Raises BadBundle if a file of weights is not what the manifest says."""
    for name, weights in manifest.weights.items():
        if found := _COMPLAINTS[weights.format](files[weights.file]):
            raise BadBundle(f"weights.{name}: {weights.file} is not {_NAMES[weights.format]}: {found}")


def _onnx(data: bytes) -> str:
    """The outermost fields of a protobuf ModelProto: they fill the file, and the graph is among them."""
    at, fields = 0, set()
    try:
        while at < len(data):
            key, at = _varint(data, at)
            field, kind = key >> 3, key & 7
            if kind == _VARINT:
                _, at = _varint(data, at)
            elif kind == _BYTES:
                length, at = _varint(data, at)
                at += length
            elif kind in (_FIXED32, _FIXED64):
                at += 4 if kind == _FIXED32 else 8
            else:
                return _otherwise(data)
            if not 1 <= field <= _ONNX_LAST_FIELD or at > len(data):
                return _otherwise(data)
            fields.add(field)
    except IndexError:
        return _otherwise(data)
    return "" if {_ONNX_IR_VERSION, _ONNX_GRAPH} <= fields else _otherwise(data)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise IndexError


def _safetensors(data: bytes) -> str:
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= min(len(data) - 8, _LONGEST_HEADER) or data[8:9] != b"{":
        return _otherwise(data)
    try:
        header = json.loads(data[8 : 8 + size])
    except (ValueError, RecursionError):
        return "its header is damaged"
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        match tensor:
            case {"dtype": str(), "shape": [*_], "data_offsets": [int(begin), int(end)]} if (
                0 <= begin <= end <= len(data) - 8 - size
            ):
                continue
        return f"tensor {str(name)[:64]!r} lies outside the file"
    return ""


def _torch(data: bytes) -> str:
    """The zip file that torch.save writes; what is in its pickle is looked at when it is loaded, as tensors alone."""
    if not data.startswith(ZIP):
        return _otherwise(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, RuntimeError, OSError, ValueError):
        return "it is damaged"
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        return "it is compressed, and torch.save stores"
    if sum(entry.file_size for entry in entries) > min(len(data), limits.MAX_BUNDLE_BYTES):
        return "it is larger inside than outside"
    if not any(entry.filename.endswith("/data.pkl") for entry in entries):
        return "it is some other zip file"
    return ""


def _otherwise(data: bytes) -> str:
    """What it is instead, as far as its first bytes tell."""
    if data.startswith(_PICKLE):
        return "it is a pickle, which is never loaded; save tensors with torch.save (1.6 or later) or safetensors"
    if data.startswith(ZIP):
        return "it is a zip file, as torch.save writes"
    if data.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS: fetch the file itself with git lfs pull"
    if data.lstrip()[:1] in (b"<", b"{") and len(data) < 1 << 20:
        return "it is a text, perhaps the answer of a web server"
    return "it is empty" if not data else "it is damaged, or something else"


_COMPLAINTS: Mapping[str, Callable[[bytes], str]] = {
    "onnx": _onnx,
    "safetensors": _safetensors,
    "torch": _torch,
    "ultralytics": _torch,
}
_NAMES = {
    "onnx": "an ONNX model",
    "safetensors": "a safetensors file",
    "torch": "a file of torch.save",
    "ultralytics": "a state dict of torch.save",
}
