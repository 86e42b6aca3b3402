"""The gap-bridging curve as a picture."""

import io
from collections.abc import Sequence

from matplotlib.figure import Figure

from privid.domain.units import SECOND
from privid.persistence.presence import Bridged


def bridging(curve: Sequence[Bridged], chosen_us: int) -> bytes:
    """A PNG: the longest presence, what 99 of 100 do not exceed, and how many were not seen whole, against the gap."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    gaps = [one.bridge_us / SECOND for one in curve]
    above.plot(gaps, [one.longest_us / SECOND for one in curve], marker="o", label="longest")
    above.plot(gaps, [one.upper_us / SECOND for one in curve], marker="o", label="99 of 100 at most")
    above.set_ylabel("presence, seconds")
    above.set_ylim(bottom=0)
    above.legend(fontsize=8, frameon=False)
    below.plot(gaps, [one.presences for one in curve], marker="o", label="presences")
    below.plot(gaps, [one.cut for one in curve], marker="o", label="not seen from border to border")
    below.set_ylim(bottom=0)
    below.set_xlabel("gaps bridged up to, seconds")
    below.legend(fontsize=8, frameon=False)
    for axes in (above, below):
        axes.axvline(chosen_us / SECOND, color="#777777", linewidth=1, linestyle=":")
        axes.grid(alpha=0.3)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()
