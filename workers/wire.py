"""The row format: what a guest writes and how the host reads it.

A slot's output is lines of UTF-8. Each row is one flat JSON object `{"column": value, ...}` on a line of its own,
and the last line is `end`. It is text so that an executable in any language can write it, and flat so that it can be
read without recursion: nothing nested is accepted.

`parse_rows` treats its input as hostile and is total: any bytes give rows, never an exception. What happens:

===================================================  ==============================================================
output                                               rows
===================================================  ==============================================================
a value of the wrong type, null, missing, not        that column's default, in that row
  finite, too large, too long
a column that the schema does not have               ignored
more rows than allowed                               cut, in the order written
fewer rows than EXACTLY n                            padded with the default row
no `end` line (crash, timeout, nothing at all, a     the default row, once (EXACTLY n: n times); rows that were
  truncated row), over the byte limit, bad UTF-8,      written before the fault do not count
  not flat JSON, the same column twice
===================================================  ==============================================================

So one slot never gives more than `max_rows` rows, whatever it does (privacy-model.md, section 1, *Slots*).
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from workers import limits

ColumnType = Literal["STRING", "NUMBER", "BOOLEAN"]
Value = str | float | bool
"""A checked value: NUMBER is a float on the 2**-20 grid, below 2**42 in magnitude, and never -0.0."""
Row = tuple[Value, ...]
"""One checked value for each column, in the schema's order."""

END = b"end\n"
_GRID = float(1 << limits.NUMBER_BITS)


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """One column of a PROCESS: its name, type and the value that stands in for a missing or malformed one.

    Raises ValueError for a default that is not itself an acceptable value.
    """

    name: str
    type: ColumnType
    default: Value

    def __post_init__(self) -> None:
        if not self.name or len(self.name.encode("utf-8", "surrogatepass")) > limits.MAX_NAME_BYTES:
            raise ValueError(f"a column's name has 1 to {limits.MAX_NAME_BYTES} bytes: {self.name!r}")
        checked = accept(self.default, self.type)
        if checked is None:
            raise ValueError(f"column {self.name}: {self.default!r} cannot be the default of a {self.type}")
        object.__setattr__(self, "default", checked)


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What one slot may produce: at most `max_rows` rows of these columns, or (`exact`) always `max_rows`."""

    columns: tuple[ColumnSpec, ...]
    max_rows: int
    exact: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.max_rows <= limits.MAX_ROWS:
            raise ValueError(f"a slot produces 1 to {limits.MAX_ROWS} rows, not {self.max_rows}")
        if not 1 <= len(self.columns) <= limits.MAX_COLUMNS:
            raise ValueError(f"a PROCESS has 1 to {limits.MAX_COLUMNS} columns, not {len(self.columns)}")
        if len({column.name for column in self.columns}) != len(self.columns):
            raise ValueError("two columns of a PROCESS have the same name")

    @property
    def default_row(self) -> Row:
        """The row of a slot that produced nothing usable."""
        return tuple(column.default for column in self.columns)


def number(value: float) -> float | None:
    """A number on the public grid, or None if it is not finite or too large (privacy-model.md, section 4)."""
    if not math.isfinite(value) or abs(value) >= limits.NUMBER_MAGNITUDE:
        return None
    rounded = round(value * _GRID) / _GRID
    # Rounding can reach the bound itself; adding 0.0 turns -0.0 into 0.0.
    return None if abs(rounded) >= limits.NUMBER_MAGNITUDE else rounded + 0.0


def accept(value: object, kind: ColumnType) -> Value | None:
    """The value as a column of this type holds it, or None if it is not acceptable. A bool is not a NUMBER."""
    if kind == "BOOLEAN":
        return value if isinstance(value, bool) else None
    if kind == "NUMBER":
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        try:
            return number(float(value))
        except OverflowError:
            return None
    if not isinstance(value, str) or len(value) > limits.MAX_STRING_BYTES:
        return None
    try:
        return value if len(value.encode("utf-8")) <= limits.MAX_STRING_BYTES else None
    except UnicodeEncodeError:  # a lone surrogate
        return None


def default_rows(spec: TableSpec) -> tuple[Row, ...]:
    """The rows of a slot that crashed, ran out of time or wrote garbage."""
    return (spec.default_row,) * (spec.max_rows if spec.exact else 1)


def line_limit(spec: TableSpec) -> int:
    """Longest line that is looked at: every column as long as it can be, escaped in the longest way, and blanks."""
    return 64 + sum(
        6 * (limits.MAX_NAME_BYTES + limits.MAX_STRING_BYTES) + limits.MAX_NUMBER_CHARACTERS + 16 for _ in spec.columns
    )


def output_limit(spec: TableSpec) -> int:
    """Most bytes that a slot's output may have; the reader stops there and the output is malformed."""
    return min(limits.MAX_OUTPUT_BYTES, spec.max_rows * line_limit(spec) + 65_536)


def encode_row(row: Mapping[str, object], columns: Sequence[ColumnSpec], unusable: set[str]) -> bytes:
    """One line of output. Values that the host would replace by the default are left out.

    `unusable` gets the columns for which there is a value, but none that is acceptable.
    """
    parts = []
    for column in columns:
        value = row.get(column.name)
        item = getattr(value, "item", None)
        if item is not None and not isinstance(value, str):
            value = item()  # NumPy scalars, and arrays of one element
        checked = accept(value, column.type)
        if checked is None:
            if value is not None:
                unusable.add(column.name)
        else:
            parts.append(f"{json.dumps(column.name)}:{json.dumps(checked)}")
    return ("{" + ",".join(parts) + "}\n").encode("ascii")


_BLANK = re.compile(r"[ \t\r]*")
_STRING = re.compile(r'"((?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"')
_ATOM = re.compile(r"true|false|null|NaN|-?Infinity|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_CONSTANTS: Mapping[str, bool | None] = {
    "true": True,
    "false": False,
    "null": None,
    "NaN": None,
    "Infinity": None,
    "-Infinity": None,
}


class _MalformedError(Exception):
    """The output as a whole cannot be read."""


def _string(match: re.Match[str]) -> str:
    # Only a single string token reaches the JSON decoder, so its recursion and number limits do not matter here.
    text = match.group(1)
    return text if "\\" not in text else str(json.loads(match.group(0)))


def _atom(text: str) -> bool | float | None:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    return float(text) if len(text) <= limits.MAX_NUMBER_CHARACTERS else None


def _pairs(line: str) -> Iterator[tuple[str, str | bool | float | None]]:
    """The names and values of one flat JSON object, left to right. Raises _MalformedError."""

    def skip(at: int) -> int:
        blank = _BLANK.match(line, at)
        return blank.end() if blank else at

    at = skip(0)
    if not line.startswith("{", at):
        raise _MalformedError
    at = skip(at + 1)
    if line.startswith("}", at):
        at = skip(at + 1)
    else:
        while True:
            name = _STRING.match(line, at)
            if name is None:
                raise _MalformedError
            at = skip(name.end())
            if not line.startswith(":", at):
                raise _MalformedError
            at = skip(at + 1)
            if text := _STRING.match(line, at):
                yield _string(name), _string(text)
                at = skip(text.end())
            elif atom := _ATOM.match(line, at):
                yield _string(name), _atom(atom.group(0))
                at = skip(atom.end())
            else:
                raise _MalformedError
            if line.startswith(",", at):
                at = skip(at + 1)
                continue
            if not line.startswith("}", at):
                raise _MalformedError
            at = skip(at + 1)
            break
    if at != len(line):
        raise _MalformedError


def _row(line: str, spec: TableSpec) -> Row:
    given: dict[str, str | bool | float | None] = {}
    for name, value in _pairs(line):
        if name in given:
            raise _MalformedError
        given[name] = value
    row = []
    for column in spec.columns:
        checked = accept(given.get(column.name), column.type)
        row.append(column.default if checked is None else checked)
    return tuple(row)


def parse_rows(data: bytes, spec: TableSpec) -> tuple[Row, ...]:
    """The rows of one slot from the bytes it wrote. Total: never raises, never more than `spec.max_rows` rows."""
    if len(data) > output_limit(spec) or not (data == END or data.endswith(b"\n" + END)):
        return default_rows(spec)
    # Each line ends with a line feed, so the last piece is empty, or what is left after max_rows lines: cut, unread.
    lines = data[: -len(END)].split(b"\n", spec.max_rows)[:-1]
    rows = []
    try:
        for line in lines:
            if len(line) > line_limit(spec):
                raise _MalformedError
            rows.append(_row(line.decode("utf-8"), spec))
    except (_MalformedError, UnicodeDecodeError):
        return default_rows(spec)
    if spec.exact:
        rows.extend([spec.default_row] * (spec.max_rows - len(rows)))
    return tuple(rows)
