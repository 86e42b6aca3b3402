"""The processes of a model (`workers.inference.service`): what their own zygote does, and their walls.

A second zygote of a worker, with a root and a user of its own: it holds NumPy and the graph's bytes, and each of its
forks confines itself, imports ONNX Runtime, loads the graph, warms up and waits for one chunk. The walls are a guest's,
with what a model needs besides: memory that it shares with its guest, and descriptors that its warden sends.

A device other than the processor needs more: its nodes in /dev, its driver's libraries, calls of the driver (ioctl).
That is no longer a guest's filter, and why analysts' own code never gets the device, only a graph.
"""

import fcntl
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from workers.guest import start
from workers.host import channel, confine, profile, rootfs
from workers.inference import runtime, service

MEASURE = b"m"
"""In a request to fork: this one says how long a call takes, and serves nobody."""
MEMORY_BYTES = 2**30
"""For the graph's own work; its weights count four times besides."""
THREADS = 16
"""Of one process, at most: ONNX Runtime's own, and a driver's."""
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
        self._files: list[Path] = []
        self._walls: confine.Walls | None = None

    def load(self) -> list[tuple[str, int, int]]:
        """Import NumPy; see in a fork, as it starts a thread, which files ONNX Runtime needs."""
        importlib.import_module("numpy")
        found = _in_a_fork(_look)
        if found is None:
            raise RuntimeError(f"WITH MODEL needs {runtime.PACKAGE}: {runtime.INSTALL_HINT}")
        self._device, _ = runtime.choose(self._device, found["providers"])
        self._files = [*rootfs.native_files(rootfs.mapped_files(found["maps"])), *map(Path, found["modules"])]
        return rootfs.mapped_files(Path("/proc/self/maps").read_text())

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
        service.run(self._content, self._device, confine.ROWS_FD, measure=request.payload == MEASURE)

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


def _look() -> dict[str, Any]:
    """What a process has mapped, which files its modules come from, and its devices, once it has ONNX Runtime."""
    before = set(sys.modules)
    onnxruntime = importlib.import_module("onnxruntime")
    files = {getattr(module, "__file__", None) for name, module in sys.modules.items() if name not in before}
    return {
        "maps": Path("/proc/self/maps").read_text(),
        "modules": sorted(file for file in files if file),
        "providers": onnxruntime.get_available_providers(),
    }


def _in_a_fork(look: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """What a function gives in a fork of this process; None if it fails there."""
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            with os.fdopen(write, "w") as pipe:
                json.dump(look(), pipe)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    found: dict[str, Any] | None = json.loads(said) if said else None
    return found
