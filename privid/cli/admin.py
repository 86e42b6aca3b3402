"""`privid-admin`: what owners use, with the owner's token."""

from typing import Annotated

import typer

from privid.cli import (
    admin_analyst,
    admin_archive,
    admin_audit,
    admin_budget,
    admin_masks,
    admin_policy,
    admin_queries,
    views,
)
from privid.cli.config import owner_target
from privid.cli.terminal import SETTINGS, Json, cells, print_json, run_app, stdout, table
from privid.cli.watch import watch
from privid.client import OwnerClient

app = typer.Typer(help="Look after cameras, policies, analysts and budgets.", **SETTINGS)
camera_app = typer.Typer(help="Cameras.", **SETTINGS)
executables_app = typer.Typer(help="Everybody's executables.", **SETTINGS)
app.add_typer(camera_app, name="camera")
app.add_typer(admin_policy.app, name="policy")
app.add_typer(admin_masks.mask_app, name="mask")
app.add_typer(admin_masks.region_app, name="region")
app.add_typer(admin_analyst.app, name="analyst")
app.add_typer(admin_budget.app, name="budget")
app.add_typer(admin_queries.app, name="queries")
app.add_typer(executables_app, name="executables")
app.add_typer(admin_audit.app, name="audit")
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
