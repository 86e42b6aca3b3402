"""`privid-ingest`: put video into the store, and see what is there."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from privid.cli.ingest_check import check_command
from privid.cli.ingest_daemon import run_command, status_command, timeline_command
from privid.cli.ingest_keys import keys_app
from privid.cli.ingest_store import open_store, size_text, store_errors
from privid.cli.terminal import SETTINGS, Json, print_json, run_app, stderr, stdout
from privid.cli.views import span_text
from privid.domain.units import SECOND, isoformat
from privid.ingest.errors import BadVideoFile
from privid.ingest.importer import MAX_REPEAT, Imported, import_file
from query_lang.units import parse_moment

app = typer.Typer(help="Record cameras, put video into the store, and see what is there.", **SETTINGS)


@app.callback()
def _main() -> None:
    """Record cameras, put video into the store, and see what is there."""


@app.command("import")
def import_command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A video file: MP4, MOV, MKV, WebM, AVI, MPEG-TS or FLV.")
    ],
    camera: Annotated[str, typer.Option(help="The camera that recorded it (privid-admin camera add makes one).")],
    start: Annotated[str, typer.Option(help="When its first frame was taken, ISO 8601; without a zone, the camera's.")],
    repeat: Annotated[int, typer.Option(min=1, max=MAX_REPEAT, help="Record it so many times in a row.")] = 1,
    json: Json = False,
) -> None:
    """Record a video FILE as what a camera saw from a given time on, without re-encoding it.

    \b
    $ privid-ingest import plaza.mp4 --camera plaza --start 2026-12-01T08:00:00Z --repeat 30
    """
    with store_errors(), open_store() as (catalog, store):
        found = catalog.camera(camera)
        try:
            start_us = parse_moment(start, found.timezone)
        except ValueError as error:
            raise BadVideoFile(f"--start: {error}") from None
        with _progress() as bar:
            task = bar.add_task("checking frames", total=None)
            imported = import_file(
                catalog,
                store,
                file,
                found.name,
                start_us,
                repeat,
                lambda done, total: bar.update(task, completed=done, total=total),
            )
    if json:
        print_json(dataclasses.asdict(imported))
    else:
        _print_imported(imported, file)


app.add_typer(keys_app, name="keys")
app.command("check")(check_command)
app.command("run")(run_command)
app.command("status")(status_command)
app.command("timeline")(timeline_command)


def run() -> None:
    """The console script."""
    run_app(app)


def _progress() -> Progress:
    console = stderr()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _print_imported(imported: Imported, file: Path) -> None:
    out = stdout()
    duration_us = imported.end_us - imported.begin_us
    out.print(
        f"{imported.camera}: {span_text(duration_us)} of video, {imported.frames * SECOND / duration_us:.4g} fps, "
        f"{imported.width}x{imported.height} {imported.codec}, "
        f"{isoformat(imported.begin_us)} to {isoformat(imported.end_us)}"
    )
    times = "" if imported.repetitions == 1 else f"{imported.repetitions} times "
    size = size_text(imported.size_bytes)
    out.print(f"{times}{file.name}: {imported.frames} frames in {imported.segments} segments, {size}")
