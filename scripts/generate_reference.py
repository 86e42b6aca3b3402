"""Write the reference pages that are taken from the code: command lines, errors, configuration, functions.

    python scripts/generate_reference.py [--check]

With --check nothing is written; the exit status is 1 if a page differs from what would be written.
"""

import argparse
import ast
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
CLI_HEAD = """# Command lines

All commands take `--help`, and `--json` for machine-readable output. Exit status: 0 done; 1 a failure of the system;
2 whatever the caller can change (input, budget); 143 ended by SIGTERM. Colours appear on a terminal only;
`NO_COLOR=1` turns them off.
"""
ERRORS_HEAD = """# Errors

Every refusal carries a code from this table, a message and what to do next; nothing in it depends on what a camera saw.
Under `--json` it is `{"error": {"code", "message", "line", "column", "hint"}}` on standard output. Errors in a query's
text have codes of their own, with the position in the text; `query` stands for them all here.
"""
FUNCTIONS_HEAD = """# Functions

All that an expression may call, by the names of the registry; operators are written as usual (`a + b` is `add`).
Every function is total: no value makes a query fail. A bracketed parameter may be left out, `...` repeats the last one,
`same` stands for one type wherever it is written in a row. Time functions get the camera's zone by themselves.
"""
CLIENT_VARIABLES = {
    "PRIVID_SERVER": "`privid`: the server, instead of the one logged in to",
    "PRIVID_TOKEN": "`privid`: the analyst's token",
    "PRIVID_ADMIN_SERVER": "`privid-admin`: the owners' port of the server; default `127.0.0.1:7742`",
    "PRIVID_OWNER_TOKEN": "`privid-admin`: the owner's token; default: `owner.token` in `PRIVID_HOME`",
    "PRIVID_CA": "both: the authority of the server's certificate, if it is a private one (PEM)",
    "PRIVID_CLIENT_CERT": "both: your certificate, if the server asks for one (PEM)",
    "PRIVID_CLIENT_KEY": "both: its key (PEM)",
    "PRIVID_HOME": "`privid-admin`, `privid-ingest`: the data directory; default `~/.privid`",
    "PRIVID_DATABASE_URL": "`privid-ingest`: the database, if it is not the SQLite file in `PRIVID_HOME`",
    "PRIVID_INGEST_CONFIG": "`privid-ingest run`: its configuration file, as `--config`",
    "PRIVID_INGEST_LISTEN": "`privid-ingest run` and `status`: where the recorder answers; default `127.0.0.1:7743`",
    "PRIVID_DEBUG": "all: show the traceback of a failure of the system",
}
"""What the client programs read; a test looks each of them up in their code."""
NOTE = "<!-- Written by `make docs` from the code. Do not edit. -->\n"
PROGRAMS = {
    "privid": ("privid.cli.main", "What analysts use."),
    "privid-admin": ("privid.cli.admin", "What owners use, with the owner's token."),
    "privid-server": ("privid.cli.serve", "The server, and what checks its host."),
    "privid-ingest": ("privid.cli.ingest", "What brings video into the store; runs on the store's host."),
}


def _row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield path, command
        return
    for name, child in sorted(subcommands.items()):
        if not child.hidden:
            yield from _commands(child, (*path, name))


def _help(text: str | None) -> str:
    """A command's help, its examples (`$ ...` or `Example: ...`) as a block."""
    lines, inside = [], False
    for line in inspect.cleandoc(text or "").replace("\b\n", "").splitlines():
        line = line.replace("Example: ", "$ ", 1) if line.startswith("Example: ") else line
        example = line.startswith("$ ")
        if example != inside:
            lines.append("```console" if example else "```")
            inside = example
        lines.append(line.rstrip())
    return "\n".join([*lines, "```"] if inside else lines)


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return name if parameter.required or name.startswith("[") else f"[{name}]"


def _parameter(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = f"`{_argument(parameter)}`"
    else:
        name = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
    notes = []
    if parameter.param_type_name == "option":
        if parameter.required:
            notes.append("required")
        elif parameter.default not in (None, False, "", (), []):
            notes.append(f"default: {parameter.default}")
    variables = [parameter.envvar] if isinstance(parameter.envvar, str) else list(parameter.envvar or ())
    notes += [f"environment: `{variable}`" for variable in variables]
    return _row(name, f"{parameter.help or ''} {'(' + '; '.join(notes) + ')' if notes else ''}")


def command_lines() -> str:
    """Every command of the four programs, with its arguments and options."""
    from typer.main import get_command

    parts = [NOTE, CLI_HEAD]
    for program, (module, purpose) in PROGRAMS.items():
        parts.append(f"## {program}\n\n{purpose}\n")
        root = get_command(importlib.import_module(module).app)
        for path, command in _commands(root, (program,)):
            arguments = "".join(f" {_argument(p)}" for p in command.params if p.param_type_name == "argument")
            parts.append(f"### {' '.join(path)}{arguments}\n\n{_help(command.help)}\n")
            rows = [_parameter(p) for p in command.params if "--help" not in p.opts and not getattr(p, "hidden", False)]
            if rows:
                parts.append("\n".join(["| | |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def errors() -> str:
    """The table of public errors."""
    from privid.server.translate import PUBLIC_ERRORS

    rows = [_row(f"`{code}`", error.meaning, f"`{error.status.name}`") for code, error in PUBLIC_ERRORS.items()]
    return "\n".join([NOTE, ERRORS_HEAD, "| code | meaning | gRPC status |", "|---|---|---|", *rows, ""])


def _field_notes(cls: type) -> dict[str, str]:
    """The string that follows each annotated field in the source of `cls`."""
    (definition,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(definition, ast.ClassDef)
    notes = {}
    for node, following in zip(definition.body, definition.body[1:], strict=False):
        match node, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                notes[name] = text
    return notes


def _settings(cls: Any, prefix: str) -> Iterator[str]:
    """The table of a class of settings."""
    yield f"{inspect.cleandoc(cls.__doc__ or '')}\n"
    yield "| variable | meaning | default |"
    yield "|---|---|---|"
    notes = _field_notes(cls)
    for name, field in cls.model_fields.items():
        required = field.default_factory is None and field.is_required()
        default = "`~/.privid`" if name == "home" else "required" if required else f"`{field.default}`"
        yield _row(f"`{prefix}{name.upper()}`", notes.get(name, ""), default.replace("`None`", "none"))
    yield ""


def configuration() -> str:
    """The settings of the server and of the store, and the variables of the clients."""
    from privid.server.settings import Settings
    from privid.video.store_settings import StoreSettings

    return "\n".join(
        [
            NOTE,
            "# Configuration\n",
            "## privid-server\n",
            *_settings(Settings, "PRIVID_"),
            "## The video store\n",
            *_settings(StoreSettings, "PRIVID_STORE_"),
            "## Clients\n",
            "What `privid login` has stored (`$XDG_CONFIG_HOME/privid/config.toml`, mode 0600) yields to these.\n",
            "| variable | program and meaning |",
            "|---|---|",
            *(_row(f"`{name}`", meaning) for name, meaning in CLIENT_VARIABLES.items()),
            "",
        ]
    )


def functions() -> str:
    """The registry of scalar functions."""
    from query_lang.functions import REGISTRY

    rows = []
    for name, function in REGISTRY.items():
        signature = function.signature
        types = ["same" if param is None else param.value for param in signature.params]
        required = len(types) - signature.optional
        shown = [kind if place < required else f"[{kind}]" for place, kind in enumerate(types)]
        result = "same" if signature.result is None else signature.result.value
        arguments = ", ".join(shown) + (", ..." if signature.variadic else "")
        bounded = "yes" if function.range is not None else ""
        rows.append(_row(f"`{name}`", arguments, result, function.nulls.value, bounded))
    table = ["| function | arguments | result | NULL | keeps a range |", "|---|---|---|---|---|", *rows, ""]
    return "\n".join([NOTE, FUNCTIONS_HEAD, *table])


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": command_lines,
    "errors.md": errors,
    "configuration.md": configuration,
    "functions.md": functions,
}


def main() -> int:
    """Write or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    check = parser.parse_args().check
    # Help texts are the same on every terminal and for every user.
    os.environ.update({"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"})
    stale = []
    for name, write in PAGES.items():
        path, text = REFERENCE / name, write()
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if not check:
                path.write_text(text)
    if stale and check:
        print(f"out of date: {', '.join(stale)} in docs/reference; run: make docs", file=sys.stderr)
    elif stale:
        print(f"written: {', '.join(stale)}")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
