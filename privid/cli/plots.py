"""Pictures of answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from privid.cli.terminal import InputError
from privid.cli.views import answer_is_series
from privid.domain.release import Estimate, Release, Scalar, Table
from privid.domain.units import SECOND

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from privid.trial.tuning import Outcome

_MOST_LABELS = 24


def save_release(release: Release, path: Path) -> None:
    """Draw an answer with its 95 % intervals into a PNG, a panel for each SELECT. Raises InputError."""
    from matplotlib.figure import Figure

    answers = [answer for answer in release.tables if answer.rows]
    if not answers:
        raise InputError("nothing_to_plot", "the answer has no rows to draw", "leave --plot out")
    figure = Figure(figsize=(9, 3.2 * len(answers)), layout="constrained")
    for axes, answer in zip(figure.subplots(len(answers), 1, squeeze=False)[:, 0], answers, strict=True):
        labels = _labels(answer)
        positions = list(range(len(answer.rows)))
        series = [i for i in range(len(answer.columns)) if any(isinstance(row[i], Estimate) for row in answer.rows)]
        for shift, column in enumerate(series):
            found = [(x, row[column]) for x, row in zip(positions, answer.rows, strict=True)]
            points = [
                (x + 0.12 * (shift - (len(series) - 1) / 2), float(cell.value), cell.interval95 or 0.0)
                for x, cell in found
                if isinstance(cell, Estimate) and isinstance(cell.value, int | float)
            ]
            if points:
                xs, ys, errors = zip(*points, strict=True)
                axes.errorbar(xs, ys, yerr=errors, fmt="o", capsize=3, markersize=4, label=answer.columns[column])
        step = -(-len(positions) // _MOST_LABELS)
        crowded = len(labels) > 4
        axes.set_xticks(
            positions[::step], labels[::step], rotation=30 if crowded else 0, ha="right" if crowded else "center"
        )
        axes.set_xlim(-0.5, len(positions) - 0.5)
        axes.grid(axis="y", alpha=0.3)
        axes.set_title(
            f"SELECT {answer.select + 1}: epsilon {answer.epsilon:.6g}, bars are 95 %", fontsize=10, loc="left"
        )
        if series:
            axes.legend(fontsize=8)
    _save(figure, path)


def save_tuning(outcomes: "Sequence[Outcome]", title: str, path: Path) -> None:
    """Draw the least expected error at each chunk length, and what it is made of, into a PNG. Raises InputError."""
    from matplotlib.figure import Figure

    best: dict[int, Outcome] = {}
    for outcome in outcomes:
        best.setdefault(outcome.setting.chunk_us, outcome)
    points = sorted(best.values(), key=lambda outcome: outcome.setting.chunk_us)
    seconds = [outcome.setting.chunk_us / SECOND for outcome in points]
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(seconds, [outcome.error for outcome in points], "o-", label="expected error", linewidth=2)
    axes.plot(seconds, [abs(outcome.bias) for outcome in points], "s--", label="of the detector, from chunking")
    axes.plot(seconds, [outcome.noise for outcome in points], "^:", label="of the noise")
    axes.set_xscale("log")
    axes.set_xticks(seconds, [f"{value:g}" for value in seconds])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("chunk length, seconds")
    axes.set_ylabel("mean absolute error")
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    _save(figure, path)


def _save(figure: "Figure", path: Path) -> None:
    try:
        figure.savefig(path, format="png", dpi=110)
    except OSError as error:
        raise InputError("unwritable", f"cannot write {path}: {error.strerror}", "choose another file") from None


def _labels(answer: Table) -> list[str]:
    if not answer_is_series(answer):
        return [""] * len(answer.rows)
    keys = [i for i in range(len(answer.columns)) if not any(isinstance(row[i], Estimate) for row in answer.rows)]
    return [" ".join(_label(row[i]) for i in keys) for row in answer.rows]


def _label(cell: Scalar | Estimate) -> str:
    return "" if cell is None or isinstance(cell, Estimate) else str(cell)
