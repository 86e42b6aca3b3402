"""Asking before something is lost or spent."""

import sys
from typing import Annotated

import typer

from privid.cli.terminal import InputError

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


def confirm(question: str, *, yes: bool, json: bool) -> None:
    """Go on only with a yes. Raises InputError where nobody can be asked, Abort for a no."""
    if yes:
        return
    if json or not sys.stdin.isatty():
        raise InputError("not_confirmed", "nothing was changed: this needs a confirmation", "add --yes")
    typer.confirm(question, abort=True, err=True)
