"""`privid-ingest check`: whether every segment has its file, and every file its segment."""

import dataclasses
from typing import Annotated

import typer

from privid.cli.ingest_store import open_store, store_errors
from privid.cli.terminal import FailureError, Json, print_json, stdout
from privid.video.agreement import compare

_SHOWN = 10


def check_command(
    remove: Annotated[bool, typer.Option("--remove", help="Remove files that belong to no segment.")] = False,
    json: Json = False,
) -> None:
    """Compare the catalog with what lies in the store. Exit status 1 if a segment's file is missing.

    This machine may go on recording meanwhile.

    With --remove no other one may: what it is just storing belongs to no segment yet.

    \b
    $ privid-ingest check
    $ privid-ingest check --remove
    """
    with store_errors(), open_store() as (catalog, store):
        found = compare(catalog, store)
        if remove:
            for path in found.unknown:
                store.storage.remove(path)
    if json:
        print_json({**dataclasses.asdict(found), "removed": remove})
    else:
        out = stdout()
        out.print(f"{found.segments} segments in {store.label}", markup=False, soft_wrap=True)
        _print_paths("without a file", found.missing)
        _print_paths("files of no segment" + (", removed" if remove else ""), found.unknown)
    if found.missing:
        raise FailureError("store", f"{len(found.missing)} segments have no file", "restore the files from a backup")


def _print_paths(what: str, paths: tuple[str, ...]) -> None:
    if not paths:
        return
    out = stdout()
    out.print(f"{len(paths)} {what}:", markup=False)
    for path in paths[:_SHOWN]:
        out.print(f"  {path}", markup=False, soft_wrap=True)
    if len(paths) > _SHOWN:
        out.print("  ... (--json lists all)", markup=False)
