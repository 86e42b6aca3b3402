"""What an executable is made of: one file, or a bundle of files with a manifest (docs/reference/bundle.md).

A bundle travels and is stored as one zip file in a canonical form, so that the same files always have the same SHA-256.
Everything here takes what it reads to be hostile, parses and never runs it, and knows neither the host nor the video.
Standard library only: guests read their bundle with it, too.
"""

import difflib
import io
import os
import re
import stat
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, BinaryIO, Literal, get_args

from workers import limits
from workers.guest.chunk import Colour

MANIFEST = "privid.toml"
PYTHON, PROGRAM = "executable.py", "executable"
"""What the one file of an executable without a manifest is called."""
ELF, ZIP = b"\x7fELF", b"PK\x03\x04"
"""How a program and a bundle begin; anything else is Python."""

Format = Literal["onnx", "safetensors", "torch", "ultralytics"]
LIBRARY_OF: Mapping[str, str | None] = MappingProxyType(
    {"onnx": None, "safetensors": "safetensors", "torch": "torch", "ultralytics": "ultralytics"}
)
"""The library that each format of weights is loaded with, which the executable then has as well."""

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_ARCHITECTURE = re.compile(r"[a-z][a-z0-9-]{0,63}")
_SIZE = re.compile(r"(\d{1,9}) ?(KiB|MiB|GiB)")
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_COMPRESSION = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)
_LONGEST_PATH, _MOST_PARTS = 200, 8
_FIRST_TIME = (1980, 1, 1, 0, 0, 0)
_MOST_CLASSES, _MOST_DIMENSIONS, _LARGEST_DIMENSION = 10_000, 8, 16_384
_LEAST_MEMORY = 16 * 2**20
_TESTS = ("test_*.py", "*_test.py", "conftest.py")


class BadBundle(ValueError):
    """Something that cannot be an executable; the text says why, and what would be right."""


@dataclass(frozen=True, slots=True)
class Weights:
    """One file of weights, and how it is loaded.

    `architecture` and `classes` are of the format ultralytics. `input`, the shape of the network's input, is what it is
    warmed up with; empty if that was not said.
    """

    file: str
    format: Format
    architecture: str = ""
    classes: tuple[str, ...] = ()
    input: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an executable says that it needs. `libraries` as declared; `needs` adds those of its weights."""

    entry: str
    libraries: tuple[str, ...] = ("numpy", "cv2")
    memory_bytes: int = limits.DEFAULT_MEMORY_BYTES
    threads: int = 1
    colour: Colour = "bgr"
    weights: Mapping[str, Weights] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def needs(self) -> tuple[str, ...]:
        """Every library that a guest has loaded, numpy first."""
        implied = (LIBRARY_OF[weights.format] for weights in self.weights.values())
        return tuple(dict.fromkeys(("numpy", *self.libraries, *(name for name in implied if name))))

    def document(self, *, program: bool) -> dict[str, Any]:
        """For the catalog: a JSON object."""
        return {
            "runtime": "program" if program else "python",
            "entry": self.entry,
            "libraries": list(self.needs),
            "memory_bytes": self.memory_bytes,
            "threads": self.threads,
            "colour": self.colour,
            "weights": {name: {"file": w.file, "format": w.format} for name, w in self.weights.items()},
        }


@dataclass(frozen=True, slots=True)
class Bundle:
    """An executable, read: its manifest, and the content of its files by their path."""

    manifest: Manifest
    files: Mapping[str, bytes]

    @property
    def is_program(self) -> bool:
        """Whether its entry is a program of its own rather than a Python module."""
        return self.files[self.manifest.entry].startswith(ELF)

    @property
    def sources(self) -> dict[str, bytes]:
        """Its Python files."""
        return {path: content for path, content in self.files.items() if path.endswith(".py")}

    def pack(self) -> bytes:
        """The canonical form: sorted, without times, not compressed. One file without a manifest is its own form."""
        if MANIFEST not in self.files:
            return self.files[self.manifest.entry]
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(self.files):
                entry = zipfile.ZipInfo(path, _FIRST_TIME)
                entry.create_system = 3  # Unix, wherever this runs
                entry.external_attr = (stat.S_IFREG | 0o644) << 16
                archive.writestr(entry, self.files[path])
        return packed.getvalue()


# ------------------------------------------------------------------------------------------------------- reading


def read(content: bytes) -> Bundle:
    """An executable from the bytes of its file: Python source, a program, or a zip. Raises BadBundle."""
    if content.startswith(ZIP):
        return _read_zip(io.BytesIO(content))
    if len(content) > limits.MAX_SOURCE_BYTES:
        raise BadBundle(
            f"one file may have {limits.MAX_SOURCE_BYTES:,} bytes, and it has {len(content):,}: put its data into a "
            "bundle"
        )
    entry = PROGRAM if content.startswith(ELF) else PYTHON
    return Bundle(Manifest(entry), {entry: content})


def open_path(path: Path) -> Bundle:
    """An executable from a file, a zip or a folder. Raises BadBundle, OSError."""
    if path.is_dir():
        return _read_folder(path)
    if path.stat().st_size > limits.MAX_BUNDLE_BYTES:
        raise BadBundle(f"it has more than {limits.MAX_BUNDLE_BYTES:,} bytes")
    return read(path.read_bytes())


def _read_folder(folder: Path) -> Bundle:
    if not (folder / MANIFEST).is_file():
        raise BadBundle(f"the folder has no {MANIFEST}, which says what its entry is")
    paths = []
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
        paths += [Path(where, name).relative_to(folder).as_posix() for name in files]
        if len(paths) > limits.MAX_BUNDLE_FILES:
            raise BadBundle(f"the folder has more than {limits.MAX_BUNDLE_FILES} files: keep other things elsewhere")

    def content(path: str, room: int) -> bytes:
        file = folder / path
        if not file.resolve().is_relative_to(folder.resolve()):
            raise BadBundle(f"{path} is a link to something outside the folder: put a copy there")
        if file.stat().st_size > room:
            raise _too_large(path)
        return file.read_bytes()

    return _chosen(paths, content)


def _read_zip(file: BinaryIO) -> Bundle:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = _entries(archive)

            def content(path: str, room: int) -> bytes:
                if entries[path].file_size > room:
                    raise _too_large(path)
                return archive.read(entries[path])

            return _chosen(entries, content)
    except BadBundle:
        raise
    except _DAMAGE as error:
        raise BadBundle(f"the zip file is damaged ({error}): make it again") from None


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files of a zip by their path, if every one of them is harmless. Raises BadBundle."""
    listed = archive.infolist()
    if len(listed) > limits.MAX_BUNDLE_FILES:
        raise BadBundle(f"it has {len(listed)} files, and {limits.MAX_BUNDLE_FILES} are allowed")
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in listed:
        if entry.flag_bits & _ENCRYPTED:
            raise BadBundle(f"{entry.filename!r} is encrypted: make the zip without a password")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise BadBundle(f"{entry.filename!r} is a symbolic link: put a copy of the file there")
        if entry.compress_type not in _COMPRESSION:
            raise BadBundle(f"{entry.filename!r} is compressed in an unusual way: store or deflate it")
        if entry.is_dir():
            continue
        check_path(entry.filename)
        if entry.filename in entries:
            raise BadBundle(f"{entry.filename!r} is in it twice")
        entries[entry.filename] = entry
    if sum(entry.file_size for entry in entries.values()) > limits.MAX_BUNDLE_BYTES:
        raise BadBundle(f"unpacked it has more than {limits.MAX_BUNDLE_BYTES:,} bytes")
    return entries


def _chosen(paths: Collection[str], content: Callable[[str, int], bytes]) -> Bundle:
    """What of these files makes the bundle: the manifest, the Python files but tests, and what the manifest names."""
    if MANIFEST not in paths:
        raise BadBundle(f"it has no {MANIFEST} at its root, which says what its entry is")
    manifest = parse_manifest(content(MANIFEST, limits.MAX_MANIFEST_BYTES))
    named = {manifest.entry: "entry", **{w.file: f"file of weights.{name}" for name, w in manifest.weights.items()}}
    for path, key in named.items():
        if path not in paths:
            raise BadBundle(f"{MANIFEST}: {key}: there is no file {path!r}{_hint(path, paths)}")
    wanted = sorted({*named, *(path for path in paths if _is_source(path))} - {MANIFEST})
    files, room = {MANIFEST: content(MANIFEST, limits.MAX_MANIFEST_BYTES)}, limits.MAX_BUNDLE_BYTES
    for path in wanted:
        check_path(path)
        is_code = path.endswith(".py") or path == manifest.entry
        files[path] = content(path, min(room, limits.MAX_SOURCE_BYTES) if is_code else room)
        room -= len(files[path])
    bundle = Bundle(manifest, MappingProxyType(files))
    if not manifest.entry.endswith(".py") and not bundle.is_program:
        raise BadBundle(f"{MANIFEST}: entry: {manifest.entry!r} is neither a Python file (.py) nor a program (ELF)")
    return bundle


def _is_source(path: str) -> bool:
    parts = PurePosixPath(path)
    hidden = any(part.startswith((".", "__pycache__")) for part in parts.parts)
    return parts.suffix == ".py" and not hidden and not any(parts.match(test) for test in _TESTS)


def check_path(path: str) -> None:
    """Raises BadBundle unless this is a relative path of plain names, below the root."""
    parts = path.split("/")
    if len(path) > _LONGEST_PATH or len(parts) > _MOST_PARTS or not all(_PART.fullmatch(part) for part in parts):
        raise BadBundle(
            f"{path[:_LONGEST_PATH]!r} is no path of a bundle: use letters, digits and any of _ . - +, no dot first"
        )


def _too_large(path: str) -> BadBundle:
    allowed = {MANIFEST: limits.MAX_MANIFEST_BYTES}.get(path, limits.MAX_SOURCE_BYTES)
    if path.endswith((".py", ".toml")):
        return BadBundle(f"{path!r} has more than {allowed:,} bytes: put data into weights")
    return BadBundle(f"with {path!r} it has more than {limits.MAX_BUNDLE_BYTES:,} bytes: use smaller weights")


# ------------------------------------------------------------------------------------------------------ manifest


def parse_manifest(text: bytes) -> Manifest:
    """The manifest of a bundle from its TOML. Raises BadBundle."""
    try:
        document = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadBundle(f"{MANIFEST}: {error}") from None
    fields = _Fields("", document, ("entry", "libraries", "memory", "threads", "colour", "weights"))
    entry = fields.text("entry")
    check_path(entry)
    given = fields.take("weights", dict, {}, 'tables such as [weights.person] with file = "person.onnx"')
    for name in given:
        if not _NAME.fullmatch(name):
            raise BadBundle(f"{MANIFEST}: weights.{name}: use letters, digits and _ for the name, a letter first")
    return Manifest(
        entry=entry,
        libraries=fields.texts("libraries", ("numpy", "cv2")),
        memory_bytes=_memory(fields.take("memory", str, "512 MiB", 'a text such as "512 MiB"')),
        threads=_threads(fields.take("threads", int, 1, "a number such as 1")),
        colour=_colour(fields.take("colour", str, "bgr", 'a text such as "bgr"')),
        weights=MappingProxyType({name: _weights(name, table) for name, table in given.items()}),
    )


def check_libraries(manifest: Manifest, known: Collection[str]) -> None:
    """Raises BadBundle if the manifest names a library that guests cannot have."""
    for name in manifest.needs:
        if name not in known:
            raise BadBundle(
                f"{MANIFEST}: libraries: {name!r} is not one of {', '.join(sorted(known))}{_hint(name, known)}"
            )


def _memory(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None or (size := int(match[1]) * _UNITS[match[2]]) < _LEAST_MEMORY:
        raise BadBundle(f'{MANIFEST}: memory: {text!r} is no size; write such as "512 MiB", at least "16 MiB"')
    return size


def _threads(count: int) -> int:
    if not 1 <= count <= limits.GUEST_THREADS:
        raise BadBundle(f"{MANIFEST}: threads: {count} is not between 1 and {limits.GUEST_THREADS}")
    return count


def _colour(name: str) -> Colour:
    known = get_args(Colour)
    if name not in known:
        raise BadBundle(f"{MANIFEST}: colour: {name!r} is not one of {', '.join(known)}{_hint(name, known)}")
    return name  # type: ignore[return-value]  # it is one of them


def _weights(name: str, table: object) -> Weights:
    where = f"weights.{name}."
    if not isinstance(table, dict):
        raise BadBundle(f"{MANIFEST}: weights.{name}: write a table: [weights.{name}], then file and format")
    fields = _Fields(where, table, ("file", "format", "architecture", "classes", "input"))
    file, form = fields.text("file"), fields.text("format")
    check_path(file)
    if form not in LIBRARY_OF:
        raise BadBundle(
            f"{MANIFEST}: {where}format: {form!r} is not one of {', '.join(LIBRARY_OF)}{_hint(form, LIBRARY_OF)}"
        )
    weights = Weights(
        file=file,
        format=form,  # type: ignore[arg-type]  # it is one of them
        architecture=fields.take("architecture", str, "", 'a text such as "yolo11n"'),
        classes=fields.texts("classes", ()),
        input=tuple(fields.take("input", list, [], "a list such as [1, 3, 352, 352]")),
    )
    if form == "ultralytics":
        if not _ARCHITECTURE.fullmatch(weights.architecture):
            raise BadBundle(f'{MANIFEST}: {where}architecture: name one of the package\'s, such as "yolo11n"')
        if not 1 <= len(weights.classes) <= _MOST_CLASSES:
            raise BadBundle(f'{MANIFEST}: {where}classes: list the names of its classes, such as ["person"]')
    elif weights.architecture or weights.classes:
        raise BadBundle(f"{MANIFEST}: {where}architecture and classes are for the format ultralytics only")
    if len(weights.input) > _MOST_DIMENSIONS or not all(
        type(length) is int and 1 <= length <= _LARGEST_DIMENSION for length in weights.input
    ):
        raise BadBundle(f"{MANIFEST}: {where}input: write the input's shape, such as [1, 3, 352, 352]")
    return weights


class _Fields:
    """The keys of one TOML table; unknown ones are refused at once, with the nearest known one."""

    def __init__(self, where: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
        self._where = where
        self._table = table
        for key in table:
            if key not in known:
                raise BadBundle(f"{MANIFEST}: unknown key {where}{key}{_hint(key, known)}")

    def take(self, key: str, kind: type, default: Any, what: str) -> Any:
        """A value of exactly this type (true is no number)."""
        value = self._table.get(key, default)
        if type(value) is not kind:
            raise BadBundle(f"{MANIFEST}: {self._where}{key}: write {what}")
        return value

    def text(self, key: str) -> str:
        """A text that must be there."""
        if key not in self._table:
            raise BadBundle(f'{MANIFEST}: {self._where}{key} is missing: write {key} = "..."')
        value: str = self.take(key, str, "", 'a text in "quotes"')
        return value

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """A list of texts."""
        values = self.take(key, list, list(default), 'a list such as ["numpy", "cv2"]')
        if not all(isinstance(value, str) for value in values):
            raise BadBundle(f'{MANIFEST}: {self._where}{key}: write a list of texts in "quotes"')
        return tuple(values)


def _hint(word: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
