"""Small worlds for the privacy calculus: source tables with random rows, and the real engine run over them.

A world gives every slot of every source table its rows. Changing the rows of one slot, or of the slots that one segment
touches, and running the same plan again shows how far that slot or segment really moves a relation.
"""

import itertools
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import duckdb
from sqlglot import exp

from privid.domain import budget
from privid.engine import tables
from privid.engine.aggregate import _histograms, _key, _split
from privid.engine.raw_sql import aggregate_query, histogram_query, raw_width
from privid.engine.release import vector_of
from privid.engine.sql import Rendered, Renderer, expressions, moments
from privid.privacy.base import Base
from privid.privacy.candidates import Grid, Run, runs
from privid.privacy.certificate import ReleaseCertificate
from privid.privacy.sensitivity import Method, Sensitivity, quantile
from privid.privacy.stability import State
from privid.privacy.stability.multiplicity import multiplicity
from privid.privacy.stability.slots import slot_counts
from query_lang.logical import (
    Aggregate,
    Column,
    DataType,
    Field,
    Process,
    SchemaColumn,
    Source,
    Split,
)

MINUTE = 60_000_000
ROW = ("a", 0.0, False)
TEXTS = ("a", "b", "c", "")
NUMBERS = (-3.0, 0.0, 0.5, 1.0, 2.0, 7.25, 1e9)

Rows = tuple[tuple, ...]
World = dict[str, dict[int, Rows]]


def table(
    name: str = "t",
    *,
    camera: str = "cam",
    chunks: int = 6,
    chunk_us: int = 20 * MINUTE,
    stride_us: int = 0,
    begin_us: int = 0,
    timezone: str = "UTC",
    max_rows: int = 2,
    exact: bool = False,
    regions: Sequence[str] = (),
    slots_per_chunk: int = 1,
    touched: int = 2,
    segments: int = 1,
) -> Base:
    """A source table with the columns p STRING, x NUMBER and b BOOLEAN; one segment touches `touched` chunks."""
    period = chunk_us + stride_us
    split = Split(
        name=f"{name} chunks",
        camera=camera,
        timezone=timezone,
        begin_us=begin_us,
        end_us=begin_us + (chunks - 1) * period + chunk_us,
        chunk_us=chunk_us,
        stride_us=stride_us,
        region="lanes" if regions else None,
    )
    schema = (
        SchemaColumn("p", DataType.STRING, "a"),
        SchemaColumn("x", DataType.NUMBER, Fraction(0)),
        SchemaColumn("b", DataType.BOOLEAN, False),
    )
    process = Process(name, split, "x.py", None, None, 1_000_000, max_rows, exact, schema)
    grid = budget.Grid(begin_us, chunk_us, period, chunks, slots_per_chunk)
    segment = touched * period - chunk_us
    assert segment > 0 or touched == 1, "one chunk at least"
    return Base(process, grid, "none", max(segment, 1), segments, tuple(regions))


def source(base: Base) -> Source:
    """The relation of a source table."""
    fields = [Field("chunk", DataType.TIMESTAMP), Field("camera", DataType.STRING)]
    if base.regions:
        fields.append(Field("region", DataType.STRING))
    fields += [Field(column.name, column.type) for column in base.process.schema]
    return Source(base.process, tuple(fields))


def random_rows(rng: random.Random, base: Base) -> Rows:
    """What one run of an executable may write."""
    most = base.process.max_rows
    count = most if base.process.exact or rng.random() < 0.5 else rng.randint(0, most)
    texts = TEXTS if rng.random() < 0.7 else (rng.choice(TEXTS),)
    numbers = NUMBERS if rng.random() < 0.7 else (rng.choice(NUMBERS),)
    return tuple((rng.choice(texts), rng.choice(numbers), rng.random() < 0.5) for _ in range(count))


def random_world(rng: random.Random, bases: Mapping[str, Base]) -> World:
    """Rows for every slot."""
    return {name: {slot: random_rows(rng, base) for slot in range(base.slots)} for name, base in bases.items()}


def changed(world: World, name: str, rows: Mapping[int, Rows]) -> World:
    """The world with other rows in some slots of one table."""
    return {**world, name: {**world[name], **rows}}


def segment_slots(rng: random.Random, base: Base) -> list[int]:
    """The slots that one segment touches: Mc consecutive chunks, in each of them g regions."""
    first = rng.randint(0, base.grid.count - base.touched_chunks)
    regions = max(1, len(base.regions))
    return [
        chunk * regions + region
        for chunk in range(first, first + base.touched_chunks)
        for region in rng.sample(range(regions), min(regions, base.grid.slots_per_chunk))
    ]


class Engine:
    """One database, kept for many small queries."""

    def __init__(self, bases: Mapping[str, Base], threads: int = 1) -> None:
        self.bases = bases
        self.connection = duckdb.connect(":memory:", config={"threads": threads})

    def run(self, rendered: Rendered, world: World) -> list[tuple]:
        for process, name in rendered.sources.items():
            base = self.bases[process]
            built = tables.build(base.process, world[process], base.regions)
            self.connection.register(name, built.rename_columns([f"c{i}" for i in range(built.num_columns)]))
        for name, public in rendered.public.items():
            self.connection.register(name, public)
        return self.connection.execute(rendered.sql).fetchall()

    @property
    def window(self) -> tuple[int, int]:
        grids = [base.grid for base in self.bases.values()]
        return min(grid.begin_us for grid in grids), max(grid.end_us for grid in grids)

    def relation(self, state: State) -> Rendered:
        """All rows of a relation."""
        renderer = Renderer(moments(self.window, expressions(state)))
        relation = renderer.relation(state)
        columns = [exp.column(column, table=relation.name) for column in relation.columns.values()]
        return renderer.statement(exp.select(*columns).from_(relation.name))

    def rows(self, state: State, rendered: Rendered, world: World) -> Counter:
        """The relation as a multiset; numbers as fractions, so that values compare as public ones do."""
        types = [column.type for column in state.columns.values()]
        return Counter(
            tuple(_plain(value, kind) for value, kind in zip(row, types, strict=True))
            for row in self.run(rendered, world)
        )


def _plain(value: object, kind: DataType) -> object:
    if kind is DataType.NUMBER and isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        assert math.copysign(1, value) > 0 or value != 0, "-0.0 is a value of its own to some functions"
        return Fraction(value)
    return value


@dataclass(frozen=True)
class Move:
    """How far a relation moved."""

    removed: int
    added: int
    net: int

    @classmethod
    def between(cls, before: Counter, after: Counter) -> "Move":
        return cls((before - after).total(), (after - before).total(), abs(after.total() - before.total()))

    @property
    def rows(self) -> int:
        return max(self.removed, self.added)


def check_slot(state: State, base: Base, slot: int, before: Counter, after: Counter) -> Move:
    """One slot changed: r, net, trust and lip hold."""
    claim = state.influence[base.name]
    move = Move.between(before, after)
    if claim.active is not None and _value_at(base, slot, claim.active) is not True:
        assert move.rows == 0, "a slot that is not active moved something"
    assert move.rows <= claim.r, f"{move} but r = {claim.r}"
    assert move.net <= claim.net, f"{move} but net = {claim.net}"
    touched = (before - after) + (after - before)
    for position, column in enumerate(state.columns.values()):
        f = column.trust.get(base.name)
        if f is not None:
            expected = _value_at(base, slot, f)
            assert all(row[position] == expected for row in touched), f"{column.name} is not {expected} in {touched}"
        lip = column.lip.get(base.name)
        if lip is not None:
            assert _column_change(position, before, after) <= lip, f"{column.name}: lip {lip}, {before} {after}"
    return move


def check_segment(state: State, base: Base, before: Counter, after: Counter) -> Move:
    """One segment changed: R and the net per segment hold."""
    claim = state.influence[base.name]
    move = Move.between(before, after)
    assert move.rows <= claim.R, f"{move} but R = {claim.R}"
    assert move.net <= claim.net_segment, f"{move} but net per segment = {claim.net_segment}"
    return move


def check_public(rng: random.Random, state: State, rows: Counter) -> None:
    """What is claimed to be public of a relation is so: sizes, keys, domains, ranges, multiplicities."""
    names = list(state.columns)
    if state.size is not None:
        assert rows.total() == state.size, f"{rows.total()} rows, not {state.size}"
    for key in state.unique:
        positions = [names.index(name) for name in key]
        seen = Counter(tuple(row[i] for i in positions) for row in rows.elements())
        assert not seen or max(seen.values()) == 1, f"{sorted(key)} is not unique"
    for position, column in enumerate(state.columns.values()):
        values = {row[position] for row in rows}
        assert column.nullable or None not in values, f"{column.name} is NULL"
        if column.range is not None:
            numbers = [v for v in values if isinstance(v, Fraction)]
            slack = Fraction(1, 10**6)
            assert all(column.range[0] - slack <= v <= column.range[1] + slack for v in numbers), column
            assert not any(isinstance(v, str) for v in values), f"{column.name} has a range and is not finite"
        domain = state.domain(Column(column.name, column.type), "v")
        if domain is not None:
            public = {v for (v,) in domain.count((Column("v", column.type),))}
            assert values <= public, f"{column.name}: {values - public} is not in the public domain"
    public_names = [name for name in names if name in state.rows.columns]
    for size in {0, 1, len(public_names)}:
        some = rng.sample(public_names, min(size, len(public_names)))
        exprs = tuple(Column(name, state.columns[name].type) for name in some)
        positions = [names.index(name) for name in some]
        seen = Counter(tuple(row[i] for i in positions) for row in rows.elements())
        listed = state.rows.count(exprs)
        assert seen.keys() <= listed.keys(), f"{some}: {seen.keys() - listed.keys()}"
        assert not seen or max(seen.values()) <= multiplicity(state, exprs), f"mult of {some}"
        if state.counted:
            assert dict(seen) == {k: n for k, n in listed.items() if n}, f"{some} is not counted rightly"


def _value_at(base: Base, slot: int, f: object) -> object:
    regions = max(1, len(base.regions))
    chunk, region = divmod(slot, regions)
    alone = Base(
        base.process,
        budget.Grid(base.grid.begin_us + chunk * base.grid.period_us, base.grid.chunk_us, base.grid.period_us, 1, 1),
        base.mask,
        base.segment_us,
        base.segments,
        base.regions[region : region + 1],
    )
    ((value,),) = slot_counts(alone, (f,))
    return value


def _column_change(position: int, before: Counter, after: Counter) -> Fraction:
    """The sum of absolute changes of a column, rows matched by their sorted order within what differs."""
    gone = sorted(row[position] for row in (before - after).elements())
    come = sorted(row[position] for row in (after - before).elements())
    return sum((abs(a - b) for a, b in itertools.zip_longest(gone, come, fillvalue=Fraction(0))), Fraction(0))


# --- releases -----------------------------------------------------------------------------------------------


class Releases:
    """The releases of one outermost SELECT, and how far they move between two worlds."""

    def __init__(
        self, engine: Engine, select: Aggregate, inner: State, measured: Sequence[Sensitivity], groups: Sequence
    ) -> None:
        self.engine, self.select, self.measured, self.groups = engine, select, measured, groups
        self.query = aggregate_query(select, inner, measured, engine.window)
        self.histograms = {
            i: histogram_query(select, inner, m, Grid.over(m.range), engine.window)
            for i, m in enumerate(measured)
            if m.method is Method.POINT
        }

    def exact(self, world: World) -> list[dict]:
        """For each release, by group: the vector in units in which noise has scale b, or the utilities of a choice."""
        widths = [raw_width(m.method) for m in self.measured]
        count = len(self.select.keys)
        found = {_key(self.select.keys, row): row[count:] for row in self.engine.run(self.query, world)}
        counted = {i: _histograms(self.select.keys, self.engine.run(q, world)) for i, q in self.histograms.items()}
        values: list[dict] = [{} for _ in self.measured]
        for group in self.groups:
            parts = _split(found.get(group, (0,) * sum(widths)), widths)
            for i, (sensitivity, raw) in enumerate(zip(self.measured, parts, strict=True)):
                if sensitivity.method is Method.POINT:
                    values[i][group] = _utilities(sensitivity, counted[i].get(group, {}))
                elif sensitivity.method is Method.ARGMAX:
                    values[i].setdefault((), []).append(raw[0] * sensitivity.score.components[0].unit)
                else:
                    values[i][group] = _scaled(sensitivity, raw)
        return values

    def moved(self, position: int, before: list[dict], after: list[dict]) -> Fraction:
        """L1 of a vector; of choices the sum over groups of max du - min du."""
        method = self.measured[position].method
        total = Fraction(0)
        for group, old in before[position].items():
            new = after[position][group]
            changes = _changes(old, new) if method is Method.POINT else [b - a for a, b in zip(old, new, strict=True)]
            if method in (Method.POINT, Method.ARGMAX):
                total += max(changes) - min(changes)
            else:
                total += sum(map(abs, changes), Fraction(0))
        return total


def _changes(before: Sequence[Run], after: Sequence[Run]) -> list[Fraction]:
    """How far the utilities of points move, each change that occurs once or more."""
    found, one, other = [], 0, 0
    for first in sorted({run.first for run in (*before, *after)}):
        one += one + 1 < len(before) and before[one + 1].first == first
        other += other + 1 < len(after) and after[other + 1].first == first
        found.append(after[other].utility - before[one].utility)
    return found


def _scaled(sensitivity: Sensitivity, raw: tuple[int, ...]) -> list[Fraction]:
    release = ReleaseCertificate(0, "", sensitivity, 1, 0, None, Fraction(0), ())
    return [
        value * part.unit / part.factor if part.factor else Fraction(0)
        for value, part in zip(vector_of(release, raw), sensitivity.components, strict=True)
    ]


def _utilities(sensitivity: Sensitivity, histogram: Mapping[int, int]) -> list[Run]:
    call = sensitivity.call
    return runs(Grid.over(sensitivity.range), call.function, quantile(call), histogram)
