"""What owners publish of their cameras, for trying things out: from a policy file, or with a sample clip.

Only those pictures are drawn or fetched that a query needs: of the masks and region schemes in `names`, in lower case.
"""

from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING

from privid.cli.terminal import InputError
from privid.client import Client

if TYPE_CHECKING:
    from privid.owner.policy_file import PolicyFile
    from privid.trial.footage import Published


def of_file(file: "PolicyFile", path: Path, names: Set[str]) -> "Published":
    """The policies of the file at `path`, with pictures of what it draws. Raises InputError."""
    from privid.owner.drawings import DrawingError, attach
    from privid.owner.shapes import Drawings
    from privid.trial.footage import Published

    policies, pictures = dict(file.policies), dict[str, bytes]()
    for name, drawings in file.drawings.items():
        policy = policies[name]
        needed = Drawings(
            {mask: shape for mask, shape in drawings.masks.items() if mask.casefold() in names},
            {scheme: shapes for scheme, shapes in drawings.regions.items() if scheme.casefold() in names},
        )
        try:
            policies[name], made = attach(policy, needed, (policy.width, policy.height), path.parent)
        except DrawingError as error:
            raise InputError(
                "drawing", f"{path}: camera {name}: {error}", "ask the owner for the file with its pictures"
            ) from None
        pictures |= made
    return Published(policies, tuple(pictures.values()))


def of_camera(client: Client, name: str, names: Set[str]) -> "Published":
    """The policy of a camera as the server tells it to analysts, with pictures. Raises CallFailed."""
    from privid.trial.footage import Published

    policy = next((camera.policy for camera in client.cameras() if camera.name == name), None)
    if policy is None:
        return Published()
    pictures = {mask.picture for known, mask in policy.masks.items() if known.casefold() in names}
    pictures |= {scheme.picture for known, scheme in policy.regions.items() if known.casefold() in names}
    return Published({name: policy}, tuple(client.picture(name, picture) for picture in pictures if picture))
