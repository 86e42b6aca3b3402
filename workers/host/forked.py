"""The backend `fork`: a guest is a fork of the zygote, which has the libraries loaded, and confines itself."""

import contextlib
import mmap
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from workers import bundle, wire
from workers.guest import chunk as guest_chunk
from workers.guest import main as guest_main
from workers.guest import model as guest_model
from workers.guest import start
from workers.guest import weights as guest_weights
from workers.guest.modules import Sources
from workers.host import channel, confine, profile, rootfs

_COPIES = 4
"""So often weights may be in memory while they are loaded: as bytes, tensors, and prepared for the processor."""
_LOADING_ROOM_BYTES = 2**30
_LOADING_SECONDS = 90


class ForkedGuests:
    """Guests of the backend `fork` (`workers.host.zygote.Guests`)."""

    def __init__(self, config: Mapping[str, Any], content: bytes) -> None:
        self._config = config
        self._bundle = bundle.read(content)
        self._sources = Sources(self._bundle.sources, self._bundle.manifest.entry)
        self._libraries: list[str] = config["libraries"]
        self._logs: bool = config["log_bytes"] > 0
        self._table = wire.TableSpec(
            tuple(wire.ColumnSpec(*column) for column in config["columns"]), config["max_rows"], config["exact"]
        )
        self._walls: confine.Walls | None = None

    def load(self) -> list[tuple[str, int, int]]:
        """Import everything here: guests inherit it."""
        start.load(profile.modules(self._libraries))
        return rootfs.mapped_files(Path("/proc/self/maps").read_text())

    def enter_root(self) -> None:
        """The zygote moves into the root itself."""
        rootfs.enter(self._libraries)

    def prepare(self, proc_fd: int, null_fd: int) -> None:
        """Load the weights and make the walls, once for all guests."""
        with self._bounded(proc_fd):
            guest_weights.load(self._bundle)
        own: int = self._config["memory_bytes"]
        memory = start.memory_limits(confine.read_proc(proc_fd, "status"), own, profile.address_room(own))
        self._walls = confine.prepare(profile.Profile(**self._config["profile"]), proc_fd, null_fd, memory)

    @contextlib.contextmanager
    def _bounded(self, proc_fd: int) -> Iterator[None]:
        """While weights are loaded, limits of what that may take: what cannot be loaded within them is refused."""
        size = start.process_sizes(confine.read_proc(proc_fd, "status"))["VmSize"]
        room = self._config["memory_bytes"] + _COPIES * self._config["weights_bytes"] + _LOADING_ROOM_BYTES
        wanted = {resource.RLIMIT_AS: size + room, resource.RLIMIT_CPU: _LOADING_SECONDS}
        before = {limit: resource.getrlimit(limit) for limit in wanted}
        for limit, value in wanted.items():
            resource.setrlimit(limit, (value, before[limit][1]))
        yield
        for limit, value in before.items():
            resource.setrlimit(limit, value)

    def become(self, request: channel.Message) -> NoReturn:
        """Confine this process, wait for the go, hand over to the analyst's code."""
        assert self._walls is not None
        rows_fd, go_fd, *rest = request.fds
        line_fd = rest.pop(0) if self._config["model"] else None
        if line_fd is not None:
            guest_model.attach(guest_model.Line(confine.LINE_FD, memoryview(mmap.mmap(rest.pop(0), 0))))
        log_fd = rest.pop(0) if self._logs else None
        facts_fd, *rest = rest
        frames = memoryview(b"")
        if rest:
            frames = memoryview(mmap.mmap(rest[0], int(request.payload), mmap.MAP_SHARED, mmap.PROT_READ))
        chunk = guest_chunk.unpack(start.read_all(facts_fd), frames)
        start.use_threads(self._bundle.manifest.threads)
        confine.confine(self._walls, rows_fd, go_fd, log_fd, line_fd)
        start.wait_for_go(confine.ROWS_FD, confine.GO_FD)
        guest_main.run(self._sources, chunk, self._table, confine.ROWS_FD)
