"""The bench of a model's processes, with a zygote and processes that are played here."""

import json
import os
import socket

import pytest

from workers import tensors
from workers.host import channel, models, prewarmed

SIGNATURE = tensors.Signature(tensors.Tensor("x", (2,)), (tensors.Tensor("y", (2,)),))
MILLISECOND = 1_000_000


class Stage:
    """A bench, and the other ends of its sockets. A process that has ended is a pipe that has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, period_ns: int | None = None) -> None:
        monkeypatch.setattr(prewarmed.signal, "pidfd_send_signal", lambda fd, number: self.killed.append(fd))
        ours, self.zygote = socket.socketpair()
        config = {"core": 3, "model": {"period_ns": period_ns, "turn_ns": 1_000 * MILLISECOND}}
        self.killed: list[int] = []
        self.pinned: list[tuple[int, set[int]]] = []
        self.controls: list[socket.socket] = []
        self.asked: list[bytes] = []
        self.bench = prewarmed.Bench(ours, config, lambda fd: fd, lambda pid, cores: self.pinned.append((pid, cores)))
        self.ours = ours
        self.answer()

    def answer(self) -> None:
        """As the zygote: fork what was asked for last."""
        request = channel.receive(self.zygote)
        self.asked.append(request.payload)
        self.controls.append(socket.socket(fileno=request.fds[0]))
        read, write = os.pipe()
        channel.send(self.zygote, b"R", fds=(read,))
        os.close(read)
        os.close(write)
        self.bench.hear({self.ours})

    def says(self, number: int, **fields: object) -> None:
        """One process says something, and the bench hears it."""
        self.controls[number].sendall(json.dumps(fields).encode() + b"\n")
        self.bench.hear({process.control for process in self.bench._processes})

    def warm(self, number: int, slowest_ns: int = 0) -> None:
        self.says(number, warm={**SIGNATURE.to_json(), "slowest_ns": slowest_ns})


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage(monkeypatch)
    made.warm(0, slowest_ns=7 * MILLISECOND)
    made.answer()
    return made


def test_the_first_measures_on_the_slots_core_and_serves_nobody(stage: Stage) -> None:
    assert stage.asked == [models.MEASURE, b""]
    assert [cores for _, cores in stage.pinned] == [{3}], "the others get warm elsewhere"
    assert stage.bench._period_ns == 18 * MILLISECOND, "twice the slowest call, and at least 2 ms more"
    assert stage.bench.take() is None
    stage.warm(1)
    assert stage.bench.take() is stage.bench._processes[1]


def test_a_declared_period_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, period_ns=5)
    stage.warm(0, slowest_ns=7 * MILLISECOND)
    assert stage.bench._period_ns == 5


def test_a_place_is_ready_when_a_process_holds_its_memory(stage: Stage) -> None:
    place = stage.bench.place()
    place.advance()
    assert not place.ready
    stage.warm(1)
    place.advance()
    message, fds, _, _ = socket.recv_fds(stage.controls[1], 100, 4)
    assert (prewarmed.START.unpack(message), len(fds)) == ((18 * MILLISECOND,), 2)
    assert not place.ready
    stage.says(1, attached=True)
    assert place.ready
    place.start()
    assert stage.pinned[-1][1] == {3}
    served = stage.bench._processes[1]
    assert not served.heard, "what it says from now on could depend on pixels"
    for fd in fds:
        os.close(fd)
    place.end()
    assert len(stage.killed) == 1
    place.close()
    assert served not in stage.bench._processes


def test_a_late_guest_is_no_failure_of_the_model(stage: Stage) -> None:
    stage.warm(1)
    for number in range(2, 8):
        place = stage.bench.place()
        place.advance()
        place.handed_over()
        place.close()
        stage.bench.hear(set())
        stage.answer()
        stage.warm(number)
    assert stage.bench.take() is not None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"broken": "the graph has a hole"}, "the graph has a hole"),
        ({"warm": {"input": 5}}, "makes no sense"),
        ({"warm": {**SIGNATURE.to_json(), "slowest_ns": "soon"}}, "makes no sense"),
        ({"warm": {"input": ["x", [3]], "outputs": [["y", [2]]], "slowest_ns": 0}}, "another signature"),
    ],
)
def test_what_a_process_must_not_say_ends_the_bench(stage: Stage, said: dict[str, object], reason: str) -> None:
    with pytest.raises(prewarmed.ModelBroken, match=reason):
        stage.says(1, **said)


def test_processes_that_keep_dying_end_the_bench(stage: Stage) -> None:
    def die() -> None:
        process = next(p for p in stage.bench._processes if p.pidfd >= 0 and not p.measures and not p.dead)
        stage.bench.hear({process.pidfd})

    for _ in range(3):
        die()
        stage.answer()
    with pytest.raises(prewarmed.ModelBroken, match="died while it got warm"):
        die()
