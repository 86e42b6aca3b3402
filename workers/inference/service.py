"""The process that runs a model for one chunk: warms up before it, answers its guest's calls, ends with it.

It is trusted code over an untrusted graph, confined like a guest before it reads a byte of the graph. It says three
things to its warden, one line of JSON each, all before the guest is told to start: that it is warm (with its
signature), that it holds the memory of its guest, or why it cannot go on. From then on only its guest listens to it.

Why one process for each chunk: what a runtime keeps between two runs (generators of random numbers, arenas that have
grown, whatever a crafted graph makes of a fault in it) would be a message to the next chunk.

Time. An answer appears exactly `period_ns` after its call was seen, and nothing of it before: outputs are kept to
ourselves until then. A call that takes longer gets no answer, then or ever: this process has nothing more to say.
"""

import json
import mmap
import os
import socket
import struct
import time
from typing import TYPE_CHECKING, NoReturn

from workers import tensors
from workers.inference.runtime import DeviceMissing, Model, Runtime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

START = struct.Struct("<q")
"""What the warden sends, with the line and the memory of the guest: the period in nanoseconds."""
WARM_RUNS, MEASURED_RUNS = 2, 5
_BELL_BYTES = 4096


def _say(control: int, **fields: object) -> None:
    os.write(control, json.dumps(fields).encode() + b"\n")


def run(runtime: Runtime, content: bytes, device: str, control: int, *, measure: bool) -> NoReturn:
    """Be a model's process; `control` is the socket of the warden. `measure`: only say how long a call takes."""
    try:
        import numpy as np

        model = runtime.load(content, device)
        tensors.write_header(model.signature, 0)  # or its guests could not be told
        zeros = np.zeros(model.signature.input.shape, np.float32)
        for _ in range(WARM_RUNS):
            model(zeros)
        slowest_ns = max(_timed(model, zeros) for _ in range(MEASURED_RUNS)) if measure else 0
    except ImportError as error:
        _say(control, broken=f"{runtime.name} cannot be loaded: {error}")
        os._exit(1)
    except (ValueError, DeviceMissing, MemoryError) as error:
        _say(control, broken=str(error) or "it does not fit into the memory of a model")
        os._exit(1)
    _say(control, warm={**model.signature.to_json(), "slowest_ns": slowest_ns})
    if measure:  # it has run more often than those that serve
        os._exit(0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, control) as sock:
        message, fds, _, _ = socket.recv_fds(sock, START.size, 2)
        if len(message) != START.size or len(fds) != 2:
            os._exit(0)  # the warden is gone
        line, memory_fd = fds
        memory = memoryview(mmap.mmap(memory_fd, model.signature.size_bytes))
        os.close(memory_fd)
        _say(control, attached=True)
        serve(model, memory, line, *START.unpack(message))
        os._exit(0)


def _timed(model: Model, batch: "NDArray[np.float32]") -> int:
    began = time.monotonic_ns()
    model(batch)
    return time.monotonic_ns() - began


def serve(model: Model, memory: memoryview, line: int, period_ns: int) -> None:
    """Answer calls until the guest is gone, asks wrongly, or asks what cannot be answered in time."""
    given, *answers = tensors.views(memory, model.signature)
    while os.read(line, _BELL_BYTES) == tensors.CALL:
        due_ns = time.monotonic_ns() + period_ns
        try:
            outputs = model(given.copy())  # the guest may write there while the model reads
        except ValueError:
            return
        if period_ns:
            if (left_ns := due_ns - time.monotonic_ns()) < 0:
                return
            time.sleep(left_ns / 1e9)
        for answer, output in zip(answers, outputs, strict=True):
            answer[...] = output
        os.write(line, tensors.ANSWER)
