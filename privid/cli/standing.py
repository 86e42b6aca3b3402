"""Queries with EVERY, for people and as JSON: their windows, and the answers that are there."""

from typing import Any

from rich.console import Console
from rich.text import Text

from privid.cli import views
from privid.cli.terminal import InputError, cells, local_time, table
from privid.client import Client
from privid.client.values import Query, Standing, Window
from privid.domain.release import Release
from privid.domain.units import isoformat
from query_lang.units import parse_duration


def horizon_us(text: str | None) -> int | None:
    """The value of `--horizon`. Raises InputError."""
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InputError("usage", f"--horizon: {error}", "such as --horizon 30d") from None


def next_window(client: Client, query_id: str) -> str:
    """The query whose answer comes next: this one, or of one with EVERY the next window's. Raises InputError."""
    query, _ = client.windows(query_id)
    if query.standing is None:
        return query_id
    if not query.standing.next_query:
        raise InputError("over", f"no window of query {query_id} is to come any more", f"privid result {query_id}")
    return query.standing.next_query


def answers(client: Client, windows: tuple[Query, ...]) -> list[tuple[Query, Release]]:
    """The windows that have their answers, with them."""
    return [(window, client.result(window.id)) for window in windows if window.state == "released"]


def answers_json(query: Query, found: list[tuple[Query, Release]]) -> dict[str, Any]:
    """The answers of a query with EVERY as a JSON document."""
    return views.query_json(query) | {
        "windows": [views.query_json(window) | {"result": views.release_json(release)} for window, release in found]
    }


def print_answers(console: Console, query: Query, found: list[tuple[Query, Release]]) -> None:
    """The answers of a query with EVERY, a window after the other."""
    assert query.standing is not None
    for window, release in found:
        assert window.window is not None
        console.print(Text(span(window.window), style="bold underline"))
        views.print_release(console, release)
    console.print(Text(progress(query.standing) + coming(query)))


def print_windows(console: Console, query: Query, windows: tuple[Query, ...]) -> None:
    """Windows, one a line."""
    listing = table("WINDOW", "VIDEO", "STATE", "VISIBLE", "QUERY")
    for window in windows:
        assert window.window is not None
        listing.add_row(
            *cells(
                window.window.position + 1, span(window.window), window.state, local_time(window.visible_us), window.id
            )
        )
    console.print(listing)
    assert query.standing is not None
    console.print(Text(progress(query.standing) + coming(query)))
    for note in dict.fromkeys(window.note for window in windows if window.note):
        console.print(Text(f"cancelled by {note}", style="yellow"))


def span(window: Window) -> str:
    """The video of a window."""
    return f"{isoformat(window.begin_us)} .. {isoformat(window.end_us)}"


def progress(standing: Standing) -> str:
    """How far a query with EVERY is."""
    over = [
        f"{count} {name}" for name, count in (("cancelled", standing.cancelled), ("failed", standing.failed)) if count
    ]
    return ", ".join([f"{standing.released} of {standing.windows} windows released", *over])


def coming(query: Query) -> str:
    """When the next answer comes."""
    assert query.standing is not None
    return f"; the next answer at {local_time(query.visible_us)}" if query.standing.next_query else ""
