"""A policy as the JSON text that `policies.document` holds. Exact: durations in microseconds, fps as a fraction."""

import json
from fractions import Fraction

from .policy import CameraPolicy, MaskPolicy, RegionScheme


def to_document(policy: CameraPolicy) -> str:
    """Canonical JSON of everything but the version, which is a column of its own."""
    content = {
        "K": policy.K,
        "epsilon_nano": policy.epsilon_nano,
        "fps": f"{policy.fps.numerator}/{policy.fps.denominator}",
        "height": policy.height,
        "isolation": policy.isolation,
        "masks": {
            n: {"rho_us": m.rho_us, "segments": m.segments} | _picture(m.picture) for n, m in policy.masks.items()
        },
        "regions": {
            n: {"boundary": r.boundary, "names": list(r.names)} | _picture(r.picture) for n, r in policy.regions.items()
        },
        "rho_us": policy.rho_us,
        "slot_cores": policy.slot_cores,
        "timezone": policy.timezone,
        "timing": policy.timing,
        "width": policy.width,
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def from_document(document: str, version: int) -> CameraPolicy:
    """The policy that `to_document` wrote, as version `version`."""
    content = json.loads(document)
    return CameraPolicy(
        epsilon_nano=content["epsilon_nano"],
        rho_us=content["rho_us"],
        K=content["K"],
        fps=Fraction(content["fps"]),
        width=content["width"],
        height=content["height"],
        timezone=content["timezone"],
        timing=content["timing"],
        slot_cores=content["slot_cores"],
        isolation=content["isolation"],
        masks={n: MaskPolicy(m["rho_us"], m["segments"], m.get("picture", "")) for n, m in content["masks"].items()},
        regions={
            n: RegionScheme(tuple(r["names"]), r["boundary"], r.get("picture", ""))
            for n, r in content["regions"].items()
        },
        version=version,
    )


def _picture(digest: str) -> dict[str, str]:
    """Only where there is one, so that documents from before there were pictures stay canonical."""
    return {"picture": digest} if digest else {}
