"""The plans of scripts, shape by shape."""

from fractions import Fraction

import pytest

from query_lang import CameraSchema, Catalog, QueryError, compile_script
from query_lang import logical as lp
from query_lang.logical import Call, Column, DataType, Key, Literal

N, S, B, T = DataType.NUMBER, DataType.STRING, DataType.BOOLEAN, DataType.TIMESTAMP

CATALOG = Catalog(
    {
        "plaza": CameraSchema("plaza", "Europe/Lisbon", ("benches",), {"lanes": ("n", "s")}),
        "bridge": CameraSchema("bridge"),
    },
    {"p.py": "aa" * 32},
)
BEGIN = 1_796_112_000_000_000
TABLES = """
SPLIT plaza BEGIN 2026-12-01T08:00:00Z END 2026-12-01T09:00:00Z BY TIME 5sec INTO c;
PROCESS c USING 'p.py' TIMEOUT 1sec PRODUCING 10 ROWS
  WITH SCHEMA (plate:STRING="", Speed:NUMBER=7, parked:BOOLEAN=FALSE) INTO cars;
"""


def script(select: str, tables: str = TABLES) -> lp.Script:
    return compile_script(tables + select, CATALOG)


def select(text: str) -> lp.Select:
    (only,) = script(text).selects
    return only


def refused(select: str, tables: str = TABLES) -> QueryError:
    with pytest.raises(QueryError) as caught:
        script(select, tables)
    return caught.value


SOURCE_FIELDS = (
    lp.Field("chunk", T),
    lp.Field("camera", S),
    lp.Field("plate", S),
    lp.Field("Speed", N),
    lp.Field("parked", B),
)
CHUNK, PLATE, SPEED = Column("chunk", T), Column("plate", S), Column("Speed", N)


def test_the_whole_plan_of_a_count() -> None:
    plan = script("SELECT COUNT(*) FROM cars CONSUMING 0.1234567899;")
    split = lp.Split("c", "plaza", "Europe/Lisbon", BEGIN, BEGIN + 3_600_000_000, 5_000_000, 0)
    schema = (
        lp.SchemaColumn("plate", S, ""),
        lp.SchemaColumn("Speed", N, Fraction(7)),
        lp.SchemaColumn("parked", B, False),
    )
    process = lp.Process("cars", split, "p.py", "aa" * 32, None, 1_000_000, 10, False, schema)
    call = lp.AggregateCall("count_1", lp.Function.COUNT)
    assert plan.processes == (process,)
    assert plan.selects == (
        lp.Select(
            index=0,
            aggregate=lp.Aggregate(lp.Source(process, SOURCE_FIELDS), (), (call,)),
            outputs=(lp.Output("count_1", Column("count_1", N)),),
            having=None,
            order=(),
            limit=None,
            offset=0,
            epsilon_nano=123_456_789,
            line=5,
        ),
    )
    assert plan.text.endswith("0.1234567899;")
    assert split.count == 720


def test_only_whole_chunks_are_cut() -> None:
    def count(end: str, chunk: str, stride: str = "0sec") -> int:
        tables = TABLES.replace("09:00:00Z", end).replace("5sec", f"{chunk} STRIDE {stride}")
        return script("SELECT COUNT(*) FROM cars", tables).processes[0].split.count

    assert count("08:00:10Z", "5sec") == 2
    assert count("08:00:09.999999Z", "5sec") == 1
    assert count("08:00:05Z", "5sec", "1 hour") == 1
    assert count("08:00:11Z", "5sec", "1sec") == 2
    assert count("08:00:10Z", "5sec", "1sec") == 1
    error = refused("SELECT COUNT(*) FROM cars", TABLES.replace("09:00:00Z", "08:00:04Z"))
    assert error.code == "bad_time"


def test_regions_add_a_trusted_column() -> None:
    tables = TABLES.replace("INTO c;", "BY REGION lanes WITH MASK benches INTO c;")
    plan = script("SELECT region, COUNT(*) FROM cars GROUP BY region", tables)
    assert [field.name for field in plan.selects[0].aggregate.input.fields][:3] == ["chunk", "camera", "region"]
    assert (plan.processes[0].split.region, plan.processes[0].split.masks) == ("lanes", ("benches",))
    assert refused("SELECT COUNT(*) FROM cars WHERE region = 'n'").code == "unknown_name"


def test_the_default_of_a_range_is_the_columns_through_renames() -> None:
    def default(text: str) -> Fraction:
        arg = select(text).aggregate.aggregates[0].arg
        assert isinstance(arg, lp.Range)
        return arg.default

    assert default("SELECT SUM(RANGE(speed, 1, 9)) FROM cars") == 7
    assert default("SELECT SUM(RANGE(v, 1, 9)) FROM (SELECT speed AS v FROM (SELECT * FROM cars))") == 7
    assert default("SELECT SUM(speed, l=1, u=9) FROM cars") == 7
    assert default("SELECT SUM(RANGE(speed + 0, 1, 9)) FROM cars") == 1
    assert default("SELECT SUM(RANGE(n, 1, 9)) FROM (SELECT COUNT(*) AS n FROM cars)") == 1
    assert default("SELECT SUM(RANGE(v, 1, 9)) FROM (SELECT speed + 0 AS v FROM cars)") == 1
    assert default("SELECT SUM(RANGE(m, 1, 9)) FROM (SELECT MAX(speed) AS m FROM cars GROUP BY plate)") == 1
    other = "SELECT SUM(RANGE(v, 1, 9)) FROM (SELECT speed AS v FROM cars UNION ALL SELECT speed * 1 FROM cars)"
    assert default(other) == 1


def test_keys_carry_the_names_of_the_select_and_the_zone_of_the_camera() -> None:
    hour = Call("hour", (CHUNK, Literal("Europe/Lisbon", S)), T)
    for text in (
        "SELECT hour(chunk) AS h, COUNT(*) FROM cars GROUP BY h",
        "SELECT hour(chunk) AS h, COUNT(*) FROM cars GROUP BY hour(chunk)",
        "SELECT hour(chunk) AS h, COUNT(*) FROM cars GROUP BY 1",
        "SELECT hour(cars.chunk) AS h, COUNT(*) FROM cars GROUP BY H",
    ):
        plan = select(text)
        assert plan.aggregate.keys == (Key("h", hour),)
        assert plan.outputs == (lp.Output("h", Column("h", T)), lp.Output("count_2", Column("count_2", N)))
    assert select("SELECT COUNT(*) FROM cars GROUP BY hour(chunk)").aggregate.keys == (Key("hour_1", hour),)
    quarter = Call("bin", (CHUNK, Literal(Fraction(900_000_000), N), Literal("Europe/Lisbon", S)), T)
    plan = select("SELECT COUNT(*) FROM cars WITH WINDOW 15 min")
    assert plan.aggregate.keys == (Key("window", quarter),)
    assert [output.name for output in plan.outputs] == ["window", "count_1"]
    day = Call("day", (CHUNK, Literal("Europe/Lisbon", S)), T)
    assert select("SELECT COUNT(*) FROM cars GROUP BY bin(chunk, day)").aggregate.keys == (Key("bin_1", day),)


def test_aggregates_are_counted_once_and_named_by_their_place() -> None:
    plan = select(
        "SELECT COUNT(*), COUNT(*) * 2, AVG(RANGE(speed, 0, 9)) AS v FROM cars HAVING SUM(RANGE(speed, 0, 1)) > 3"
    )
    assert [call.name for call in plan.aggregate.aggregates] == ["count_1", "v", "sum_1"]
    assert [output.name for output in plan.outputs] == ["count_1", "column_2", "v"]
    assert plan.outputs[1].expr == Call("mul", (Column("count_1", N), Literal(Fraction(2), N)), N)
    assert plan.having == Call("gt", (Column("sum_1", N), Literal(Fraction(3), N)), B)


def test_having_and_order_see_names_but_items_do_not_build_on_each_other() -> None:
    plan = select(
        "SELECT COUNT(*) AS n, hour(chunk) AS h FROM cars GROUP BY h HAVING n > 1 ORDER BY n DESC, 2, COUNT(*)"
    )
    assert plan.order == ((Column("n", N), True), (Column("h", T), False), (Column("n", N), False))
    assert refused("SELECT COUNT(*) AS n, n + 1 FROM cars").code == "unknown_name"


def test_with_keys_are_tuples_for_the_keys_they_list() -> None:
    plan = select("SELECT plate, COUNT(*) FROM cars GROUP BY plate, hour(chunk) WITH KEYS ['a', \"b\", 'a']").aggregate
    assert plan.listed_keys == ("plate",)
    assert plan.listed == ((Literal("a", S),), (Literal("b", S),))
    text = "SELECT COUNT(*) FROM cars GROUP BY hour(chunk), plate, parked WITH KEYS [('a', TRUE), ('b', FALSE)]"
    assert select(text).aggregate.listed_keys == ("plate", "parked")
    text = "SELECT COUNT(*) FROM cars GROUP BY plate WITH KEYS ['a'], hour(chunk), parked WITH KEYS [TRUE, FALSE]"
    assert select(text).aggregate.listed == (
        (Literal("a", S), Literal(True, B)),
        (Literal("a", S), Literal(False, B)),
    )
    assert select("SELECT COUNT(*) FROM cars GROUP BY plate").aggregate.listed_keys == ()


def test_keys_that_come_from_rows_through_subqueries_are_listed_too() -> None:
    inner = "(SELECT plate, hour(chunk) AS h, COUNT(*) AS n FROM cars GROUP BY plate, h)"
    plan = select(f"SELECT h, n, COUNT(*) FROM {inner} GROUP BY h, n WITH KEYS [1, 2]").aggregate
    assert plan.listed_keys == ("n",)


def test_joined_columns_get_names_of_their_own() -> None:
    plan = select(
        "SELECT COUNT(*) FROM (SELECT plate, COUNT(*) AS n FROM cars GROUP BY plate) AS a "
        "RIGHT JOIN (SELECT plate, COUNT(*) AS n FROM cars GROUP BY plate) AS b ON b.plate = a.plate WHERE a.n > b.n"
    ).aggregate.input
    assert isinstance(plan, lp.Filter)
    assert plan.predicate == Call("gt", (Column("n", N), Column("n_2", N)), B)
    assert [field.name for field in plan.fields] == ["plate", "n", "plate_2", "n_2"]
    assert isinstance(plan.input, lp.Project)
    join = plan.input.input
    assert isinstance(join, lp.Join)
    assert (join.kind, join.on) == (lp.JoinKind.LEFT, (("plate_2", "plate"),))


def test_unions_of_many_branches_are_one_operator() -> None:
    branch = "SELECT plate FROM cars"
    plan = select(f"SELECT COUNT(*) FROM ({branch} UNION ALL {branch} UNION ALL {branch})")
    assert isinstance(plan.aggregate.input, lp.UnionAll)
    assert len(plan.aggregate.input.inputs) == 3


def test_distinct_sums_are_sums_over_distinct_rows() -> None:
    plan = select("SELECT parked, SUM(DISTINCT RANGE(speed, 0, 9)) FROM cars GROUP BY parked").aggregate
    inner = plan.input
    assert isinstance(inner, lp.Aggregate)
    ranged = lp.Range(SPEED, Fraction(0), Fraction(9), Fraction(7))
    assert inner.keys == (Key("parked", Column("parked", B)), Key("distinct", ranged))
    assert inner.aggregates == ()
    assert plan.aggregates[0].arg == lp.Range(Column("distinct", N), Fraction(0), Fraction(9), Fraction(7))


def test_argmax_scores_the_groups() -> None:
    plan = select("SELECT ARGMAX(plate, COUNT(*)) AS most FROM cars GROUP BY plate WITH KEYS ['a', 'b']").aggregate
    (call,) = plan.aggregates
    assert (call.name, call.function, call.arg) == ("most", lp.Function.ARGMAX, PLATE)
    assert call.score == lp.AggregateCall("score", lp.Function.COUNT)


def test_errors_of_later_stages_can_point_at_aggregates_and_keys() -> None:
    plan = script("SELECT plate, AVG( Speed ) AS v FROM cars GROUP BY plate")
    aggregate = plan.selects[0].aggregate
    for span, written in ((aggregate.aggregates[0].span, "AVG( Speed )"), (aggregate.keys[0].span, "plate")):
        assert span is not None
        assert plan.text[span[0] : span[1]] == written


def test_unread_tables_are_not_in_the_plan() -> None:
    more = TABLES + TABLES.replace("INTO c;", "INTO c2;").replace("PROCESS c", "PROCESS c2").replace("cars", "unread")
    assert [process.name for process in script("SELECT COUNT(*) FROM cars", more).processes] == ["cars"]


def test_names_are_found_whatever_their_case_and_kept_as_declared() -> None:
    plan = script("select COUNT(SPEED) from CARS where Cars.PLATE <> ''", TABLES.replace("plaza", "PLAZA"))
    assert plan.processes[0].split.camera == "plaza"
    assert plan.selects[0].aggregate.aggregates[0].arg == SPEED


def test_moments_without_a_zone_are_local_where_one_zone_is_in_sight() -> None:
    def moment(text: str) -> object:
        predicate = select(f"SELECT COUNT(*) FROM cars WHERE chunk < TIMESTAMP '{text}'").aggregate.input
        assert isinstance(predicate, lp.Filter)
        assert isinstance(predicate.predicate, Call)
        literal = predicate.predicate.args[1]
        assert isinstance(literal, Literal)
        return literal.value

    assert moment("2026-07-01T01:00") == moment("2026-07-01T00:00Z")
    both = TABLES + TABLES.replace("plaza", "bridge").replace("INTO c;", "INTO d;").replace("PROCESS c", "PROCESS d")
    both = both[: both.rindex("cars")] + "trucks;"
    text = "SELECT COUNT(*) FROM (SELECT chunk FROM cars UNION ALL SELECT chunk FROM trucks) WHERE chunk < TIMESTAMP "
    assert refused(text + "'2026-07-01T01:00'", both).code == "bad_time"
    assert script(text + "'2026-07-01T01:00Z'", both).selects


def test_a_script_with_every_stands_for_its_windows() -> None:
    text = TABLES.replace("T09:00:00Z", "T11:00:00Z EVERY 1 hour") + "SELECT COUNT(*) FROM cars"
    whole = compile_script(text, CATALOG)
    assert (whole.windows, whole.window, whole.every_us) == (3, None, 3_600_000_000)
    assert (whole.begin_us, whole.end_us) == (BEGIN, BEGIN + 3 * 3_600_000_000)
    windows = [compile_script(text, CATALOG, window=number) for number in range(3)]
    assert [window.begin_us - BEGIN for window in windows] == [0, 3_600_000_000, 7_200_000_000]
    assert {window.end_us - window.begin_us for window in windows} == {3_600_000_000}
    # A window is another question than the same time without EVERY: its noise is that of a series.
    assert len({window.canonical for window in windows} | {script("SELECT COUNT(*) FROM cars").canonical}) == 4
