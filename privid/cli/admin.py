"""`privid-admin`: what owners use, with the owner's token."""

import json as json_format
import shutil
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from privid.cli import views
from privid.cli.config import owner_target
from privid.cli.offline import load_policy_file
from privid.cli.terminal import (
    InputError,
    Json,
    cells,
    check_writable,
    epsilon_text,
    local_time,
    print_json,
    run_app,
    stderr,
    stdout,
    table,
)
from privid.client import OwnerClient
from privid.client.values import Analyst, PolicyChange, Preview
from privid.domain.policy import CameraPolicy, MaskPolicy
from privid.domain.units import epsilon as epsilon_value
from privid.domain.units import isoformat, nano_epsilon
from privid.owner.budget_plot import BudgetCurve, bars, save_picture
from privid.owner.guarantee import guarantee
from privid.owner.policy_file import PolicyFile, write_policy_file
from query_lang.units import parse_duration, parse_moment

_SETTINGS: dict[str, Any] = {
    "no_args_is_help": True,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
app = typer.Typer(help="Look after cameras, policies, analysts and budgets.", **_SETTINGS)
camera_app = typer.Typer(help="Cameras.", **_SETTINGS)
policy_app = typer.Typer(help="Policies: what is promised to people in view.", **_SETTINGS)
analyst_app = typer.Typer(help="Analysts and what they may ask about.", **_SETTINGS)
budget_app = typer.Typer(help="What is left of the budgets.", **_SETTINGS)
queries_app = typer.Typer(help="Everybody's queries.", **_SETTINGS)
executables_app = typer.Typer(help="Everybody's executables.", **_SETTINGS)
app.add_typer(camera_app, name="camera")
app.add_typer(policy_app, name="policy")
app.add_typer(analyst_app, name="analyst")
app.add_typer(budget_app, name="budget")
app.add_typer(queries_app, name="queries")
app.add_typer(executables_app, name="executables")

CameraName = Annotated[str, typer.Argument(metavar="CAMERA", help="The camera's name.")]
AnalystName = Annotated[str, typer.Argument(metavar="NAME", help="The analyst's name.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Apply without asking.")]


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


# --- policies -----------------------------------------------------------------------------------------------


@policy_app.command(name="set")
def policy_set(
    camera: CameraName,
    rho: Annotated[str | None, typer.Option(help="Longest presence that is protected, such as 90s.")] = None,
    k: Annotated[int | None, typer.Option("--K", "-K", help="How many presences of one person.")] = None,
    epsilon: Annotated[str | None, typer.Option(metavar="E", help="Budget of every moment.")] = None,
    mask: Annotated[
        list[str] | None, typer.Option(metavar="NAME:RHO[:SEGMENTS]", help="A mask's terms. May be repeated.")
    ] = None,
    timing: Annotated[str | None, typer.Option(help="slotted, open or strict.")] = None,
    slot_cores: Annotated[int | None, typer.Option(help="Cores that slots run on.")] = None,
    isolation: Annotated[str | None, typer.Option(help="Least sandbox: fork, exec or oci.")] = None,
    fps: Annotated[str | None, typer.Option(help="Nominal frames a second, such as 25 or 30000/1001.")] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Set a camera's policy, or change what is named and keep the rest.

    \b
    $ privid-admin policy set plaza --rho 90s --K 4 --epsilon 1
    """
    with OwnerClient(owner_target()) as client:
        cameras = {found.name: found for found in client.cameras()}
        if camera not in cameras:
            raise InputError(
                "unknown_camera", f"there is no camera {camera!r}", f"cameras: {', '.join(cameras) or 'none yet'}"
            )
        current = cameras[camera].policy
        if current is None:
            if rho is None or k is None or epsilon is None:
                raise InputError("usage", f"{camera} has no policy yet", "a first one needs --rho, --K and --epsilon")
            current = CameraPolicy(
                epsilon_nano=1,
                rho_us=1,
                K=1,
                timezone=cameras[camera].timezone,
                width=cameras[camera].width,
                height=cameras[camera].height,
            )
        changes: dict[str, Any] = {
            "rho_us": None if rho is None else _duration("--rho", rho),
            "K": k,
            "epsilon_nano": None if epsilon is None else _epsilon("--epsilon", epsilon),
            "masks": None if mask is None else {**current.masks, **dict(map(_mask, mask))},
            "timing": timing,
            "slot_cores": slot_cores,
            "isolation": isolation,
            "fps": None if fps is None else _rate(fps),
        }
        try:
            policy = replace(current, **{key: value for key, value in changes.items() if value is not None})
        except ValueError as error:
            raise InputError("policy", str(error), "see privid-admin policy set --help") from None
        _apply(client, {camera: policy}, yes=yes, json=json)


@policy_app.command(name="apply")
def policy_apply(
    file: Annotated[Path, typer.Argument(metavar="POLICY.toml", help="As policy export writes it.")],
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Make the policies in a file hold, all of them or none. Cameras that are not in it keep theirs.

    \b
    $ privid-admin policy apply policy.toml
    """
    policies = load_policy_file(file).policies
    with OwnerClient(owner_target()) as client:
        _apply(client, dict(policies), yes=yes, json=json)


@policy_app.command(name="show")
def policy_show(
    camera: Annotated[str | None, typer.Argument(metavar="[CAMERA]", help="By default all.")] = None,
    json: Json = False,
) -> None:
    """Show policies, with what they promise in plain words.

    \b
    $ privid-admin policy show plaza
    """
    with OwnerClient(owner_target()) as client:
        policies, _ = client.policies([camera] if camera else ())
    if json:
        print_json({"policies": {name: views.policy_json(policy) for name, policy in policies.items()}})
        return
    console = stdout()
    for name, policy in policies.items():
        console.print(Text(f"{name}, version {policy.version}", style="bold"))
        for line in _lines(policy):
            console.print(Text(f"  {line}"))
        console.print(Text(f"  {guarantee(name, policy)}"))
    if not policies:
        console.print("no policies yet: privid-admin policy set CAMERA")


@policy_app.command(name="export")
def policy_export(
    camera: Annotated[list[str] | None, typer.Argument(metavar="[CAMERA]...", help="By default all.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file, instead of standard output.")] = None,
    json: Json = False,
) -> None:
    """Write the policy file that analysts plan against.

    \b
    $ privid-admin policy export --output policy.toml
    """
    check_writable(output)
    with OwnerClient(owner_target()) as client:
        policies, default = client.policies(camera or ())
    if json:
        print_json(
            {
                "default_epsilon": epsilon_value(default),
                "camera": {name: views.policy_json(policy) for name, policy in policies.items()},
            }
        )
        return
    if not policies:
        raise InputError("no_policy", "no camera has a policy", "privid-admin policy set CAMERA")
    text = write_policy_file(PolicyFile(policies, default))
    if output is None:
        sys.stdout.write(text)
        return
    output.write_text(text, encoding="utf-8")
    stdout().print(f"wrote {output}: {', '.join(policies)}", markup=False)


def _apply(client: OwnerClient, policies: dict[str, CameraPolicy], *, yes: bool, json: bool) -> None:
    """Show what would change, ask, and make it hold."""
    preview = client.preview(policies)
    changed = any(change.changed for change in preview.changes)
    if not json:
        _print_preview(preview)
    if not changed:
        if json:
            print_json({"applied": False, "changes": [_change_json(change) for change in preview.changes]})
        return
    if not yes:
        if json or not sys.stdin.isatty():
            raise InputError("not_confirmed", "nothing was changed: this needs a confirmation", "add --yes")
        typer.confirm("apply?", abort=True, err=True)
    applied = client.apply(policies, preview.confirmation)
    if json:
        print_json({"applied": True, "changes": [_change_json(change) for change in preview.changes]})
    else:
        said = ", ".join(f"{name} version {policy.version}" for name, policy in applied.items())
        stdout().print(f"applied: {said}", markup=False)


def _print_preview(preview: Preview) -> None:
    console = stdout()
    for change in preview.changes:
        if not change.changed:
            console.print(Text(f"{change.camera}: nothing changes"))
            continue
        console.print(Text(change.camera, style="bold"))
        before = _lines(change.before) if change.before is not None else []
        after = _lines(change.after)
        for line in before:
            if line not in after:
                console.print(Text(f"  - {line}", style="red"))
        for line in after:
            if line not in before:
                console.print(Text(f"  + {line}", style="green"))
        console.print(Text(f"  guarantee: {guarantee(change.camera, change.after)}"))
        for warning in change.warnings:
            console.print(Text(f"  warning: {warning}", style="yellow"))


def _lines(policy: CameraPolicy) -> list[str]:
    """A policy, a setting a line, without its version."""
    document = views.policy_json(policy)
    found = []
    for key, value in document.items():
        if key == "version":
            continue
        if key in ("masks", "regions"):
            found += [f"{key[:-1]} {name}: {json_format.dumps(terms)}" for name, terms in value.items()]
        else:
            found.append(f"{key} = {value}")
    return found


def _change_json(change: PolicyChange) -> dict[str, Any]:
    return {
        "camera": change.camera,
        "changed": change.changed,
        "before": None if change.before is None else views.policy_json(change.before),
        "after": views.policy_json(change.after),
        "spent_max": epsilon_value(change.spent_max_nano),
        "warnings": list(change.warnings),
        "guarantee": guarantee(change.camera, change.after),
    }


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
    limit = None if epsilon is None else _epsilon("--epsilon", epsilon)
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


def _duration(option: str, text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InputError("usage", f"{option}: {error}") from None


def _moment(option: str, text: str | None, timezone: str) -> int | None:
    if text is None:
        return None
    try:
        return parse_moment(text, timezone)
    except ValueError as error:
        raise InputError("usage", f"{option}: {error}") from None


def _epsilon(option: str, text: str) -> int:
    try:
        nano = int(nano_epsilon(text))
    except ValueError as error:
        raise InputError("usage", f"{option}: {error}", "write a number such as 0.5") from None
    if not 0 < nano < 2**62:
        raise InputError("usage", f"{option}: must be more than 0", "write a number such as 0.5")
    return nano


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text) if len(text) < 32 and "e" not in text.lower() else Fraction(0)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 10_000 or rate.denominator >= 2**31:
        raise InputError("usage", f"--fps: {text!r} is not a rate", "write 25, 29.97 or 30000/1001")
    return rate


def _mask(text: str) -> tuple[str, MaskPolicy]:
    name, _, terms = text.partition(":")
    rho, _, segments = terms.partition(":")
    try:
        if not name:
            raise ValueError("it has no name")
        return name, MaskPolicy(parse_duration(rho), int(segments or 1))
    except ValueError as error:
        raise InputError("usage", f"--mask {text}: {error}", "write NAME:RHO[:SEGMENTS], such as benches:15s") from None


def run() -> None:
    """The console script."""
    run_app(app)
