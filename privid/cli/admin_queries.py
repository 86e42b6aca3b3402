"""`privid-admin queries`: everybody's queries."""

from typing import Annotated

import typer
from rich.text import Text

from privid.cli import views
from privid.cli.admin_budget import moment
from privid.cli.config import owner_target
from privid.cli.confirm import Yes, confirm
from privid.cli.terminal import SETTINGS, InputError, Json, epsilon_text, local_time, print_json, stdout
from privid.client import OwnerClient
from privid.rpc.convert import STATES

app = typer.Typer(help="Everybody's queries.", **SETTINGS)

QueryId = Annotated[str, typer.Argument(metavar="QUERY_ID", help="As queries list shows it.")]


@app.command(name="list")
def queries_list(
    analyst: Annotated[str, typer.Option(metavar="NAME", help="Only this analyst's.")] = "",
    camera: Annotated[str, typer.Option(metavar="CAMERA", help="Only those charged on this camera.")] = "",
    state: Annotated[str, typer.Option(metavar="STATE", help=f"Only those that are {', '.join(STATES)}.")] = "",
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only those submitted then or later; UTC without a zone.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many, newest first.")] = 50,
    json: Json = False,
) -> None:
    """List everybody's queries, newest first.

    \b
    $ privid-admin queries list --analyst transport --state running
    """
    if state and state not in STATES:
        raise InputError("usage", f"--state {state}: there is no such state", f"states: {', '.join(STATES)}")
    with OwnerClient(owner_target()) as client:
        found = client.queries(limit, analyst, camera, state, moment("--since", since, "UTC"))
    if json:
        print_json({"queries": [views.query_json(query) for query in found]})
    elif found:
        views.print_queries(stdout(), found)
    else:
        stdout().print("no such queries" if analyst or camera or state or since else "no queries yet")


@app.command(name="show")
def queries_show(query_id: QueryId, json: Json = False) -> None:
    """Show one query with what it was admitted for; never its answer.

    \b
    $ privid-admin queries show 4f1c2a9b
    """
    with OwnerClient(owner_target()) as client:
        query, document = client.query(query_id)
    if json:
        print_json(views.query_json(query) | {"explain": document})
        return
    console = stdout()
    console.print(Text(f"{query.id} of {query.analyst}: {query.state}", style="bold"))
    console.print(Text(f"  submitted {local_time(query.submitted_us)}, answer visible {local_time(query.visible_us)}"))
    for camera, nano in query.charges.items():
        console.print(Text(f"  charge: {camera} {epsilon_text(nano)} at most"))
    for line in query.text.rstrip().splitlines():
        console.print(Text(f"  {line}", style="dim"))


@app.command(name="cancel")
def queries_cancel(query_id: QueryId, yes: Yes = False, json: Json = False) -> None:
    """Give anybody's query up. What has not started is not charged.

    \b
    $ privid-admin queries cancel 4f1c2a9b
    """
    with OwnerClient(owner_target()) as client:
        query, _ = client.query(query_id)
        if not json:
            stdout().print(f"{query.id} of {query.analyst} is {query.state}", markup=False)
        confirm("cancel it? its analyst gets no answer", yes=yes, json=json)
        query, refunded = client.cancel(query_id)
    if json:
        print_json(views.query_json(query) | {"refunded": refunded})
        return
    charge = "its charge has returned" if refunded else "its charge stays: it had started, or others share it"
    stdout().print(f"{query.id} is {query.state}; {charge}", markup=False)
