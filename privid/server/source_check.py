"""Says why an upload cannot be an executable, if it cannot; else writes its canonical form and says what it needs.

Run as a program of its own, never imported by the server: a parser can be made to use up its stack or memory, and
nothing that an analyst sends may stop the server. What arrived is parsed, never executed. Standard library and
`workers` only.

    source_check.py IMPORT_ROOT UPLOAD RESULT

The answer is one line of JSON on standard output: `{"complaint": "..."}`, or `{"manifest": {...}}`.
"""

import ast
import json
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.bundle import Bundle

_MEMORY = 1 << 30
_COPIES = 5
"""So often the whole upload may be in memory, besides."""
_CPU_SECONDS = 20
_OURS = frozenset({"workers", "privid", "query_lang"})


def _binds(statement: ast.stmt, name: str) -> bool:
    """Whether a statement of the module's top level binds `name`, directly or in one of its branches."""
    match statement:
        case ast.FunctionDef(name=bound) | ast.ClassDef(name=bound):
            return bound == name
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return any((alias.asname or alias.name) == name for alias in aliases)
        case ast.Assign(targets=targets):
            return any(isinstance(n, ast.Name) and n.id == name for target in targets for n in ast.walk(target))
        case ast.AnnAssign(target=ast.Name(id=bound), value=value):
            return bound == name and value is not None
        case ast.If(body=body, orelse=rest):
            return any(_binds(inner, name) for inner in body + rest)
        case ast.Try(body=body, orelse=rest, handlers=handlers):
            branches = body + rest + [inner for handler in handlers for inner in handler.body]
            return any(_binds(inner, name) for inner in branches)
        case ast.With(body=body):
            return any(_binds(inner, name) for inner in body)
        case _:
            return False


def _complaint(source: bytes, *, entry: bool) -> str:
    """Why this cannot be a Python file of an executable; empty if it can."""
    try:
        text = source.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"it is not UTF-8 text (byte {error.start}); upload the Python source file itself"
    try:
        module = ast.parse(text)
    except SyntaxError as error:
        return f"line {error.lineno or 1}: {error.msg}"
    except (ValueError, RecursionError, MemoryError):
        return "it cannot be parsed as Python"
    if entry and not any(_binds(statement, "process") for statement in module.body):
        return "it does not define process(chunk), which returns or yields one dict for each row"
    return ""


def _check(bundle: "Bundle") -> None:
    """Raises BadBundle."""
    from workers import formats
    from workers.bundle import MANIFEST, BadBundle, check_libraries
    from workers.guest.modules import module_name
    from workers.host.profile import LIBRARIES

    manifest = bundle.manifest
    check_libraries(manifest, LIBRARIES)
    taken = sys.stdlib_module_names | _OURS | {name for library in LIBRARIES.values() for name in library.packages}
    for path, source in bundle.sources.items():
        found = _complaint(source, entry=path == manifest.entry)
        alone = MANIFEST not in bundle.files
        if found:
            raise BadBundle(found if alone else f"{path}: {found}")
        if not alone and (name := module_name(path).partition(".")[0]) in taken:
            raise BadBundle(f"{path}: {name!r} is the name of a library's module: call it something else")
    formats.check(manifest, bundle.files)


def answer(content: bytes, result: Path) -> dict[str, Any]:
    """What to say of an upload; `result` gets its canonical form if nothing is wrong with it."""
    from workers.bundle import BadBundle, read

    try:
        bundle = read(content)
        _check(bundle)
    except BadBundle as error:
        return {"complaint": str(error)}
    except (MemoryError, RecursionError):
        return {"complaint": "it takes too much memory to look at"}
    result.write_bytes(bundle.pack())
    return {"manifest": bundle.manifest.document(program=bundle.is_program)}


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    upload = Path(sys.argv[2]).read_bytes()
    memory = _MEMORY + _COPIES * len(upload)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout.write(json.dumps(answer(upload, Path(sys.argv[3]))))
