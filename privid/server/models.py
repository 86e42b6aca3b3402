"""Uploaded models: told from executables by their names, and run in the sandbox before they are kept."""

import os
import re
import subprocess
import sys

from privid.server import model_check
from workers import wire
from workers.host.errors import SandboxUnavailable
from workers.host.pool import ExecutableSpec, LocalPool
from workers.inference import runtimes
from workers.inference.spec import ModelSpec

MANIFEST = '{"runtime":"model"}'
_CHECK_SECONDS = 60
_KIND = re.compile(r"^[A-Z]\w+: ")
"""Of the exception that ended a worker's start."""
_NOBODY_ASKS = b"def process(chunk):\n    return None\n"
_TABLE = wire.TableSpec((wire.ColumnSpec("nothing", "NUMBER", 0),), 1)


def is_model(name: str) -> bool:
    """Whether an upload of this name is a model. The language tells them apart in the same way."""
    return runtimes.of_name(name) is not None


def complaint(name: str, content: bytes, device: str) -> str:
    """Why this cannot be a model of that name on this host; empty if it ran."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", model_check.__file__, name],
            input=content,
            capture_output=True,
            timeout=_CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "it takes too long to read"
    if done.returncode != 0:
        return "it takes too long or too much memory to read"
    return done.stdout.decode("utf-8", "replace").strip() or _trial(content, device)


def _trial(content: bytes, device: str) -> str:
    spec = ExecutableSpec("", _NOBODY_ASKS, _TABLE, 1_000_000, model=ModelSpec(content, device))
    try:
        with LocalPool(spec, "open", (min(os.sched_getaffinity(0)),)):
            return ""
    except SandboxUnavailable as error:
        said = str(error).partition(": ")[2].partition(". Run `privid-server doctor`")[0]
        return _KIND.sub("", said) or str(error)
