"""The budget of a camera over time, as a picture and as a row of bars for the terminal."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from privid.domain.units import SECOND, epsilon

_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class BudgetCurve:
    """Spending of presence periods that start in [from_us, to_us).

    `steps` are (from_us, to_us, nano-epsilon) inside the window, in order; nothing is spent elsewhere.
    """

    camera: str
    epsilon_nano: int
    from_us: int
    to_us: int
    steps: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if self.from_us >= self.to_us:
            raise ValueError("a curve needs a window that is not empty")

    def left(self) -> tuple[tuple[int, int, int], ...]:
        """(from_us, to_us, nano-epsilon left) without holes, over the whole window."""
        found: list[tuple[int, int, int]] = []
        here = self.from_us
        for begin, end, spent in self.steps:
            if begin > here:
                found.append((here, begin, self.epsilon_nano))
            found.append((begin, end, self.epsilon_nano - spent))
            here = end
        if here < self.to_us:
            found.append((here, self.to_us, self.epsilon_nano))
        return tuple(found)

    @property
    def least_left_nano(self) -> int:
        """The least that is left anywhere in the window; negative where more was spent than the budget."""
        return min(left for _, _, left in self.left())

    @property
    def most_left_nano(self) -> int:
        """The most that is left anywhere in the window."""
        return max(left for _, _, left in self.left())


def bars(curve: BudgetCurve, width: int) -> str:
    """`width` characters over the window: the least that is left in each part, against the whole budget."""
    span = curve.to_us - curve.from_us
    least = [curve.epsilon_nano] * width
    for begin, end, left in curve.left():
        first = (begin - curve.from_us) * width // span
        last = ((end - 1) - curve.from_us) * width // span
        for column in range(first, last + 1):
            least[column] = min(least[column], left)
    return "".join(_bar(left, curve.epsilon_nano) for left in least)


def _bar(left: int, whole: int) -> str:
    if left <= 0:
        return " "
    return _BARS[min(len(_BARS) - 1, left * len(_BARS) // whole)]


def save_picture(curves: Iterable[BudgetCurve], path: Path) -> None:
    """Draw what is left of each camera's budget into a PNG, one panel a camera. Times in UTC.

    Raises OSError if the file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shown = list(curves)
    with mpl.rc_context({"date.converter": "concise", "font.size": 9}):
        figure = Figure(figsize=(9, 2.6 * len(shown)), layout="constrained")
        panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
        for axes, curve in zip(panels, shown, strict=True):
            steps = curve.left()
            moments = [*(_moment(begin) for begin, _, _ in steps), _moment(steps[-1][1])]
            values = [epsilon(left) for _, _, left in steps]
            values.append(values[-1])
            whole = epsilon(curve.epsilon_nano)
            axes.fill_between(moments, values, step="post", color="#4c9f70", alpha=0.5, linewidth=0, label="left")
            axes.step(moments, values, where="post", color="#2b6b47", linewidth=1.2)
            axes.axhline(whole, color="#666666", linewidth=0.8, linestyle="--", label=f"budget {whole:g}")
            axes.set_xlim(moments[0], moments[-1])
            axes.set_ylim(min(0.0, *values) * 1.05, whole * 1.12)
            axes.set_ylabel("epsilon left")
            axes.set_title(f"{curve.camera}: privacy budget over time (UTC)", loc="left", fontsize=10)
            # Above the panel: wherever the curve is, it is not there.
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8, frameon=False)
        figure.savefig(path, format="png", dpi=110)


def _moment(moment_us: int) -> datetime:
    return datetime.fromtimestamp(moment_us / SECOND, UTC)
