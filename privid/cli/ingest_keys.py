"""`privid-ingest keys`: the keys that video is sealed with."""

from pathlib import Path
from typing import Annotated

import typer

from privid.cli.ingest_store import open_store, store_errors
from privid.cli.terminal import SETTINGS, InputError, Json, cells, print_json, stdout, table
from privid.domain.files import write_whole
from privid.video.errors import BadKeyFile
from privid.video.keys import KeyRing, new_master_key, read_master_keys

keys_app = typer.Typer(help="The keys that video is sealed with where it lies.", **SETTINGS)


@keys_app.command("new")
def new_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file of master keys (PRIVID_STORE_KEY_FILE).")],
    json: Json = False,
) -> None:
    """Make a master key and write it to FILE, before those that are there: it is the one for what comes.

    \b
    $ privid-ingest keys new /etc/privid/video.keys
    """
    file = file.expanduser().absolute()
    with store_errors():
        before = ""
        if file.exists():
            read_master_keys(file)  # nothing is added to a file of something else
            before = file.read_text(encoding="ascii")
        try:
            write_whole(file, f"{new_master_key()}\n{before}".encode("ascii"))
        except OSError as error:
            raise InputError("unwritable", f"cannot write {file}: {error.strerror}", "choose another file") from None
        made = read_master_keys(file)
    if json:
        print_json({"file": str(file), "master": made.current, "keys": len(made.keys)})
        return
    out = stdout()
    out.print(f"master key {made.current} in {file}", markup=False, soft_wrap=True)
    if len(made.keys) > 1:
        out.print("restart the server and the recorder, then: privid-ingest keys rotate", markup=False)
    else:
        out.print("keep a copy elsewhere: without it nothing that is sealed can ever be read", markup=False)


@keys_app.command("rotate")
def rotate_command(json: Json = False) -> None:
    """Wrap every camera's key with the current master key. The others can go from the file then; no video is touched.

    \b
    $ privid-ingest keys rotate
    """
    with store_errors(), open_store() as (_, store):
        keys = _keys(store.keys)
        rotated = keys.rotate()
    if json:
        print_json({"rotated": rotated})
    else:
        stdout().print(f"{rotated} keys wrapped anew", markup=False)


@keys_app.command("list")
def list_command(json: Json = False) -> None:
    """List the cameras' keys, the master keys that open them, and how many segments each seals.

    \b
    $ privid-ingest keys list
    """
    with store_errors(), open_store() as (_, store):
        assert store.keys is not None
        found = store.keys.listing()
    if json:
        print_json({"keys": [key._asdict() for key in found]})
        return
    if not found:
        stdout().print("nothing has been sealed yet", markup=False)
        return
    listing = table("CAMERA", "KEY", "MASTER KEY", "SEGMENTS", right=("SEGMENTS",))
    for key in found:
        listing.add_row(*cells(key.camera, key.id, key.master, key.segments))
    stdout().print(listing)


def _keys(keys: KeyRing | None) -> KeyRing:
    if keys is None or not keys.seals:
        raise BadKeyFile("there is no file of master keys: set PRIVID_STORE_KEY_FILE to it")
    return keys
