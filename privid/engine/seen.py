"""What the slots of a PROCESS see: what the masks and regions of its SPLIT show, as its camera's policy has them."""

from privid.domain.policy import CameraPolicy
from privid.engine.errors import CannotEnforce
from privid.video.bitmaps import Bitmaps
from privid.video.pictures import PictureStore
from privid.video.views import View, views
from query_lang.logical import Split


def region_names(split: Split, policy: CameraPolicy) -> tuple[str, ...]:
    """The regions of each chunk, in the order of its slots; one without a name where there is no BY REGION."""
    return ("",) if split.region is None else policy.regions[split.region].names


def views_of(split: Split, policy: CameraPolicy, pictures: PictureStore) -> tuple[View | None, ...]:
    """What each region of a chunk shows.

    Raises CannotEnforce if a mask or a scheme has no picture or they do not fit together, StoreFailure if a picture
    that there should be is missing or damaged.
    """
    masks = [_read(split, "mask", name, policy.masks[name].picture, pictures) for name in split.masks]
    regions = None
    if split.region is not None:
        regions = _read(split, "region scheme", split.region, policy.regions[split.region].picture, pictures)
    try:
        return views(masks, regions)
    except ValueError as error:
        raise CannotEnforce(
            f"{split.name}: {error}", "use masks and regions that were drawn for the same pictures"
        ) from None


def _read(split: Split, kind: str, name: str, picture: str, pictures: PictureStore) -> Bitmaps:
    if not picture:
        raise CannotEnforce(
            f"the {kind} {name!r} of camera {split.camera} has no picture, so nobody knows what it hides",
            "ask the camera's owner to draw it, or leave it out",
        )
    return pictures.read(picture)
