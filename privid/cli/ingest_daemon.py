"""`privid-ingest run` and `status`: recording cameras, and seeing how it goes."""

import json as jsonlib
import signal
import threading
import urllib.request
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from privid.cli.ingest_store import open_store, size_text, store_errors
from privid.cli.terminal import InputError, Json, cells, check_writable, print_json, stdout, table
from privid.cli.timelines import show_timeline
from privid.cli.views import span_text
from privid.domain.units import SECOND, isoformat
from privid.ingest.configuration import load
from privid.ingest.daemon import Daemon
from privid.ingest.systemd import notify
from privid.ingest.web import serve
from privid.owner.timeline_plot import Timeline
from privid.server.logs import configure_logs
from privid.server.settings import split_address
from privid.video.catalog import Catalog, Recorded
from query_lang.units import parse_moment

DEFAULT_LISTEN = "127.0.0.1:7743"
_ASK_SECONDS = 2.0

_Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE", envvar="PRIVID_INGEST_CONFIG", help="TOML: sources, and how long video is kept."),
]
_Listen = Annotated[
    str, typer.Option(metavar="HOST:PORT", envvar="PRIVID_INGEST_LISTEN", help="For /healthz, /status and /metrics.")
]


def run_command(
    config: _Config = None,
    listen: _Listen = DEFAULT_LISTEN,
    log_level: Annotated[
        str, typer.Option(help="debug, info, warning or error; JSON lines on standard error.")
    ] = "info",
    json: Json = False,
) -> None:
    """Record all cameras that have an address until SIGTERM or Ctrl-C; SIGHUP reads the configuration again.

    Cameras and addresses come from the database (privid-admin camera add --url) and from the file.

    \b
    $ privid-ingest run
    $ privid-ingest run --config /etc/privid/ingest.toml
    """
    try:
        configure_logs(log_level)
        host, port = split_address(listen)
    except ValueError as error:
        raise InputError("usage", str(error)) from None
    with store_errors(), open_store() as (catalog, store):
        daemon = Daemon(catalog, store, partial(load, catalog, config and config.expanduser().absolute()))
        try:
            web = serve(host, port, daemon.status)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError("listen", f"cannot listen on {listen}: {reason}", "choose another --listen") from None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: daemon.stop())
        signal.signal(signal.SIGHUP, lambda *_: daemon.reload())
        threading.Thread(target=web.serve_forever, name="web", daemon=True).start()
        address = f"{host}:{web.server_address[1]}"
        if json:
            print_json({"ready": True, "listen": address}, one_line=True)
        else:
            stdout().print(f"privid-ingest ready: http://{address}/healthz", markup=False, soft_wrap=True)
        notify("READY=1")
        try:
            daemon.run()
        finally:
            web.shutdown()
            notify("STOPPING=1")


def status_command(
    listen: _Listen = DEFAULT_LISTEN,
    json: Json = False,
) -> None:
    """Show what is recorded of each camera, and how its recording goes.

    \b
    $ privid-ingest status
    """
    with store_errors(), open_store() as (catalog, _):
        stored = [(camera.name, *_stored(catalog, camera.name)) for camera in catalog.cameras()]
    daemon = _ask(listen)
    live = {camera["camera"]: camera for camera in daemon["cameras"]} if daemon else {}
    if json:
        print_json(
            {
                "cameras": [
                    {
                        "camera": name,
                        "recorded": recorded and recorded._asdict(),
                        "holes": holes,
                        "recorder": live.get(name),
                    }
                    for name, recorded, holes in stored
                ],
                "recorder": daemon and {name: value for name, value in daemon.items() if name != "cameras"},
            }
        )
        return
    if not stored:
        stdout().print("no cameras yet: privid-admin camera add NAME makes one")
        return
    _print_status(stored, live, daemon["now_us"] if daemon else 0)
    _print_recorder(daemon, listen)


def timeline_command(
    camera: Annotated[str, typer.Argument(metavar="CAMERA", help="The camera's name.")],
    begin: Annotated[str | None, typer.Option("--from", metavar="TIME", help="ISO 8601; default: all of it.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="ISO 8601; default: all of it.")] = None,
    png: Annotated[
        Path | None, typer.Option("--png", "--plot", metavar="FILE", help="Draw it into this file as well.")
    ] = None,
    json: Json = False,
) -> None:
    """Draw when a camera has recorded, and list what is missing and why.

    \b
    $ privid-ingest timeline plaza --from 2026-12-01 --to 2026-12-08 --png plaza.png
    """
    check_writable(png)
    with store_errors(), open_store() as (catalog, _):
        found = catalog.camera(camera)
        recorded = catalog.recorded(found.name)
        if recorded is None and not (begin and end):
            raise InputError(
                "video", f"nothing is recorded of {found.name} yet", "give --from and --to to see its gaps"
            )
        from_us = _moment("--from", begin, found.timezone, recorded.begin_us if recorded else 0)
        to_us = _moment("--to", end, found.timezone, recorded.end_us if recorded else 0)
        if from_us >= to_us:
            raise InputError("usage", "--from must be before --to")
        spans = [(span.from_us, span.to_us, span.state) for span in catalog.coverage(found.name, from_us, to_us)]
        gaps = catalog.gaps(found.name, from_us, to_us)
    show_timeline(Timeline(found.name, from_us, to_us, spans), gaps, png, json=json)


def _moment(option: str, text: str | None, timezone: str, otherwise: int) -> int:
    if text is None:
        return otherwise
    try:
        return parse_moment(text, timezone)
    except ValueError as error:
        raise InputError("usage", f"{option}: {error}") from None


def _stored(catalog: Catalog, camera: str) -> tuple[Recorded | None, int]:
    """Totals, and the number of interruptions."""
    recorded = catalog.recorded(camera)
    if recorded is None:
        return None, 0
    spans = catalog.coverage(camera, recorded.begin_us, recorded.end_us)
    return recorded, sum(span.state != "covered" for span in spans)


def _ask(listen: str) -> dict[str, Any] | None:
    """What the recorder says of itself; None if none answers there."""
    try:
        host, port = split_address(listen)
    except ValueError as error:
        raise InputError("usage", str(error)) from None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{host}:{port}/status", timeout=_ASK_SECONDS) as answer:
            found = jsonlib.load(answer)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _print_status(stored: list[tuple[str, Recorded | None, int]], live: dict[str, dict[str, Any]], now_us: int) -> None:
    right = ("HOLES", "SEGMENTS", "FRAMES")
    listing = table("CAMERA", "NOW", "FROM", "TO", "VIDEO", "HOLES", "SEGMENTS", "FRAMES", "SIZE", right=right)
    for name, recorded, holes in stored:
        now = _now(live.get(name), now_us)
        if recorded is None:
            listing.add_row(*cells(name, now, "nothing recorded yet"))
            continue
        listing.add_row(
            *cells(
                name,
                now,
                isoformat(recorded.begin_us // SECOND * SECOND),
                isoformat(recorded.end_us // SECOND * SECOND),
                span_text(recorded.covered_us // SECOND * SECOND or recorded.covered_us),
                holes,
                recorded.segments,
                recorded.frames,
                size_text(recorded.size_bytes),
            )
        )
    stdout().print(listing)


def _now(camera: dict[str, Any] | None, now_us: int) -> str:
    """What a camera's recorder does, in a few words."""
    if camera is None:
        return ""
    words = str(camera["phase"])
    if camera["reason"]:
        words = f"{words}: {camera['reason']} for {(now_us - camera['since_us']) // SECOND} s"
    if camera["store_error"]:
        words = f"{words}; cannot store: {camera['store_error']}"
    return words


def _print_recorder(daemon: dict[str, Any] | None, listen: str) -> None:
    out = stdout()
    if daemon is None:
        out.print(f"no recorder answers on {listen} (privid-ingest run)", markup=False)
        return
    spool = daemon["spool"]
    left = size_text(daemon["disk_free_bytes"])
    if spool is None:
        out.print(f"recorder: {left} left on the disk", markup=False)
    else:
        waiting, limit = size_text(spool["size_bytes"]), size_text(spool["limit_bytes"])
        out.print(
            f"recorder: stores in {daemon['store']}; {waiting} of at most {limit} wait here, {left} left on the disk",
            markup=False,
            soft_wrap=True,
        )
    if spool is not None and spool["full"]:
        out.print(
            "THE SPOOL IS FULL, nothing is recorded: see why the store takes nothing, or set PRIVID_STORE_SPOOL_BYTES",
            markup=False,
        )
    elif daemon["disk_full"]:
        out.print("THE DISK IS FULL, nothing is recorded: make room, or set min_free, max_size or keep", markup=False)
    if daemon["retention"]["blocked_bytes"]:
        blocked = size_text(daemon["retention"]["blocked_bytes"])
        out.print(f"{blocked} should have been removed, but unfinished queries need them", markup=False)
    if daemon["retention"]["error"]:
        out.print(f"retention failed: {daemon['retention']['error']}", markup=False)
    if daemon["clock_step_us"]:
        out.print(
            f"the clock has been set by {daemon['clock_step_us'] / SECOND:+.3f} s: believed if it lasts", markup=False
        )
