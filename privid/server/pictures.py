"""Pictures of masks and regions as owners propose them: checked before a policy that names them can hold."""

from collections.abc import Iterable

from privid.domain.policy import CameraPolicy, MaskPolicy, RegionScheme
from privid.server.errors import Refused
from privid.video import bitmaps
from privid.video.bitmaps import Bitmaps
from privid.video.pictures import PictureStore
from privid.video.views import overlaps


class ProposedPictures:
    """The pictures at hand for a proposal: those that came with it, and those of the store."""

    def __init__(self, store: PictureStore, given: Iterable[bytes] = ()) -> None:
        self._store = store
        self._given = {bitmaps.digest(content): content for content in given}

    def require(
        self, camera: str, before: CameraPolicy | None, after: CameraPolicy, size: tuple[int, int] | None
    ) -> None:
        """Check the pictures of every mask and scheme of `after` that is not so in `before`.

        `size` is (width, height) of the recording, if there is one. Raises Refused.
        """
        for name, mask in after.masks.items():
            if before is None or before.masks.get(name) != mask:
                self._mask(f"camera {camera}: mask {name}", mask, size)
        for name, scheme in after.regions.items():
            if before is None or before.regions.get(name) != scheme:
                self._scheme(f"camera {camera}: region scheme {name}", scheme, size)

    def keep(self, policies: Iterable[CameraPolicy]) -> None:
        """Store those that came with the proposal and that its policies name. Raises OSError."""
        for policy in policies:
            named = [mask.picture for mask in policy.masks.values()]
            named += [scheme.picture for scheme in policy.regions.values()]
            for picture in named:
                if picture in self._given:
                    self._store.add(self._given[picture])

    def _mask(self, what: str, mask: MaskPolicy, size: tuple[int, int] | None) -> None:
        hidden = self._read(what, mask.picture, 1, size)
        if hidden.all() or not hidden.any():
            raise Refused(
                "invalid_policy",
                f"{what} hides {'everything' if hidden.any() else 'nothing'}",
                "what it hides is black or transparent, and the rest is neither",
            )

    def _scheme(self, what: str, scheme: RegionScheme, size: tuple[int, int] | None) -> None:
        hidden = self._read(what, scheme.picture, len(scheme.names), size)
        for name, outside in zip(scheme.names, hidden, strict=True):
            if outside.all():
                raise Refused("invalid_policy", f"{what}: region {name} is empty", "give it some pixels")
        if scheme.boundary != "hard":
            return
        for i, j, shared in overlaps(hidden):
            raise Refused(
                "invalid_policy",
                f"{what}: regions {scheme.names[i]} and {scheme.names[j]} share {shared} pixels",
                'draw hard regions apart, or write boundary = "none"',
            )

    def _read(self, what: str, picture: str, count: int, size: tuple[int, int] | None) -> Bitmaps:
        if not picture:
            raise Refused(
                "invalid_policy",
                f"{what} has no picture",
                "draw it: `picture` or `polygons` in the policy file, or privid-admin mask add and region add",
            )
        if picture in self._given:
            try:
                hidden = bitmaps.decode(self._given[picture])
            except ValueError as error:
                raise Refused("invalid_policy", f"{what}: {error}", "send it as binary PBM") from None
        elif self._store.has(picture):
            hidden = self._store.read(picture)
        else:
            raise Refused("invalid_policy", f"{what}: its picture did not come with it", "send the picture as well")
        if len(hidden) != count:
            raise Refused("invalid_policy", f"{what} has {len(hidden)} pictures instead of {count}", "one for each")
        height, width = hidden.shape[1:]
        if size is not None and size != (width, height):
            raise Refused(
                "invalid_policy",
                f"{what} is drawn for {width}x{height} pixels, and the recording has {size[0]}x{size[1]}",
                "draw it at exactly the size of the recording",
            )
        return hidden
