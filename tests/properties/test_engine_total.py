"""The relational part is total: no value of any row makes it fail, or its result depend on the order of rows.

Every function of the language is applied, nested up to three deep, to extreme rows: numbers at the limits of what a row
may hold, empty and odd strings, NULL by CASE, moments at the ends of the window. The results go through a filter, a
grouping, a join and all aggregates; they are the same for any order of rows and any number of threads, and no released
value is NaN or infinite.
"""

import math
import random
from fractions import Fraction

import duckdb
import pyarrow as pa
import pytest

from privid.domain.release import Estimate
from privid.engine import release
from privid.engine.aggregate import EngineSettings, raw_aggregates
from privid.engine.raw_sql import aggregate_query
from privid.engine.sql import Rendered
from privid.engine.tables import build
from privid.privacy.sensitivity import measure
from privid.privacy.stability import State, analyse
from query_lang.functions import REGISTRY, TIME_FUNCTIONS, ScalarFunction
from query_lang.logical import (
    Aggregate,
    AggregateCall,
    Call,
    Case,
    Column,
    DataType,
    Expr,
    Filter,
    Function,
    Join,
    JoinKind,
    Key,
    Literal,
    Project,
    Range,
    Relation,
)
from tests.support.plans import number, text
from tests.support.queries import certified, policy
from tests.support.worlds import Engine, source, table

N, S, B, T = DataType.NUMBER, DataType.STRING, DataType.BOOLEAN, DataType.TIMESTAMP
NUMBERS = (0.0, 1.0, -1.0, 2.0**-20, -(2.0**-20), 0.5, 709.0, -745.0, 1e6, 2.0**42 - 1, -(2.0**42) + 1, 2.0**33 + 0.25)
TEXTS = (
    "", " ", "a", "A", "\x00", "\u0000a", "é", "e\u0301", "\u202e", "𝄞", "%", "_", "\\", "'", "nan", "-inf", "1e309",
    "0x10", "true", "2026-02-30", "-0", "1_000", "a" * 256, "ß" * 256, "\n",
)  # fmt: skip
BASE = table(chunks=6, max_rows=5, begin_us=1793512800_000000, timezone="America/New_York")
CELLS = [(TEXTS[i % len(TEXTS)], NUMBERS[i % len(NUMBERS)], i % 2 == 0) for i in range(5 * BASE.slots)]
ROWS = {slot: tuple(CELLS[5 * slot : 5 * slot + 5]) for slot in range(BASE.slots)}
ZONE = "America/New_York"


def argument(rng: random.Random, function: ScalarFunction, position: int, kind: DataType, depth: int) -> Expr:
    """A constant where the function wants one, else a column or another call."""
    if position in function.constants:
        if kind is S:
            return text(ZONE if function.name in TIME_FUNCTIONS else rng.choice(("%a_", "a%", "\\", "")))
        if function.name == "bin":
            return number(rng.choice((1, 7 * 60_000_000, 10**15)))
        return number(rng.choice((1, 2, 9)) if function.name != "power" else rng.choice((-16, -3, 0, 2, 16)))
    # The language nests no functions of time.
    return draw(rng, kind, 0 if function.name in TIME_FUNCTIONS else depth - 1)


def draw(rng: random.Random, kind: DataType, depth: int) -> Expr:
    """An expression of a type."""
    if depth <= 0:
        column = {N: Column("x", N), S: Column("p", S), B: Column("b", B), T: Column("chunk", T)}[kind]
        missing = Case(((Column("b", B), column),), None, kind)
        return rng.choice((column, column, missing, Literal(None, kind)))
    fitting = [f for f in REGISTRY.values() if f.signature.result in (kind, None)]
    return called(rng, rng.choice(fitting), kind, depth)


def called(rng: random.Random, function: ScalarFunction, kind: DataType, depth: int) -> Call:
    signature = function.signature
    free = kind if signature.result is None else rng.choice((N, S, B))
    params = [param or free for param in signature.params]
    if signature.optional and rng.random() < 0.5:
        params = params[: -signature.optional]
    args = tuple(argument(rng, function, i, param, depth) for i, param in enumerate(params))
    return Call(function.name, args, kind)


def plan(rng: random.Random, function: ScalarFunction) -> Relation:
    """The function in a projection, a filter and a grouping, joined with itself."""
    kind = function.signature.result or rng.choice((N, S, B))
    expr = called(rng, function, kind, rng.randint(1, 3))
    plain = Project(
        source(BASE), (("v", expr), ("x", Column("x", N)), ("p", Column("p", S)), ("chunk", Column("chunk", T)))
    )
    known = Call("not", (Call("is_null", (Column("v", kind),), B),), B)
    whole = rng.choice((plain, Filter(plain, known)))
    value = Column("v", kind) if kind is N else Call("to_number", (Column("v", kind),), N)
    calls = tuple(
        AggregateCall(f"a{i}", call, between(value, -5, 7) if call in SPREADS or rng.random() < 0.5 else value)
        for i, call in enumerate(rng.sample(INNER, 3))
    )
    left, right = (
        Aggregate(
            whole,
            (Key(f"k{side}", Column("v", kind)),),
            tuple(AggregateCall(f"{call.name}{side}", call.function, call.arg) for call in calls),
        )
        for side in "lr"
    )
    return Join(JoinKind.FULL, left, right, (("kl", "kr"),))


def between(value: Expr, low: int, high: int) -> Range:
    return Range(value, Fraction(low), Fraction(high), Fraction(0))


SPREADS = (Function.VAR, Function.STDDEV)
INNER = (*SPREADS, Function.COUNT, Function.SUM, Function.AVG, Function.MIN, Function.MAX, Function.MEDIAN)


def statement(rng: random.Random, state: State, relation: Relation) -> Rendered:
    """Aggregates over the joined columns."""
    numbers = [field.name for field in relation.fields if field.type is N]
    calls = tuple(
        AggregateCall(f"o{i}", rng.choice((Function.SUM, Function.VAR)), between(Column(name, N), -9, 9))
        for i, name in enumerate(numbers)
    )
    distinct = AggregateCall("n", Function.COUNT_DISTINCT, Column("kl", relation.fields[0].type))
    select = Aggregate(relation, (), (*calls, distinct))
    measured = [measure(call, select, state) for call in select.aggregates]
    return aggregate_query(select, state, measured, (BASE.grid.begin_us, BASE.grid.end_us))


def check_total(function: ScalarFunction, plans: int) -> None:
    """So many plans with the function, in two orders of rows, with one thread and with four."""
    rng = random.Random(function.name)
    for _ in range(plans):
        relation = plan(rng, function)
        state = analyse(relation, {BASE.name: BASE})
        query = statement(rng, state, relation)
        results = set()
        for threads in (1, 4):
            shuffled = {slot: tuple(rng.sample(rows, len(rows))) for slot, rows in ROWS.items()}
            (row,) = Engine({BASE.name: BASE}, threads).run(query, {BASE.name: shuffled})
            assert all(isinstance(value, int) for value in row), row
            results.add(row)
        assert len(results) == 1


@pytest.mark.parametrize("function", REGISTRY.values(), ids=lambda function: function.name)
def test_no_row_makes_a_function_fail_and_no_order_changes_a_result(function):
    check_total(function, 1)


@pytest.mark.slow
@pytest.mark.parametrize("function", REGISTRY.values(), ids=lambda function: function.name)
def test_no_row_makes_a_function_fail_and_no_order_changes_a_result_soak(function):
    check_total(function, 40)


SELECTS = (
    "SELECT COUNT(*), SUM(RANGE(speed, -5, 5)), AVG(RANGE(speed, -1e9, 1e9)), VAR(RANGE(speed, -1e9, 1e9)),"
    " STDDEV(RANGE(ln(speed), -1, 1)), COUNT(DISTINCT plate) FROM t1 CONSUMING 1000;",
    "SELECT MIN(RANGE(speed, -4e12, 4e12)), MAX(RANGE(1 / speed, -1, 1)), MEDIAN(RANGE(exp(speed), 0, 1e12)),"
    " QUANTILE(RANGE(sqrt(speed), 0, 1e6), 0.99) FROM t1;",
    "SELECT hour(chunk) AS h, AVG(RANGE(power(speed, 16), 0, 1)) AS a, SUM(RANGE(speed % 3, -3, 3)) / COUNT(*) AS r"
    " FROM t1 GROUP BY h HAVING COUNT(*) > -1e9 ORDER BY r DESC;",
)  # fmt: skip


@pytest.mark.parametrize("select", SELECTS)
@pytest.mark.parametrize("empty", [False, True])
def test_no_released_value_is_nan_or_infinite(select, empty):
    script, certificate = certified(select, rows="5 ROWS", hours=6, chunk=3600, policies=policy(rho=3600), epsilon=100)
    built = build(script.processes[0], dict.fromkeys(range(6), ()) if empty else ROWS)
    for table_ in release.answer(script, certificate, {"t1": built}):
        for row in table_.rows:
            for cell in row:
                found = (cell.value, cell.noise_scale, cell.interval95) if isinstance(cell, Estimate) else (cell,)
                assert all(not isinstance(v, float) or math.isfinite(v) for v in found), row


def test_a_large_table_gives_the_same_integers_with_any_threads_and_order():
    # More rows than one thread takes at a time: partial sums meet in whatever order threads finish.
    rng = random.Random(3)
    count = 400_000
    speeds = [rng.choice((2.0**40, -(2.0**40), 2.0**-20, 0.1, 1e9)) * rng.random() for _ in range(count)]
    plates = [rng.choice("abcdefgh") for _ in range(count)]
    select = "SELECT plate, SUM(RANGE(speed, -2e12, 2e12)), VAR(RANGE(speed, -2e12, 2e12)) FROM t1 GROUP BY plate"
    _, certificate = certified(
        f"{select} WITH KEYS ['a', 'b', 'h'];",
        rows="5 ROWS",
        hours=6,
        chunk=3600,
        policies=policy(rho=3600),
        epsilon=1e6,
    )
    found = set()
    for threads, order in ((1, range(count)), (4, range(count)), (4, rng.sample(range(count), count))):
        columns = {
            "chunk": pa.array([0] * count, pa.int64()),
            "camera": pa.array(["cam1"] * count),
            "plate": pa.array([plates[i] for i in order]),
            "speed": pa.array([round(speeds[i] * 2**20) / 2**20 for i in order]),
            "moving": pa.array([True] * count),
        }
        settings = EngineSettings(threads=threads, memory_bytes=2**30)
        found.add(raw_aggregates(certificate.selects[0], {"t1": pa.table(columns)}, settings).rows)
    assert len(found) == 1


def test_a_plain_sum_of_doubles_does_depend_on_the_order():
    # What the test above would find if sums were not exact.
    sums = {
        duckdb.execute(f"SELECT sum(v) FROM (VALUES ({a}::DOUBLE), ({b}::DOUBLE), ({c}::DOUBLE)) AS t(v)").fetchone()
        for a, b, c in (("1e20", "1", "-1e20"), ("1e20", "-1e20", "1"))
    }
    assert len(sums) == 2
