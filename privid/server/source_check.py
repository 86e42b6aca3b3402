"""Reads Python source on standard input and says on standard output why it cannot be an executable, if it cannot.

Run as a program of its own, never imported by the server: a parser can be made to use up its stack or memory, and
nothing that an analyst sends may stop the server. The source is parsed, never executed. Standard library only.

The answer is one line: empty if all is well.
"""

import ast
import resource
import sys

_MEMORY = 1 << 30
_CPU_SECONDS = 10


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


def complaint(source: bytes) -> str:
    """Why `source` cannot be an executable; empty if it can."""
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
    if not any(_binds(statement, "process") for statement in module.body):
        return "it does not define process(chunk), which returns or yields one dict for each row"
    return ""


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout.buffer.write((complaint(sys.stdin.buffer.read()) + "\n").encode("utf-8", "replace"))
