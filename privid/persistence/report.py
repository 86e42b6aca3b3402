"""The report for an owner: one HTML file that needs nothing else, and its pictures as PNG files beside it.

It holds what the camera saw, so it stays with the owner. The noise in its table comes from the planner that plans
analysts' queries, under the very policy that is proposed.
"""

import base64
import html
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privid.domain.files import write_whole
from privid.domain.policy import NO_MASK, CameraPolicy, MaskPolicy
from privid.domain.units import NANO, isoformat
from privid.owner.drawings import write_png
from privid.owner.guarantee import guarantee, plain_duration
from privid.owner.policy_file import duration_text
from privid.persistence import pictures
from privid.persistence.cells import Stays, dwell, periods
from privid.persistence.mask_search import Search
from privid.persistence.masks import Measured, Terms, whole_cells
from privid.persistence.pictures import Picture
from privid.persistence.regions import Crossings
from privid.privacy.certificate import certify
from privid.privacy.explain import interval95
from query_lang import CameraSchema, Catalog, compile_script
from query_lang.errors import QueryError

REPORT = "report.html"
_MONDAY = datetime(2026, 9, 7, tzinfo=UTC)
"""Any day: the noise of these queries depends on no date."""
_PROCESS = "PROCESS chunks USING 'detector.py' TIMEOUT 1 sec PRODUCING {rows} WITH SCHEMA (n:NUMBER=0) INTO seen;"


@dataclass(frozen=True, slots=True)
class Question:
    """A typical query: what it asks, for how long, in chunks of how many seconds, and its SELECT at epsilon 1."""

    title: str
    hours: int
    chunk_s: int
    rows: str
    select: str

    def text(self, camera: str, mask: str) -> str:
        """The query under a mask."""
        begin, end = (
            moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (_MONDAY, _MONDAY + timedelta(hours=self.hours))
        )
        under = "" if mask == NO_MASK else f" WITH MASK {mask}"
        return (
            f"SPLIT {camera} BEGIN {begin} END {end} BY TIME {self.chunk_s} sec{under} INTO chunks;\n"
            f"{_PROCESS.format(rows=self.rows)}\n{self.select} CONSUMING 1.0;"
        )


QUESTIONS = (
    Question("average in view, over an hour", 1, 5, "EXACTLY 1 ROWS", "SELECT AVG(RANGE(n, 0, 20)) FROM seen"),
    Question("how many pass in a day", 24, 10, "5 ROWS", "SELECT COUNT(*) FROM seen"),
    Question(
        "how many pass in each hour of a day",
        24,
        10,
        "EXACTLY 1 ROWS",
        "SELECT hour(chunk) AS begin, SUM(RANGE(n, 0, 5)) FROM seen GROUP BY hour(chunk)",
    ),
)
"""What most analysts ask, with ranges for a view of up to twenty people."""


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """What is proposed for a camera: its terms without a mask, and masks, each with terms that hold with a margin.

    `factor` (at least 1) is the margin: what was measured is multiplied by it, for what was not seen.
    """

    camera: str
    rho_us: int
    K: int
    factor: float
    masks: tuple[Measured, ...]

    def terms(self) -> list[tuple[Measured, Terms]]:
        """Each mask with what is promised under it: never more than without a mask."""
        return [
            (one, Terms(min(self.rho_us, held.rho_us), held.segments))
            for one in self.masks
            for held in [one.terms.safer(self.factor)]
        ]

    def policy(self, current: CameraPolicy) -> CameraPolicy:
        """The camera's policy with the proposal in it."""
        masks = {one.name: MaskPolicy(held.rho_us, held.segments) for one, held in self.terms()}
        return replace(current, rho_us=self.rho_us, K=self.K, masks={**current.masks, **masks})

    def command(self, folder: Path, epsilon: str | None = None) -> str:
        """The command that makes it a version of the camera's policy; a first one needs an epsilon."""
        words = ["privid-admin", "policy", "set", self.camera]
        words += ["--rho", duration_text(self.rho_us), "--K", str(self.K)]
        words += ["--epsilon", epsilon] if epsilon else []
        for one, held in self.terms():
            words += ["--mask", f"{folder / one.name}.png:{duration_text(held.rho_us)}:{held.segments}"]
        return shlex.join(words)


@dataclass(frozen=True, slots=True)
class Noise:
    """What one policy means: what shows under a mask, and the half width of the 95 % interval of each question."""

    mask: str
    share: float
    rho_us: int
    segments: int
    interval95: tuple[float | None, ...]


def noise(proposed: Proposal, current: CameraPolicy) -> list[Noise]:
    """The table of policy against noise: without a mask, and under each. None where epsilon 1 is too little."""
    policy = proposed.policy(current)
    shares = {NO_MASK: 0.0} | {one.name: one.share for one in proposed.masks}
    return [
        Noise(
            mask,
            share,
            policy.under(mask).rho_us,
            policy.under(mask).segments,
            tuple(_interval(question, proposed.camera, policy, mask) for question in QUESTIONS),
        )
        for mask, share in shares.items()
    ]


def _interval(question: Question, camera: str, policy: CameraPolicy, mask: str) -> float | None:
    names = Catalog({camera: CameraSchema(camera, masks=tuple(policy.masks), fps=policy.fps)}, executables=None)
    try:
        script = compile_script(question.text(camera, mask), names)
        (release,) = certify(script, {camera: policy}, NANO).releases
    except QueryError:
        return None
    return interval95(release)


# --- writing ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """All that a report shows.

    `found` are the stays on the search's grid, `order` is the search, `regions` are schemes that were checked: names,
    pixels of each region (regions, height, width), and what was seen at their borders. `sections` are others' words and
    pictures: a heading, paragraphs, and PNG files by title.
    """

    proposed: Proposal
    current: CameraPolicy
    found: Stays
    order: Search
    under: Picture | None
    start_us: int
    end_us: int
    first_policy: bool = False
    regions: Mapping[str, tuple[npt.NDArray[np.bool_], Crossings]] = field(default_factory=dict)
    sections: Sequence[tuple[str, Sequence[str], Mapping[str, bytes]]] = ()


def write_report(study: Study, folder: Path) -> list[Path]:
    """Write the report, its pictures, and each mask as a picture that `policy set --mask` takes, into a folder.

    Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    proposed, grid = study.proposed, study.found.grid
    drawn = {
        "heatmap": pictures.heatmap(dwell(study.found), grid, study.under),
        "curve": pictures.curve(study.order, proposed.masks),
        "durations": pictures.durations(_durations(study)),
    }
    drawn |= {f"preview-{one.name}": pictures.preview(one.hidden, study.under) for one in proposed.masks}
    drawn |= {
        f"regions-{name}": pictures.regions_preview(inside, seen.names, study.under)
        for name, (inside, seen) in study.regions.items()
    }
    written = [folder / f"{name}.png" for name in drawn]
    for path, content in zip(written, drawn.values(), strict=True):
        write_whole(path, content)
    for one in proposed.masks:
        written.append(folder / f"{one.name}.png")
        write_png(one.hidden, written[-1])
    write_whole(folder / REPORT, _page(study, drawn, folder).encode())
    return [folder / REPORT, *written]


def _durations(study: Study) -> list[tuple[str, npt.NDArray[np.int64]]]:
    """The lengths of what shows: without a mask, and under each."""
    found = study.found
    everything = periods(found, np.ones(len(found), np.bool_))
    lengths = [("no mask", everything.end_us - everything.start_us)]
    for one in study.proposed.masks:
        # A mask of pixels hides a cell of the grid only where it hides all of it.
        shown = periods(found, found.shown(whole_cells(one.hidden, found.grid)) > 0)
        lengths.append((one.name, shown.end_us - shown.start_us))
    return lengths


def _page(study: Study, drawn: Mapping[str, bytes], folder: Path) -> str:
    proposed, current = study.proposed, study.current
    policy = proposed.policy(current)
    title = f"{proposed.camera}: from video to policy"
    margin = f" with a margin of {proposed.factor:.3g}" if proposed.factor != 1 else ""
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _text(
            f"Recorded from {isoformat(study.start_us)} to {isoformat(study.end_us)}; "
            f"{len(study.found.objects)} tracks. This page shows what the camera sees: keep it to yourself."
        ),
        "<h2>Proposal</h2>",
        _text(
            f"rho {plain_duration(policy.rho_us)}, K {policy.K}{margin}. {guarantee(proposed.camera, policy)} "
            "These are promises of yours, and they follow from what a tracker saw in a limited time. A track is not a "
            "person: it breaks off behind a post, and who comes back is another one. When unsure take larger numbers."
        ),
        _text("To make it hold, with a preview and a question first:"),
        f"<pre id=command>{html.escape(proposed.command(folder, '1' if study.first_policy else None))}</pre>",
        "<h2>Masks against noise</h2>",
        _noise_table(noise(proposed, current)),
        _text(
            "Each number is half of a 95 % interval at epsilon 1, from the planner. Under a mask one presence shows at "
            "most so many segments of at most so long each."
        ),
        "<h2>Where things stay</h2>",
        _image("heatmap", drawn),
        "<h2>How long they stay</h2>",
        _image("durations", drawn),
        "<h2>What masking gains</h2>",
        _image("curve", drawn),
        _text(
            f"The line masks one cell after the other, as the search found them; whoever is hidden for at most "
            f"{plain_duration(study.order.rule.bridge_us)} counts as shown there. The points are the masks below."
        ),
    ]
    for one in proposed.masks:
        parts += [
            f"<h3>{html.escape(one.name)}</h3>",
            _text(
                f"Hides {100 * one.share:.3g} % of the picture. Measured: at most {one.terms.segments} "
                f"segment{'s' if one.terms.segments != 1 else ''} of at most {plain_duration(one.terms.rho_us)}; "
                f"{100 * one.unseen:.3g} % of the tracks do not show at all."
            ),
            _image(f"preview-{one.name}", drawn),
        ]
    for name, (_, seen) in study.regions.items():
        parts += [f"<h2>Regions: {html.escape(name)}</h2>", _text(seen.advice()), _image(f"regions-{name}", drawn)]
    for heading, paragraphs, images in study.sections:
        parts.append(f"<h2>{html.escape(heading)}</h2>")
        parts += [_text(paragraph) for paragraph in paragraphs]
        parts += [_image(name, images) for name in images]
    body = "\n".join(parts)
    return f"<!doctype html>\n<html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>{_STYLE}\n{body}\n"


_STYLE = """<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
img { max-width: 100%; height: auto } table { border-collapse: collapse }
td, th { padding: .3rem .8rem; text-align: right } td { white-space: nowrap }
th { border-bottom: 1px solid #888 } td:first-child, th:first-child { text-align: left }
pre { background: #f3f3f3; padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere }
</style>"""


def _noise_table(rows: Sequence[Noise]) -> str:
    head = ["mask", "hides", "shows at most", "segments", *(question.title for question in QUESTIONS)]
    lines = [f"<tr>{''.join(f'<th>{html.escape(text)}</th>' for text in head)}</tr>"]
    for row in rows:
        cells = [
            "no mask" if row.mask == NO_MASK else row.mask,
            f"{100 * row.share:.3g} %",
            plain_duration(row.rho_us),
            str(row.segments),
            *("epsilon 1 is too little" if value is None else f"±{value:.3g}" for value in row.interval95),
        ]
        lines.append(f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in cells)}</tr>")
    return f"<table id=noise>{''.join(lines)}</table>"


def _text(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _image(name: str, drawn: Mapping[str, bytes]) -> str:
    content = base64.b64encode(drawn[name]).decode()
    return f'<img alt="{html.escape(name)}" src="data:image/png;base64,{content}">'
