"""Pictures of masks and regions on their way between owners' files and the server."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from privid.cli.terminal import InputError
from privid.client import OwnerClient
from privid.client.values import Camera
from privid.domain.policy import CameraPolicy
from privid.owner.shapes import Drawings, Shape

MOST_BYTES = 30 * 2**20
"""Of the pictures of one change of policies; the server takes 32 MiB a message."""


def find_camera(client: OwnerClient, name: str) -> Camera:
    """The camera of this name. Raises InputError."""
    cameras = {found.name: found for found in client.cameras()}
    if name not in cameras:
        raise InputError(
            "unknown_camera", f"there is no camera {name!r}", f"cameras: {', '.join(cameras) or 'none yet'}"
        )
    return cameras[name]


def drawn(
    client: OwnerClient, policies: Mapping[str, CameraPolicy], drawings: Mapping[str, Drawings], folder: Path
) -> tuple[dict[str, CameraPolicy], dict[str, bytes]]:
    """The policies with their pictures named, and these pictures by name. Files lie relative to `folder`.

    Raises InputError.
    """
    found, pictures = dict(policies), dict[str, bytes]()
    if not drawings:
        return found, pictures
    from privid.owner.drawings import DrawingError, attach

    recorded = {camera.name: (camera.width, camera.height) for camera in client.cameras()}
    for name, shapes in drawings.items():
        policy = found[name]
        size = recorded.get(name, (0, 0))
        try:
            found[name], made = attach(policy, shapes, size if all(size) else (policy.width, policy.height), folder)
        except DrawingError as error:
            raise InputError("drawing", f"camera {name}: {error}", "see how to use masks and regions") from None
        pictures |= made
    if sum(map(len, pictures.values())) > MOST_BYTES:
        raise InputError(
            "too_large", f"the pictures are more than {MOST_BYTES >> 20} MiB together", "apply one camera at a time"
        )
    return found, pictures


def hidden_part(picture: bytes) -> str:
    """How much of the picture a mask hides, in per cent."""
    from privid.owner.drawings import hidden_share
    from privid.video import bitmaps

    return f"{100 * hidden_share(bitmaps.decode(picture)):.3g} %"


def save_pictures(
    client: OwnerClient, policies: Mapping[str, CameraPolicy], folder: Path, relative_to: Path
) -> dict[str, Drawings]:
    """Write every picture that policies name as PNG into a folder; the drawings that name these files.

    Raises InputError.
    """
    drawings = {}
    for camera, policy in policies.items():
        masks: dict[str, Shape] = {}
        for name, mask in policy.masks.items():
            if not mask.picture:
                continue
            (path,) = _save(client, mask.picture, folder, [(camera, name)])
            masks[name] = Path(os.path.relpath(path, relative_to))
        regions: dict[str, dict[str, Shape]] = {}
        for name, scheme in policy.regions.items():
            if not scheme.picture:
                continue
            paths = _save(client, scheme.picture, folder, [(camera, name, region) for region in scheme.names])
            regions[name] = {
                region: Path(os.path.relpath(path, relative_to))
                for region, path in zip(scheme.names, paths, strict=True)
            }
        drawings[camera] = Drawings(masks, regions)
    return drawings


def _save(client: OwnerClient, picture: str, folder: Path, names: list[tuple[str, ...]]) -> list[Path]:
    from privid.owner.drawings import write_png
    from privid.video import bitmaps

    # Whatever a mask is called, it is no path.
    paths = [folder / ("-".join(quote(part, safe="") for part in name) + ".png") for name in names]
    hidden = bitmaps.decode(client.picture(picture))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, one in zip(paths, hidden, strict=True):
            write_png(one, path)
    except OSError as error:
        raise InputError(
            "unwritable", f"cannot write into {folder}: {error.strerror}", "choose another folder"
        ) from None
    return paths
