"""`privid-ingest`: put video into the store, and see what is there."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from privid.cli.terminal import (
    SETTINGS,
    FailureError,
    InputError,
    Json,
    cells,
    print_json,
    run_app,
    stderr,
    stdout,
    table,
)
from privid.cli.views import span_text
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

app = typer.Typer(help="Put video into the store, and see what is there.", **SETTINGS)


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
    json: Json = False,
) -> None:
    """Record a video FILE as what a camera saw from a given time on, without re-encoding it.

    \b
    $ privid-ingest import plaza.mp4 --camera plaza --start 2026-12-01T08:00:00Z --repeat 30
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
    if json:
        print_json(dataclasses.asdict(imported))
    else:
        _print_imported(imported, file)


@app.command("status")
def status_command(json: Json = False) -> None:
    """Show what is recorded of each camera.

    \b
    $ privid-ingest status --json
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
    if json:
        print_json(
            {
                "cameras": [
                    {"camera": name, "recorded": recorded and recorded._asdict(), "holes": holes}
                    for name, recorded, holes in cameras
                ]
            }
        )
    elif not cameras:
        stdout().print("no cameras yet: privid-admin camera add NAME makes one")
    else:
        _print_status(cameras)


def run() -> None:
    """The console script."""
    run_app(app)


@contextmanager
def _errors() -> Iterator[None]:
    """Say what can go wrong in the words of the command line: whatever happens, nothing has been changed."""
    try:
        yield
    except (BadVideoFile, VideoError) as error:
        raise InputError("video", str(error), "see privid-ingest import --help") from None
    except (DatabaseError, StoreFailure) as error:
        raise FailureError("store", str(error), "nothing has been changed") from None
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        raise FailureError("database", f"the database failed: {reason}", "nothing has been changed") from None
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise FailureError("store", f"{error.strerror or error}{where}", "nothing has been changed") from None


@contextmanager
def _catalog() -> Iterator[tuple[Catalog, SegmentStore]]:
    home = Home.from_environment().create()
    engine = open_database(os.environ.get("PRIVID_DATABASE_URL") or home.database)
    try:
        yield Catalog(engine), SegmentStore(home.video)
    finally:
        engine.dispose()


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
    out.print(
        f"{times}{file.name}: {imported.frames} frames in {imported.segments} segments, {_size(imported.size_bytes)}"
    )


def _print_status(cameras: list[tuple[str, Recorded | None, int]]) -> None:
    listing = table(
        "CAMERA", "FROM", "TO", "VIDEO", "HOLES", "SEGMENTS", "FRAMES", "SIZE", right=("HOLES", "SEGMENTS", "FRAMES")
    )
    for name, recorded, holes in cameras:
        if recorded is None:
            listing.add_row(*cells(name, "nothing recorded yet"))
            continue
        listing.add_row(
            *cells(
                name,
                isoformat(recorded.begin_us),
                isoformat(recorded.end_us),
                span_text(recorded.covered_us),
                holes,
                recorded.segments,
                recorded.frames,
                _size(recorded.size_bytes),
            )
        )
    stdout().print(listing)


def _size(size_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.4g} TB"
