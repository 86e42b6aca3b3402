"""`privid-admin persistence`: how long things stay in view of a camera, and how often they come back."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from privid.cli.admin_mask_search import suggest_masks
from privid.cli.ingest_store import open_store, store_errors
from privid.cli.terminal import InputError, Json, print_json, stderr, stdout
from privid.domain.files import write_whole
from privid.domain.home import Home
from privid.domain.units import SECOND, isoformat
from privid.owner.policy_file import duration_text
from query_lang.units import parse_duration, parse_moment

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from privid.persistence.cache import StudyFolder
    from privid.persistence.detect import Detector
    from privid.persistence.estimate import Estimate
    from privid.persistence.returns import Appearance
    from privid.persistence.tracks import Tracks
    from privid.video.catalog import Camera, Catalog
    from privid.video.store import SegmentStore

DETECTORS = ("motion", "fastestdet")


def persistence(
    camera: Annotated[str, typer.Argument(metavar="CAMERA", help="The camera's name.")],
    begin: Annotated[str | None, typer.Option("--from", metavar="TIME", help="ISO 8601; default: all of it.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="ISO 8601; default: all of it.")] = None,
    last: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Instead: so long before the recording's end, such as 7d.")
    ] = None,
    detector: Annotated[
        str, typer.Option(help="motion needs no weights; fastestdet finds people and vehicles.")
    ] = "motion",
    weights: Annotated[Path | None, typer.Option(metavar="FILE.onnx", help="Of the detector fastestdet.")] = None,
    fps: Annotated[str, typer.Option(help="Frames a second that are looked at, such as 5 or 1/2.")] = "5",
    missed: Annotated[
        float,
        typer.Option(min=0, max=0.99, help="Share of things that the detector misses: count some minutes by eye."),
    ] = 0.5,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="For the pictures; default: in PRIVID_HOME.")
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Search for masks as well, and write an HTML report (needs the server).")
    ] = False,
    json: Json = False,
) -> None:
    """Estimate rho and K from recorded video, with what is not known about them.

    Runs where the recordings are, and changes nothing about the camera.

    What is found is kept under PRIVID_HOME: stopped, it goes on where it was.

    \b
    $ privid-admin persistence plaza --last 7d
    """
    from privid.persistence.cache import StudyFolder
    from privid.persistence.estimate import estimate, recommended

    chosen = _detector(detector, weights)
    rate = _rate(fps)
    home = Home.from_environment()
    with store_errors(), open_store() as (catalog, store):
        known = catalog.camera(camera)
        window = _window(catalog, known, begin, end, last)
        folder = StudyFolder.of(home.root, known.name)
        tracks, looks = _tracks(catalog, store, known.name, window, chosen, rate, folder)
        said, presences = estimate(tracks, looks, missed)
        files = _write(folder, output or folder.root, said, presences, catalog, store, known.name)
    if report:
        shown = output or folder.root
        advice = recommended(said.to_json(), presences)
        suggested = suggest_masks(
            known.name,
            presences,
            shown,
            tolerance_us=advice.tolerance_us,
            margin=advice.margin,
            rho_us=advice.rho_us,
            least_K=advice.K,
            sections=[_section(said)],
        )
        if json:
            print_json(said.to_json() | {"camera": known.name, "files": files, "masks": suggested.document()})
            return
        _print(known.name, said)
        suggested.show()
        return
    if json:
        print_json(said.to_json() | {"camera": known.name, "files": files})
        return
    _print(known.name, said)
    for file in files:
        stdout().print(f"wrote {file}", markup=False)
    stdout().print(
        f"masks may shorten it: privid-admin mask suggest {known.name} --output FOLDER",
        markup=False,
    )


# --- what is given ------------------------------------------------------------------------------------------


def _detector(name: str, weights: Path | None) -> "Detector":
    from privid.persistence.detect import BadWeights, Motion, Network, has_tracker

    if not has_tracker():
        raise InputError(
            "no_tracker", "the tracker is not installed", "pip install 'privid[detectors]' where this command runs"
        )
    if name not in DETECTORS:
        raise InputError("usage", f"--detector {name} is not known", f"use one of {', '.join(DETECTORS)}")
    if name == "motion":
        if weights is not None:
            raise InputError("usage", "motion takes no weights", "add --detector fastestdet")
        return Motion()
    if weights is None:
        raise InputError("usage", "fastestdet needs its weights", "give --weights fastestdet.onnx")
    try:
        return Network(weights)
    except BadWeights as error:
        raise InputError("weights", str(error), "see docs/how-to/choose-a-detector.md") from None


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not Fraction(1, 60) <= rate <= 60:
        raise InputError("usage", f"--fps {text}: not a frame rate", "write a number such as 5, from 1/60 to 60")
    return rate


def _window(
    catalog: "Catalog", camera: "Camera", begin: str | None, end: str | None, last: str | None
) -> tuple[int, int]:
    recorded = catalog.recorded(camera.name)
    if recorded is None:
        raise InputError("video", f"nothing is recorded of {camera.name} yet", "see docs/how-to/record-cameras.md")
    if last is not None:
        if begin or end:
            raise InputError("usage", "--last goes without --from and --to", "give one or the other")
        try:
            return max(recorded.begin_us, recorded.end_us - parse_duration(last)), recorded.end_us
        except ValueError as error:
            raise InputError("usage", f"--last {last}: {error}", "write a duration such as 7d") from None
    from_us = _moment("--from", begin, camera.timezone, recorded.begin_us)
    to_us = _moment("--to", end, camera.timezone, recorded.end_us)
    if from_us >= to_us:
        raise InputError("usage", "--from must be before --to")
    return max(from_us, recorded.begin_us), min(to_us, recorded.end_us)


def _moment(option: str, text: str | None, timezone: str, otherwise: int) -> int:
    if text is None:
        return otherwise
    try:
        return parse_moment(text, timezone)
    except ValueError as error:
        raise InputError("usage", f"{option}: {error}") from None


# --- work ---------------------------------------------------------------------------------------------------


def _tracks(
    catalog: "Catalog",
    store: "SegmentStore",
    camera: str,
    window: tuple[int, int],
    detector: "Detector",
    fps: Fraction,
    folder: "StudyFolder",
) -> "tuple[Tracks, Appearance]":
    from privid.persistence.study import NothingRecorded, study

    with _progress() as bar:
        task = bar.add_task(f"looking at {camera}", total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        try:
            return study(catalog, store, camera, *window, detector, fps, folder.blocks, report)
        except NothingRecorded:
            raise InputError(
                "video",
                f"nothing is recorded of {camera} from {isoformat(window[0])} to {isoformat(window[1])}",
                f"privid-ingest timeline {camera} shows what is",
            ) from None


def _write(
    folder: "StudyFolder",
    output: Path,
    said: "Estimate",
    presences: "Tracks",
    catalog: "Catalog",
    store: "SegmentStore",
    camera: str,
) -> list[str]:
    import json

    from privid.persistence import pictures
    from privid.persistence.cells import Grid, dwell, stays
    from privid.persistence.estimate_plot import bridging
    from privid.persistence.tracks import save_tracks

    save_tracks(presences, folder.tracks)
    write_whole(folder.estimate, (json.dumps(said.to_json(), indent=2) + "\n").encode())
    grid = Grid(presences.width, presences.height, 10)
    under = pictures.background(catalog, store, camera, said.start_us, said.end_us)
    drawn = {
        "bridging.png": bridging(said.curve, said.bridge_us),
        "heatmap.png": pictures.heatmap(dwell(stays(presences, grid, said.bridge_us)), grid, under),
        "presences.png": pictures.durations([("presences", _durations(presences))]),
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, content in drawn.items():
            write_whole(output / name, content)
    except OSError as error:
        raise InputError(
            "unwritable", f"cannot write into {output}: {error.strerror}", "choose another folder"
        ) from None
    return [str(folder.tracks), str(folder.estimate), *(str(output / name) for name in drawn)]


def _durations(presences: "Tracks") -> "npt.NDArray[np.int64]":
    _, first, stop = presences.spans()
    return presences.time_us[stop - 1] + presences.sample_us - presences.time_us[first]


def _progress() -> Progress:
    """A bar of blocks, on standard error if that is a terminal."""
    console = stderr()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("blocks of 10 min,"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


# --- words --------------------------------------------------------------------------------------------------


def _findings(said: "Estimate") -> list[str]:
    """What was found, for people."""
    returns = (
        f"returns: at least one thing was in view {said.seen_K} times ({said.returned} were seen to come back)"
        if said.seen_K > 1
        else "returns: none was recognised"
    )
    return [
        f"longest presence seen {_time(said.longest_us)} ({_time(said.longest_track_us)} in one track); "
        f"99.9 % bound {_time(said.bound_us)}; with 95 % confidence none of all was longer than {_time(said.upper_us)}",
        f"without any assumption: at most {said.unseen:.2%} of presences are longer than the longest seen",
        f"{said.tracks} tracks make {said.presences} presences, bridging gaps up to {_time(said.bridge_us)}; "
        f"{said.fragmented:.0%} were seen in pieces, {said.cut:.0%} not from border to border",
        f"{returns}; {said.power:.0%} of returns would be recognised by their colours",
    ]


def _recommendation(said: "Estimate") -> str:
    return (
        f"recommended: rho {duration_text(said.rho_us)}, K {said.K}: the bound times a safety factor of "
        f"{said.safety:.2f}, and the visits seen by the share that is recognised (never fewer than 2)"
    )


def _time(length_us: int) -> str:
    return f"{length_us / SECOND:.3g} s" if length_us < 100 * SECOND else f"{length_us / SECOND:.0f} s"


def _section(said: "Estimate") -> tuple[str, list[str], dict[str, bytes]]:
    """The estimate as a part of the report."""
    from privid.persistence.estimate_plot import bridging

    words = [*_findings(said), _recommendation(said)]
    words += [f"Warning: {one}." for one in said.warnings()] + [f"Assumed: {one}." for one in said.assumptions()]
    return "How long, and how often", words, {"bridging": bridging(said.curve, said.bridge_us)}


def _print(camera: str, said: "Estimate") -> None:
    out = stdout()
    out.print(f"{camera}, {isoformat(said.start_us)} to {isoformat(said.end_us)}", style="bold", markup=False)
    if not said.presences:
        out.print("nothing was seen: look at more video, or with another detector", markup=False)
    for line in _findings(said):
        out.print(f"  {line}", markup=False, soft_wrap=True)
    out.print(_recommendation(said), markup=False, soft_wrap=True)
    for one in said.warnings():
        out.print(f"warning: {one}", markup=False, soft_wrap=True)
    for one in said.assumptions():
        out.print(f"assumed: {one}", markup=False, soft_wrap=True)
