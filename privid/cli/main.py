"""`privid`: what analysts use."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn

from privid.cli import bundles, plans, standing, trying, tuning, views
from privid.cli.config import analyst_target, save
from privid.cli.terminal import (
    SETTINGS,
    InputError,
    Json,
    about,
    check_writable,
    epsilon_nano,
    epsilon_text,
    local_time,
    print_json,
    read_text,
    run_app,
    stderr,
    stdout,
    table,
)
from privid.cli.terminal import cells as literal
from privid.client import CallFailed, Client, Target
from privid.client.values import Query, Submission
from privid.domain.release import Release
from query_lang.errors import without_explain

app = typer.Typer(help="Ask questions of video without ever seeing it.", **SETTINGS)

QueryFile = Annotated[
    Path,
    typer.Argument(metavar="QUERY.sql", help="The query, or the folder that it is alone in; - reads standard input."),
]
QueryId = Annotated[str, typer.Argument(metavar="QUERY_ID", help="As submit and list show it.")]
Epsilon = Annotated[str | None, typer.Option("--epsilon", metavar="E", help="Epsilon of a SELECT without CONSUMING.")]
Horizon = Annotated[
    str | None, typer.Option("--horizon", metavar="DURATION", help="Of END NEVER without HORIZON, such as 30d.")
]
Executables = Annotated[
    list[str] | None,
    typer.Option("--executable", metavar="NAME=PATH", help="Upload PATH as NAME first. May be repeated."),
]
NoUpload = Annotated[
    bool, typer.Option("--no-upload", help="Upload nothing, even if files named in USING lie beside the query.")
]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="PNG", help="Draw the answer into this file.")]


@app.command()
def login(
    server: Annotated[str, typer.Argument(metavar="SERVER", help="https://HOST[:PORT], or 127.0.0.1:PORT.")],
    token_file: Annotated[Path | None, typer.Option(help="Read the token from a file instead of asking.")] = None,
    ca: Annotated[
        Path | None, typer.Option(help="Certificate authority of the server, if it is a private one.")
    ] = None,
    client_cert: Annotated[Path | None, typer.Option(help="Your certificate, if the server asks for one.")] = None,
    client_key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    json: Json = False,
) -> None:
    """Remember a server and your token, once the server has accepted both.

    \b
    $ privid login https://privid.city.example
    $ privid login 127.0.0.1:7741 --token-file analyst.token
    """
    if token_file is not None:
        token = read_text(token_file, "the token file")
    elif sys.stdin.isatty():
        token = typer.prompt("token", hide_input=True, err=True)
    else:
        token = sys.stdin.readline()
    target = Target(server, token.strip(), *(path and path.absolute() for path in (ca, client_cert, client_key)))
    if not target.token:
        raise InputError("no_token", "no token was given", "the owner makes one: privid-admin analyst add")
    with Client(target) as client:
        cameras = client.cameras()
    path = save(target)
    if json:
        print_json({"server": server, "config": str(path), "cameras": [camera.name for camera in cameras]})
    else:
        names = ", ".join(camera.name for camera in cameras) or "none yet"
        stdout().print(f"logged in to {server}; cameras: {names}\nsaved in {path}", markup=False)


@app.command()
def cameras(json: Json = False) -> None:
    """List the cameras that you may ask about, with their policies and what is left of their budgets.

    \b
    $ privid cameras
    """
    with Client(analyst_target()) as client:
        found = client.cameras()
    if json:
        print_json({"cameras": [views.camera_json(camera) for camera in found]})
    elif found:
        views.print_cameras(stdout(), found)
    else:
        stdout().print("no cameras: the owner grants them with privid-admin analyst grant")


@app.command()
def upload(
    file: Annotated[
        Path, typer.Argument(metavar="PATH", help="A Python file, a program, or a bundle: a folder or a zip.")
    ],
    name: Annotated[str | None, typer.Option(help="Name in queries; by default the file's.")] = None,
    json: Json = False,
) -> None:
    """Upload an executable, to be named in queries after USING.

    \b
    $ privid upload people.py
    $ privid upload people-counter
    """
    with Client(analyst_target()) as client:
        document = _upload(client, name or file.absolute().name, file)
    if json:
        print_json(document)
    else:
        _say_uploaded(document)


@app.command()
def executables(json: Json = False) -> None:
    """List the executables that you have uploaded.

    \b
    $ privid executables
    """
    with Client(analyst_target()) as client:
        found = client.executables()
    if json:
        print_json({"executables": [views.executable_json(executable) for executable in found]})
        return
    listing = table(
        "NAME", "VERSION", "SHA-256", "BYTES", "UPLOADED", "LIBRARIES", "WEIGHTS", right=("VERSION", "BYTES")
    )
    for executable in found:
        listing.add_row(
            *literal(
                executable.name,
                executable.version,
                executable.sha256[:12],
                executable.size_bytes,
                local_time(executable.created_us),
                ", ".join(executable.manifest.get("libraries", ())),
                ", ".join(f"{name} ({w['format']})" for name, w in executable.manifest.get("weights", {}).items()),
            )
        )
    stdout().print(listing)


@app.command()
def explain(
    query: QueryFile,
    policy: Annotated[
        Path | None, typer.Option(metavar="POLICY.toml", help="Plan offline, against this policy file.")
    ] = None,
    server: Annotated[
        bool, typer.Option("--server", help="Plan on the server (the default without --policy).")
    ] = False,
    epsilon: Epsilon = None,
    horizon: Horizon = None,
    expect: Annotated[
        list[str] | None,
        typer.Option("--expect", metavar="COLUMN=VALUE", help="Show the error relative to this value. Repeatable."),
    ] = None,
    executable: Executables = None,
    no_upload: NoUpload = False,
    json: Json = False,
) -> None:
    """Show what a query means and costs. Touches neither video nor budget.

    The text may begin with EXPLAIN.

    On the server, executables named after USING are uploaded first if they lie beside the query and have changed.

    \b
    $ privid explain people.sql
    $ privid explain people.sql --policy policy.toml --json
    $ privid explain people.sql --policy policy.toml --expect people=5
    """
    if policy is not None and server:
        raise InputError("usage", "--policy plans offline and --server does not", "choose one")
    expected = plans.expectations(expect or [])
    query = bundles.query_file(query)
    text = without_explain(read_text(query, "the query"))
    default = None if epsilon is None else epsilon_nano("--epsilon", epsilon)
    if policy is not None:
        from privid.cli import offline

        with about(text, query.name):
            document = offline.explain(text, policy, default, standing.horizon_us(horizon))
    else:
        with about(text, query.name):
            files = _files(text, query, executable or [], no_upload)
        with Client(analyst_target()) as client:
            for name, path in files.items():
                _upload(client, name, path)
            with about(text, query.name):
                document = client.explain(text, default, standing.horizon_us(horizon))
    document = plans.with_expectations(document, expected)
    if json:
        print_json(document)
    else:
        plans.print_plan(stdout(), document, query.name)


@app.command()
def submit(
    query: QueryFile,
    epsilon: Epsilon = None,
    horizon: Horizon = None,
    executable: Executables = None,
    no_upload: NoUpload = False,
    request_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Submitting twice with one id is one query.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Wait for the answer and print it.")] = False,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Submit a query: it is admitted and charged, or refused, at once.

    Executables named after USING are uploaded first if they lie beside the query and have changed.

    \b
    $ privid submit people.sql --watch --plot people.png
    """
    query = bundles.query_file(query)
    text = read_text(query, "the query")
    default = None if epsilon is None else epsilon_nano("--epsilon", epsilon)
    check_writable(plot)
    with about(text, query.name):
        files = _files(text, query, executable or [], no_upload)
    with Client(analyst_target()) as client:
        uploads = [_upload(client, name, path) for name, path in files.items()]
        with about(text, query.name):
            submission = client.submit(text, default, request_id, standing.horizon_us(horizon))
        document = views.query_json(submission.query) | {
            "existing": submission.existing,
            "shared": submission.shared,
            "uploads": uploads,
        }
        if not json:
            for uploaded in uploads:
                if not uploaded["existing"]:
                    _say_uploaded(uploaded)
            _say_submitted(submission, query.name)
        if watch or plot is not None:
            release = _await(client, standing.next_window(client, submission.query.id))
            document |= {"state": "released", "result": views.release_json(release)}
            if not json:
                views.print_release(stdout(), release)
            _plot(release, plot)
    if json:
        print_json(document)


@app.command()
def watch(query_id: QueryId, plot: Plot = None, json: Json = False) -> None:
    """Follow a query on its public schedule, then print its answer; of a query with EVERY, the next window's.

    \b
    $ privid watch 4f1c2a9b
    """
    check_writable(plot)
    with Client(analyst_target()) as client:
        release = _await(client, standing.next_window(client, query_id))
    _show(release, plot, json)


@app.command()
def result(query_id: QueryId, plot: Plot = None, json: Json = False) -> None:
    """Print a query's answer; reading it again is free. Of a query with EVERY, the answers of all windows so far.

    \b
    $ privid result 4f1c2a9b --plot people.png
    """
    check_writable(plot)
    with Client(analyst_target()) as client:
        query, windows = client.windows(query_id)
        if query.standing is None:
            _show(client.result(query_id), plot, json)
            return
        if plot is not None:
            raise InputError("usage", "--plot draws one answer", "name one of: privid windows " + query_id)
        found = standing.answers(client, windows)
    if json:
        print_json(standing.answers_json(query, found))
    else:
        standing.print_answers(stdout(), query, found)


@app.command(name="windows")
def list_windows(query_id: QueryId, json: Json = False) -> None:
    """List the windows of a query with EVERY. Each is a query by itself, to be watched, read or cancelled.

    \b
    $ privid windows 4f1c2a9b
    """
    with Client(analyst_target()) as client:
        query, windows = client.windows(query_id)
    if query.standing is None:
        raise InputError("usage", f"query {query_id} has no EVERY, so no windows", f"privid result {query_id}")
    if json:
        print_json(views.query_json(query) | {"windows": [views.query_json(window) for window in windows]})
    else:
        standing.print_windows(stdout(), query, windows)


@app.command(name="list")
def list_queries(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many, newest first.")] = 20, json: Json = False
) -> None:
    """List your queries, newest first.

    \b
    $ privid list --limit 5
    """
    with Client(analyst_target()) as client:
        found = client.queries(limit)
    if json:
        print_json({"queries": [views.query_json(query) for query in found]})
    elif found:
        views.print_queries(stdout(), found)
    else:
        stdout().print("no queries yet: privid submit QUERY.sql")


@app.command()
def cancel(query_id: QueryId, json: Json = False) -> None:
    """Give a query up, or all windows of one that are to come. What has not started is not charged.

    \b
    $ privid cancel 4f1c2a9b
    """
    with Client(analyst_target()) as client:
        query = client.cancel(query_id)
    if json:
        print_json(views.query_json(query))
    else:
        stdout().print(f"{query.id} is {query.state}", markup=False)


app.command(name="init")(trying.init)
app.command(name="try")(trying.try_command)
app.command(name="run-local")(trying.run_local)
app.command(name="tune")(tuning.tune)


# --- parts --------------------------------------------------------------------------------------------------


def _files(text: str, query: Path, named: list[str], no_upload: bool) -> dict[str, Path]:
    """What to upload: name to path. Files beside the query first, named ones instead where both are given."""
    files: dict[str, Path] = {}
    if not no_upload and str(query) != "-":
        from privid.cli import offline

        for name in offline.named_executables(text):
            near = bundles.beside(query, name)
            if Path(name).name == name and near.exists():
                files[name] = near
    return files | bundles.named(named)


def _upload(client: Client, name: str, path: Path) -> dict[str, Any]:
    executable, existing = client.upload(name, bundles.content(path))
    return {
        "name": executable.name,
        "version": executable.version,
        "sha256": executable.sha256,
        "size_bytes": executable.size_bytes,
        "existing": existing,
    }


def _say_uploaded(document: dict[str, Any]) -> None:
    verb = "unchanged" if document["existing"] else "uploaded"
    stdout().print(f"{verb} {document['name']} version {document['version']} ({document['sha256'][:12]})", markup=False)


def _say_submitted(submission: Submission, name: str) -> None:
    query = submission.query
    charge = ", ".join(f"{camera} {epsilon_text(nano)}" for camera, nano in query.charges.items()) or "nothing"
    if submission.shared:
        charge = "nothing: the same question was paid before"
    elif submission.existing:
        charge = f"{charge}, once: this is the query that you submitted before"
    when = "now" if query.state == "released" else f"at {local_time(query.visible_us)}"
    answer = "answer" if query.standing is None else f"{query.standing.windows} windows, the next answer"
    stdout().print(f"{name}: query {query.id}, charge {charge}, {answer} visible {when}", markup=False)


def _await(client: Client, query_id: str) -> Release:
    """Follow a query to its answer. Raises CallFailed or InputError if there will be none."""
    last: Query | None = None
    console = stderr()
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[until]}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(query_id, total=1.0, until="")
        for progress in client.watch(query_id):
            last = progress.query
            remaining = max(0, last.visible_us - progress.now_us)
            until = f"visible at {local_time(last.visible_us)}, in {views.span_text(remaining)}"
            bar.update(task, completed=progress.fraction, until=until if remaining else "about to be visible")
    if last is not None and last.state == "cancelled":
        raise InputError("cancelled", f"query {query_id} was cancelled; there will be no answer", "submit it again")
    if last is not None and last.state == "failed":
        raise CallFailed(
            "query_failed",
            f"the system failed while answering query {query_id}; its charge stays",
            "tell the owner the query's id",
            system=True,
        )
    return client.result(query_id)


def _show(release: Release, plot: Path | None, json: bool) -> None:
    if json:
        print_json(views.release_json(release))
    else:
        views.print_release(stdout(), release)
    _plot(release, plot)


def _plot(release: Release, path: Path | None) -> None:
    if path is not None:
        from privid.cli.plots import save_release

        save_release(release, path)
        stderr().print(f"drawn in {path}", markup=False)


def run() -> None:
    """The console script."""
    run_app(app)
