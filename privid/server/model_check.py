"""Reads a model on standard input and says on standard output why it cannot be one, if it cannot.

Its name, the only argument, tells what kind of file it is to be. Run as a program of its own, like `source_check`:
reading what a stranger made can be made to take long.

The answer is one line: empty if all is well.
"""

import resource
import sys
from pathlib import Path

_MEMORY = 4 << 30
_CPU_SECONDS = 20


def complaint(name: str, content: bytes) -> str:
    """Why `content` cannot be a model of that name; empty if it can, as far as can be told without running it."""
    from workers.inference.runtime import NotAModel
    from workers.inference.runtimes import of_name

    runtime = of_name(name)
    assert runtime is not None
    try:
        runtime.check(content)
    except NotAModel as error:
        return str(error)
    except (RecursionError, MemoryError):
        return "it is too large, or too deeply nested, to be read"
    return ""


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.stdout.buffer.write((complaint(sys.argv[1], sys.stdin.buffer.read()) + "\n").encode("utf-8", "replace"))
