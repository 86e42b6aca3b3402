"""What all command lines share: output for people or programs, errors, exit status, files."""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from privid.client.errors import BadAddress, CallFailed
from privid.domain.units import SECOND, epsilon, nano_epsilon
from privid.owner.policy_file import PolicyFileError
from query_lang.errors import QueryError

DONE, SYSTEM, INPUT = 0, 1, 2
"""Exit status: done; a failure of the system; whatever the caller can change."""

_PIPE_COLUMNS = 240
"""Whoever reads a pipe or a file wants whole lines."""

SETTINGS: dict[str, Any] = {
    "no_args_is_help": True,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
"""Of every program and group of commands."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


class InputError(Exception):
    """Something that the caller can change. `hint` says how."""

    status = INPUT

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class FailureError(InputError):
    """A failure of the system, in words."""

    status = SYSTEM


def stdout() -> Console:
    """Standard output; coloured on a terminal only, and not where NO_COLOR is set."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)


def stderr() -> Console:
    """Standard error, for progress and errors."""
    return Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else _PIPE_COLUMNS)


def print_json(value: Any, *, one_line: bool = False) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=None if one_line else 2) + "\n")
    sys.stdout.flush()


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """A plain table without lines; the named columns are aligned to the right."""
    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(Text(column), justify="right" if column in right else "left", overflow="fold")
    return made


def cells(*values: object) -> list[Text]:
    """A row of a table, taken literally: no value is markup."""
    return [value if isinstance(value, Text) else Text(str(value)) for value in values]


# --- numbers and times --------------------------------------------------------------------------------------


def epsilon_text(nano: int | None) -> str:
    """Epsilon for people; a dash where there is none."""
    return "-" if nano is None else f"{epsilon(nano):.6g}"


def local_time(moment_us: int) -> str:
    """A moment in this machine's time zone; the date is left out if it is today's."""
    moment = datetime.fromtimestamp(moment_us // SECOND, UTC).astimezone()
    today = datetime.now(UTC).astimezone().date()
    return moment.strftime("%H:%M:%S" if moment.date() == today else "%Y-%m-%d %H:%M:%S")


def epsilon_nano(option: str, text: str) -> int:
    """An amount of privacy budget as a person wrote it. Raises InputError that names the option."""
    try:
        nano = int(nano_epsilon(text))
    except ValueError as error:
        raise InputError("usage", f"{option}: {error}", "write a number such as 0.5") from None
    if not 0 < nano < 2**62:
        raise InputError("usage", f"{option} {text}: not an amount of budget", "write a number such as 0.5")
    return nano


# --- files --------------------------------------------------------------------------------------------------


def read_text(path: Path, what: str) -> str:
    """A text file of the caller's; `-` is standard input. Raises InputError."""
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise InputError("unreadable", f"cannot read {what} {path}: {error.strerror}", "check the path") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("unreadable", f"{what} {path} is not UTF-8 text", "save it as UTF-8") from None


def check_writable(path: Path | None) -> None:
    """Find out before any work whether a picture or file can be written at its end. Raises InputError."""
    if path is None:
        return
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError("unwritable", f"cannot write {path}", "choose a file in a folder that exists and is yours")


# --- errors -------------------------------------------------------------------------------------------------


def fail(
    status: int,
    code: str,
    message: str,
    hint: str = "",
    *,
    line: int | None = None,
    column: int | None = None,
    rendered: str | None = None,
    details: dict[str, Any] | None = None,
) -> int:
    """Report an error where the caller looks for it, and return the exit status."""
    if wants_json():
        error = {"code": code, "message": message, "line": line, "column": column, "hint": hint or None}
        print_json({"error": error | (details or {})})
        return status
    console = stderr()
    if rendered is not None:
        console.print(Text(rendered))
    else:
        console.print(Text.assemble(("error ", "bold red"), message))
        if hint:
            console.print(Text(f"  {hint}"))
    return status


def wants_json() -> bool:
    """Whether the command line asks for JSON; also known when it cannot be parsed."""
    arguments = sys.argv[1:]
    return "--json" in (arguments[: arguments.index("--")] if "--" in arguments else arguments)


def _call_failed(error: CallFailed) -> int:
    details: dict[str, Any] = {}
    if error.refusals:
        details["refusals"] = [
            {
                "camera": refusal.camera,
                "from_us": refusal.from_us,
                "to_us": refusal.to_us,
                "left": epsilon(refusal.left_nano),
                "asked": epsilon(refusal.asked_nano),
            }
            for refusal in error.refusals
        ]
        admissible = error.admissible_epsilon_nano
        details["admissible_epsilon"] = None if admissible is None else epsilon(admissible)
        window = error.admissible_window
        details["admissible_window"] = None if window is None else {"from_us": window[0], "to_us": window[1]}
    return fail(
        SYSTEM if error.system else INPUT,
        error.code,
        error.message,
        error.hint,
        line=error.line,
        column=error.column,
        details=details,
    )


class TextError(Exception):
    """An error at a place of a query's text, with the name of its file."""

    def __init__(self, error: QueryError, name: str) -> None:
        super().__init__(str(error))
        self.error = error
        self.name = name


@contextmanager
def about(text: str, name: str) -> Iterator[None]:
    """Within, errors about the query `text` are raised as TextError, whoever found them."""
    try:
        yield
    except QueryError as error:
        raise TextError(error, name) from None
    except CallFailed as error:
        found = _positioned(error, text)
        if found is None:
            raise
        raise TextError(found, name) from None


def _positioned(error: CallFailed, text: str) -> QueryError | None:
    """The language's own error in a server's refusal of `text`, if it has a position there."""
    if error.line is None or error.column is None:
        return None
    starts = [0, *(end.end() for end in re.finditer(r"\r\n|\r|\n", text))]
    if error.line > len(starts):
        return None
    offset = starts[error.line - 1] + error.column - 1
    span = (offset, offset + error.length)
    return QueryError(error.code, error.message, text=text, span=span, hint=error.hint or None)


def _text_error(found: TextError) -> int:
    error = found.error
    return fail(
        INPUT,
        error.code,
        error.message,
        error.hint or "",
        line=error.line,
        column=error.column,
        rendered=error.render(found.name),
    )


def _usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        if wants_json():
            return fail(INPUT, "usage", "a command is missing", "see --help")
        sys.stderr.write(error.format_message() + "\n")
        return INPUT
    hint = f"see {context.command_path} --help" if context is not None else "see --help"
    return fail(INPUT, "usage", error.format_message(), hint)


def run_app(app: typer.Typer) -> NoReturn:
    """Run a program and leave with its exit status. No traceback reaches anybody, unless PRIVID_DEBUG is set.

    Ended by a time limit or a service manager, it still puts away what it has begun, workers and temporary files.
    """
    signal.signal(signal.SIGTERM, _end)
    raise SystemExit(_status(app))


def _end(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _status(app: typer.Typer) -> int:
    try:
        result = app(standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else DONE
    except typer.TyperException as error:
        return _usage(error)
    except typer.Abort:
        return fail(INPUT, "aborted", "nothing was changed")
    except CallFailed as error:
        return _call_failed(error)
    except TextError as error:
        return _text_error(error)
    except InputError as error:
        return fail(error.status, error.code, error.message, error.hint)
    except PolicyFileError as error:
        return fail(INPUT, "policy", str(error), "see the reference of policy files")
    except BadAddress as error:
        return fail(INPUT, "address", str(error), "see privid login --help")
    except BrokenPipeError:
        # Nobody reads any more. What is still buffered must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SYSTEM
    except Exception as error:
        if os.environ.get("PRIVID_DEBUG"):
            raise
        return fail(
            SYSTEM,
            "internal",
            f"privid failed: {type(error).__name__}: {error}",
            "this is a fault of privid; PRIVID_DEBUG=1 shows where",
        )
