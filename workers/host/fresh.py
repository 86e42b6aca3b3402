"""The backends `exec` and `oci`: a guest is a fresh process, in a sandbox that another program makes.

The zygote loads no library for long: it builds a root in which an interpreter can start (`rootfs`), and each of its
forks becomes the sandbox's program, pid 1 of a pid namespace of its own, so that the death of one process is the end
of all that came from it. Inside, `workers.guest.start` confines itself further and waits for its go, so that the start
of the interpreter and all imports lie before the slot.
"""

import json
import os
import resource
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol

from workers import bundle
from workers.guest import start
from workers.host import channel, landlock, profile, rootfs, seccomp


class Sandbox(Protocol):
    """The program around one fresh process."""

    program: str
    limits: Mapping[int, int]
    """The limits that the guest sets itself, by `resource` number."""

    def address_room(self, memory_bytes: int) -> int:
        """Addresses that a guest with so much memory may have beyond it."""

    def become(self, guest: "Prepared", request: channel.Message, *, logs: bool) -> NoReturn:
        """Turn this process, pid 1 of its pid namespace, into the sandbox's program. Raises OSError."""


class Prepared:
    """What all guests of a worker have in common, for the sandbox that starts them.

    root: the folder with their root, read-only. spare: another folder, to mount on. command: what they run.
    proc_fd: the host's /proc. null_fd: the null device. rules_fd: a Landlock ruleset, or the null device again.
    has_model: whether each has one. starting_filter_fd: the seccomp program that lets them start, -1 if there is none.
    """

    def __init__(
        self,
        root: Path,
        interpreter: Path,
        walls: profile.Profile,
        *,
        program: bool,
        has_model: bool,
        proc_fd: int,
        null_fd: int,
    ) -> None:
        self.root = root
        self.has_model = has_model
        self.spare = rootfs.mount_point([root])
        self.proc_fd = proc_fd
        self.null_fd = null_fd
        self.command = (str(interpreter), "-I", "-S", "-B", "-c", start.ENTRY, ":".join(filter(None, sys.path)))
        self.rules_fd = null_fd
        if walls.landlock and (abi := landlock.version()):
            executable = str(root / start.EXECUTABLE[1:]) if program else None
            self.rules_fd = landlock.read_only_ruleset(str(root), abi, executable)
        self.starting_filter_fd = -1
        if walls.seccomp:
            self.starting_filter_fd = os.memfd_create("filter", os.MFD_CLOEXEC)
            os.write(self.starting_filter_fd, seccomp.program(profile.STARTING_RULES, profile.X86_64))


class FreshGuests:
    """Guests of the backends `exec` and `oci` (`workers.host.zygote.Guests`)."""

    def __init__(self, config: Mapping[str, Any], content: bytes, sandbox: Sandbox) -> None:
        self._content = content
        self._bundle = bundle.read(content)
        self._config = config
        self._sandbox = sandbox
        self._is_program = self._bundle.is_program
        self._libraries: list[str] = [] if self._is_program else config["libraries"]
        self._walls = profile.Profile(**config["profile"])
        self._root = Path()
        self._natives: list[Path] = []
        self._interpreter = Path(sys.executable).resolve()  # only root may be able to look there
        self._prepared: Prepared | None = None

    def load(self) -> list[tuple[str, int, int]]:
        """Import the libraries once, to see which files they need; of the sandbox's program every page must stay."""
        start.load(profile.modules(self._libraries))
        maps = rootfs.mapped_files(Path("/proc/self/maps").read_text())
        self._natives = rootfs.native_files(path for path, _, _ in maps)
        program = Path(self._sandbox.program).resolve()
        return [(str(program), 0, program.stat().st_size)]

    def enter_root(self) -> None:
        """Build the root; the sandbox's program moves into it, the zygote stays outside."""
        files = {start.SETUP: json.dumps(self._setup()).encode(), start.EXECUTABLE: self._content}
        files |= _looked_for()
        if self._is_program:
            files |= {f"{start.BUNDLE}/{path}": content for path, content in self._bundle.files.items()}
            files[start.EXECUTABLE] = self._bundle.files[self._bundle.manifest.entry]
        self._root = rootfs.build(self._libraries, self._natives, files, (start.GUEST, start.CHUNK))

    def prepare(self, proc_fd: int, null_fd: int) -> None:
        """Make once what all guests share."""
        self._prepared = Prepared(
            self._root,
            self._interpreter,
            self._walls,
            program=self._is_program,
            has_model=bool(self._config["model"]),
            proc_fd=proc_fd,
            null_fd=null_fd,
        )

    def become(self, request: channel.Message) -> NoReturn:
        """Become the sandbox's program."""
        assert self._prepared is not None
        os.setsid()
        score = os.open("self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._prepared.proc_fd)
        os.write(score, b"1000")  # memory pressure kills the guest, never the zygote
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self._sandbox.become(self._prepared, request, logs=self._config["log_bytes"] > 0)

    def _setup(self) -> dict[str, object]:
        rules = profile.PROGRAM_RULES if self._is_program else profile.RULES
        return {
            "program": self._is_program,
            "modules": [] if self._is_program else profile.modules(self._libraries),
            **{name: self._config[name] for name in ("columns", "max_rows", "exact", "memory_bytes")},
            "address_room": self._sandbox.address_room(self._config["memory_bytes"]),
            "rlimits": self._sandbox.limits,
            "landlock": self._walls.landlock and landlock.version() > 0,
            "logs": self._config["log_bytes"] > 0,
            "model": bool(self._config["model"]),
            "filter": seccomp.program(rules, profile.X86_64).hex() if self._walls.seccomp else "",
        }


def _looked_for() -> dict[str, bytes]:
    """What torch and ultralytics look for while they are imported, as plain files: no device, and nothing to run.

    torch reads a seed (every chunk has the same, as forks of one process have), and looks for a program that it starts
    where processes share tensors. ultralytics writes its settings where there are none.
    """
    files: dict[str, bytes] = {}
    if "torch" in sys.modules:
        folder = Path(str(sys.modules["torch"].__file__)).parent
        files |= {"/dev/urandom": bytes(8), f"{folder}/bin/torch_shm_manager": b""}
    if "ultralytics" in sys.modules:
        settings: Mapping[str, object] = sys.modules["ultralytics"].settings
        files[f"{start.SETTINGS}/{start.ULTRALYTICS_SETTINGS}"] = json.dumps(dict(settings)).encode()
    return files


def found(program: str) -> str | None:
    """Where a program is, on the usual path of system programs."""
    return shutil.which(program, path="/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin")
