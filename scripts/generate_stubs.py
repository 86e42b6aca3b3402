"""Generate privid/rpc/v1 from protos/, or check that what is committed is what would be generated.

    python scripts/generate_stubs.py            write the stubs
    python scripts/generate_stubs.py --check    exit with status 1 and a list of the files that differ

Needs the extra `dev`: the generators are pinned there, because stubs refuse a runtime older than their generator.
"""

import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[1]
PROTOS = ROOT / "protos"
PACKAGE = Path("privid") / "rpc" / "v1"


def _plugin(name: str) -> str:
    """The path of a code generator, looked for beside the running interpreter first."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed; pip install '.[dev]'")
    return f"--plugin={name}={found}"


def generate(target: Path) -> dict[str, bytes]:
    """Write all stubs below `target` and return them by file name."""
    files = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / PACKAGE).glob("*.proto"))
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={PROTOS}",
            _plugin("protoc-gen-mypy"),
            _plugin("protoc-gen-mypy_grpc"),
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            f"--mypy_out=quiet:{target}",
            f"--mypy_grpc_out=quiet:{target}",
            *files,
        ]
    )
    if status != 0:
        raise SystemExit(f"protoc failed with status {status}")
    written = (path for path in (target / PACKAGE).glob("*_pb2*") if path.suffix in {".py", ".pyi"})
    return {path.name: path.read_bytes() for path in written}


def differences() -> list[str]:
    """File names in privid/rpc/v1 that are missing, out of date, or generated from nothing."""
    committed = {path.name: path.read_bytes() for path in (ROOT / PACKAGE).glob("*_pb2*") if path.is_file()}
    with tempfile.TemporaryDirectory() as scratch:
        wanted = generate(Path(scratch))
    return sorted(name for name in committed.keys() | wanted.keys() if committed.get(name) != wanted.get(name))


def main(arguments: list[str]) -> int:
    """Run as described at the top of this file; returns the exit status."""
    if arguments not in ([], ["--check"]):
        print(__doc__)
        return 2
    if not arguments:
        for stale in (ROOT / PACKAGE).glob("*_pb2*"):
            stale.unlink()
        for name in sorted(generate(ROOT)):
            print(PACKAGE / name)
        return 0
    drifted = differences()
    for name in drifted:
        print(f"{PACKAGE / name}: not what protos/ gives; run `make protos` and commit")
    return 1 if drifted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
