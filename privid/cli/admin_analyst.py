"""`privid-admin analyst`: who may ask, about what, and how much."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from privid.cli.config import owner_target
from privid.cli.confirm import Yes, confirm
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
    stdout,
    table,
)
from privid.client import OwnerClient
from privid.client.values import Analyst
from privid.domain.units import epsilon as epsilon_value

app = typer.Typer(help="Analysts: who may ask, about what, and how much.", **SETTINGS)

AnalystName = Annotated[str, typer.Argument(metavar="NAME", help="The analyst's name.")]
TokenFile = Annotated[
    Path | None, typer.Option(help="Write the token to this file, which nobody else may read, instead.")
]
Limit = Annotated[
    str | None,
    typer.Option("--epsilon", metavar="E", help="Most that all their queries may take from any moment of a camera."),
]


@app.command(name="add")
def analyst_add(
    name: AnalystName,
    cameras: Annotated[str, typer.Option(metavar="A,B", help="Cameras that they may ask about.")] = "",
    epsilon: Limit = None,
    token_file: TokenFile = None,
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
    said = f"added {name}; cameras: {', '.join(analyst.cameras) or 'none yet'}"
    _tell_token(analyst, token, token_file, said, json=json)


@app.command(name="list")
def analyst_list(json: Json = False) -> None:
    """List all analysts.

    \b
    $ privid-admin analyst list
    """
    with OwnerClient(owner_target()) as client:
        analysts = client.analysts()
    if json:
        print_json({"analysts": [analyst_json(analyst) for analyst in analysts]})
        return
    listing = table("NAME", "CAMERAS", "MOST OF A MOMENT", "ADDED", "REVOKED")
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


@app.command(name="show")
def analyst_show(name: AnalystName, json: Json = False) -> None:
    """Show one analyst, and what their queries have taken from each camera.

    \b
    $ privid-admin analyst show transport
    """
    with OwnerClient(owner_target()) as client:
        analyst, spending = client.analyst(name)
    limit = analyst.epsilon_limit_nano
    if json:
        taken = [
            {
                "camera": one.camera,
                "queries": one.queries,
                "spent_max": epsilon_value(one.spent_max_nano),
                "left_min": None if limit is None else epsilon_value(limit - one.spent_max_nano),
            }
            for one in spending
        ]
        print_json(analyst_json(analyst) | {"spent": taken})
        return
    console = stdout()
    console.print(Text(name, style="bold"))
    state = "may ask" if analyst.revoked_us is None else f"revoked {local_time(analyst.revoked_us)}, could ask"
    console.print(Text(f"  {state} about: {', '.join(analyst.cameras) or 'nothing'}"))
    most = "no limit of their own" if limit is None else f"at most {epsilon_text(limit)} of every moment of a camera"
    console.print(Text(f"  {most}"))
    if not spending:
        console.print("  has taken nothing yet")
        return
    listing = table("CAMERA", "QUERIES", "TAKEN AT MOST", "LEFT OF THE LIMIT", right=("QUERIES",))
    for one in spending:
        left = "-" if limit is None else epsilon_text(limit - one.spent_max_nano)
        listing.add_row(*cells(one.camera, one.queries, epsilon_text(one.spent_max_nano), left))
    console.print(listing)


@app.command(name="grant")
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
        print_json(analyst_json(analyst))
    else:
        stdout().print(f"{name} may ask about: {', '.join(analyst.cameras) or 'nothing'}", markup=False)


@app.command(name="limit")
def analyst_limit(
    name: AnalystName,
    epsilon: Limit = None,
    none: Annotated[bool, typer.Option("--none", help="No limit besides the cameras' budgets.")] = False,
    json: Json = False,
) -> None:
    """Change how much of every moment an analyst may take. What they have taken stays.

    \b
    $ privid-admin analyst limit transport --epsilon 0.8
    """
    if (epsilon is None) != none:
        raise InputError("usage", "give either --epsilon or --none", "see privid-admin analyst limit --help")
    limit = None if epsilon is None else epsilon_nano("--epsilon", epsilon)
    with OwnerClient(owner_target()) as client:
        analyst = client.limit_analyst(name, limit)
    if json:
        print_json(analyst_json(analyst))
        return
    most = (
        "as much as the cameras' budgets allow" if limit is None else f"at most {epsilon_text(limit)} of every moment"
    )
    stdout().print(f"{name} may take {most}", markup=False)


@app.command(name="rotate")
def analyst_rotate(name: AnalystName, token_file: TokenFile = None, yes: Yes = False, json: Json = False) -> None:
    """Print a new token, this once; the old one ends. Whoever was revoked is let in again.

    \b
    $ privid-admin analyst rotate transport --token-file transport.token
    """
    check_writable(token_file)
    confirm(f"end {name}'s token and make a new one?", yes=yes, json=json)
    with OwnerClient(owner_target()) as client:
        analyst, token = client.rotate_token(name)
    _tell_token(analyst, token, token_file, f"{name} has a new token; the old one is not valid any more", json=json)


@app.command(name="revoke")
def analyst_revoke(name: AnalystName, yes: Yes = False, json: Json = False) -> None:
    """End the validity of an analyst's token. Their queries and charges stay.

    \b
    $ privid-admin analyst revoke transport
    """
    confirm(f"end {name}'s token?", yes=yes, json=json)
    with OwnerClient(owner_target()) as client:
        analyst = client.revoke_analyst(name)
    if json:
        print_json(analyst_json(analyst))
    else:
        stdout().print(f"revoked {name}: the token is not valid any more", markup=False)


def analyst_json(analyst: Analyst) -> dict[str, Any]:
    """An analyst as a JSON object."""
    limit = analyst.epsilon_limit_nano
    return {
        "name": analyst.name,
        "cameras": list(analyst.cameras),
        "epsilon_limit": None if limit is None else epsilon_value(limit),
        "created_us": analyst.created_us,
        "revoked_us": analyst.revoked_us,
    }


def write_token(path: Path, token: str) -> None:
    """Into a file that only its user reads."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(f"{token}\n", encoding="utf-8")


def _tell_token(analyst: Analyst, token: str, token_file: Path | None, said: str, *, json: bool) -> None:
    if token_file is not None:
        write_token(token_file, token)
    if json:
        print_json(analyst_json(analyst) | ({"token": token} if token_file is None else {}))
        return
    stdout().print(said, markup=False)
    where = f"token (shown this once): {token}" if token_file is None else f"token written to {token_file}"
    stdout().print(where, markup=False)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
