"""Public values in Python are those of DuckDB, bit by bit: charges come from the one, answers from the other."""

import random
from fractions import Fraction

import duckdb
import pytest
from sqlglot import exp

from privid.privacy.refusal import Refusal
from privid.privacy.stability.expressions import _EXACT, engine_value, listable
from query_lang import functions
from query_lang.logical import Call, Case, Column, DataType, Expr, Literal, Range
from query_lang.units import DAY

N, S, B, T = DataType.NUMBER, DataType.STRING, DataType.BOOLEAN, DataType.TIMESTAMP
NUMBERS = (0.0, 1.0, -1.0, 0.1, 1 / 3, 23.0, -2.5, 2.0**60, 1e-300, 5e-324, 1e150, 0.5, 1.5, -0.1)
MOMENTS = (1710054000_000000, 1710054000_000001, 1710500000_000000, 1709300000_000000)
ROW = {"x": 0.1, "y": 23.0, "s": "north", "b": True, "t": 1710054000_000000, "m": None}
ZONES = ("UTC", "America/New_York", "Asia/Kathmandu")


def draw(rng: random.Random, kind: DataType, depth: int) -> Expr:
    if depth == 0 or rng.random() < 0.15:
        return leaf(rng, kind)
    part = lambda k: draw(rng, k, depth - 1)  # noqa: E731
    if rng.random() < 0.15:
        default = part(kind) if rng.random() < 0.7 else None
        return Case(((part(B), part(kind)),), default, kind)
    if kind is N:
        name = rng.choice(
            (
                "add",
                "sub",
                "mul",
                "div",
                "mod",
                "neg",
                "abs",
                "sign",
                "floor",
                "ceil",
                "least",
                "greatest",
                "coalesce",
                "nullif",
                "range",
                "hour_of_day",
                "day_of_week",
            )
        )
        if name == "range":
            return Range(part(N), Fraction(-3), Fraction(22), Fraction(1, 3))
        if name in ("hour_of_day", "day_of_week"):
            return Call(name, (part(T), Literal(rng.choice(ZONES), S)), N)
        return Call(name, tuple(part(N) for _ in range(1 if name in ("neg", "abs", "sign", "floor", "ceil") else 2)), N)
    if kind is B:
        name = rng.choice(("eq", "ne", "lt", "le", "gt", "ge", "between", "in", "not", "and", "or", "is_null"))
        if name == "not":
            return Call(name, (part(B),), B)
        if name in ("and", "or"):
            return Call(name, (part(B), part(B), part(B)), B)
        of = rng.choice((N, N, S, T))
        return Call(name, tuple(part(of) for _ in range({"between": 3, "in": 3, "is_null": 1}.get(name, 2))), B)
    if kind is T:
        name = rng.choice(("hour", "day", "week", "month", "bin"))
        zone = Literal(rng.choice(ZONES), S)
        if name == "bin":
            return Call(name, (part(T), Literal(Fraction(rng.choice((1, 7, 1440)) * 60_000_000), N), zone), T)
        return Call(name, (part(T), zone), T)
    return Call(rng.choice(("coalesce", "nullif")), (part(S), part(S)), S)


def leaf(rng: random.Random, kind: DataType) -> Expr:
    if rng.random() < 0.12:
        return Literal(None, kind)
    if rng.random() < 0.5:
        return Column({N: rng.choice("xy"), S: "s", B: "b", T: "t"}[kind], kind)
    return {
        N: lambda: Literal(Fraction(rng.choice(NUMBERS)), N),
        S: lambda: Literal(rng.choice(("north", "south", "", "é", "N")), S),
        B: lambda: Literal(rng.random() < 0.5, B),
        T: lambda: Literal(rng.choice(MOMENTS), T),
    }[kind]()


@pytest.fixture(scope="module")
def engine():
    connection = duckdb.connect(":memory:")
    connection.execute(
        "CREATE TABLE r AS SELECT 0.1::DOUBLE AS x, 23.0::DOUBLE AS y, 'north' AS s, TRUE AS b,"
        " 1710054000000000::BIGINT AS t"
    )
    return connection


@pytest.mark.parametrize("batch", range(4))
def test_python_and_duckdb_agree_on_everything_that_is_listable(engine, batch):
    rng = random.Random(batch)
    window = (min(MOMENTS) - 200 * DAY, max(MOMENTS))
    exprs = []
    while len(exprs) < 60:
        expr = draw(rng, rng.choice((N, N, B, B, T, S)), rng.randint(1, 4))
        assert listable(expr)
        try:
            exprs.append((expr, engine_value(expr, ROW)))
        except Refusal:
            continue
    rendered = [functions.render(expr, lambda c: exp.column(c.name), window) for expr, _ in exprs]
    found = engine.execute(
        exp.select(*(exp.alias_(e, f"v{i}") for i, e in enumerate(rendered))).from_("r").sql("duckdb")
    )
    for (expr, expected), value in zip(exprs, found.fetchone(), strict=True):
        assert (value == expected and type(value) is type(expected)) or (value is expected is None), expr


def test_only_functions_that_were_compared_are_listable():
    assert functions.REGISTRY.keys() >= _EXACT
    for name in ("upper", "length", "like", "concat", "sqrt", "ln", "exp", "power", "round", "to_string", "to_number"):
        assert name not in _EXACT
    assert not listable(Call("eq", (Literal("a\x00b", S), Literal("a", S)), B))


def test_arithmetic_that_leaves_the_numbers_is_refused():
    big = Literal(Fraction(10**300), N)
    with pytest.raises(Refusal) as refused:
        engine_value(Call("gt", (Call("mul", (big, big), N), big), B), {})
    assert refused.value.code == "not_finite"


def test_doubles_at_every_step():
    # Exactly, this is 1; in doubles 2^60 + 1 is 2^60. Exact arithmetic would tell groups apart that the engine
    # takes for one.
    huge = Call("floor", (Literal(Fraction(2**60), N),), N)
    one = Call("sub", (Call("add", (huge, Literal(Fraction(1), N)), N), huge), N)
    assert engine_value(one, {}) == 0.0
