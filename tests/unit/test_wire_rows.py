"""Reading a guest's output: total, bounded, and exactly as the table in `workers.wire` says."""

import json
import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workers import wire

COLUMNS = (
    wire.ColumnSpec("name", "STRING", "?"),
    wire.ColumnSpec("n", "NUMBER", 0.5),
    wire.ColumnSpec("yes", "BOOLEAN", False),
)
SPEC = wire.TableSpec(COLUMNS, 4)
EXACT = wire.TableSpec(COLUMNS, 4, exact=True)
DEFAULT = ("?", 0.5, False)
TYPES = (str, float, bool)


def parse(*lines: bytes, spec: wire.TableSpec = SPEC, end: bytes = wire.END) -> tuple[wire.Row, ...]:
    return wire.parse_rows(b"".join(line + b"\n" for line in lines) + end, spec)


def well_formed(rows: tuple[wire.Row, ...], spec: wire.TableSpec) -> bool:
    return (len(rows) == spec.max_rows if spec.exact else len(rows) <= spec.max_rows) and all(
        tuple(type(value) for value in row) == TYPES for row in rows
    )


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda data: data + b"\nend\n"), st.booleans())
def test_any_bytes_give_rows(data: bytes, exact: bool) -> None:
    spec = EXACT if exact else SPEC
    assert well_formed(wire.parse_rows(data, spec), spec)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first text draws a table of all of Unicode
@given(st.lists(st.dictionaries(st.sampled_from(["name", "n", "yes", "other"]), SCALARS), max_size=6), st.booleans())
def test_any_flat_json_gives_its_values_or_defaults(rows: list[dict[str, object]], exact: bool) -> None:
    spec = EXACT if exact else SPEC
    lines = [json.dumps(row).encode() for row in rows]
    if any(len(line) > wire.line_limit(spec) for line in lines):
        return
    result = parse(*lines, spec=spec)
    assert well_formed(result, spec)
    for row, given_row in zip(result, rows, strict=False):
        for value, column in zip(row, COLUMNS, strict=True):
            accepted = wire.accept(given_row.get(column.name), column.type)
            literal = json.dumps(given_row.get(column.name))
            if column.type == "NUMBER" and len(literal) > 64:
                accepted = None
            assert value == (column.default if accepted is None else accepted)


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first text draws a table of all of Unicode
@given(st.lists(st.dictionaries(st.sampled_from(["name", "n", "yes"]), SCALARS), max_size=4))
def test_what_the_guest_writes_is_what_the_host_reads(rows: list[dict[str, object]]) -> None:
    result = parse(*(wire.encode_row(row, COLUMNS, set())[:-1] for row in rows))
    expected = tuple(
        tuple(
            column.default if (value := wire.accept(row.get(column.name), column.type)) is None else value
            for column in COLUMNS
        )
        for row in rows
    )
    assert result == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"n": NaN}', DEFAULT),
        (b'{"n": -Infinity}', DEFAULT),
        (b'{"n": 1e999}', DEFAULT),
        (b'{"n": -1e999}', DEFAULT),
        (b'{"n": ' + b"9" * 200 + b"}", DEFAULT),
        (b'{"n": "1"}', DEFAULT),
        (b'{"n": true}', DEFAULT),
        (b'{"n": null}', DEFAULT),
        (b'{"n": 5e-324}', ("?", 0.0, False)),
        (b'{"n": -0.0}', ("?", 0.0, False)),
        (b'{"yes": "true"}', DEFAULT),
        (b'{"yes": 1}', DEFAULT),
        (b'{"name": 5}', DEFAULT),
        (b'{"name": "\\ud800"}', DEFAULT),
        (b'{"name": "\\ud83d\\ude00"}', ("\U0001f600", 0.5, False)),
        (b'{"name": "' + b"x" * 257 + b'"}', DEFAULT),
        (b'{"unknown": 1}', DEFAULT),
        (b"{}", DEFAULT),
        (b' {\t"n" : 2 , "yes":true }\r', ("?", 2.0, True)),
    ],
)
def test_one_bad_value_is_one_default(line: bytes, expected: wire.Row) -> None:
    assert parse(b'{"n":1}', line) == (("?", 1.0, False), expected)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[1]",
        b"1",
        b'{"n":1',
        b'{"n":1}}',
        b'{"n":1} {"n":2}',
        b'{"n":1,}',
        b'{"n":1,"n":2}',
        b'{"n":[1]}',
        b'{"n":{}}',
        b'{"n":01}',
        b'{"n":+1}',
        b'{"n":0x1}',
        b'{"n":1_0}',
        b'{"n":"\x01"}',
        b'{"name":"\xff"}',
        b'{"name":"\xed\xa0\x80"}',
        b"{n:1}",
        b"{'n':1}",
        b"end",
        b"[" * 60_000,
        b'{"a":' * 20_000,
        pickle.dumps({"n": 1}).replace(b"\n", b""),
    ],
)
def test_one_unreadable_line_makes_the_whole_output_the_default_row(line: bytes) -> None:
    assert parse(b'{"n":1}', line, b'{"n":2}') == (DEFAULT,)
    assert parse(b'{"n":1}', line, spec=EXACT) == (DEFAULT,) * 4


@pytest.mark.parametrize(
    "data", [b"", b"end", b'{"n":1}\n', b'{"n":1}\nend', b'{"n":1}end\n', b'{"n":1}\nend\n\n', b'{"n":1}\nend\nend\nx']
)
def test_output_without_its_end_is_the_default_row(data: bytes) -> None:
    assert wire.parse_rows(data, SPEC) == (DEFAULT,)


def test_too_many_rows_are_cut_in_the_order_written() -> None:
    lines = [b'{"n":%d}' % i for i in range(5000)]
    assert [row[1] for row in parse(*lines[:500])] == [0, 1, 2, 3]
    assert [row[1] for row in parse(*lines[:4])] == [0, 1, 2, 3]
    # What is cut is not read, so it cannot spoil the rest.
    assert [row[1] for row in parse(*lines[:4], b"\xff\xff")] == [0, 1, 2, 3]


def test_exactly_n_rows_are_padded() -> None:
    assert parse(spec=EXACT) == (DEFAULT,) * 4
    assert parse(b'{"n":1}', spec=EXACT) == (("?", 1.0, False), *[DEFAULT] * 3)
    assert parse() == ()


def test_too_much_output_is_the_default_row() -> None:
    assert wire.parse_rows(b'{"n":1}\n' * (wire.output_limit(SPEC) // 8 + 1) + wire.END, SPEC) == (DEFAULT,)
    longest = wire.line_limit(SPEC)
    assert parse(b'{"n":1' + b" " * longest + b"}") == (DEFAULT,)


@pytest.mark.timeout(60)
@settings(max_examples=20, deadline=None)
@given(st.sampled_from([b'"', b"\\", b'{"', b'"\\', b" ", b"{", b"1", b"-", b"1e", b'{"a":"'.ljust(7, b"b")]))
def test_no_line_takes_long(piece: bytes) -> None:
    """Patterns must not backtrack: the time is bounded by the length."""
    line = (piece * (wire.line_limit(SPEC) // len(piece)))[: wire.line_limit(SPEC)]
    assert parse(line, b'{"name":"' + line) == (DEFAULT,)
