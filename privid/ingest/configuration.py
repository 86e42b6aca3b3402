"""What is recorded and how long it is kept: the cameras of the database that have an address, and a TOML file."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from privid.domain.units import SECOND
from privid.ingest.errors import BadRecording
from privid.ingest.live import Encoding, Source
from privid.ingest.retention import Limits, Policy
from privid.ingest.trust import Trust, is_secured, require_certificates
from privid.video.catalog import Camera, Catalog
from privid.video.errors import BadCamera
from query_lang.units import parse_duration

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB)")
_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_GENERAL = {"segment", "max_size", "min_free", "cameras"}
_ENCODING = {"reencode", "key_frames", "quantiser"}
_TRUST = {"tls_ca", "tls_name", "tls_verify"}
_ACCESS = {"url", "username", "password_file", "transport", "timeout"}
_CAMERA = {*_ACCESS, *_TRUST, *_ENCODING, "keep", "max_size", "settled"}


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the recorder does. `settled_seconds` of a watched folder: how long a file must not have changed."""

    sources: Mapping[str, Source] = field(default_factory=dict)
    settled_seconds: Mapping[str, float] = field(default_factory=dict)
    retention: Policy = field(default_factory=Policy)
    segment_us: int = 10 * SECOND


def load(catalog: Catalog, file: Path | None) -> Configuration:
    """Read the cameras and the file, which completes and overrides them. Raises BadRecording.

    Messages name settings, never what stands in them: an address can hold a password.
    """
    content = _read(file) if file is not None else {}
    _known(content, _GENERAL, str(file))
    sections = content.get("cameras", {})
    if not isinstance(sections, dict) or not all(isinstance(section, dict) for section in sections.values()):
        raise BadRecording(f"{file}: cameras are sections: write [cameras.NAME] and its settings below")
    cameras = {camera.name: camera for camera in catalog.cameras()}
    for name, section in sections.items():
        if name not in cameras:
            raise BadRecording(f"{file}: unknown camera {name!r}: privid-admin camera add {name} makes it")
        _known(section, _CAMERA, f"{file}: cameras.{name}")
    sources: dict[str, Source] = {}
    limits: dict[str, Limits] = {}
    settled: dict[str, float] = {}
    for name, camera in cameras.items():
        where = f"{file}: cameras.{name}" if name in sections else f"camera {name}"
        section = sections.get(name, {})
        source = _source(camera, section, where, file)
        if source is not None:
            sources[name] = source
        limits[name] = Limits(_duration(section, "keep", where), _size(section, "max_size", where))
        settled[name] = (_duration(section, "settled", where) or 10 * SECOND) / SECOND
    segment_us = _duration(content, "segment", str(file)) or 10 * SECOND
    if not SECOND <= segment_us <= 300 * SECOND:
        raise BadRecording(f"{file}: segment must be 1s to 5m")
    policy = Policy(limits, _size(content, "max_size", str(file)), _size(content, "min_free", str(file)) or 0)
    return Configuration(sources, settled, policy, segment_us)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRecording(f"cannot read {file}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise BadRecording(f"{file} is not TOML: {error}") from None
    except UnicodeDecodeError:
        raise BadRecording(f"{file} is not text in UTF-8") from None


def _known(section: Mapping[str, Any], names: set[str], where: str) -> None:
    for name in section:
        if name not in names:
            raise BadRecording(f"{where}: {name} is not a setting; known: {', '.join(sorted(names))}")


def _source(camera: Camera, section: Mapping[str, Any], where: str, file: Path | None) -> Source | None:
    url = _text(section, "url", where) or camera.url
    if not url:
        return None
    transport = _text(section, "transport", where) or "tcp"
    if transport not in ("tcp", "udp"):
        raise BadRecording(f"{where}: transport is tcp or udp")
    timeout_us = _duration(section, "timeout", where) or 5 * SECOND
    if not SECOND <= timeout_us <= 120 * SECOND:
        raise BadRecording(f"{where}: timeout must be 1s to 2m")
    try:
        source = Source.of(url, "udp" if transport == "udp" else "tcp", timeout_us / SECOND)
    except BadCamera as error:
        raise BadRecording(f"{where}: {error}") from None
    if {"username", "password_file"} & section.keys():
        source = replace(source, url=_with_credentials(source, section, where, file))
    return replace(source, encoding=_encoding(section, source, where), trust=_trust(section, source, where, file))


def _with_credentials(source: Source, section: Mapping[str, Any], where: str, file: Path | None) -> str:
    """The address with user name and password, instead of those that it may have."""
    username, secret = _text(section, "username", where), _text(section, "password_file", where)
    if not (username and secret):
        raise BadRecording(f"{where}: username and password_file go together")
    if source.kind not in ("rtsp", "http"):
        raise BadRecording(f"{where}: username and password_file go with an address such as rtsp://HOST/...")
    assert file is not None
    path = file.parent / secret
    try:
        password = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise BadRecording(f"{where}: cannot read the password from {path}") from None
    parts = urlsplit(source.url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(username, safe='')}:{quote(password, safe='')}@{host}"))


def _trust(section: Mapping[str, Any], source: Source, where: str, file: Path | None) -> Trust:
    for name in sorted(_TRUST & section.keys()):
        if not is_secured(source.url):
            raise BadRecording(f"{where}: {name} goes with an address that begins with rtsps:// or https://")
    verify = section.get("tls_verify", True)
    if not isinstance(verify, bool):
        raise BadRecording(f"{where}: tls_verify is true, or false to believe whoever answers")
    authority, name_there = _text(section, "tls_ca", where), _text(section, "tls_name", where)
    if not verify and (authority or name_there):
        raise BadRecording(f"{where}: with tls_verify = false nothing is checked; leave out tls_ca and tls_name")
    if authority is None:
        return Trust(verify, None, name_there)
    assert file is not None
    try:
        require_certificates(file.parent / authority)
    except BadRecording as error:
        raise BadRecording(f"{where}: tls_ca: {error}") from None
    return Trust(verify, file.parent / authority, name_there)


def _encoding(section: Mapping[str, Any], source: Source, where: str) -> Encoding | None:
    codec = _text(section, "reencode", where)
    if codec is None:
        for name in sorted(_ENCODING & section.keys()):
            raise BadRecording(f'{where}: {name} goes with reencode = "h264"')
        return None
    if codec != "h264":
        raise BadRecording(f"{where}: reencode is h264, or left out to keep the video as it comes")
    if source.kind == "folder":
        raise BadRecording(
            f"{where}: reencode is for live video; convert the files before they are put into the folder"
        )
    key_frame_us = _duration(section, "key_frames", where) or Encoding().key_frame_us
    if not SECOND // 2 <= key_frame_us <= 30 * SECOND:
        raise BadRecording(f"{where}: key_frames must be 500ms to 30s")
    quantiser = section.get("quantiser", Encoding().quantiser)
    if type(quantiser) is not int or not 1 <= quantiser <= 51:
        raise BadRecording(f"{where}: quantiser is a number from 1 (finest) to 51")
    return Encoding(key_frame_us, quantiser)


def _text(section: Mapping[str, Any], name: str, where: str) -> str | None:
    value = section.get(name)
    if value is not None and not (isinstance(value, str) and value):
        raise BadRecording(f"{where}: {name} is text in quotes")
    return value


def _duration(section: Mapping[str, Any], name: str, where: str) -> int | None:
    text = _text(section, name, where)
    if text is None:
        return None
    try:
        found = parse_duration(text)
    except ValueError:
        raise BadRecording(f'{where}: {name} is a duration, such as "30 days" or "10s"') from None
    if not found:
        raise BadRecording(f"{where}: {name} must be more than nothing")
    return found


def _size(section: Mapping[str, Any], name: str, where: str) -> int | None:
    text = _text(section, name, where)
    if text is None:
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise BadRecording(f'{where}: {name} is a size, such as "200 GB"')
    found = int(float(match[1]) * _UNITS[match[2]])
    if not found:
        raise BadRecording(f"{where}: {name} must be more than nothing")
    return found
