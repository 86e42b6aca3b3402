"""The registry: DuckDB computes what Python does, nothing fails, and claims about ranges and NULLs hold."""

import math
from fractions import Fraction

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from query_lang import functions
from query_lang.functions import REGISTRY, TIME_FUNCTIONS
from query_lang.intervals import Interval
from query_lang.logical import Call, Case, Column, DataType, Expr, Literal, Range

N, S, B = DataType.NUMBER, DataType.STRING, DataType.BOOLEAN
WINDOW = (0, 1)

# Columns: name -> type, range, nullable.
COLUMNS: dict[str, tuple[DataType, Interval | None, bool]] = {
    "a": (N, (Fraction(-3), Fraction(5)), False),
    "b": (N, (Fraction(1, 2), Fraction(100)), True),
    "c": (N, None, True),
    "s": (S, None, False),
    "t": (S, None, True),
    "p": (B, None, False),
    "q": (B, None, True),
}


def column_range(column: Column) -> Interval | None:
    return COLUMNS[column.name][1]


def column_nullable(column: Column) -> bool:
    return COLUMNS[column.name][2]


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """On the grid of 2^-20, as accepted rows are."""
    return st.integers(math.ceil(low * 2**20), math.floor(high * 2**20)).map(lambda n: n / 2**20)


TEXT = st.text(st.sampled_from("abAB %_7.é-"), max_size=8) | st.sampled_from(
    ["true", "12.5", "-1e3", "inf", "nan", "0"]
)

ROWS = st.fixed_dictionaries(
    {
        "a": numbers(-3, 5) | st.sampled_from([-3.0, 0.0, 5.0]),
        "b": st.none() | numbers(0.5, 100),
        "c": st.none() | numbers(-(2**41), 2**41) | st.sampled_from([0.0, 1.0, -1.0]),
        "s": TEXT,
        "t": st.none() | TEXT,
        "p": st.booleans(),
        "q": st.none() | st.booleans(),
    }
)

CONSTANT = {
    N: st.fractions(-20, 20, max_denominator=8).map(lambda f: Literal(f, N)),
    S: TEXT.map(lambda text: Literal(text, S)),
    B: st.booleans().map(lambda b: Literal(b, B)),
}
_CALLS = [f for f in REGISTRY.values() if f.name not in TIME_FUNCTIONS]


def _constant(function: functions.ScalarFunction, position: int, kind: DataType) -> st.SearchStrategy[Expr]:
    if function.name == "power":
        return st.integers(-3, 6).map(lambda n: Literal(Fraction(n), N))
    if kind is N:
        return st.integers(1, 5).map(lambda n: Literal(Fraction(n), N))
    return st.text(st.sampled_from("ab%_7"), max_size=5).map(lambda text: Literal(text, S))


@st.composite
def calls(draw: st.DrawFn, kind: DataType, below: dict[DataType, st.SearchStrategy[Expr]]) -> Expr:
    fitting = [f for f in _CALLS if f.signature.result in (kind, None)]
    function = draw(st.sampled_from(fitting))
    signature = function.signature
    free = kind if signature.result is None else draw(st.sampled_from([N, S, B]))
    params = [param if param is not None else free for param in signature.params]
    if signature.variadic:
        params += [params[-1]] * draw(st.integers(0, 2))
    if signature.optional and draw(st.booleans()):
        params = params[: -signature.optional]
    args = [
        draw(_constant(function, place, param) if place in function.constants else below[param])
        for place, param in enumerate(params)
    ]
    return Call(function.name, tuple(args), kind)


@st.composite
def branches(draw: st.DrawFn, kind: DataType, below: dict[DataType, st.SearchStrategy[Expr]]) -> Expr:
    whens = tuple((draw(below[B]), draw(below[kind])) for _ in range(draw(st.integers(1, 2))))
    return Case(whens, draw(st.none() | below[kind]), kind)


@st.composite
def ranges(draw: st.DrawFn, below: dict[DataType, st.SearchStrategy[Expr]]) -> Expr:
    low, high = sorted(draw(st.tuples(st.integers(-9, 9), st.integers(-9, 9))))
    return Range(draw(below[N]), Fraction(low), Fraction(high), Fraction(draw(st.integers(-12, 12))))


def trees(depth: int) -> dict[DataType, st.SearchStrategy[Expr]]:
    leaves = {
        kind: CONSTANT[kind]
        | st.sampled_from([Column(name, kind) for name, (of, _, _) in COLUMNS.items() if of is kind])
        for kind in (N, S, B)
    }
    if depth == 0:
        return leaves
    below = trees(depth - 1)
    result = {kind: leaves[kind] | calls(kind, below) | branches(kind, below) for kind in (N, S, B)}
    result[N] = result[N] | ranges(below)
    return result


TREES = trees(3)
ANY = TREES[N] | TREES[S] | TREES[B]


def in_duckdb(expr: Expr, rows: list[dict[str, object]]) -> list[object]:
    sql = functions.render(expr, lambda column: exp.column(column.name, quoted=True), WINDOW).sql("duckdb")
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    kinds = {N: "DOUBLE", S: "VARCHAR", B: "BOOLEAN"}
    values = ", ".join("(" + ", ".join(f"?::{kinds[COLUMNS[name][0]]}" for name in COLUMNS) + ")" for _ in rows)
    parameters = [row[name] for row in rows for name in COLUMNS]
    found = duckdb.execute(f"SELECT {sql} FROM (VALUES {values}) AS rows({names})", parameters).fetchall()
    return [row[0] for row in found]


def finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def in_python(expr: Expr, row: dict[str, object]) -> object:
    return functions.evaluate(expr, row)  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(ANY, st.lists(ROWS, min_size=1, max_size=4))
def test_nothing_fails_and_claims_hold(expr: Expr, rows: list[dict[str, object]]) -> None:
    results = in_duckdb(expr, rows)
    bounds = functions.value_range(expr, column_range, column_nullable)
    nullable = functions.nullable(expr, column_nullable)
    for row, result in zip(rows, results, strict=True):
        in_python(expr, row)
        if result is None:
            assert nullable
        elif expr.type is N:
            assert isinstance(result, float)
            if bounds is not None:
                slack = 1e-9 * (1 + abs(float(bounds[0])) + abs(float(bounds[1])))
                assert float(bounds[0]) - slack <= result <= float(bounds[1]) + slack
        else:
            assert isinstance(result, str if expr.type is S else bool)
            assert not isinstance(result, str) or len(result) <= 256


def shallow(kind: DataType) -> st.SearchStrategy[Expr]:
    leaves = trees(0)
    return calls(kind, leaves) | branches(kind, leaves)


@settings(max_examples=100, deadline=None)
@given(shallow(N) | shallow(S) | shallow(B) | ranges(trees(0)), st.lists(ROWS, min_size=1, max_size=4))
def test_duckdb_computes_what_python_does(expr: Expr, rows: list[dict[str, object]]) -> None:
    if isinstance(expr, Call) and expr.function == "to_string" and expr.args[0].type is N:
        # Digits of numbers differ in notation beyond 15 digits; that they are written at all is tested above.
        return
    for row, result in zip(rows, in_duckdb(expr, rows), strict=True):
        expected = in_python(expr, row)
        if isinstance(expected, (Fraction, float)):
            if isinstance(result, float) and not math.isfinite(result):
                continue
            assert result == pytest.approx(float(expected), rel=1e-9, abs=1e-9)
        else:
            assert finite(result) == expected


def number(value: int | Fraction) -> Literal:
    return Literal(Fraction(value), N)


def test_division_by_zero_is_null_everywhere() -> None:
    for name in ("div", "mod"):
        expr = Call(name, (number(1), number(0)), N)
        assert in_duckdb(expr, [{**dict.fromkeys(COLUMNS)}]) == [None]
        assert in_python(expr, {}) is None
        assert functions.nullable(expr, column_nullable)
    assert not functions.nullable(Call("div", (Column("a", N), number(2)), N), column_nullable)


def test_ranges_of_arithmetic_are_exact() -> None:
    a, b = Column("a", N), Column("b", N)
    expected = {
        Call("add", (a, b), N): (Fraction(-5, 2), Fraction(105)),
        Call("sub", (a, b), N): (Fraction(-103), Fraction(9, 2)),
        Call("mul", (a, b), N): (Fraction(-300), Fraction(500)),
        Call("div", (a, b), N): (Fraction(-6), Fraction(10)),
        Call("div", (b, a), N): None,
        Call("abs", (a,), N): (Fraction(0), Fraction(5)),
        Call("power", (a, number(2)), N): (Fraction(0), Fraction(25)),
        Call("power", (a, number(3)), N): (Fraction(-27), Fraction(125)),
        Call("least", (a, number(2)), N): (Fraction(-3), Fraction(2)),
        Call("least", (a, b), N): (Fraction(-3), Fraction(5)),
        Call("greatest", (a, b), N): (Fraction(-3), Fraction(100)),
        Call("neg", (a,), N): (Fraction(-5), Fraction(3)),
        Call("sign", (b,), N): (Fraction(1), Fraction(1)),
        Case(((Literal(True, B), a),), number(50), N): (Fraction(-3), Fraction(50)),
        Range(Column("c", N), Fraction(0), Fraction(9), Fraction(0)): (Fraction(0), Fraction(9)),
        Column("c", N): None,
    }
    for expr, bounds in expected.items():
        assert functions.value_range(expr, column_range, column_nullable) == bounds, expr


def test_range_replaces_null_and_what_is_not_finite_before_it_clips() -> None:
    wild = Call("ln", (Column("c", N),), N)
    expr = Range(wild, Fraction(0), Fraction(9), Fraction(4))
    row = dict.fromkeys(COLUMNS)
    values = [None, -1.0, 0.0, math.exp(20), 1.0]
    assert in_duckdb(expr, [{**row, "c": value} for value in values]) == [4.0, 4.0, 4.0, 9.0, 0.0]
    # ln(0) is minus infinity in DuckDB: the default too, not the low bound.
    assert [in_python(expr, {"c": value}) for value in values] == [4, 4, 4, 9, 0]


def test_products_beyond_every_double_have_no_range() -> None:
    expr: Expr = number(2**41)
    for _ in range(6):
        expr = Call("mul", (expr, expr), N)
    assert functions.value_range(expr, column_range, column_nullable) is None


def test_replacing_cannot_make_strings_grow_without_bound() -> None:
    expr: Expr = Literal("a" * 250, S)
    for _ in range(5):
        expr = Call("replace", (expr, Literal("a", S), Literal("a" * 250, S)), S)
    assert in_duckdb(expr, [dict.fromkeys(COLUMNS)]) == ["a" * 256]


def test_a_pattern_cannot_make_matching_slow() -> None:
    expr = Call("like", (Literal("a" * 250, S), Literal("%a" * 60 + "b", S)), B)
    assert in_duckdb(expr, [dict.fromkeys(COLUMNS)]) == [False]
    assert in_python(Call("like", (Literal("a" * 250, S), Literal("%a%a%ab", S)), B), {}) is False


@pytest.mark.parametrize("function", REGISTRY.values(), ids=lambda f: f.name)
def test_every_entry_is_complete(function: functions.ScalarFunction) -> None:
    assert REGISTRY[function.name] is function
    assert all(0 <= place < len(function.signature.params) for place in function.constants)
    assert function.signature.result is not None or None in function.signature.params
    if function.range is not None:
        assert function.signature.result in (N, None)
