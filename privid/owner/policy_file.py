"""Policy files: TOML that an owner keeps, applies and publishes, so that analysts can plan offline.

The format is that of the reference, "Policy files". Reading is strict: nothing in a file is ever ignored.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from privid.domain.policy import BOUNDARIES, ISOLATIONS, TIMINGS, CameraPolicy, MaskPolicy, RegionScheme
from privid.domain.units import NANO, nano_epsilon
from privid.owner.shapes import EXAMPLE, Drawings, Polygon, Shape, polygon
from query_lang.units import parse_duration

_CAMERA_KEYS = (
    "epsilon", "rho", "K", "fps", "width", "height", "timezone",
    "timing", "slot_cores", "isolation", "masks", "regions",
)  # fmt: skip
_REQUIRED = ("epsilon", "rho", "K")
_MASK_KEYS = ("rho", "segments", "picture", "polygons")
_REGION_KEYS = ("names", "boundary", "pictures", "polygons")
_Choice = TypeVar("_Choice", bound=str)
_MOST_INTEGER = 2**31 - 1
_MOST_RATE = 10_000
_FRACTION = re.compile(r"[0-9]{1,9}/[0-9]{1,9}")
_MOST_EPSILON = Decimal(10**6)
_DEFAULT_EPSILON_NANO = NANO


class PolicyFileError(ValueError):
    """A policy file that is not acceptable; the message names the key and says what to write."""


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """Policies by camera, the epsilon of a SELECT without CONSUMING, in nano, and what is drawn of each camera.

    The drawings are not read here: to plan against a policy nobody needs them.
    """

    policies: Mapping[str, CameraPolicy]
    default_epsilon_nano: int = _DEFAULT_EPSILON_NANO
    drawings: Mapping[str, Drawings] = field(default_factory=dict)


def read_policy_file(text: str) -> PolicyFile:
    """The policies in a file's text. Raises PolicyFileError with one clear message."""
    try:
        content = tomllib.loads(text, parse_float=Decimal)
    except RecursionError:
        raise PolicyFileError("this is not TOML: it is nested too deeply") from None
    except ValueError as error:
        raise PolicyFileError(f"this is not TOML: {error}") from None
    _known(content, ("default_epsilon", "camera"), "")
    default = _DEFAULT_EPSILON_NANO
    if "default_epsilon" in content:
        default = _epsilon(content["default_epsilon"], "default_epsilon")
    cameras = _table(content.get("camera", {}), "camera")
    if not cameras:
        raise PolicyFileError("there is no camera in it: write a table for each, such as [camera.plaza]")
    policies = {name: _camera(value, f"camera.{name}") for name, value in cameras.items()}
    drawings = {name: _drawings(value, f"camera.{name}") for name, value in cameras.items()}
    return PolicyFile(policies, default, {name: drawn for name, drawn in drawings.items() if drawn != Drawings()})


def write_policy_file(file: PolicyFile) -> str:
    """A file that `read_policy_file` reads back exactly."""
    lines = [f"default_epsilon = {_decimal(file.default_epsilon_nano)}"]
    for name, policy in file.policies.items():
        drawings = file.drawings.get(name, Drawings())
        lines += ["", f"[camera.{_key(name)}]"]
        lines += [
            f"epsilon = {_decimal(policy.epsilon_nano)}  # budget of every moment",
            f"rho = {_text(duration_text(policy.rho_us))}",
            f"K = {policy.K}",
            f"fps = {_fps(policy.fps)}",
            f"width = {policy.width}",
            f"height = {policy.height}",
            f"timezone = {_text(policy.timezone)}",
            f"timing = {_text(policy.timing)}",
            f"slot_cores = {policy.slot_cores}",
            f"isolation = {_text(policy.isolation)}",
        ]
        for mask_name, mask in policy.masks.items():
            lines += ["", f"[camera.{_key(name)}.masks.{_key(mask_name)}]"]
            lines += [f"rho = {_text(duration_text(mask.rho_us))}", f"segments = {mask.segments}"]
            if (shape := drawings.masks.get(mask_name)) is not None:
                lines.append(
                    f"picture = {_text(str(shape))}" if isinstance(shape, Path) else f"polygons = {_list(shape)}"
                )
        for scheme_name, scheme in policy.regions.items():
            lines += ["", f"[camera.{_key(name)}.regions.{_key(scheme_name)}]"]
            lines += [f"names = [{', '.join(map(_text, scheme.names))}]", f"boundary = {_text(scheme.boundary)}"]
            for region, shape in drawings.regions.get(scheme_name, {}).items():
                if isinstance(shape, Path):
                    lines.append(f"pictures.{_key(region)} = {_text(str(shape))}")
                else:
                    lines.append(f"polygons.{_key(region)} = {_list(shape[0])}")
    return "\n".join(lines) + "\n"


def duration_text(duration_us: int) -> str:
    """A duration as policy files write it, exactly: `30s`, `10.5s`, `2h`."""
    if duration_us % 3_600_000_000 == 0:
        return f"{duration_us // 3_600_000_000}h"
    seconds = Decimal(duration_us) / 1_000_000
    return f"{seconds.normalize():f}s"


# --- reading ------------------------------------------------------------------------------------------------


def _camera(value: Any, path: str) -> CameraPolicy:
    table = _table(value, path)
    _known(table, _CAMERA_KEYS, path)
    for key in _REQUIRED:
        if key not in table:
            raise PolicyFileError(f"{path}.{key} is missing")
    masks = {
        name: _mask(mask, f"{path}.masks.{name}")
        for name, mask in _table(table.get("masks", {}), f"{path}.masks").items()
    }
    regions = {
        name: _region(scheme, f"{path}.regions.{name}")
        for name, scheme in _table(table.get("regions", {}), f"{path}.regions").items()
    }
    try:
        return CameraPolicy(
            epsilon_nano=_epsilon(table["epsilon"], f"{path}.epsilon"),
            rho_us=_duration(table["rho"], f"{path}.rho"),
            K=_integer(table["K"], f"{path}.K", least=1),
            fps=_rate(table.get("fps", 10), f"{path}.fps"),
            width=_integer(table.get("width", 0), f"{path}.width", least=0),
            height=_integer(table.get("height", 0), f"{path}.height", least=0),
            timezone=_timezone(table.get("timezone", "UTC"), f"{path}.timezone"),
            timing=_choice(table.get("timing", "slotted"), TIMINGS, f"{path}.timing"),
            slot_cores=_integer(table.get("slot_cores", 1), f"{path}.slot_cores", least=1),
            isolation=_choice(table.get("isolation", "fork"), ISOLATIONS, f"{path}.isolation"),
            masks=masks,
            regions=regions,
        )
    except PolicyFileError:
        raise
    except ValueError as error:
        raise PolicyFileError(f"{path}: {error}") from None


def _mask(value: Any, path: str) -> MaskPolicy:
    table = _table(value, path)
    _known(table, _MASK_KEYS, path)
    if "rho" not in table:
        raise PolicyFileError(f"{path}.rho is missing")
    return MaskPolicy(
        _duration(table["rho"], f"{path}.rho"), _integer(table.get("segments", 1), f"{path}.segments", least=1)
    )


def _region(value: Any, path: str) -> RegionScheme:
    table = _table(value, path)
    _known(table, _REGION_KEYS, path)
    names = table.get("names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise PolicyFileError(f'{path}.names must be a list of names, such as ["north", "south"]')
    if len(set(names)) != len(names):
        raise PolicyFileError(f"{path}.names has a name twice")
    return RegionScheme(tuple(names), _choice(table.get("boundary", "none"), BOUNDARIES, f"{path}.boundary"))


def _drawings(value: dict[str, Any], path: str) -> Drawings:
    """The shapes of a camera whose other settings have been read already."""
    masks: dict[str, Shape] = {}
    for name, mask in value.get("masks", {}).items():
        where = f"{path}.masks.{name}"
        if "picture" in mask and "polygons" in mask:
            raise PolicyFileError(f"{where} has both picture and polygons; write one of them")
        if "picture" in mask:
            masks[name] = _picture(mask["picture"], f"{where}.picture")
        if "polygons" in mask:
            found = mask["polygons"]
            if not isinstance(found, list) or not found:
                raise PolicyFileError(f"{where}.polygons must be a list of polygons, such as [{EXAMPLE}]")
            masks[name] = tuple(_polygon(one, f"{where}.polygons") for one in found)
    regions: dict[str, dict[str, Shape]] = {}
    for name, scheme in value.get("regions", {}).items():
        where = f"{path}.regions.{name}"
        shapes: dict[str, Shape] = {}
        for region, picture in _table(scheme.get("pictures", {}), f"{where}.pictures").items():
            shapes[region] = _picture(picture, f"{where}.pictures.{region}")
        for region, points in _table(scheme.get("polygons", {}), f"{where}.polygons").items():
            if region in shapes:
                raise PolicyFileError(f"{where}: region {region} has both a picture and a polygon; write one of them")
            shapes[region] = (_polygon(points, f"{where}.polygons.{region}"),)
        if shapes and shapes.keys() != set(scheme["names"]):
            odd = ", ".join(sorted(shapes.keys() ^ set(scheme["names"])))
            raise PolicyFileError(f"{where}: draw exactly the regions that names lists; look at {odd}")
        if shapes:
            regions[name] = shapes
    return Drawings(masks, regions)


def _picture(value: Any, path: str) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise PolicyFileError(f'{path} must be a PNG file, such as "benches.png"')
    return Path(value)


def _polygon(value: Any, path: str) -> Polygon:
    try:
        return polygon(value)
    except ValueError as error:
        raise PolicyFileError(f"{path}: {error}") from None


def _known(table: Mapping[str, Any], keys: Collection[str], path: str) -> None:
    for key in table:
        if key in keys:
            continue
        where = f"{path}.{key}" if path else key
        close = difflib.get_close_matches(key, keys, n=1) or [k for k in keys if k.casefold() == key.casefold()]
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(keys)}"
        raise PolicyFileError(f"{where} is not a setting; {hint}")


def _table(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PolicyFileError(f"{path} must be a table, such as [{path}{'.plaza' if path == 'camera' else ''}]")
    return value


def _epsilon(value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PolicyFileError(f"{path} must be a number, such as 1.0")
    if (isinstance(value, Decimal) and not value.is_finite()) or not 0 < value <= _MOST_EPSILON:
        raise PolicyFileError(f"{path} must be more than 0 and at most {_MOST_EPSILON}")
    nano = nano_epsilon(str(value))
    if nano <= 0:
        raise PolicyFileError(f"{path} must be at least 0.000000001, the smallest amount that is counted")
    return nano


def _integer(value: Any, path: str, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise PolicyFileError(f"{path} must be a whole number")
    if not least <= value <= _MOST_INTEGER:
        raise PolicyFileError(f"{path} must be at least {least} and at most {_MOST_INTEGER}")
    return value


def _duration(value: Any, path: str) -> int:
    if not isinstance(value, str):
        raise PolicyFileError(f'{path} must be a duration in quotes, such as "30s"')
    try:
        duration = parse_duration(value)
    except ValueError as error:
        raise PolicyFileError(f"{path}: {error}") from None
    if duration <= 0:
        raise PolicyFileError(f"{path} must be more than 0")
    return duration


def _rate(value: Any, path: str) -> Fraction:
    if isinstance(value, str) and _FRACTION.fullmatch(value):
        numerator, denominator = map(int, value.split("/"))
    elif isinstance(value, int | Decimal) and not isinstance(value, bool) and 0 < value <= _MOST_RATE:
        exact = Fraction(value)
        numerator, denominator = exact.numerator, exact.denominator
    else:
        numerator, denominator = 0, 1
    if not numerator or not denominator or Fraction(numerator, denominator) > _MOST_RATE:
        raise PolicyFileError(f'{path} must be frames a second, such as 25, 29.97 or "30000/1001"')
    if denominator > _MOST_INTEGER:
        raise PolicyFileError(f'{path} has too many digits; write a fraction, such as "30000/1001"')
    return Fraction(numerator, denominator)


def _timezone(value: Any, path: str) -> str:
    try:
        if not isinstance(value, str):
            raise ValueError
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise PolicyFileError(f'{path} must be an IANA time zone, such as "Europe/Lisbon" or "UTC"') from None
    return value


def _choice(value: Any, allowed: tuple[_Choice, ...], path: str) -> _Choice:
    for choice in allowed:
        if choice == value:
            return choice
    raise PolicyFileError(f"{path} must be one of {', '.join(allowed)}")


# --- writing ------------------------------------------------------------------------------------------------


def _decimal(nano: int) -> str:
    text = f"{(Decimal(nano) / NANO).normalize():f}"
    return text if "." in text else f"{text}.0"


def _fps(rate: Fraction) -> str:
    return str(rate.numerator) if rate.denominator == 1 else _text(f"{rate.numerator}/{rate.denominator}")


def _list(points: Iterable[Any]) -> str:
    return json.dumps([list(point) for point in points])


def _text(value: str) -> str:
    # JSON strings are TOML basic strings, except for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else _text(name)
