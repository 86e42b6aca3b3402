"""Whatever a guest writes gives rows of the schema, never more than allowed, and nothing else."""

import pytest

from tests.hostile.arena import DEFAULT, Arena, make_arena
from workers.host.backends import BACKENDS, Name

EXPECTED: dict[str, tuple[tuple[str, float, bool], ...]] = {
    "nan": (("ok", -1.0, False),),
    "infinity": (("ok", -1.0, False),),
    "1e999": (("ok", -1.0, False),),
    "bad_utf8": (DEFAULT,),
    "deep": (DEFAULT,),
    "long_integer": (DEFAULT,),
    "pickle": (DEFAULT,),
    "bool_as_string": (("ok", -1.0, False),),
    "wrong_width": (("ok", -1.0, False), DEFAULT),
    "truncated": (DEFAULT,),
    "no_end": (DEFAULT,),
    "many_rows": tuple((f"row {i}", -1.0, False) for i in range(3)),
    "many_rows_raw": tuple((f"row {i}", -1.0, False) for i in range(3)),
    "endless": (("again", -1.0, False),) * 3,
    "gigabyte": (DEFAULT,),
    "nothing": (DEFAULT,),
    "none": (),
    "partial_then_crash": (DEFAULT,),
    "not_rows": (DEFAULT,),
    "long_string": (("default", 1.0, False),),
    "fake_greeting": (DEFAULT,),
    "negative_zero": (("ok", 0.0, False),),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_results(arena: Arena, name: str) -> None:
    assert arena.run(f"result:{name}") == EXPECTED[name]


@pytest.mark.parametrize("backend", BACKENDS)
def test_exactly_n_rows_whatever_happens(backend: Name) -> None:
    for exact in make_arena(backend=backend, exact=True, max_rows=3):
        rows = exact.rows("result:none", "result:partial_then_crash", "result:wrong_width", "result:many_rows")
        assert rows[0] == (DEFAULT,) * 3
        assert rows[1] == (DEFAULT,) * 3
        assert rows[2] == (("ok", -1.0, False), DEFAULT, DEFAULT)
        assert rows[3] == EXPECTED["many_rows"]
