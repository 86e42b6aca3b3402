"""`privid-admin`: what owners use, with the owner's token."""

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from privid.cli import admin_policy, views
from privid.cli.config import owner_target
from privid.cli.terminal import (
    SETTINGS,
    InputError,
    Json,
    cells,
    check_writable,
    epsilon_nano,
    epsilon_text,
    local_time,
    print_json,
    run_app,
    stderr,
    stdout,
    table,
)
from privid.client import OwnerClient
from privid.client.values import Analyst
from privid.domain.units import epsilon as epsilon_value
from privid.domain.units import isoformat
from privid.owner.budget_plot import BudgetCurve, bars, save_picture
from query_lang.units import parse_moment

app = typer.Typer(help="Look after cameras, policies, analysts and budgets.", **SETTINGS)
camera_app = typer.Typer(help="Cameras.", **SETTINGS)
analyst_app = typer.Typer(help="Analysts and what they may ask about.", **SETTINGS)
budget_app = typer.Typer(help="What is left of the budgets.", **SETTINGS)
queries_app = typer.Typer(help="Everybody's queries.", **SETTINGS)
executables_app = typer.Typer(help="Everybody's executables.", **SETTINGS)
app.add_typer(camera_app, name="camera")
app.add_typer(admin_policy.app, name="policy")
app.add_typer(analyst_app, name="analyst")
app.add_typer(budget_app, name="budget")
app.add_typer(queries_app, name="queries")
app.add_typer(executables_app, name="executables")

CameraName = Annotated[str, typer.Argument(metavar="CAMERA", help="The camera's name.")]
AnalystName = Annotated[str, typer.Argument(metavar="NAME", help="The analyst's name.")]


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


# --- analysts -----------------------------------------------------------------------------------------------


@analyst_app.command(name="add")
def analyst_add(
    name: AnalystName,
    cameras: Annotated[str, typer.Option(metavar="A,B", help="Cameras that they may ask about.")] = "",
    epsilon: Annotated[str | None, typer.Option(metavar="E", help="Most that one query may ask for.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="Write the token to this file, which nobody else may read, instead.")
    ] = None,
    json: Json = False,
) -> None:
    """Add an analyst and print their token, this once.

    \b
    $ privid-admin analyst add transport --cameras plaza,bridge --epsilon 0.5
    """
    limit = None if epsilon is None else epsilon_nano("--epsilon", epsilon)
    check_writable(token_file)
    with OwnerClient(owner_target()) as client:
        analyst, token = client.add_analyst(name, _names(cameras), limit)
    if token_file is not None:
        token_file.touch(mode=0o600)
        token_file.chmod(0o600)
        token_file.write_text(f"{token}\n", encoding="utf-8")
    if json:
        print_json(_analyst_json(analyst) | ({"token": token} if token_file is None else {}))
        return
    stdout().print(f"added {name}; cameras: {', '.join(analyst.cameras) or 'none yet'}", markup=False)
    said = f"token (shown this once): {token}" if token_file is None else f"token written to {token_file}"
    stdout().print(said, markup=False)


@analyst_app.command(name="list")
def analyst_list(json: Json = False) -> None:
    """List all analysts.

    \b
    $ privid-admin analyst list
    """
    with OwnerClient(owner_target()) as client:
        analysts = client.analysts()
    if json:
        print_json({"analysts": [_analyst_json(analyst) for analyst in analysts]})
        return
    listing = table("NAME", "CAMERAS", "MOST A QUERY", "ADDED", "REVOKED")
    for analyst in analysts:
        listing.add_row(
            *cells(
                analyst.name,
                ", ".join(analyst.cameras) or "-",
                epsilon_text(analyst.epsilon_limit_nano),
                local_time(analyst.created_us),
                "-" if analyst.revoked_us is None else local_time(analyst.revoked_us),
            )
        )
    stdout().print(listing)


@analyst_app.command(name="revoke")
def analyst_revoke(name: AnalystName, json: Json = False) -> None:
    """End the validity of an analyst's token, for good. Their queries and charges stay.

    \b
    $ privid-admin analyst revoke transport
    """
    with OwnerClient(owner_target()) as client:
        analyst = client.revoke_analyst(name)
    if json:
        print_json(_analyst_json(analyst))
    else:
        stdout().print(f"revoked {name}: the token is not valid any more", markup=False)


@analyst_app.command(name="grant")
def analyst_grant(
    name: AnalystName,
    cameras: Annotated[str, typer.Option(metavar="A,B", help="Cameras to add.")] = "",
    remove: Annotated[str, typer.Option(metavar="A,B", help="Cameras to take away.")] = "",
    json: Json = False,
) -> None:
    """Change which cameras an analyst may ask about.

    \b
    $ privid-admin analyst grant transport --cameras bridge --remove plaza
    """
    if not _names(cameras) and not _names(remove):
        raise InputError("usage", "nothing to change", "give --cameras or --remove")
    with OwnerClient(owner_target()) as client:
        analyst = client.grant(name, _names(cameras), _names(remove))
    if json:
        print_json(_analyst_json(analyst))
    else:
        stdout().print(f"{name} may ask about: {', '.join(analyst.cameras) or 'nothing'}", markup=False)


def _analyst_json(analyst: Analyst) -> dict[str, Any]:
    limit = analyst.epsilon_limit_nano
    return {
        "name": analyst.name,
        "cameras": list(analyst.cameras),
        "epsilon_limit": None if limit is None else epsilon_value(limit),
        "created_us": analyst.created_us,
        "revoked_us": analyst.revoked_us,
    }


# --- budgets, queries, executables --------------------------------------------------------------------------


@budget_app.command(name="show")
def budget_show(
    camera: CameraName,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="By default all that is recorded.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="TIME", help="By default all that is recorded.")] = None,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it into this file as well.")] = None,
    json: Json = False,
) -> None:
    """Show what is left of a camera's budget over time.

    \b
    $ privid-admin budget show plaza --png budget.png
    """
    check_writable(png)
    with OwnerClient(owner_target()) as client:
        zone = next((found.timezone for found in client.cameras() if found.name == camera), "UTC")
        budget = client.budget(camera, _moment("--from", from_, zone), _moment("--to", to, zone))
    curve = BudgetCurve(budget.camera, budget.epsilon_nano, budget.from_us, budget.to_us, budget.steps)
    if json:
        steps = [
            {"from_us": begin, "to_us": end, "left": epsilon_value(left), "spent": epsilon_value(whole - left)}
            for whole in (curve.epsilon_nano,)
            for begin, end, left in curve.left()
        ]
        print_json(
            {
                "camera": curve.camera,
                "epsilon": epsilon_value(curve.epsilon_nano),
                "from_us": curve.from_us,
                "to_us": curve.to_us,
                "left_min": epsilon_value(curve.least_left_nano),
                "left_max": epsilon_value(curve.most_left_nano),
                "steps": steps,
            }
        )
    else:
        console = stdout()
        width = min(100, max(20, shutil.get_terminal_size().columns - 4))
        console.print(
            Text(
                f"{curve.camera}: budget {epsilon_text(curve.epsilon_nano)}, left "
                f"{epsilon_text(curve.least_left_nano)} .. {epsilon_text(curve.most_left_nano)}"
            )
        )
        console.print(Text(f"  {bars(curve, width)}", style="green"))
        begin, end = isoformat(curve.from_us), isoformat(curve.to_us)
        console.print(Text(f"  {begin}{' ' * max(1, width - len(begin) - len(end))}{end}", style="dim"))
    if png is not None:
        try:
            save_picture([curve], png)
        except OSError as error:
            raise InputError("unwritable", f"cannot write {png}: {error.strerror}", "choose another file") from None
        stderr().print(f"drawn in {png}", markup=False)


@queries_app.command(name="list")
def queries_list(
    analyst: Annotated[str, typer.Option(metavar="NAME", help="Only this analyst's.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many, newest first.")] = 50,
    json: Json = False,
) -> None:
    """List everybody's queries, newest first.

    \b
    $ privid-admin queries list --analyst transport
    """
    with OwnerClient(owner_target()) as client:
        found = client.queries(limit, analyst)
    if json:
        print_json({"queries": [views.query_json(query) for query in found]})
    else:
        views.print_queries(stdout(), found)


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


# --- reading options ----------------------------------------------------------------------------------------


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _moment(option: str, text: str | None, timezone: str) -> int | None:
    if text is None:
        return None
    try:
        return parse_moment(text, timezone)
    except ValueError as error:
        raise InputError("usage", f"{option}: {error}") from None


def run() -> None:
    """The console script."""
    run_app(app)
