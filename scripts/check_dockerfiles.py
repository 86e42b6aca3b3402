"""Carry out the Dockerfiles' steps in scratch root file systems, where no container engine runs.

The base image is stood for by a minimal Debian of the same release (debootstrap) with its Python; every other step is
the Dockerfile's own: RUN in a chroot, COPY from the build context or from an earlier stage, ENV, USER, WORKDIR. At the
end commands run in the image as in a container. Needs root, debootstrap and about 3 GB; takes minutes.

    python3 scripts/check_dockerfiles.py [--only server] [--bind /path]... [--report FILE.md]

`--bind` shows a path of this machine inside the roots, for package mirrors and certificates.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ("server", "ingest", "worker")
RELEASE = "bookworm"
OWN_MOUNTS = "PRIVID_CHECK_DOCKERFILES_MOUNTS"
INSTRUCTIONS = {
    *("FROM", "ARG", "RUN", "COPY", "ENV", "USER", "WORKDIR", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"),
    *("ENTRYPOINT", "CMD"),
}


CONTAIN = """
set -eu
user=$1; group=$2; shift 2
mount --make-rprivate /
mount --rbind "$0" "$0"
mount --bind /dev "$0/dev"
mount -t proc proc "$0/proc"
cd "$0"
mkdir -p .old
pivot_root . .old
umount -l /.old
exec setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs --bounding-set=-all "$@"
"""
CHECKS: dict[str, list[list[str]]] = {
    "server": [["privid-server", "doctor"]],
    "ingest": [["privid-ingest", "status"]],
    "worker": [],
}
"""What is run in each image beside the command of one that has no entrypoint."""


class DockerfileError(Exception):
    """A Dockerfile that this reader, or a container engine, would not accept."""


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name in upper case, its flags (`--from=build`), and the rest of the line."""

    name: str
    flags: Mapping[str, str]
    rest: str
    line: int

    def words(self) -> list[str]:
        """The rest as a JSON array, or split at blanks as a shell would."""
        if self.rest.startswith("["):
            return list(json.loads(self.rest))
        return shlex.split(self.rest)


@dataclass
class Stage:
    """The instructions from one FROM to the next."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)


def parse(text: str) -> list[Stage]:
    """The stages of a Dockerfile. Raises DockerfileError."""
    stages: list[Stage] = []
    for number, line in _logical_lines(text):
        name, _, rest = line.partition(" ")
        name, rest = name.upper(), rest.strip()
        if name not in INSTRUCTIONS:
            raise DockerfileError(f"line {number}: unknown instruction {name}")
        flags = {}
        while match := re.match(r"--([a-z-]+)(?:=(\S+))?\s+", rest):
            flags[match[1]] = match[2] or ""
            rest = rest[match.end() :]
        if name == "FROM":
            words = rest.split()
            if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
                raise DockerfileError(f"line {number}: FROM image [AS name]")
            stages.append(Stage(words[0], words[2] if len(words) == 3 else str(len(stages))))
        elif not stages:
            raise DockerfileError(f"line {number}: {name} before the first FROM")
        else:
            stages[-1].instructions.append(Instruction(name, flags, rest, number))
    if not stages:
        raise DockerfileError("no FROM")
    return stages


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines joined at a backslash, without comments and blank lines, with the number of their first line."""
    pending, first = "", 0
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        first = first if pending else number
        if line.endswith("\\"):
            pending += line[:-1].rstrip() + " "
            continue
        yield first, pending + line
        pending = ""
    if pending:
        raise DockerfileError("the last line ends with a backslash")


@dataclass
class Image:
    """A root file system and the settings that the instructions gave it."""

    root: Path
    environment: dict[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    )
    arguments: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    directory: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


class Builder:
    """Carries out Dockerfiles in folders below `scratch`."""

    def __init__(self, scratch: Path, binds: list[Path]) -> None:
        self._scratch = scratch
        self._binds = binds

    def base(self) -> Path:
        """A minimal Debian with Python, made once."""
        root = self._scratch / "base"
        if not (root / "usr/bin/python3").exists():
            packages = "python3,python3-venv,ca-certificates"
            run = ["debootstrap", "--variant=minbase", f"--include={packages}", RELEASE, str(root)]
            subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
        return root

    def build(self, name: str, dockerfile: Path) -> Image:
        """Every stage of `dockerfile`; returns the last."""
        images: dict[str, Image] = {}
        stages = parse(dockerfile.read_text())
        for stage in stages:
            root = self._scratch / f"{name}-{stage.name}"
            shutil.rmtree(root, ignore_errors=True)
            subprocess.run(["cp", "-a", "--reflink=auto", str(self.base()), str(root)], check=True)
            image = images[stage.name] = Image(root)
            for instruction in stage.instructions:
                print(f"  {name}/{stage.name}: {instruction.name} {instruction.rest[:90]}", flush=True)
                self._carry_out(instruction, image, images)
        return images[stages[-1].name]

    def _carry_out(self, instruction: Instruction, image: Image, images: Mapping[str, Image]) -> None:
        match instruction.name:
            case "RUN":
                self.run(image, ["/bin/sh", "-c", instruction.rest], settings={**image.arguments})
            case "COPY":
                self._copy(instruction, image, images)
            case "ARG":
                key, _, value = instruction.rest.partition("=")
                image.arguments[key] = "".join(shlex.split(value))
            case "ENV":
                for pair in shlex.split(instruction.rest):
                    key, _, value = pair.partition("=")
                    image.environment[key] = value
            case "USER":
                image.user = instruction.rest
            case "WORKDIR":
                image.directory = instruction.rest
                (image.root / image.directory.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "ENTRYPOINT":
                image.entrypoint, image.command = instruction.words(), []
            case "CMD":
                image.command = instruction.words()

    def _copy(self, instruction: Instruction, image: Image, images: Mapping[str, Image]) -> None:
        *sources, target = instruction.words()
        context = images[instruction.flags["from"]].root if "from" in instruction.flags else ROOT
        inside = Path(image.directory) / target
        destination = image.root / str(inside).lstrip("/")
        for source in sources:
            origin = context / source.lstrip("/")
            if origin.is_dir():
                shutil.copytree(
                    origin, destination, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
                )
            elif target.endswith("/"):
                destination.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin, destination / origin.name)
            else:
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin, destination)

    def run(self, image: Image, command: list[str], settings: Mapping[str, str] | None = None) -> str:
        """Run `command` in the image's root, as its user. Raises CalledProcessError."""
        # What tells pip and apt of this machine how to reach a package is theirs in the root too.
        passed = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_")) or k.lower().endswith("_proxy")}
        environment = {**passed, **image.environment, **(settings or {})}
        chroot = [shutil.which("chroot") or "/usr/sbin/chroot", f"--userspec={image.user}"]
        with self._mounts(image.root):
            done = subprocess.run(
                [*chroot, str(image.root), "/bin/sh", "-c", 'cd "$0" && exec "$@"', image.directory, *command],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        if done.returncode:
            raise SystemExit(f"failed ({done.returncode}): {shlex.join(command)}\n{done.stdout[-4000:]}")
        return done.stdout

    def contain(self, image: Image, command: list[str]) -> str:
        """Run `command` as a container would: the image as the root, its user, no capability, no new privileges.

        (In a chroot no user namespace can be made, and the sandbox needs some.) Raises SystemExit if it fails.
        """
        user, _, group = image.user.partition(":")
        environment = [f"{name}={value}" for name, value in image.environment.items()]
        inside = ["env", "-i", "-C", image.directory, *environment, *command]
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "sh", "-c", CONTAIN, str(image.root), user, group, *inside],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"failed ({done.returncode}): {shlex.join(command)}\n{done.stdout[-4000:]}")
        return done.stdout

    @contextmanager
    def _mounts(self, root: Path) -> Iterator[None]:
        mounted = []
        try:
            for path in (Path("/proc"), Path("/dev"), Path("/etc/resolv.conf"), *self._binds):
                inside = root / str(path).lstrip("/")
                if path.is_dir():
                    inside.mkdir(parents=True, exist_ok=True)
                else:
                    inside.parent.mkdir(parents=True, exist_ok=True)
                    inside.touch()
                subprocess.run(["mount", "--bind", str(path), str(inside)], check=True)
                mounted.append(inside)
            yield
        finally:
            for inside in reversed(mounted):
                subprocess.run(["umount", "--lazy", str(inside)], check=True)


def _megabytes(root: Path) -> int:
    return int(subprocess.run(["du", "-sxm", str(root)], check=True, capture_output=True, text=True).stdout.split()[0])


def _report(rows: list[tuple[str, float, int, str, str]]) -> str:
    lines = [
        "# The images' steps in a scratch root file system",
        "",
        "Written by `make docker-check` (see `scripts/check_dockerfiles.py`): no container engine, a minimal Debian",
        f"({RELEASE}) in place of the base image, every other step as the Dockerfiles say. At the end commands run in",
        "the image as in a container: its root, its user, no capability, no new privileges. `privid-server doctor`",
        "attacks its own sandbox from there.",
        "",
        "| image | seconds | MB over the base | user | what was run, and the last line that it printed |",
        "|---|---|---|---|---|",
        *(f"| {name} | {seconds:.0f} | {size} | {user} | {last} |" for name, seconds, size, user, last in rows),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Build the images that were asked for and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", choices=IMAGES, action="append", help="this image only (may be repeated)")
    parser.add_argument("--bind", type=Path, action="append", default=[], help="show this path inside the roots")
    parser.add_argument(
        "--scratch", type=Path, help="folder for the roots (default: a temporary one, removed at the end)"
    )
    parser.add_argument("--report", type=Path, help="write the table to this file")
    options = parser.parse_args()
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        print("This needs root and debootstrap. On Debian and Ubuntu: apt-get install debootstrap", file=sys.stderr)
        return 2
    if OWN_MOUNTS not in os.environ:
        # In a mount namespace of its own no mount can outlive this program, whatever ends it, and be deleted through.
        again = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe(again[0], again, {**os.environ, OWN_MOUNTS: "1"})  # noqa: S606 - a fixed program, no shell
    scratch = options.scratch or Path(tempfile.mkdtemp(prefix="privid-docker-"))
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        builder = Builder(scratch, options.bind)
        empty, rows = _megabytes(builder.base()), []
        for name in options.only or IMAGES:
            began = time.monotonic()
            image = builder.build(name, ROOT / "docker" / name / "Dockerfile")
            commands = CHECKS[name] or [image.command]
            said = [builder.contain(image, command).strip().splitlines()[-1].strip() for command in commands]
            user = builder.contain(image, ["id", "-u"]).strip()
            if user == "0":
                raise SystemExit(f"{name}: runs as root")
            results = "; ".join(f"`{shlex.join(c)[:60]}`: {s}" for c, s in zip(commands, said, strict=True))
            rows.append((name, time.monotonic() - began, _megabytes(image.root) - empty, user, results))
        report = _report(rows)
        print(report)
        if options.report:
            options.report.write_text(report)
    finally:
        if options.scratch is None:
            shutil.rmtree(scratch, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
