"""`privid-admin mask` and `privid-admin region`: what owners hide, and what they divide a view into."""

import json as json_format
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from privid.cli.admin_mask_search import grid_shapes
from privid.cli.admin_policy import apply_policies
from privid.cli.config import owner_target
from privid.cli.confirm import Yes
from privid.cli.pictures import find_camera, hidden_part, save_pictures
from privid.cli.terminal import SETTINGS, InputError, Json, cells, print_json, read_text, stdout, table
from privid.client import OwnerClient
from privid.domain.policy import BOUNDARIES, CameraPolicy, MaskPolicy, RegionScheme
from privid.owner.guarantee import plain_duration
from privid.owner.policy_file import duration_text
from privid.owner.shapes import Drawings, Polygon, Shape, polygon, polygon_of_text
from query_lang.units import parse_duration

mask_app = typer.Typer(help="Masks: what queries with WITH MASK do not see.", **SETTINGS)
region_app = typer.Typer(help="Region schemes: what BY REGION divides a view into.", **SETTINGS)

CameraName = Annotated[str, typer.Argument(metavar="CAMERA", help="The camera's name.")]
Folder = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the pictures go.")]


@mask_app.command(name="add")
def mask_add(
    camera: CameraName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="As queries write it.")],
    rho: Annotated[str, typer.Option(help="Longest presence that still shows under it, such as 15s.")],
    segments: Annotated[int, typer.Option(min=1, help="How often one presence shows at most.")] = 1,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Black or transparent where it hides; of the recording's size."),
    ] = None,
    polygon: Annotated[
        list[str] | None, typer.Option(metavar="X,Y X,Y ...", help="Hides what is inside. May be repeated.")
    ] = None,
    polygons: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="A list of polygons, each a list of points, each x and y in a list."),
    ] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Add a mask, by a new version of the camera's policy. What it hides never changes under its name.

    \b
    $ privid-admin mask add plaza benches --picture benches.png --rho 15s
    """
    given = [option for option in (picture, polygon, polygons) if option]
    if len(given) != 1:
        raise InputError("usage", "what does it hide?", "give one of --picture, --polygon, --polygons")
    shape: Shape
    if picture is not None:
        shape = picture
    elif polygons is not None:
        found = _json(polygons)
        if not isinstance(found, list) or not found:
            raise InputError("drawing", f"{polygons} is not a list of polygons", "write [[[0, 0], [384, 0], [384, 9]]]")
        shape = tuple(_polygon(one, str(polygons)) for one in found)
    else:
        shape = tuple(_polygon_of_text(text) for text in polygon or ())
    try:
        terms = MaskPolicy(parse_duration(rho), segments)
    except ValueError as error:
        raise InputError("usage", f"--rho {rho}: {error}", "write a duration such as 15s") from None
    with OwnerClient(owner_target()) as client:
        policy = _policy(client, camera)
        changed = _changed(policy, masks={**policy.masks, name: terms})
        apply_policies(client, {camera: changed}, {camera: Drawings(masks={name: shape})}, yes=yes, json=json)


@mask_app.command(name="list")
def mask_list(camera: CameraName, json: Json = False) -> None:
    """List a camera's masks, with how much they hide.

    \b
    $ privid-admin mask list plaza
    """
    with OwnerClient(owner_target()) as client:
        policy = _policy(client, camera)
        pictures = {name: client.picture(mask.picture) for name, mask in policy.masks.items() if mask.picture}
    if json:
        rows = [
            {"name": n, "rho": duration_text(m.rho_us), "segments": m.segments, "picture": m.picture or None}
            for n, m in policy.masks.items()
        ]
        print_json({"camera": camera, "masks": rows})
        return
    if not policy.masks:
        stdout().print(f"{camera} has no masks yet: privid-admin mask add {camera} NAME", markup=False)
        return
    listing = table("NAME", "SHOWS AT MOST", "SEGMENTS", "HIDES", right=("SEGMENTS",))
    for name, mask in policy.masks.items():
        said = hidden_part(pictures[name]) if name in pictures else "not drawn yet"
        listing.add_row(*cells(name, plain_duration(mask.rho_us), mask.segments, said))
    stdout().print(listing)


@mask_app.command(name="show")
def mask_show(
    camera: CameraName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The mask's name.")],
    json: Json = False,
) -> None:
    """Draw what a mask hides, in the terminal.

    \b
    $ privid-admin mask show plaza benches
    """
    with OwnerClient(owner_target()) as client:
        policy = _policy(client, camera)
        mask = policy.masks.get(name)
        if mask is None or not mask.picture:
            raise InputError(
                "unknown_mask",
                f"{camera} has no picture of a mask {name!r}",
                f"masks: {', '.join(policy.masks) or '-'}",
            )
        picture = client.picture(mask.picture)
    from privid.owner.drawings import sketch
    from privid.video import bitmaps

    hidden = bitmaps.decode(picture)[0]
    if json:
        height, width = hidden.shape
        share = float(hidden.mean())
        print_json({"camera": camera, "name": name, "width": width, "height": height, "hidden_share": share})
        return
    stdout().print(f"{name} hides {hidden_part(picture)} of the picture", markup=False)
    for line in sketch(hidden):
        stdout().print(Text(f"  {line}"))


@mask_app.command(name="export")
def mask_export(camera: CameraName, output: Folder = Path(), json: Json = False) -> None:
    """Write a camera's masks as pictures, black where they hide.

    \b
    $ privid-admin mask export plaza --output pictures
    """
    with OwnerClient(owner_target()) as client:
        policy = replace(_policy(client, camera), regions={})
        _export(save_pictures(client, {camera: policy}, output, Path())[camera].masks, json=json)


@region_app.command(name="add")
def region_add(
    camera: CameraName,
    name: Annotated[str, typer.Argument(metavar="SCHEME", help="As queries write it.")],
    polygon: Annotated[
        list[str] | None, typer.Option(metavar="REGION=X,Y X,Y ...", help="A region. May be repeated.")
    ] = None,
    picture: Annotated[
        list[str] | None,
        typer.Option(metavar="REGION=FILE.png", help="A region: black or transparent outside it. May be repeated."),
    ] = None,
    polygons: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="All regions: an object of polygons by name.")
    ] = None,
    grid: Annotated[
        str | None, typer.Option(metavar="COLUMNSxROWS", help="Equal rectangles instead: r1c1, r1c2 and so on.")
    ] = None,
    boundary: Annotated[
        str, typer.Option(help="hard: nobody shows in two regions during one chunk; soft; none.")
    ] = "none",
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Add a scheme of regions, by a new version of the camera's policy. It never changes under its name.

    \b
    $ privid-admin region add plaza lanes --boundary hard --polygons lanes.json
    """
    shapes: dict[str, Shape] = {}
    if polygons is not None:
        found = _json(polygons)
        if not isinstance(found, dict):
            raise InputError("drawing", f"{polygons} is not an object of polygons", 'write {"north": [[0, 0], ...]}')
        shapes.update({region: (_polygon(points, f"{polygons}: {region}"),) for region, points in found.items()})
    for text in polygon or ():
        region, value = _named("--polygon", text, shapes)
        shapes[region] = (_polygon_of_text(value),)
    for text in picture or ():
        region, value = _named("--picture", text, shapes)
        shapes[region] = Path(value)
    if bool(shapes) == bool(grid):
        raise InputError("usage", "which regions?", "give --polygon, --picture or --polygons; or --grid by itself")
    kind = next((known for known in BOUNDARIES if known == boundary), None)
    if kind is None:
        raise InputError("usage", f"--boundary {boundary} is not known", f"use one of {', '.join(BOUNDARIES)}")
    with OwnerClient(owner_target()) as client:
        policy = _policy(client, camera)
        if grid:
            known = find_camera(client, camera)
            shapes.update(grid_shapes(grid, known.width or policy.width, known.height or policy.height))
        changed = _changed(policy, regions={**policy.regions, name: RegionScheme(tuple(shapes), kind)})
        apply_policies(client, {camera: changed}, {camera: Drawings(regions={name: shapes})}, yes=yes, json=json)


@region_app.command(name="list")
def region_list(camera: CameraName, json: Json = False) -> None:
    """List a camera's region schemes.

    \b
    $ privid-admin region list plaza
    """
    with OwnerClient(owner_target()) as client:
        policy = _policy(client, camera)
    if json:
        rows = [
            {"name": n, "regions": list(r.names), "boundary": r.boundary, "picture": r.picture or None}
            for n, r in policy.regions.items()
        ]
        print_json({"camera": camera, "schemes": rows})
        return
    if not policy.regions:
        stdout().print(f"{camera} has no regions yet: privid-admin region add {camera} SCHEME", markup=False)
        return
    listing = table("SCHEME", "REGIONS", "BOUNDARY")
    for name, scheme in policy.regions.items():
        listing.add_row(*cells(name, ", ".join(scheme.names), scheme.boundary))
    stdout().print(listing)


@region_app.command(name="export")
def region_export(camera: CameraName, output: Folder = Path(), json: Json = False) -> None:
    """Write a camera's regions as pictures, black outside of them.

    \b
    $ privid-admin region export plaza --output pictures
    """
    with OwnerClient(owner_target()) as client:
        policy = replace(_policy(client, camera), masks={})
        schemes = save_pictures(client, {camera: policy}, output, Path())[camera].regions
    found = {f"{scheme}.{region}": path for scheme, paths in schemes.items() for region, path in paths.items()}
    _export(found, json=json)


def _export(paths: Mapping[str, Shape], *, json: bool) -> None:
    if json:
        print_json({"written": {name: str(path) for name, path in paths.items()}})
        return
    for name, path in paths.items():
        stdout().print(f"{name} -> {path}", markup=False)


def _policy(client: OwnerClient, camera: str) -> CameraPolicy:
    policy = find_camera(client, camera).policy
    if policy is None:
        raise InputError("no_policy", f"{camera} has no policy yet", f"privid-admin policy set {camera}")
    return policy


def _changed(policy: CameraPolicy, **changes: Any) -> CameraPolicy:
    try:
        return replace(policy, **changes)
    except ValueError as error:
        raise InputError("policy", str(error), "see the reference of policy files") from None


# --- reading options ----------------------------------------------------------------------------------------


def _named(option: str, text: str, taken: dict[str, Shape]) -> tuple[str, str]:
    region, separator, value = text.partition("=")
    if not region or not separator or not value:
        raise InputError("usage", f"{option} {text!r} names no region", f"write {option} north=...")
    if region in taken:
        raise InputError("usage", f"region {region} is drawn twice", "draw each region once")
    return region, value


def _json(path: Path) -> Any:
    try:
        return json_format.loads(read_text(path, "the polygons"))
    except (ValueError, RecursionError) as error:
        raise InputError("drawing", f"{path} is not JSON: {error}", "write lists of points [x, y]") from None


def _polygon(value: Any, where: str) -> Polygon:
    try:
        return polygon(value)
    except ValueError as error:
        raise InputError("drawing", f"{where}: {error}", "points are pixels of the recording") from None


def _polygon_of_text(text: str) -> Polygon:
    try:
        return polygon_of_text(text)
    except ValueError as error:
        raise InputError("usage", f"--polygon: {error}", "points are pixels of the recording") from None
