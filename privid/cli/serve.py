"""`privid-server`: the server, and what checks its host."""

import asyncio
import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.text import Text

from privid.cli.terminal import InputError, Json, print_json, run_app, stdout
from privid.database.errors import DatabaseError
from privid.domain.home import Home
from privid.server.app import Addresses, AlreadyRunning, Parts, hold, serve_until_signal, wire
from privid.server.endpoints import CannotListen
from privid.server.logs import configure_logs
from privid.server.settings import Settings
from privid.video.errors import BadStoreSetting

app = typer.Typer(
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The server: answers questions of video under the owner's policies.",
)

_Home = Annotated[Path | None, typer.Option("--home", help="Data directory (environment: PRIVID_HOME).")]
_Listen = Annotated[str | None, typer.Option(help="Analysts' port (PRIVID_LISTEN; 127.0.0.1:7741).")]
_AdminListen = Annotated[str | None, typer.Option(help="Owners' port (PRIVID_ADMIN_LISTEN; 127.0.0.1:7742).")]
_Cert = Annotated[Path | None, typer.Option(help="Certificate chain, PEM (PRIVID_TLS_CERT).")]
_Key = Annotated[Path | None, typer.Option(help="Its key, PEM (PRIVID_TLS_KEY).")]
_ClientCa = Annotated[
    Path | None, typer.Option(help="Ask clients for a certificate of this authority (PRIVID_TLS_CLIENT_CA).")
]
_SlotCores = Annotated[int | None, typer.Option(help="Cores only for slots (PRIVID_SLOT_CORES; half of them).")]
_LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error; JSON lines on standard error.")]


@app.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    """Answer questions of video under the owner's policies. Without a command: run.

    \b
    $ privid-server run --home /srv/privid
    """
    if context.invoked_subcommand is None:
        _run({}, "info", json=False)


@app.command(name="run")
def run_command(
    home: _Home = None,
    listen: _Listen = None,
    admin_listen: _AdminListen = None,
    tls_cert: _Cert = None,
    tls_key: _Key = None,
    tls_client_ca: _ClientCa = None,
    slot_cores: _SlotCores = None,
    restored: Annotated[
        bool, typer.Option("--restored", help="The database is an older copy: serve owners only, to import into it.")
    ] = False,
    log_level: _LogLevel = "info",
    json: Json = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C. Without TLS only this machine is served.

    At the first start the owner's token is written to owner.token in the data directory.

    \b
    $ privid-server run --home /srv/privid
    $ privid-server run --listen 0.0.0.0:7741 --tls-cert server.pem --tls-key server.key
    """
    options = {
        "home": None if home is None else home.expanduser().absolute(),
        "listen": listen,
        "admin_listen": admin_listen,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "slot_cores": slot_cores,
        "restored": restored or None,
    }
    _run({name: value for name, value in options.items() if value is not None}, log_level, json=json)


@app.command()
def doctor(json: Json = False) -> None:
    """Check that this host can confine executables, by trying it. Exit status 2 if it cannot.

    \b
    $ privid-server doctor
    """
    from workers.host.doctor import check

    findings = check(device=_settings({}).inference_device)
    bad = [finding for finding in findings if not finding.ok]
    if json:
        print_json({"ok": not bad, "findings": [dataclasses.asdict(finding) for finding in findings]})
    else:
        console = stdout()
        for finding in findings:
            mark, style = ("ok  ", "green") if finding.ok else ("FAIL", "red")
            console.print(Text.assemble((f"{mark} ", style), f"{finding.name}: {finding.detail}"))
    if bad:
        raise typer.Exit(2)


def _run(options: dict[str, Any], log_level: str, *, json: bool) -> None:
    settings = _settings(options)
    try:
        configure_logs(log_level)
        home = Home(settings.home).create()
    except ValueError as error:
        raise InputError("usage", str(error)) from None
    except OSError as error:
        raise InputError("home", f"cannot use {settings.home}: {error.strerror}", "choose another --home") from None

    def ready(addresses: Addresses) -> None:
        if json:
            # One line, so that whoever started the server can wait for it.
            print_json({"ready": True, "analysts": addresses.analysts, "owners": addresses.owners}, one_line=True)
        else:
            analysts = addresses.analysts or "not served"
            line = f"privid-server ready: analysts {analysts}, owners {addresses.owners}, home {home.root}"
            stdout().print(line, markup=False, soft_wrap=True)

    try:
        lock = hold(home)
        try:
            parts = _wire(settings)
            try:
                asyncio.run(serve_until_signal(settings, parts, ready))
            finally:
                parts.database.dispose()
        finally:
            os.close(lock)
    except (AlreadyRunning, CannotListen, DatabaseError) as error:
        raise InputError("cannot_start", str(error)) from None


def _wire(settings: Settings) -> Parts:
    try:
        return wire(settings)
    except (ValueError, BadStoreSetting) as error:
        raise InputError("cannot_start", str(error)) from None


def _settings(options: dict[str, Any]) -> Settings:
    try:
        return Settings(**options)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise InputError("usage", f"{name}: {message}" if name else message, "see privid-server run --help") from None


def run() -> None:
    """The console script."""
    run_app(app)
