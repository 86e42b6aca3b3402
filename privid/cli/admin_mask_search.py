"""`privid-admin mask suggest`, `mask measure` and `region check`: masks and regions by what was tracked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from privid.cli.config import owner_target
from privid.cli.ingest_store import open_store, store_errors
from privid.cli.pictures import find_camera
from privid.cli.terminal import InputError, Json, cells, print_json, stderr, stdout, table
from privid.client import OwnerClient
from privid.domain.home import Home
from privid.domain.policy import CameraPolicy, RegionScheme
from privid.domain.units import NANO, SECOND
from privid.owner.guarantee import plain_duration
from privid.owner.shapes import Polygon, polygon_of_text
from query_lang.units import parse_duration

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from privid.persistence.cache import StudyFolder
    from privid.persistence.cells import Grid
    from privid.persistence.estimate import Recommended
    from privid.persistence.masks import Measured
    from privid.persistence.pictures import Picture
    from privid.persistence.regions import Crossings
    from privid.persistence.report import Study
    from privid.persistence.tracks import Tracks

MARGIN = 1.5
"""Of what was measured on tracks that no study has estimated the margin of."""
TOLERANCE_US = 2 * SECOND
"""Likewise, for gaps that are none."""
LEAST_K = 2
"""Without a study, of a camera without a policy: whoever was there once may come back."""
CELLS = 3000
"""The grid that is chosen has about so many cells: enough for the shape of a bench, and quick."""

CameraName = Annotated[str, typer.Argument(metavar="CAMERA", help="The camera's name.")]
TracksFile = Annotated[
    Path | None,
    typer.Option("--tracks", metavar="FILE.npz", help="What was tracked; by default by the last persistence CAMERA."),
]
Tolerance = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help="Gaps of a track up to this long are no gaps; by default as in the study."),
]


def suggest(
    camera: CameraName,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="For the report and pictures.")],
    tracks: TracksFile = None,
    cell: Annotated[int | None, typer.Option(min=1, help="Pixels of a side of the grid's cells.")] = None,
    tolerance: Tolerance = None,
    margin: Annotated[
        float | None,
        typer.Option(min=1, max=100, help="What was measured is multiplied by this; by default the study's."),
    ] = None,
    rho: Annotated[
        str | None, typer.Option(help="Longest presence without a mask; by default the measured one times the margin.")
    ] = None,
    k: Annotated[
        int | None, typer.Option("--K", "-K", min=1, help="Presences of one person; by default as now, or the study's.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="What the names of the masks begin with.")] = "hides",
    json: Json = False,
) -> None:
    """Find masks that shorten presences, and write a report with pictures and the command that applies them.

    What the last persistence CAMERA recommends is the default; for --tracks FILE.npz it is a margin of 1.5 and gaps of
    2s. Nothing is changed. The report shows what the camera sees; the picture behind it needs the store of this
    machine.

    \b
    $ privid-admin mask suggest plaza --output report
    """
    found = _tracks(camera, tracks)
    advice = None if tracks else _advice(camera, found)
    rho_us = None if rho is None else _duration("--rho", rho)
    if advice and rho is None and margin is None:
        rho_us = advice.rho_us
    result = suggest_masks(
        camera,
        found,
        output,
        cell=cell,
        tolerance_us=_tolerance(tolerance, advice),
        margin=margin or (advice.margin if advice else MARGIN),
        rho_us=rho_us,
        K=k,
        least_K=advice.K if advice else 1,
        prefix=prefix,
    )
    if json:
        print_json(result.document())
    else:
        result.show()


@dataclass(frozen=True, slots=True, eq=False)
class Suggested:
    """What was found, and where it was written."""

    study: "Study"
    folder: Path
    files: tuple[Path, ...]

    @property
    def command(self) -> str:
        """What makes it hold."""
        return self.study.proposed.command(self.folder, "1" if self.study.first_policy else None)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        from privid.persistence.report import QUESTIONS, noise

        proposed = self.study.proposed
        measured = {one.name: one for one in proposed.masks}
        return {
            "camera": proposed.camera,
            "rho_s": proposed.rho_us / SECOND,
            "K": proposed.K,
            "margin": proposed.factor,
            "questions": [question.title for question in QUESTIONS],
            "policies": [
                {
                    "mask": row.mask,
                    "hidden_share": row.share,
                    "rho_s": row.rho_us / SECOND,
                    "segments": row.segments,
                    "interval95": list(row.interval95),
                    "measured": [
                        {"rho_s": held.rho_us / SECOND, "segments": held.segments}
                        for held in (measured[row.mask].held if row.mask in measured else ())
                    ],
                }
                for row in noise(proposed, self.study.current)
            ],
            "command": self.command,
            "files": [str(file) for file in self.files],
        }

    def show(self) -> None:
        """For people."""
        from privid.persistence.report import noise

        proposed, out = self.study.proposed, stdout()
        listing = table("MASK", "HIDES", "SHOWS AT MOST", "SEGMENTS", "NOISE AT EPSILON 1", right=("SEGMENTS",))
        for row in noise(proposed, self.study.current):
            said = ", ".join("-" if value is None else f"±{value:.3g}" for value in row.interval95)
            shown = plain_duration(row.rho_us)
            listing.add_row(*cells(row.mask, f"{100 * row.share:.3g} %", shown, row.segments, said))
        out.print(listing)
        if not proposed.masks:
            out.print("no mask gains much: nobody lingers in one place for long", markup=False)
        out.print(f"look at {self.files[0]}, then", markup=False)
        out.print(f"  {self.command}", markup=False, soft_wrap=True)


def suggest_masks(
    camera: str,
    tracks: "Tracks",
    folder: Path,
    *,
    tolerance_us: int,
    margin: float,
    cell: int | None = None,
    rho_us: int | None = None,
    K: int | None = None,  # noqa: N803  # the paper's name
    least_K: int = 1,  # noqa: N803
    prefix: str = "hides",
    sections: Sequence[tuple[str, Sequence[str], Mapping[str, bytes]]] = (),
) -> Suggested:
    """Search for masks, measure them, and write the report. `sections` are what others have to say in it.

    Without K it is that of the camera's policy, but at least `least_K`: tracks under-count returns, so they never lower
    it. Raises InputError.
    """
    from privid.persistence import masks as measures
    from privid.persistence.cells import stays
    from privid.persistence.mask_search import RULES, search
    from privid.persistence.regions import crossings
    from privid.persistence.report import Proposal, Study, write_report

    current, first = _current(camera, tracks)
    grid = _grid(tracks, cell)
    found = stays(tracks, grid, tolerance_us)
    if not len(found):
        raise InputError("no_tracks", "nothing was tracked, so there is nothing to hide", "take a longer time")
    most = int(max(measures.SHARES) * grid.rows * grid.columns)
    orders = []
    with _progress() as bar:
        task = bar.add_task("looking for masks", total=most * len(RULES))
        for number, rule in enumerate(RULES):

            def report(done: int, before: int = number * most) -> None:
                bar.update(task, completed=before + done)

            orders.append(search(found, rule, most, report))
        bar.update(task, completed=most * len(RULES), description="measuring them")
        taken = set(current.masks)
        masks = [replace(one, name=_free(prefix, one, taken)) for one in measures.suggest(found, orders)]
    longest = measures.terms(found, orders[0].mask(0))[0].rho_us
    wanted = rho_us or measures.round_up(longest * margin)
    # Masks that are there already stay, and none may show longer than the camera's own rho.
    wanted = max([wanted, *(mask.rho_us for mask in current.masks.values())])
    study = Study(
        proposed=Proposal(camera, wanted, K or max(current.K, least_K), margin, tuple(masks)),
        current=current,
        found=found,
        order=orders[0],
        under=_background(camera, tracks),
        start_us=tracks.start_us,
        end_us=tracks.end_us,
        first_policy=first,
        regions={
            name: (inside, crossings(tracks, names, inside))
            for name, (names, inside) in _drawn_schemes(current.regions).items()
        },
        sections=sections,
    )
    try:
        return Suggested(study, folder, tuple(write_report(study, folder)))
    except OSError as error:
        raise InputError(
            "unwritable", f"cannot write into {folder}: {error.strerror}", "choose another folder"
        ) from None


def measure(
    camera: CameraName,
    tracks: TracksFile = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Black or transparent where it hides.")
    ] = None,
    polygon: Annotated[
        list[str] | None, typer.Option(metavar="X,Y X,Y ...", help="Hides what is inside. May be repeated.")
    ] = None,
    grid_cells: Annotated[
        str | None, typer.Option("--cells", metavar="C,R-C,R ...", help="Cells of a grid, counted from 0,0.")
    ] = None,
    cell: Annotated[int | None, typer.Option(min=1, help="Pixels of a side of the grid's cells.")] = None,
    tolerance: Tolerance = None,
    json: Json = False,
) -> None:
    """Measure for how long and how often tracked things show under a mask: of the camera's, all of them by default.

    \b
    $ privid-admin mask measure plaza --polygon "0,0 384,0 384,96 0,96"
    """
    from privid.persistence import masks as measures

    found = _tracks(camera, tracks)
    drawn = _drawn(found, picture, polygon, grid_cells, cell)
    if not drawn:
        drawn = _of_camera(camera, found)
    tolerance_us = _tolerance(tolerance, None if tracks else _advice(camera, found))
    results = [_measured(measures.measure, found, name, hidden, tolerance_us) for name, hidden in drawn.items()]
    if json:
        print_json({"camera": camera, "masks": [_measured_json(one) for one in results]})
        return
    listing = table("MASK", "HIDES", "SHOWS AT MOST", "SEGMENTS", "OR", right=("SEGMENTS",))
    for one in results:
        others = [held for held in one.held if held != one.terms]
        said = ", ".join(f"{plain_duration(held.rho_us)} x {held.segments}" for held in others)
        shown = plain_duration(one.terms.rho_us) if one.terms.rho_us else "nothing shows"
        listing.add_row(*cells(one.name, f"{100 * one.share:.3g} %", shown, one.terms.segments, said or "-"))
    stdout().print(listing)
    stdout().print("as tracked, without a margin: promise more than this", markup=False)


def check(
    camera: CameraName,
    tracks: TracksFile = None,
    scheme: Annotated[str | None, typer.Argument(metavar="[SCHEME]", help="Of the camera's; by default all.")] = None,
    polygon: Annotated[
        list[str] | None, typer.Option(metavar="REGION=X,Y X,Y ...", help="A region instead. May be repeated.")
    ] = None,
    grid: Annotated[str | None, typer.Option(metavar="COLUMNSxROWS", help="Equal rectangles instead.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Draw them here.")] = None,
    json: Json = False,
) -> None:
    """Check on tracks how often things cross the borders of a scheme, and say which boundary it may have.

    \b
    $ privid-admin region check plaza --grid 2x1
    """
    from privid.persistence.regions import crossings

    found = _tracks(camera, tracks)
    schemes = _schemes(camera, found, scheme, polygon, grid)
    seen = {name: crossings(found, names, inside) for name, (names, inside) in schemes.items()}
    files = _draw_regions(camera, found, schemes, output)
    if json:
        print_json({"camera": camera, "schemes": [_crossings_json(*one) for one in seen.items()], "files": files})
        return
    for name, one in seen.items():
        times = ", ".join(f"{count} within {chunk // SECOND} s" for chunk, count in one.within.items())
        stdout().print(f"{name}: {one.objects} tracks, {one.at_once} in two regions at once, {times}", markup=False)
        stdout().print(f"  {one.advice()}", markup=False, soft_wrap=True)
    for file in files:
        stdout().print(f"drawn in {file}", markup=False)


def grid_shapes(text: str, width: int, height: int) -> dict[str, tuple[Polygon, ...]]:
    """Equal rectangles of a picture by name, from text such as `2x1`. Raises InputError."""
    from privid.persistence.regions import grid_regions

    columns, _, rows = text.partition("x")
    try:
        return {name: (shape,) for name, shape in grid_regions(width, height, int(columns), int(rows)).items()}
    except ValueError as error:
        said = str(error) if columns.isdigit() and rows.isdigit() else f"--grid {text} is no number of parts"
        raise InputError("drawing", said, "write --grid 2x1 for two regions side by side") from None


# --- what is given ------------------------------------------------------------------------------------------


def _tracks(camera: str, path: Path | None) -> "Tracks":
    from privid.persistence.tracks import BadTracks, load_tracks

    hint = f"privid-admin persistence {camera} makes them"
    found = path or _study(camera).tracks
    try:
        return load_tracks(found)
    except BadTracks as error:
        raise InputError("tracks", str(error), hint) from None
    except OSError as error:
        if path is None:
            raise InputError("tracks", f"nothing was tracked at {camera} yet", f"{hint}, or give --tracks") from None
        raise InputError("unreadable", f"cannot read {path}: {error.strerror}", "check the path") from None


def _study(camera: str) -> "StudyFolder":
    from privid.persistence.cache import StudyFolder

    return StudyFolder(Home.from_environment().root / "persistence" / camera)


def _advice(camera: str, tracks: "Tracks") -> "Recommended | None":
    from privid.persistence.estimate import load_recommended

    return load_recommended(_study(camera).estimate, tracks)


def _tolerance(given: str | None, advice: "Recommended | None") -> int:
    if given is not None:
        return _duration("--tolerance", given)
    return advice.tolerance_us if advice else TOLERANCE_US


def _duration(option: str, text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InputError("usage", f"{option} {text}: {error}", "write a duration such as 2s") from None


def _grid(tracks: "Tracks", cell: int | None) -> "Grid":
    from privid.persistence.cells import Grid

    return Grid(tracks.width, tracks.height, cell or max(1, round((tracks.width * tracks.height / CELLS) ** 0.5)))


def _current(camera: str, tracks: "Tracks") -> tuple[CameraPolicy, bool]:
    """The camera's policy, and whether there is none yet and it is only a start."""
    with OwnerClient(owner_target()) as client:
        found = find_camera(client, camera)
    if found.width and (found.width, found.height) != (tracks.width, tracks.height):
        raise InputError(
            "tracks",
            f"the tracks are of {tracks.width}x{tracks.height} pixels, the recording of {camera} has "
            f"{found.width}x{found.height}",
            "track this camera",
        )
    if found.policy is not None:
        return found.policy, False
    start = CameraPolicy(epsilon_nano=NANO, rho_us=1, K=LEAST_K, timezone=found.timezone)
    return replace(start, width=tracks.width, height=tracks.height), True


def _free(prefix: str, one: "Measured", taken: set[str]) -> str:
    """A name that the camera's masks do not have: a picture never changes under its name."""
    name = wanted = prefix + one.name.removeprefix("hides")
    number = 2
    while name in taken:
        name, number = f"{wanted}_v{number}", number + 1
    taken.add(name)
    return name


def _background(camera: str, tracks: "Tracks") -> "Picture | None":
    """The view, if the camera's video is in the store that is configured here."""
    from privid.persistence.pictures import background
    from privid.video.errors import UnknownCamera

    with store_errors(), open_store() as (catalog, store):
        try:
            return background(catalog, store, camera, tracks.start_us, tracks.end_us)
        except UnknownCamera:
            return None


def _drawn(
    tracks: "Tracks", picture: Path | None, polygon: list[str] | None, named: str | None, cell: int | None
) -> "dict[str, npt.NDArray[np.bool_]]":
    from privid.owner.drawings import DrawingError, read_png
    from privid.owner.rasterise import rasterise
    from privid.persistence.masks import cells_of

    try:
        found = {}
        if picture is not None:
            found[picture.stem] = read_png(picture)
        if polygon:
            polygons = [polygon_of_text(text) for text in polygon]
            found["polygons"] = rasterise(polygons, tracks.width, tracks.height)
        if named is not None:
            grid = _grid(tracks, cell)
            found["cells"] = grid.pixels(cells_of(named, grid))
    except (DrawingError, ValueError) as error:
        raise InputError("drawing", str(error), "see how to use masks and regions") from None
    return found


def _of_camera(camera: str, tracks: "Tracks") -> "dict[str, npt.NDArray[np.bool_]]":
    """What each of the camera's masks hides, after the view without a mask."""
    import numpy as np

    from privid.video import bitmaps

    with OwnerClient(owner_target()) as client:
        policy = find_camera(client, camera).policy
        masks = {} if policy is None else {name: mask for name, mask in policy.masks.items() if mask.picture}
        drawn = {name: bitmaps.decode(client.picture(mask.picture))[0] for name, mask in masks.items()}
    return {"none": np.zeros((tracks.height, tracks.width), np.bool_), **drawn}


def _measured(measure: Any, *arguments: Any) -> "Measured":
    try:
        found: Measured = measure(*arguments)
    except ValueError as error:
        raise InputError("drawing", str(error), "draw it at the size of the recording") from None
    return found


def _schemes(
    camera: str, tracks: "Tracks", scheme: str | None, polygon: list[str] | None, grid: str | None
) -> "dict[str, tuple[tuple[str, ...], npt.NDArray[np.bool_]]]":
    """The regions' names and pixels, shape (regions, height, width), by scheme."""
    import numpy as np

    from privid.owner.rasterise import rasterise

    if polygon and grid:
        raise InputError("usage", "--polygon and --grid are two ways to say it", "give one of them")
    if polygon or grid:
        try:
            if grid:
                shapes = grid_shapes(grid, tracks.width, tracks.height)
            else:
                pairs = [text.partition("=") for text in polygon or ()]
                shapes = {name: (polygon_of_text(value),) for name, _, value in pairs}
            inside = [rasterise(shape, tracks.width, tracks.height) for shape in shapes.values()]
        except ValueError as error:
            hint = "write --grid 2x1, or --polygon 'north=0,0 384,0 384,96'"
            raise InputError("drawing", str(error), hint) from None
        return {scheme or "scheme": (tuple(shapes), np.stack(inside))}
    with OwnerClient(owner_target()) as client:
        policy = find_camera(client, camera).policy
    have: dict[str, RegionScheme] = {} if policy is None else dict(policy.regions)
    found = _drawn_schemes({name: one for name, one in have.items() if scheme in (None, name)})
    if not found:
        known = ", ".join(have) or "none yet"
        raise InputError("unknown_scheme", f"{camera} has no such scheme", f"schemes: {known}; or give --grid")
    return found


def _drawn_schemes(schemes: Mapping[str, RegionScheme]) -> "dict[str, tuple[tuple[str, ...], npt.NDArray[np.bool_]]]":
    """The regions' names and pixels of schemes of a camera's policy, those that are drawn."""
    from privid.video import bitmaps

    with OwnerClient(owner_target()) as client:
        return {
            name: (one.names, ~bitmaps.decode(client.picture(one.picture)))
            for name, one in schemes.items()
            if one.picture
        }


def _draw_regions(camera: str, tracks: "Tracks", schemes: Mapping[str, Any], output: Path | None) -> list[str]:
    if output is None:
        return []
    from privid.persistence.pictures import regions_preview

    under = _background(camera, tracks)
    files = []
    try:
        output.mkdir(parents=True, exist_ok=True)
        for number, (names, inside) in enumerate(schemes.values(), 1):
            path = output / f"regions-{number}.png"
            path.write_bytes(regions_preview(inside, names, under))
            files.append(str(path))
    except OSError as error:
        raise InputError(
            "unwritable", f"cannot write into {output}: {error.strerror}", "choose another folder"
        ) from None
    return files


def _measured_json(one: "Measured") -> dict[str, Any]:
    return {
        "name": one.name,
        "hidden_share": one.share,
        "unseen_share": one.unseen,
        "rho_s": one.terms.rho_us / SECOND,
        "segments": one.terms.segments,
        "held": [{"rho_s": held.rho_us / SECOND, "segments": held.segments} for held in one.held],
    }


def _crossings_json(name: str, one: "Crossings") -> dict[str, Any]:
    return {
        "scheme": name,
        "regions": list(one.names),
        "tracks": one.objects,
        "at_once": one.at_once,
        "within_s": {str(chunk // SECOND): count for chunk, count in one.within.items()},
        "pairs": [{"regions": [one.names[i], one.names[j]], "tracks": count} for i, j, count in one.pairs],
        "boundary": one.boundary,
        "advice": one.advice(),
    }


def _progress() -> Progress:
    """A bar with the time that is left, on standard error if that is a terminal."""
    console = stderr()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
