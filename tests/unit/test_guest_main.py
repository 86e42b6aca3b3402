"""The guest's own part: what `process` may give back, and the chunk it is given."""

import sys
import types

import numpy as np
import pytest

from workers import wire
from workers.guest import chunk, main, modules, sdk
from workers.host import feeder

TABLE = wire.TableSpec((wire.ColumnSpec("n", "NUMBER", 0), wire.ColumnSpec("s", "STRING", "-")), 3)


def rows(result: object) -> tuple[wire.Row, ...]:
    return wire.parse_rows(main.encode(result, TABLE), TABLE)


def test_what_process_may_give_back() -> None:
    assert rows(None) == ()
    assert rows([]) == ()
    assert rows({"n": 1}) == ((1.0, "-"),)
    assert rows([{"n": 1}, {"s": "x"}]) == ((1.0, "-"), (0.0, "x"))
    assert rows({"n": i} for i in range(2)) == ((0.0, "-"), (1.0, "-"))


def test_an_endless_generator_ends() -> None:
    def endless() -> object:
        while True:
            yield {"n": 1}

    assert rows(endless()) == ((1.0, "-"),) * 3


def test_numpy_values_are_numbers() -> None:
    assert rows({"n": np.int64(3)}) == ((3.0, "-"),)
    assert rows({"n": np.float32(0.5)}) == ((0.5, "-"),)
    assert rows({"n": np.array(2.0)}) == ((2.0, "-"),)
    assert rows({"n": np.bool_(True)}) == ((0.0, "-"),)
    assert rows({"s": np.str_("a")}) == ((0.0, "a"),)


def test_unknown_columns_and_values_are_left_out() -> None:
    assert rows({"n": object(), "s": None, "other": 1}) == ((0.0, "-"),)


def test_what_does_not_count_is_said_to_whoever_reads_the_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows([{"n": 1}, {"n": None}, {}])  # a column that is left out has its default, as its author knows
    assert capsys.readouterr().err == ""
    rows([{"n": "three", "s": "x"}, {"N": 3}])
    assert "not of its type: N, n\n" in capsys.readouterr().err
    rows([{"n": 1}] * 4)
    assert "the first 3 rows count" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdout", None)
    assert rows({"other": 1}) == ((0.0, "-"),)


@pytest.mark.parametrize("result", [3, [3]])
def test_anything_else_is_an_error(result: object) -> None:
    with pytest.raises((TypeError, AttributeError)):
        rows(result)


def make_chunk(count: int) -> chunk.Chunk:
    fields = {"camera": "c", "region": "r", "start_us": 10, "end_us": 20, "fps": 2.5, "width": 4, "height": 2,
              "channels": 3, "frame_count": count}  # fmt: skip
    frames = memoryview(bytes(range(24)) * count)
    return chunk.unpack(chunk.pack(fields, tuple(range(10, 10 + count))), frames)


def test_a_chunk_is_what_the_host_packed() -> None:
    given = make_chunk(3)
    assert given.frames.shape == (3, 2, 4, 3)
    assert given.frames.dtype == np.uint8
    assert not given.frames.flags.writeable
    assert given.frames[2, 1, 3, 2] == 23
    assert given.times_us.dtype == np.int64
    assert given.times_us.tolist() == [10, 11, 12]
    assert (given.camera, given.region, given.start_us, given.end_us, given.fps) == ("c", "r", 10, 20, 2.5)


def test_a_chunk_says_what_its_frames_are_in() -> None:
    slot = feeder.Slot(0, None, 0, 2, 4, 3, (), 10, 20, "c", "r", 2.5, "yuv")
    assert chunk.unpack(slot.facts, memoryview(b"")).colour == "yuv"
    assert make_chunk(1).colour == "bgr"
    frames = np.zeros((1, 2, 4, 3), np.uint8)
    assert (sdk.chunk_of(frames).colour, sdk.chunk_of(frames, colour="rgb").colour) == ("bgr", "rgb")


def test_a_chunk_may_have_no_frames() -> None:
    given = make_chunk(0)
    assert given.frames.shape == (0, 2, 4, 3)
    assert given.times_us.shape == (0,)


def test_helpers() -> None:
    given = make_chunk(5)
    assert sdk.sample(given, 3).tolist() == [0, 2, 4]
    assert sdk.sample(given, 10).tolist() == [0, 1, 2, 3, 4]
    assert sdk.seconds(given).tolist() == [0, 1e-6, 2e-6, 3e-6, 4e-6]
    assert sdk.sample(make_chunk(0), 3).tolist() == []


def test_an_error_shows_the_source_of_the_executable_and_nothing_of_the_system(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def said(source: bytes) -> str:
        sources = modules.Sources({"executable.py": source}, "executable.py")
        try:
            sources.run().process(None)
        except (AttributeError, SyntaxError) as error:
            main.print_error(sources, error)
        finally:
            sources.forget()
        return capsys.readouterr().err

    assert said(b"def process(chunk):\n    chunk.frames\n").startswith(
        'Traceback (most recent call last):\n  File "executable.py", line 2, in process\n    chunk.frames\n'
    )
    assert said(b"x = 1\n") == "AttributeError: module 'executable' has no attribute 'process'\n"
    assert said(b"def process(:\n").startswith('  File "executable.py", line 1\n')


def test_the_module_is_the_source_and_nothing_else() -> None:
    def module(source: bytes) -> types.ModuleType:
        sources = modules.Sources({"executable.py": source}, "executable.py")
        try:
            return sources.run()
        finally:
            sources.forget()

    assert module(b"x = 1\ndef process(chunk):\n    return x\n").process(None) == 1
    with pytest.raises(SyntaxError):
        module(b"def (")
