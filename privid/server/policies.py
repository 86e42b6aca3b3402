"""Policies as owners set them: shown before they hold, applied exactly as shown (privacy-model.md, section 5)."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from privid.domain.policy import CameraPolicy
from privid.domain.policy_document import to_document
from privid.domain.units import epsilon
from privid.ledger import Policies, PolicyPreview
from privid.server.errors import Refused
from privid.server.names import check_timezone
from privid.server.pictures import ProposedPictures
from privid.video.catalog import Catalog
from privid.video.pictures import PictureStore

_MOST_CORES = 1024


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """What applying one policy would do. `spent_max_nano`: most that any moment has spent, once it holds."""

    camera: str
    before: CameraPolicy | None
    after: CameraPolicy
    spent_max_nano: int
    warnings: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether there is a new version at all."""
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Preview:
    """Changes to look at, and the string that applies exactly these."""

    changes: tuple[PolicyChange, ...]
    confirmation: str


class PolicyDesk:
    """Where owners look at policies and change them; the ledger keeps them."""

    def __init__(self, policies: Policies, catalog: Catalog, pictures: PictureStore) -> None:
        self._policies = policies
        self._catalog = catalog
        self._pictures = pictures

    def named(self, cameras: Iterable[str]) -> dict[str, CameraPolicy]:
        """The policies of these cameras, or of all that have one if none is named. Raises LedgerError."""
        wanted = tuple(dict.fromkeys(cameras))
        return {name: self._policies.current(name) for name in wanted} if wanted else self._policies.all_current()

    def picture(self, name: str) -> bytes:
        """A picture that a policy names, as `privid.video.bitmaps` encodes it. Raises Refused or StoreFailure."""
        if not self._pictures.has(name):
            raise Refused("invalid_request", "there is no picture of this name", "policies name the pictures there are")
        return self._pictures.content(name)

    def history(self, camera: str) -> tuple[CameraPolicy, ...]:
        """Every version of a camera's policy, the oldest first. Raises LedgerError."""
        return self._policies.versions(camera)

    def picture_of(self, camera: str, name: str) -> bytes:
        """A picture that a camera's policy names now. Raises Refused, LedgerError or StoreFailure."""
        if name not in self._policies.current(camera).pictures:
            raise Refused(
                "invalid_request", f"the policy of {camera} names no such picture", "it may have changed: try again"
            )
        return self.picture(name)

    def preview(self, proposals: Mapping[str, CameraPolicy], pictures: Iterable[bytes] = ()) -> Preview:
        """What applying these would do; `pictures` are those that came with them. Changes nothing.

        Raises Refused or LedgerError.
        """
        current = self._policies.all_current()
        previews = self._previews(proposals, current, ProposedPictures(self._pictures, pictures))
        changes = []
        for camera, preview in previews.items():
            old = current.get(camera)
            same = old is not None and _same(old, preview.policy)
            changes.append(
                PolicyChange(
                    camera=camera,
                    before=old,
                    after=old if same and old is not None else preview.policy,
                    spent_max_nano=preview.spent_nano,
                    warnings=() if same else _warnings(old, preview),
                )
            )
        return Preview(tuple(changes), _confirmation(previews))

    def apply(
        self, actor: str, proposals: Mapping[str, CameraPolicy], confirmation: str, pictures: Iterable[bytes] = ()
    ) -> dict[str, CameraPolicy]:
        """Make the previewed versions hold, all or none. Raises Refused or LedgerError, also if anything changed."""
        current = self._policies.all_current()
        proposed = ProposedPictures(self._pictures, pictures)
        previews = self._previews(proposals, current, proposed)
        if confirmation != _confirmation(previews):
            raise Refused("stale_preview", "this is not what was previewed", "look at the change again, then apply")
        changed = {
            camera: preview
            for camera, preview in previews.items()
            if camera not in current or not _same(current[camera], preview.policy)
        }
        proposed.keep(preview.policy for preview in changed.values())  # before any version can name them
        applied = self._policies.put_all(changed, actor=actor)
        return {camera: applied.get(camera) or current[camera] for camera in previews}

    def _previews(
        self, proposals: Mapping[str, CameraPolicy], current: Mapping[str, CameraPolicy], pictures: ProposedPictures
    ) -> dict[str, PolicyPreview]:
        self._check(proposals)
        previews = {camera: self._policies.preview(camera, policy) for camera, policy in sorted(proposals.items())}
        for camera, preview in previews.items():
            pictures.require(camera, current.get(camera), preview.policy, self._catalog.frame_size(camera))
        return previews

    def _check(self, proposals: Mapping[str, CameraPolicy]) -> None:
        """Raises Refused for a proposal that breaks a rule beyond those of CameraPolicy itself."""
        if not proposals:
            raise Refused("invalid_policy", "no policy was given", "name at least one camera")
        known = {camera.name: camera for camera in self._catalog.cameras()}
        for name, policy in proposals.items():
            if name not in known:
                listed = ", ".join(known) or "none yet"
                raise Refused("unknown_camera", f"there is no camera {name!r}", f"cameras: {listed}")
            check_timezone(policy.timezone)
            if policy.timezone != known[name].timezone:
                raise Refused(
                    "invalid_policy",
                    f"camera {name} is in {known[name].timezone}, and its policy says {policy.timezone}",
                    f'write timezone = "{known[name].timezone}"',
                )
            if policy.width < 0 or policy.height < 0:
                raise Refused("invalid_policy", f"camera {name}: width and height are never negative", "in pixels")
            if policy.slot_cores > _MOST_CORES:
                raise Refused("invalid_policy", f"camera {name}: slot_cores is more than {_MOST_CORES}", "use fewer")


def _same(old: CameraPolicy, new: CameraPolicy) -> bool:
    return replace(new, version=old.version) == old


def _confirmation(previews: Mapping[str, PolicyPreview]) -> str:
    """Names these proposals on top of these versions; and what is overspent or cancelled, as the owner was warned."""
    content = [
        [
            camera,
            preview.replaces,
            to_document(preview.policy),
            preview.spent_nano if preview.over else None,
            preview.cancelled,
        ]
        for camera, preview in previews.items()
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _warnings(old: CameraPolicy | None, preview: PolicyPreview) -> tuple[str, ...]:
    """What the owner should know before confirming."""
    camera, new = preview.camera, preview.policy
    found = []
    if preview.over:
        found.append(
            f"{camera}: under this policy {epsilon(preview.spent_nano):g} has been spent at some moment, more than its "
            f"budget of {epsilon(new.epsilon_nano):g}; for what is released already the guarantee is "
            f"{epsilon(preview.spent_nano):g}"
        )
    if preview.cancelled:
        found.append(f"{camera}: {preview.cancelled} windows of standing queries no longer fit and would be cancelled")
    if preview.renewed:
        found.append(f"{camera}: {preview.renewed} windows of standing queries would be planned again")
    if old is None:
        return tuple(found)
    weaker = [
        text
        for text, holds in (
            ("the budget grows", new.epsilon_nano > old.epsilon_nano),
            ("only shorter presence is protected", new.rho_us < old.rho_us),
            ("fewer presence periods are protected", old.K > new.K),
            ("results no longer come at public times", new.timing == "open" and old.timing != "open"),
        )
        if holds
    ]
    if weaker:
        found.append(f"{camera}: this protects less than version {old.version}: {', '.join(weaker)}")
    if preview.unfinished:
        found.append(f"{camera}: {len(preview.unfinished)} queries under way were admitted under version {old.version}")
    return tuple(found)
