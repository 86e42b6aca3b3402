"""`privid-ingest`: put video into the store, and see what is there. Thin: parse, call, print.

Exit status: 0 done, 1 the system failed, 2 the input was wrong.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from privid.database.connect import open_database
from privid.database.errors import DatabaseError
from privid.domain.home import Home
from privid.domain.units import SECOND, isoformat
from privid.ingest.errors import BadVideoFile
from privid.ingest.importer import MAX_REPEAT, Imported, import_file
from privid.video.catalog import Catalog, Recorded
from privid.video.errors import StoreFailure, VideoError
from privid.video.store import SegmentStore
from query_lang.units import parse_moment

FAILED = 1
BAD_INPUT = 2

app = typer.Typer(
    help="Put video into the store, and see what is there.", no_args_is_help=True, pretty_exceptions_enable=False
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@app.callback()
def _main() -> None:
    """Put video into the store, and see what is there."""


@app.command("import")
def import_command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A video file: MP4, MOV, MKV, WebM, AVI, MPEG-TS or FLV.")
    ],
    camera: Annotated[str, typer.Option(help="The camera that recorded it (privid-admin camera add makes one).")],
    start: Annotated[str, typer.Option(help="When its first frame was taken, ISO 8601; without a zone, the camera's.")],
    repeat: Annotated[int, typer.Option(min=1, max=MAX_REPEAT, help="Record it so many times in a row.")] = 1,
    as_json: Json = False,
) -> None:
    """Record a video FILE as what a camera saw from a given time on, without re-encoding it.

    Example: privid-ingest import plaza.mp4 --camera plaza --start 2026-12-01T08:00:00Z --repeat 30
    """
    with _errors(), _catalog() as (catalog, store):
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
    if as_json:
        _print_json(dataclasses.asdict(imported))
    else:
        _print_imported(imported, file)


@app.command("status")
def status_command(as_json: Json = False) -> None:
    """Show what is recorded of each camera.

    Example: privid-ingest status --json
    """
    with _errors(), _catalog() as (catalog, _):
        cameras = []
        for camera in catalog.cameras():
            recorded = catalog.recorded(camera.name)
            holes = 0
            if recorded is not None:
                spans = catalog.coverage(camera.name, recorded.begin_us, recorded.end_us)
                holes = sum(span.state != "covered" for span in spans)
            cameras.append((camera.name, recorded, holes))
    if as_json:
        _print_json(
            {
                "cameras": [
                    {"camera": name, "recorded": recorded and recorded._asdict(), "holes": holes}
                    for name, recorded, holes in cameras
                ]
            }
        )
    elif not cameras:
        _out().print("no cameras yet: privid-admin camera add NAME makes one")
    else:
        _out().print(_status_table(cameras))


def run() -> None:
    """The console script."""
    try:
        app()
    except KeyboardInterrupt:
        _fail("stopped; nothing has been changed", FAILED)
    except Exception as error:  # noqa: BLE001  # the last resort: people get one line, never a traceback
        _fail(f"internal failure: {type(error).__name__}: {error}", FAILED)


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what can go wrong into one line on the error stream and an exit status."""
    try:
        yield
    except (BadVideoFile, VideoError) as error:
        _fail(str(error), BAD_INPUT)
    except KeyboardInterrupt:
        _fail("stopped; nothing has been changed", FAILED)
    except (DatabaseError, StoreFailure) as error:
        _fail(str(error), FAILED)
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        _fail(f"the database failed: {reason}; nothing has been changed", FAILED)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror or error}{where}; nothing has been changed", FAILED)


@contextmanager
def _catalog() -> Iterator[tuple[Catalog, SegmentStore]]:
    home = Home.from_environment().create()
    engine = open_database(os.environ.get("PRIVID_DATABASE_URL") or home.database)
    try:
        yield Catalog(engine), SegmentStore(home.video)
    finally:
        engine.dispose()


def _progress() -> Progress:
    console = Console(stderr=True)
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
    out = _out()
    seconds = (imported.end_us - imported.begin_us) / SECOND
    out.print(
        f"{imported.camera}: {_duration(seconds)} of video, {imported.frames / seconds:.4g} fps, "
        f"{imported.width}x{imported.height} {imported.codec}, "
        f"{isoformat(imported.begin_us)} to {isoformat(imported.end_us)}"
    )
    times = "" if imported.repetitions == 1 else f"{imported.repetitions} times "
    out.print(
        f"{times}{file.name}: {imported.frames} frames in {imported.segments} segments, {_size(imported.size_bytes)}"
    )


def _status_table(cameras: list[tuple[str, Recorded | None, int]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("CAMERA", "FROM", "TO", "VIDEO", "HOLES", "SEGMENTS", "FRAMES", "SIZE"):
        table.add_column(heading, justify="left" if heading in ("CAMERA", "FROM", "TO") else "right")
    for name, recorded, holes in cameras:
        if recorded is None:
            table.add_row(name, "nothing recorded yet")
        else:
            table.add_row(
                name,
                isoformat(recorded.begin_us),
                isoformat(recorded.end_us),
                _duration(recorded.covered_us / SECOND),
                str(holes),
                str(recorded.segments),
                str(recorded.frames),
                _size(recorded.size_bytes),
            )
    return table


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _size(size_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.4g} TB"


def _out() -> Console:
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 200  # whoever reads a file or a pipe wants whole words
    return console


def _print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document) + "\n")


def _fail(message: str, status: int) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(message)
    raise SystemExit(status)
