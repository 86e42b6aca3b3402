"""What is recorded of a camera and what is missing, on the terminal, as JSON and as a picture."""

from collections.abc import Sequence
from pathlib import Path

from privid.cli.terminal import InputError, cells, print_json, stderr, stdout, table
from privid.cli.views import span_text
from privid.domain.units import SECOND, isoformat
from privid.owner.timeline_plot import LEGEND, Timeline, rows, save

_GAPS_SHOWN = 20

Missing = Sequence[tuple[int, int, str]]
"""Gaps (begin_us, end_us, reason), in order."""


def show_timeline(timeline: Timeline, gaps: Missing, png: Path | None, *, json: bool) -> None:
    """Print it, and draw it into `png` if there is one. Raises InputError."""
    if png is not None:
        try:
            save(timeline, png)
        except OSError as error:
            raise InputError("unwritable", f"cannot write {png}: {error.strerror}", "choose another file") from None
        stderr().print(f"drawn in {png}", markup=False)
    if json:
        print_json(
            {
                "camera": timeline.camera,
                "from_us": timeline.from_us,
                "to_us": timeline.to_us,
                "spans": [{"from_us": a, "to_us": b, "state": state} for a, b, state in timeline.spans],
                "gaps": [{"begin_us": a, "end_us": b, "reason": reason} for a, b, reason in gaps],
            }
        )
        return
    out = stdout()
    width = max(24, min(96, out.width - 24))
    for label, blocks in rows(timeline, width):
        out.print(f"{label:>20} |{blocks}|", markup=False, soft_wrap=True)
    out.print(LEGEND, markup=False)
    _print_gaps(gaps)


def _print_gaps(gaps: Missing) -> None:
    """The longest gaps, in order of time."""
    longest = sorted(sorted(gaps, key=lambda gap: gap[0] - gap[1])[:_GAPS_SHOWN])
    if not longest:
        return
    listing = table("FROM", "LENGTH", "REASON")
    for begin_us, end_us, reason in longest:
        length = end_us - begin_us
        listing.add_row(*cells(isoformat(begin_us), span_text(length // SECOND * SECOND or length), reason))
    stdout().print(listing)
    if len(gaps) > len(longest):
        stdout().print(f"and {len(gaps) - len(longest)} shorter ones (--json lists all)", markup=False)
