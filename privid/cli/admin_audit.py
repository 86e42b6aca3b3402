"""`privid-admin audit`: the log of everything that matters, and whether it is as it was written."""

import json as json_format
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from privid.cli.config import owner_target
from privid.cli.terminal import (
    SETTINGS,
    InputError,
    Json,
    cells,
    check_writable,
    epsilon_text,
    local_time,
    print_json,
    read_text,
    stdout,
    table,
)
from privid.client import OwnerClient
from privid.client.values import AuditEntry, AuditHead, AuditReport

app = typer.Typer(help="The audit log: everything that matters, in a chain of hashes.", **SETTINGS)

_FIELDS = ("seq", "at_us", "actor", "event", "document", "previous", "hash")
_NAMES = ("query", "reservation", "camera", "analyst", "series", "name")
"""What of a document says what an entry is about."""
_LEGEND = "a number and a hash, as verify prints them"


@app.command(name="verify")
def audit_verify(
    known: Annotated[
        str | None, typer.Option(metavar="NUMBER:HASH", help="A head that was noted earlier: the log must contain it.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Verify an exported log, without a server.")
    ] = None,
    json: Json = False,
) -> None:
    """Check that no entry was changed, taken out or put in; exit status 2 if one was. Keep the head it prints.

    \b
    $ privid-admin audit verify
    $ privid-admin audit verify --file audit.jsonl
    """
    head = None if known is None else _head(known)
    if file is not None:
        report = verify_entries(read_entries(file), head)
    else:
        with OwnerClient(owner_target()) as client:
            report = client.verify_audit(head)
    document = {
        "ok": report.problem is None,
        "entries": report.head.entries,
        "hash": report.head.hash,
        "seq": report.seq,
        "problem": report.problem,
    }
    if json:
        print_json(document)
    elif report.problem is None:
        head_text = f"{report.head.entries}:{report.head.hash}"
        stdout().print(f"{report.head.entries} entries, all as written; head {head_text}", markup=False)
    else:
        stdout().print(Text(f"entry {report.seq} {report.problem}", style="bold red"))
    if report.problem is not None:
        raise typer.Exit(2)


@app.command(name="show")
def audit_show(
    last: Annotated[int, typer.Option(min=1, max=1000, help="So many, the last ones.")] = 20,
    event: Annotated[
        str, typer.Option(metavar="EVENT", help="Only this event, such as query.refused; query is all that begin so.")
    ] = "",
    json: Json = False,
) -> None:
    """Show the end of the log.

    \b
    $ privid-admin audit show --last 50 --event query.refused
    """
    with OwnerClient(owner_target()) as client:
        entries = client.audit_last(last, event)
    if json:
        print_json({"entries": [entry_json(entry) | {"name": entry.name or None} for entry in entries]})
        return
    listing = table("NUMBER", "TIME", "WHO", "EVENT", "WHAT", right=("NUMBER",))
    for entry in entries:
        listing.add_row(*cells(entry.seq, local_time(entry.at_us), who(entry), entry.event, what(entry)))
    stdout().print(listing)


@app.command(name="export")
def audit_export(
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="One entry a line, as it was written.")],
    json: Json = False,
) -> None:
    """Write the whole log into a file that audit verify --file checks anywhere.

    \b
    $ privid-admin audit export audit.jsonl
    """
    check_writable(file)
    with OwnerClient(owner_target()) as client:
        head = write_entries(client, file)
    if json:
        print_json({"file": str(file), "entries": head.entries, "hash": head.hash})
    else:
        stdout().print(f"wrote {file}: {head.entries} entries; head {head.entries}:{head.hash}", markup=False)


# --- files --------------------------------------------------------------------------------------------------


def entry_json(entry: AuditEntry) -> dict[str, Any]:
    """An entry as it is hashed: its document stays text."""
    return {name: getattr(entry, name) for name in _FIELDS}


def write_entries(client: OwnerClient, file: Path) -> AuditHead:
    """The log as lines of JSON; returns how many there are and the hash of the last."""
    head = AuditHead(0, "")
    with file.open("w", encoding="utf-8") as lines:
        for entry, _ in client.audit():
            lines.write(json_format.dumps(entry_json(entry), ensure_ascii=False) + "\n")
            head = AuditHead(entry.seq, entry.hash)
    return head


def read_entries(file: Path) -> Iterator[AuditEntry]:
    """The entries of an exported log. Raises InputError for what is none."""
    for number, line in enumerate(read_text(file, "the log").splitlines(), 1):
        try:
            fields = json_format.loads(line)
            entry = AuditEntry(**fields)
            if set(fields) != set(_FIELDS) or not all(type(fields[name]) is int for name in ("seq", "at_us")):
                raise ValueError
        except (ValueError, TypeError):
            hint = "audit export writes it"
            raise InputError("not_a_log", f"{file}, line {number}: this is no entry of an audit log", hint) from None
        yield entry


def verify_entries(entries: Iterator[AuditEntry], known: AuditHead | None) -> AuditReport:
    """The same verification as a server's, of an exported log, whose end is its head."""
    from privid.ledger import audit

    log = [audit.Entry(**entry_json(entry)) for entry in entries]
    head = audit.Head(len(log), log[-1].hash if log else audit.GENESIS)
    report = audit.check(log, head, None if known is None else audit.Head(known.entries, known.hash))
    return AuditReport(AuditHead(head.entries, head.hash), report.seq, report.problem)


def _head(text: str) -> AuditHead:
    number, _, digest = text.partition(":")
    if not (number.isascii() and number.isdigit() and len(number) < 19 and len(digest) == 64):
        raise InputError("usage", f"--known {text}: not a head", f"write {_LEGEND}: 12:ab34...")
    return AuditHead(int(number), digest.lower())


# --- in words -----------------------------------------------------------------------------------------------


def who(entry: AuditEntry) -> str:
    """An analyst's name, or the actor as it was written."""
    return entry.name or entry.actor


def what(entry: AuditEntry) -> str:
    """The document of an entry in a few words."""
    document: dict[str, Any] = json_format.loads(entry.document)
    if refusals := document.get("refusals"):
        camera, _, _, left, asked = refusals[0]
        return f"{camera}: {epsilon_text(left)} left, {epsilon_text(asked)} asked"
    parts = [str(document[key]) for key in _NAMES if document.get(key)]
    if cameras := document.get("policies"):
        parts += list(cameras)
    return " ".join(dict.fromkeys(parts)) or "-"
