"""The processes of a model (`workers.inference.service`): what their own zygote does, and their walls.

A second zygote of a worker, with a root and a user of its own: it holds the graph's bytes, unread, and as much of its
runtime as forks inherit. Each of its forks confines itself, imports the rest, loads the graph, warms up and waits for
one chunk. The walls are a guest's, with what a model needs besides: memory that it shares with its guest, and
descriptors that its warden sends.

A device other than the processor needs more: its nodes in /dev, its driver's libraries, calls of the driver (ioctl).
That is no longer a guest's filter, and why analysts' own code never gets the device, only a graph.
"""

import fcntl
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from workers.guest import start
from workers.host import channel, confine, profile, rootfs
from workers.inference import runtimes, service
from workers.inference.runtime import Runtime, choose, missing

MEASURE = b"m"
"""In a request to fork: this one says how long a call takes, and serves nobody."""
MEMORY_BYTES = 2**30
"""For the graph's own work; its weights count four times besides."""
THREADS = 16
"""Of one process, at most: the runtime's own, and a driver's."""
_DEVICE_NODES = ("nvidia*", "kfd", "dri")


def memory_bytes(content_bytes: int) -> int:
    """What one process of a model may use."""
    return MEMORY_BYTES + 4 * content_bytes


class ModelProcesses:
    """Processes of one model (`workers.host.zygote.Guests`)."""

    def __init__(self, config: Mapping[str, Any], content: bytes) -> None:
        self._device: str = config["model"]["device"]
        self._profile = profile.Profile(**config["profile"])
        self._content = content
        self._runtime = runtimes.of_content(content)
        self._files: list[Path] = []
        self._walls: confine.Walls | None = None

    def load(self) -> list[tuple[str, int, int]]:
        """Import what forks inherit; see in a fork, as the rest may start threads, which files that rest needs."""
        try:
            self._runtime.prepare_forks()
        except ImportError:
            raise missing(self._runtime) from None
        found = look(self._runtime)
        self._device = choose(self._device, self._runtime, found["kinds"])
        maps = Path("/proc/self/maps").read_text()
        loaded = rootfs.loaded_files(found["maps"]) - rootfs.loaded_files(maps)
        self._files = [*rootfs.native_files(loaded), *map(Path, found["modules"])] if loaded else []
        return rootfs.mapped_files(maps)

    def enter_root(self) -> None:
        """The zygote moves into a root with those files and, for a GPU, its nodes."""
        rootfs.enter((), self._files, () if self._on_processor else tuple(device_nodes()))

    def prepare(self, proc_fd: int, null_fd: int) -> None:
        """Make the walls once for all of them."""
        own = memory_bytes(len(self._content))
        memory = {}
        if self._on_processor:  # drivers of GPUs map far more than they use
            memory = start.memory_limits(confine.read_proc(proc_fd, "status"), own, profile.address_room(own))
        rules = profile.MODEL_RULES if self._on_processor else profile.DEVICE_RULES
        self._walls = confine.prepare(self._profile, proc_fd, null_fd, memory, rules)

    def become(self, request: channel.Message) -> NoReturn:
        """Confine this process, then be the model's."""
        assert self._walls is not None
        (control,) = request.fds
        confine.confine(self._walls, control, control)
        service.run(self._runtime, self._content, self._device, confine.ROWS_FD, measure=request.payload == MEASURE)

    @property
    def _on_processor(self) -> bool:
        return self._device == "cpu"


def shared_memory(size_bytes: int, header: bytes) -> int:
    """A memfd for one guest and its model: zeroed but for the header, and of a size that neither can change."""
    fd = os.memfd_create("tensors", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.ftruncate(fd, size_bytes)
    os.write(fd, header)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return fd


def device_nodes(folder: Path = Path("/dev")) -> Iterator[Path]:
    """The nodes of this machine's GPUs."""
    for pattern in _DEVICE_NODES:
        yield from sorted(folder.glob(pattern))


def look(runtime: Runtime) -> dict[str, Any]:
    """What a process has mapped that has a whole runtime, which files its modules come from, and its kinds of GPU.

    Raises RuntimeMissing if it is not installed, or does not run.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            with os.fdopen(write, "w") as pipe:
                json.dump(_looked(runtime), pipe)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    if not said:
        raise missing(runtime)
    found: dict[str, Any] = json.loads(said)
    return found


def _looked(runtime: Runtime) -> dict[str, Any]:
    before = set(sys.modules)
    kinds = runtime.kinds()
    files = {getattr(module, "__file__", None) for name, module in sys.modules.items() if name not in before}
    return {
        "maps": Path("/proc/self/maps").read_text(),
        "modules": sorted(file for file in files if file),
        "kinds": kinds,
    }
