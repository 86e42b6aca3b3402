"""`privid-admin policy`: what is promised to people in view."""

import json as json_format
import sys
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from privid.cli import views
from privid.cli.config import owner_target
from privid.cli.confirm import Yes, confirm
from privid.cli.offline import load_policy_file
from privid.cli.pictures import drawn, find_camera, hidden_part, save_pictures
from privid.cli.terminal import SETTINGS, InputError, Json, check_writable, epsilon_nano, print_json, stdout
from privid.client import OwnerClient
from privid.client.values import PolicyChange, Preview
from privid.domain.policy import CameraPolicy, MaskPolicy
from privid.domain.units import epsilon as epsilon_value
from privid.owner.guarantee import guarantee
from privid.owner.policy_file import PolicyFile, write_policy_file
from privid.owner.shapes import Drawings
from query_lang.units import parse_duration

app = typer.Typer(help="Policies: what is promised to people in view.", **SETTINGS)

CameraName = Annotated[str, typer.Argument(metavar="CAMERA", help="The camera's name.")]


@app.command(name="set")
def policy_set(
    camera: CameraName,
    rho: Annotated[str | None, typer.Option(help="Longest presence that is protected, such as 90s.")] = None,
    k: Annotated[int | None, typer.Option("--K", "-K", help="How many presences of one person.")] = None,
    epsilon: Annotated[str | None, typer.Option(metavar="E", help="Budget of every moment.")] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME.png:RHO[:SEGMENTS]",
            help="A mask: a picture, black where it hides. NAME alone changes its terms. May be repeated.",
        ),
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
    $ privid-admin policy set plaza --rho 90s --K 4 --epsilon 1 --mask benches.png:15s
    """
    masks = [_mask(text) for text in mask or ()]
    with OwnerClient(owner_target()) as client:
        found = find_camera(client, camera)
        current = found.policy
        if current is None:
            if rho is None or k is None or epsilon is None:
                raise InputError("usage", f"{camera} has no policy yet", "a first one needs --rho, --K and --epsilon")
            current = CameraPolicy(
                epsilon_nano=1,
                rho_us=1,
                K=1,
                timezone=found.timezone,
                width=found.width,
                height=found.height,
            )
        changes: dict[str, Any] = {
            "rho_us": None if rho is None else _duration("--rho", rho),
            "K": k,
            "epsilon_nano": None if epsilon is None else epsilon_nano("--epsilon", epsilon),
            "masks": {**current.masks, **{name: terms for name, _, terms in masks}} if masks else None,
            "timing": timing,
            "slot_cores": slot_cores,
            "isolation": isolation,
            "fps": None if fps is None else _rate(fps),
        }
        try:
            policy = replace(current, **{key: value for key, value in changes.items() if value is not None})
        except ValueError as error:
            raise InputError("policy", str(error), "see privid-admin policy set --help") from None
        drawings = Drawings(masks={name: picture for name, picture, _ in masks if picture is not None})
        apply_policies(client, {camera: policy}, {camera: drawings}, yes=yes, json=json)


@app.command(name="apply")
def policy_apply(
    file: Annotated[Path, typer.Argument(metavar="POLICY.toml", help="As policy export writes it.")],
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Make the policies in a file hold, all of them or none. Cameras that are not in it keep theirs.

    \b
    $ privid-admin policy apply policy.toml
    """
    found = load_policy_file(file)
    with OwnerClient(owner_target()) as client:
        apply_policies(client, found.policies, found.drawings, file.parent, yes=yes, json=json)


@app.command(name="show")
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


@app.command(name="export")
def policy_export(
    camera: Annotated[list[str] | None, typer.Argument(metavar="[CAMERA]...", help="By default all.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file, instead of standard output.")] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the pictures of masks and regions here, and name them in the file."),
    ] = None,
    json: Json = False,
) -> None:
    """Write the policy file that analysts plan against. They need no pictures for that.

    \b
    $ privid-admin policy export --output policy.toml
    """
    check_writable(output)
    with OwnerClient(owner_target()) as client:
        policies, default = client.policies(camera or ())
        drawings = {} if pictures is None else save_pictures(client, policies, pictures, (output or Path()).parent)
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
    text = write_policy_file(PolicyFile(policies, default, drawings))
    if output is None:
        sys.stdout.write(text)
        return
    output.write_text(text, encoding="utf-8")
    stdout().print(f"wrote {output}: {', '.join(policies)}", markup=False)


def apply_policies(
    client: OwnerClient,
    policies: Mapping[str, CameraPolicy],
    drawings: Mapping[str, Drawings],
    folder: Path = Path(),
    *,
    yes: bool,
    json: bool,
) -> None:
    """Show what would change, ask, and make it hold. Files of `drawings` lie relative to `folder`."""
    policies, pictures = drawn(client, policies, drawings, folder)
    preview = client.preview(policies, pictures.values())
    changed = any(change.changed for change in preview.changes)
    if not json:
        _print_preview(preview, pictures)
    if not changed:
        if json:
            print_json({"applied": False, "changes": [_change_json(change) for change in preview.changes]})
        return
    confirm("apply?", yes=yes, json=json)
    applied = client.apply(policies, preview.confirmation, pictures.values())
    if json:
        print_json({"applied": True, "changes": [_change_json(change) for change in preview.changes]})
    else:
        said = ", ".join(f"{name} version {policy.version}" for name, policy in applied.items())
        stdout().print(f"applied: {said}", markup=False)


def _print_preview(preview: Preview, pictures: Mapping[str, bytes]) -> None:
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
        for name, mask in change.after.masks.items():
            if mask.picture in pictures and (change.before is None or name not in change.before.masks):
                console.print(Text(f"  mask {name} hides {hidden_part(pictures[mask.picture])} of the picture"))
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
            found += [f"{key[:-1]} {name}: {json_format.dumps(_short(terms))}" for name, terms in value.items()]
        else:
            found.append(f"{key} = {value}")
    return found


def _short(terms: dict[str, Any]) -> dict[str, Any]:
    """The terms of a mask or a scheme with as much of its picture's name as people look at."""
    return terms | {"picture": terms["picture"][:12]} if terms["picture"] else terms


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


# --- reading options ----------------------------------------------------------------------------------------


def _duration(option: str, text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InputError("usage", f"{option}: {error}") from None


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text) if len(text) < 32 and "e" not in text.lower() else Fraction(0)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 10_000 or rate.denominator >= 2**31:
        raise InputError("usage", f"--fps: {text!r} is not a rate", "write 25, 29.97 or 30000/1001")
    return rate


def _mask(text: str) -> tuple[str, Path | None, MaskPolicy]:
    """Name, picture if there is one, and terms; the server knows the picture that a mask already has."""
    name, _, terms = text.partition(":")
    rho, _, segments = terms.partition(":")
    picture = Path(name) if name.lower().endswith(".png") else None
    try:
        if not name:
            raise ValueError("it has no name")
        if segments and not (segments.isascii() and segments.isdigit() and len(segments) < 9):
            raise ValueError("its segments are not a whole number")
        return name if picture is None else picture.stem, picture, MaskPolicy(parse_duration(rho), int(segments or 1))
    except ValueError as error:
        raise InputError(
            "usage", f"--mask {text}: {error}", "write NAME.png:RHO[:SEGMENTS], such as benches.png:15s"
        ) from None
