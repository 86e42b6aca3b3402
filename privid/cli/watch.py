"""`privid-admin watch`: what the server is doing, live."""

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from privid.cli import views
from privid.cli.admin_audit import what, who
from privid.cli.config import owner_target
from privid.cli.terminal import Json, cells, epsilon_text, local_time, print_json, stdout, table
from privid.client import CallFailed, OwnerClient
from privid.client.values import Activity, AuditEntry, Camera, Query
from privid.domain.units import SECOND

_SHOWN_QUERIES = 12
_SHOWN_EVENTS = 8
_WORDS = {
    "query.reserved": "admitted",
    "query.shared": "shared, free",
    "query.refused": "refused",
    "query.cancelled": "cancelled",
}


def watch(
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    every: Annotated[float, typer.Option(min=0.2, max=3600.0, metavar="SECONDS", help="Look so often.")] = 2.0,
    json: Json = False,
) -> None:
    """Watch cameras, budgets, queries and what was admitted or refused, until q or Ctrl-C.

    Where the output is not a terminal, each new event is a line; with --json each look is.

    \b
    $ privid-admin watch
    $ privid-admin watch --once --json
    """
    console = stdout()
    with OwnerClient(owner_target()) as client, contextlib.suppress(KeyboardInterrupt):
        cameras, activity = client.cameras(), client.activity()
        if json:
            _as_json(client, cameras, activity, None if once else every)
        elif once:
            console.print(screen(client.address, cameras, activity))
        elif console.is_terminal:
            _live(console, client, every)
        else:
            _as_lines(console, client, activity, every)


# --- ways to show it ----------------------------------------------------------------------------------------


def _live(console: Console, client: OwnerClient, every: float) -> None:
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                shown: RenderableType = screen(client.address, client.cameras(), client.activity())
            except CallFailed as error:
                if error.code not in ("unavailable", "busy", "deadline"):
                    raise
                shown = Text(f"{error.message}; trying again", style="yellow")
            live.update(Group(shown, Text("\nq ends", style="dim")), refresh=True)
            if pressed(every):
                return


def _as_lines(console: Console, client: OwnerClient, activity: Activity, every: float) -> None:
    """The events that there are, then every new one."""
    seen = 0
    while True:
        for entry in reversed(activity.recent):
            if entry.seq > seen:
                seen = entry.seq
                console.print(" ".join(str(cell) for cell in _event(entry)), markup=False)
        sys.stdout.flush()
        time.sleep(every)
        activity = client.activity()


def _as_json(client: OwnerClient, cameras: tuple[Camera, ...], activity: Activity, every: float | None) -> None:
    while True:
        print_json(snapshot(cameras, activity), one_line=every is not None)
        if every is None:
            return
        time.sleep(every)
        cameras, activity = client.cameras(), client.activity()


@contextlib.contextmanager
def _keys() -> Iterator[Any]:
    """Within, keys arrive at once, unseen. Gives a function that waits so many seconds for q: whether it came."""
    if not sys.stdin.isatty():
        yield time.sleep
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)

    def pressed(seconds: float) -> bool:
        end = time.monotonic() + seconds
        while (rest := end - time.monotonic()) > 0:
            if select.select([sys.stdin], [], [], rest)[0]:
                typed = os.read(sys.stdin.fileno(), 64)  # past Python's buffer, which select does not see
                if not typed or b"q" in typed.lower():
                    return True
        return False

    try:
        yield pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


# --- what is shown ------------------------------------------------------------------------------------------


def snapshot(cameras: tuple[Camera, ...], activity: Activity) -> dict[str, Any]:
    """One look as a JSON document."""
    return {
        "now_us": activity.now_us,
        "slot_cores": activity.slot_cores,
        "shared_cores": activity.shared_cores,
        "cameras": [views.camera_json(camera) for camera in cameras],
        "queries": [
            views.query_json(query) | {"fraction": fraction(query, activity.now_us)} for query in activity.queries
        ],
        "recent": [
            {"seq": entry.seq, "at_us": entry.at_us, "who": who(entry), "event": entry.event, "what": what(entry)}
            for entry in activity.recent
        ],
    }


def screen(address: str, cameras: tuple[Camera, ...], activity: Activity) -> RenderableType:
    """One look for people."""
    running = sum(query.state == "running" for query in activity.queries)
    head = Text.assemble(
        ("privid ", "bold"),
        f"{address}   {local_time(activity.now_us)}   cores: {activity.slot_cores} for slots, "
        f"{activity.shared_cores} for the rest   {running} running, {len(activity.queries) - running} waiting",
    )
    return Group(head, Text(), _cameras(cameras), Text(), _queries(activity), Text(), _events(activity))


def fraction(query: Query, now_us: int) -> float:
    """How much of a query's public schedule has passed, from 0 to 1."""
    duration = query.visible_us - query.starts_us
    return min(1.0, max(0.0, (now_us - query.starts_us) / duration)) if duration > 0 else 0.0


def _cameras(cameras: tuple[Camera, ...]) -> Table:
    shown = table("CAMERA", "BUDGET", "LEFT NOW", "LEFT LEAST", "", "COVERED")
    for camera in cameras:
        whole = camera.policy.epsilon_nano if camera.policy else 0
        least = camera.left_min_nano
        bar: Text | ProgressBar = Text("-")
        if whole and least is not None:
            bar = ProgressBar(total=whole, completed=max(0, least), width=20, complete_style="green")
        row: list[RenderableType] = [
            *cells(
                camera.name,
                epsilon_text(whole) if whole else "no policy",
                epsilon_text(camera.left_now_nano),
                epsilon_text(least),
            ),
            bar,
            Text(views.span_text(camera.covered_us) if camera.covered_us else "-"),
        ]
        shown.add_row(*row)
    return shown


def _queries(activity: Activity) -> RenderableType:
    if not activity.queries:
        return Text("no queries under way", style="dim")
    shown = table("QUERY", "ANALYST", "STATE", "CHARGE", "", "VISIBLE")
    for query in activity.queries[:_SHOWN_QUERIES]:
        done = fraction(query, activity.now_us)
        charge = ", ".join(f"{camera} {epsilon_text(nano)}" for camera, nano in query.charges.items())
        rest = max(0, query.visible_us - activity.now_us)
        due = f"in {views.span_text(rest // SECOND * SECOND)}" if rest >= SECOND else "now"
        row: list[RenderableType] = [
            *cells(query.id, query.analyst, query.state, charge or "-"),
            ProgressBar(total=1.0, completed=done, width=20),
            Text(f"{local_time(query.visible_us)}, {due}"),
        ]
        shown.add_row(*row)
    more = len(activity.queries) - _SHOWN_QUERIES
    return Group(shown, Text(f"and {more} more", style="dim")) if more > 0 else shown


def _events(activity: Activity) -> RenderableType:
    if not activity.recent:
        return Text("nothing was asked yet", style="dim")
    shown = table("TIME", "WHO", "", "WHAT")
    for entry in activity.recent[:_SHOWN_EVENTS]:
        style = "red" if entry.event == "query.refused" else ""
        shown.add_row(*(Text(str(cell), style=style) for cell in _event(entry)))
    return shown


def _event(entry: AuditEntry) -> tuple[str, str, str, str]:
    return local_time(entry.at_us), who(entry), _WORDS.get(entry.event, entry.event), what(entry)
