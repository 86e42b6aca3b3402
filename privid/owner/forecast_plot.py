"""A forecast as a picture: what is left of each moment, and how many more such queries that is."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from privid.domain.units import SECOND, epsilon
from privid.owner.forecast import Step


def save_forecast(camera: str, budget_nano: int, such_nano: int, such: str, steps: Sequence[Step], path: Path) -> None:
    """Draw two panels over the recorded time (UTC) into a PNG. `such` names the query of `such_nano`.

    Raises OSError if the file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    moments = [_moment(steps[0].from_us), *(_moment(step.to_us) for step in steps)]
    left = [epsilon(step.left_nano) for step in steps]
    times = [float(max(0, step.left_nano) // such_nano) for step in steps]
    with mpl.rc_context({"date.converter": "concise", "font.size": 9}):
        figure = Figure(figsize=(9, 5), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        above.stairs(left, moments, fill=True, color="#4c9f70", alpha=0.5, label="left")
        above.stairs(left, moments, baseline=None, color="#2b6b47", linewidth=1.2)
        above.axhline(epsilon(such_nano), color="#b5543a", linewidth=1, linestyle=":", label=f"{such} takes")
        above.set_ylim(min(0.0, *left) * 1.05, epsilon(budget_nano) * 1.12)
        above.set_ylabel("epsilon left")
        above.set_title(f"{camera}: budget {epsilon(budget_nano):g} of every moment (UTC)", loc="left", fontsize=10)
        above.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8, frameon=False)
        below.stairs(times, moments, fill=True, color="#3a6ea5", alpha=0.5)
        below.set_ylim(0, max(1.0, *times) * 1.12)
        below.set_ylabel("times it still fits")
        below.set_title(f"{such}: {epsilon(such_nano):g} of each moment", loc="left", fontsize=10)
        below.set_xlim(moments[0], moments[-1])
        figure.savefig(path, format="png", dpi=110)


def _moment(moment_us: int) -> datetime:
    return datetime.fromtimestamp(moment_us / SECOND, UTC)
