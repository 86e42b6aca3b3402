"""What is recorded of a camera over time, as a picture and as rows of blocks for the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from privid.domain.units import SECOND, isoformat

DAY = 86_400 * SECOND
COVERED, PARTLY, GAP, UNKNOWN = "█", "▒", "·", " "
LEGEND = f"{COVERED} recorded  {PARTLY} partly  {GAP} gap  (blank) unknown"
_COLOURS = {"covered": "#2a7f4f", "gap": "#c8553d", "unknown": "#d9d9d9"}


@dataclass(frozen=True, slots=True)
class Timeline:
    """Spans (from_us, to_us, "covered" | "gap" | "unknown") that fill [from_us, to_us) in order."""

    camera: str
    from_us: int
    to_us: int
    spans: Sequence[tuple[int, int, str]]


def rows(timeline: Timeline, width: int) -> list[tuple[str, str]]:
    """(begin, blocks) for each day (UTC), `width` blocks a day; a window of less than a day is one row by itself.

    A block is a gap only if nothing in it is recorded, and unknown only if nothing at all is known of it.
    """
    if timeline.to_us - timeline.from_us <= DAY:
        return [(isoformat(timeline.from_us), _blocks(timeline, timeline.from_us, timeline.to_us, width))]
    found = []
    for begin in range(timeline.from_us // DAY * DAY, timeline.to_us, DAY):
        found.append((isoformat(begin)[:10], _blocks(timeline, begin, begin + DAY, width)))
    return found


def _blocks(timeline: Timeline, from_us: int, to_us: int, width: int) -> str:
    length = to_us - from_us
    covered, gaps = [0] * width, [0] * width
    for begin, end, state in timeline.spans:
        if state == "unknown" or end <= from_us or begin >= to_us:
            continue
        counts = covered if state == "covered" else gaps
        first, last = max(0, (begin - from_us) * width // length), min(width - 1, (end - 1 - from_us) * width // length)
        for block in range(first, last + 1):
            block_from, block_to = from_us + block * length // width, from_us + (block + 1) * length // width
            counts[block] += min(end, block_to) - max(begin, block_from)
    return "".join(_block(covered[i], gaps[i], (i + 1) * length // width - i * length // width) for i in range(width))


def _block(covered_us: int, gap_us: int, length_us: int) -> str:
    if covered_us >= length_us:
        return COVERED
    if covered_us:
        return PARTLY
    return GAP if gap_us else UNKNOWN


def save(timeline: Timeline, path: Path) -> None:
    """Draw it into a PNG, as one bar. Raises OSError."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(10, 1.9), layout="constrained")
    axes = figure.subplots()
    for state, colour in _COLOURS.items():
        bars = [(_days(begin), _days(end) - _days(begin)) for begin, end, kind in timeline.spans if kind == state]
        axes.broken_barh(bars, (0, 1), facecolors=colour, linewidth=0)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set_xlim(_days(timeline.from_us), _days(timeline.to_us))
    axes.set_yticks([])
    axes.set_title(f"{timeline.camera} (UTC)", fontsize=10, loc="left")
    axes.legend(
        handles=[Patch(color=colour, label=state) for state, colour in _COLOURS.items()],
        ncols=3,
        fontsize=8,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.25),
        frameon=False,
    )
    figure.savefig(path, format="png", dpi=110)


def _days(moment_us: int) -> float:
    """As Matplotlib counts: days since the unix epoch."""
    return moment_us / DAY
