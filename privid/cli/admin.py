"""`privid-admin`: what owners use, with the owner's token."""

from pathlib import Path
from typing import Annotated

import typer

from privid.cli import (
    admin_analyst,
    admin_archive,
    admin_audit,
    admin_budget,
    admin_mask_search,
    admin_masks,
    admin_persistence,
    admin_policy,
    admin_queries,
    views,
)
from privid.cli.config import owner_target
from privid.cli.confirm import Yes, confirm
from privid.cli.terminal import SETTINGS, InputError, Json, cells, check_writable, print_json, run_app, stdout, table
from privid.cli.timelines import show_timeline
from privid.cli.views import span_text
from privid.cli.watch import watch
from privid.client import OwnerClient
from privid.owner.timeline_plot import Timeline

app = typer.Typer(help="Look after cameras, policies, analysts and budgets.", **SETTINGS)
camera_app = typer.Typer(help="Cameras.", **SETTINGS)
executables_app = typer.Typer(help="Everybody's executables.", **SETTINGS)
app.add_typer(camera_app, name="camera")
app.add_typer(admin_policy.app, name="policy")
admin_masks.mask_app.command(name="suggest")(admin_mask_search.suggest)
admin_masks.mask_app.command(name="measure")(admin_mask_search.measure)
admin_masks.region_app.command(name="check")(admin_mask_search.check)
app.add_typer(admin_masks.mask_app, name="mask")
app.add_typer(admin_masks.region_app, name="region")
app.add_typer(admin_analyst.app, name="analyst")
app.add_typer(admin_budget.app, name="budget")
app.add_typer(admin_queries.app, name="queries")
app.add_typer(executables_app, name="executables")
app.add_typer(admin_audit.app, name="audit")
app.command(name="persistence")(admin_persistence.persistence)
app.command(name="watch")(watch)
app.command(name="export")(admin_archive.export_command)
app.command(name="import")(admin_archive.import_command)


# --- cameras ------------------------------------------------------------------------------------------------


@camera_app.command(name="add")
def camera_add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, underscores; as queries write it.")],
    timezone: Annotated[str, typer.Option(help="IANA name; local times in queries are in this zone.")] = "UTC",
    url: Annotated[str, typer.Option(help="Live source; leave it out for video that is imported.")] = "",
    json: Json = False,
) -> None:
    """Add a camera. Nothing can be asked of it before it has a policy.

    \b
    $ privid-admin camera add plaza --timezone Europe/Lisbon
    """
    with OwnerClient(owner_target()) as client:
        camera = client.add_camera(name, timezone, url)
    if json:
        print_json(views.camera_json(camera))
    else:
        stdout().print(f"added {camera.name} ({camera.timezone}); next: privid-admin policy set {name}", markup=False)


@camera_app.command(name="list")
def camera_list(json: Json = False) -> None:
    """List all cameras.

    \b
    $ privid-admin camera list
    """
    with OwnerClient(owner_target()) as client:
        cameras = client.cameras()
    if json:
        print_json({"cameras": [views.camera_json(camera) for camera in cameras]})
    elif cameras:
        views.print_cameras(stdout(), cameras)
    else:
        stdout().print("no cameras yet: privid-admin camera add NAME")


@camera_app.command(name="timeline")
def camera_timeline(
    camera: admin_budget.CameraName,
    from_: admin_budget.From = None,
    to: admin_budget.To = None,
    png: admin_budget.Png = None,
    json: Json = False,
) -> None:
    """Draw when a camera has recorded, and list what is missing and why.

    \b
    $ privid-admin camera timeline plaza --from 2026-12-01 --to 2026-12-08 --png plaza.png
    """
    check_writable(png)
    with OwnerClient(owner_target()) as client:
        zone = next((found.timezone for found in client.cameras() if found.name == camera), "UTC")
        moment = admin_budget.moment
        found = client.timeline(camera, moment("--from", from_, zone), moment("--to", to, zone))
    show_timeline(Timeline(found.camera, found.from_us, found.to_us, found.spans), found.gaps, png, json=json)


@camera_app.command(name="sample")
def camera_sample(
    camera: admin_budget.CameraName,
    video: Annotated[Path | None, typer.Argument(metavar="VIDEO", help="A file of a minute or two.")] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Show the camera's clip no more.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Show a clip to all who may ask about a camera, to try their executables on; or withdraw it.

    Whoever is in the clip is shown: no budget and no noise protects them. Take people who agreed, or an empty scene.

    \b
    $ privid-admin camera sample plaza staged.mp4
    """
    if withdraw == (video is not None):
        raise InputError("usage", "give a video to show, or --withdraw", f"privid-admin camera sample {camera} FILE")
    content = None if video is None else _video(video)
    with OwnerClient(owner_target()) as client:
        if content is None:
            confirm(f"withdraw the sample of {camera}?", yes=yes, json=json)
            client.withdraw_sample(camera)
            sample = None
        else:
            confirm(f"show everything in {video} to all analysts of {camera}?", yes=yes, json=json)
            sample = client.publish_sample(camera, content)
    if json:
        print_json({"camera": camera, "sample": None if sample is None else views.sample_json(sample)})
    elif sample is None:
        stdout().print(f"{camera} shows no sample now; analysts who have it, have it", markup=False)
    else:
        stdout().print(
            f"{camera} shows {span_text(sample.length_us)} of video now: privid try FOLDER --sample {camera}",
            markup=False,
        )


def _video(path: Path) -> bytes:
    from privid.server.samples import MAX_SAMPLE_BYTES

    try:
        size = path.stat().st_size
        if size > MAX_SAMPLE_BYTES:
            raise InputError(
                "too_large", f"{path} has {size:,} bytes, more than {MAX_SAMPLE_BYTES:,}", "a minute of video is enough"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError("unreadable", f"cannot read {path}: {error.strerror}", "check the path") from None


# --- executables ---------------------------------------------------------------------------------------------


@executables_app.command(name="list")
def executables_list(json: Json = False) -> None:
    """List everybody's executables.

    \b
    $ privid-admin executables list
    """
    with OwnerClient(owner_target()) as client:
        found = client.executables()
    if json:
        rows = [
            {
                "analyst": e.analyst,
                "name": e.name,
                "version": e.version,
                "sha256": e.sha256,
                "size_bytes": e.size_bytes,
                "created_us": e.created_us,
            }
            for e in found
        ]
        print_json({"executables": rows})
        return
    listing = table("ANALYST", "NAME", "VERSION", "SHA-256", "BYTES", right=("VERSION", "BYTES"))
    for executable in found:
        listing.add_row(
            *cells(
                executable.analyst,
                executable.name,
                executable.version,
                executable.sha256[:12],
                executable.size_bytes,
            )
        )
    stdout().print(listing)


def run() -> None:
    """The console script."""
    run_app(app)
