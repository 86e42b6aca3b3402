"""What a policy promises, in one sentence in plain words (privacy-model.md, section 1)."""

import math

from privid.domain.policy import CameraPolicy
from privid.domain.units import epsilon
from query_lang.units import format_duration


def guarantee(camera: str, policy: CameraPolicy) -> str:
    """One sentence for an owner and for the public."""
    budget = epsilon(policy.epsilon_nano)
    times = "once" if policy.K == 1 else f"on at most {policy.K} occasions"
    return (
        f"Whoever is in view of {camera} {times}, for at most {plain_duration(policy.rho_us)}"
        f"{'' if policy.K == 1 else ' each'}, stays hidden: whatever is asked, ever, no answer is more than "
        f"{_factor(budget)} times as likely with them as without them (epsilon {budget:g})."
    )


def plain_duration(duration_us: int) -> str:
    """A duration for people: `30 s`, `90 s`, `1.5 s`."""
    if duration_us % 1000 == 0 and duration_us % 1_000_000:
        return f"{duration_us / 1_000_000:g} s"
    return format_duration(duration_us)


def _factor(budget: float) -> str:
    return f"{math.exp(budget):.3g}" if budget < 100 else "e^" + f"{budget:g}"
