"""Every accepted query has its expected plan and sensitivity, every rejected one its expected message.

A fixture is a .sql file with a .txt file beside it. Of an accepted one this is the canonical text, then a line for each
release under POLICIES: its sensitivity Delta, its number of groups, and w and the touched slots of each source.

Queries that begin with "-- with tables" read the tables of tables.sql, which take the place of that line, so that lines
are counted in the fixture itself.
"""

from fractions import Fraction
from pathlib import Path

import pytest

from privid.domain.policy import MaskPolicy, RegionScheme
from privid.domain.units import SECOND
from privid.privacy.certificate import Certificate, certify
from query_lang import CameraSchema, Catalog, QueryError, compile_script, functions
from query_lang import logical as lp
from query_lang.logical import DataType
from tests.support.queries import policy

ROOT = Path(__file__).parents[1] / "fixtures" / "sql"

CATALOG = Catalog(
    cameras={
        "plaza": CameraSchema(
            "plaza", "Europe/Lisbon", ("benches", "windows"), {"lanes": ("north", "south")}, 1280, 720, Fraction(10)
        ),
        "bridge": CameraSchema("bridge"),
    },
    executables={"people.py": "aa" * 32, "plates.py": "bb" * 32},
)


MASKS = {"benches": MaskPolicy(10 * SECOND), "windows": MaskPolicy(20 * SECOND, 2)}
POLICIES = {
    "plaza": policy(masks=MASKS, regions={"lanes": RegionScheme(("north", "south"), "hard")}, timezone="Europe/Lisbon"),
    "bridge": policy(rho=60, K=2),
}


def read(path: Path) -> str:
    text = path.read_text()
    tables = " ".join(line for line in (ROOT / "tables.sql").read_text().splitlines() if not line.startswith("--"))
    return text.replace("-- with tables", tables, 1) if text.startswith("-- with tables") else text


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).glob("*.sql"))
    assert found
    return found


def planned(text: str) -> tuple[lp.Script, Certificate]:
    script = compile_script(text, CATALOG)
    return script, certify(script, POLICIES, 10**9)


def expected_plan(text: str) -> str:
    """What the .txt file of an accepted query holds."""
    script, certificate = planned(text)
    lines = []
    for release in certificate.releases:
        sources = "; ".join(f"{s.base.name} {float(s.influence):g} x {s.touched}" for s in release.sources)
        groups = "" if release.cells == 1 else f", {release.cells} groups"
        call = f"{release.column} {release.sensitivity.call.function.value}"
        lines.append(f"-- {call}: Delta {float(release.delta):g}{groups} ({sources})")
    return "\n".join([script.canonical, *lines])


@pytest.mark.parametrize("path", files("accepted"), ids=lambda path: path.stem)
def test_accepted(path: Path) -> None:
    assert expected_plan(read(path)) == path.with_suffix(".txt").read_text().rstrip("\n")


@pytest.mark.parametrize("path", files("rejected"), ids=lambda path: path.stem)
def test_rejected(path: Path) -> None:
    code, _, shown = path.with_suffix(".txt").read_text().partition("\n")
    with pytest.raises(QueryError) as caught:
        planned(read(path))
    assert caught.value.code == code
    assert caught.value.render(path.stem) == shown.rstrip("\n")


def test_there_are_enough() -> None:
    assert len(files("accepted")) >= 100
    assert len(files("rejected")) >= 200


@pytest.mark.parametrize("path", files("rejected"), ids=lambda path: path.stem)
def test_an_error_points_at_something_and_helps(path: Path) -> None:
    with pytest.raises(QueryError) as caught:
        planned(read(path))
    error = caught.value
    if path.stem not in ("empty", "comment_only"):
        assert error.span is not None
        assert error.source_line
        assert error.text[error.span[0] : error.span[1]].strip()
    assert "<" not in error.message.replace("<>", "").replace("< ", "")


def check_expr(expr: lp.Expr, fields: dict[str, DataType]) -> None:
    match expr:
        case lp.Column(name=name, type=kind):
            assert fields[name] is kind
        case lp.Range(arg=arg):
            check_expr(arg, fields)
            assert arg.type is DataType.NUMBER
        case lp.Case(whens=whens, default=default, type=kind):
            for test, value in whens:
                check_expr(test, fields)
                check_expr(value, fields)
                assert (test.type, value.type) == (DataType.BOOLEAN, kind)
            if default is not None:
                check_expr(default, fields)
                assert default.type is kind
        case lp.Call(function=name, args=args, type=kind):
            for arg in args:
                check_expr(arg, fields)
            assert functions.result_type(functions.REGISTRY[name], [arg.type for arg in args]) is kind


def check_relation(relation: lp.Relation) -> dict[str, DataType]:
    """The fields, after checking that every name below leads to a column of that type, and names are unique."""
    match relation:
        case lp.Source():
            pass
        case lp.Filter(input=below, predicate=predicate):
            check_expr(predicate, check_relation(below))
            assert predicate.type is DataType.BOOLEAN
        case lp.Project(input=below, items=items):
            inside = check_relation(below)
            for _, expr in items:
                check_expr(expr, inside)
        case lp.Aggregate(input=below, keys=keys, aggregates=aggregates, listed_keys=listed_keys, listed=listed):
            inside = check_relation(below)
            for expr in [key.expr for key in keys] + [part for call in aggregates for part in parts(call)]:
                check_expr(expr, inside)
            kinds = [next(key.expr.type for key in keys if key.name == name) for name in listed_keys]
            assert all([value.type for value in group] == kinds for group in listed)
        case lp.UnionAll(inputs=inputs):
            kinds = [list(check_relation(branch).values()) for branch in inputs]
            assert all(kind == kinds[0] for kind in kinds)
        case lp.SetOperation(left=left, right=right):
            assert list(check_relation(left).values()) == list(check_relation(right).values())
        case lp.Join(left=left, right=right, on=on):
            a, b = check_relation(left), check_relation(right)
            assert on
            assert all(a[x] is b[y] for x, y in on)
        case lp.Limit(input=below, order=order):
            assert {name for name, _ in order} <= check_relation(below).keys()
    fields = {field.name: field.type for field in relation.fields}
    assert len({name.casefold() for name in fields}) == len(relation.fields)
    return fields


def parts(call: lp.AggregateCall) -> list[lp.Expr]:
    return [e for e in (call.arg, call.condition) if e is not None] + ([] if call.score is None else parts(call.score))


@pytest.mark.parametrize("path", files("accepted"), ids=lambda path: path.stem)
def test_plans_are_closed_and_typed(path: Path) -> None:
    script = compile_script(read(path), CATALOG)
    for select in script.selects:
        groups = check_relation(select.aggregate)
        for expr in [output.expr for output in select.outputs] + [expr for expr, _ in select.order]:
            check_expr(expr, groups)
        if select.having is not None:
            check_expr(select.having, groups)
        assert {source.process for source in lp.sources(select.aggregate)} <= set(script.processes)
