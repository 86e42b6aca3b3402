"""Reads an ONNX file on standard input and says on standard output why it cannot be a model, if it cannot.

Run as a program of its own, like `source_check`: reading what a stranger made can be made to take long.

The answer is one line: empty if all is well.
"""

import resource
import sys
from pathlib import Path

_MEMORY = 4 << 30
_CPU_SECONDS = 20


def complaint(content: bytes) -> str:
    """Why `content` cannot be a model; empty if it can, as far as can be told without running it."""
    from workers.inference.onnx import NotAModel, check

    try:
        check(content)
    except NotAModel as error:
        return str(error)
    except (RecursionError, MemoryError):
        return "it is not ONNX"
    return ""


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.stdout.buffer.write((complaint(sys.stdin.buffer.read()) + "\n").encode("utf-8", "replace"))
