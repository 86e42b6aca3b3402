"""Random logical plans, for attacking the calculus: every operator, every type, several source tables."""

import itertools
import random
from collections.abc import Mapping, Sequence
from fractions import Fraction

from privid.privacy.base import Base
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
    Limit,
    Literal,
    Project,
    Range,
    Relation,
    SetKind,
    SetOperation,
    UnionAll,
)
from tests.support.worlds import TEXTS, source

N, S, B, T = DataType.NUMBER, DataType.STRING, DataType.BOOLEAN, DataType.TIMESTAMP
INNER = (
    Function.COUNT,
    Function.COUNT,
    Function.COUNT_DISTINCT,
    Function.SUM,
    Function.SUM,
    Function.AVG,
    Function.VAR,
    Function.STDDEV,
    Function.MIN,
    Function.MAX,
    Function.MEDIAN,
    Function.QUANTILE,
)
OUTER = (
    Function.MIN,
    Function.MAX,
    Function.MEDIAN,
    Function.QUANTILE,
    Function.COUNT,
    Function.COUNT_DISTINCT,
    Function.SUM,
    Function.SUM,
    Function.AVG,
    Function.VAR,
    Function.STDDEV,
)


def number(value: int | Fraction) -> Literal:
    return Literal(Fraction(value), N)


def text(value: str) -> Literal:
    return Literal(value, S)


class Planner:
    """Draws plans over some source tables. Column names are never used twice."""

    def __init__(self, rng: random.Random, bases: Mapping[str, Base]) -> None:
        self.rng = rng
        self.bases = dict(bases)
        self.names = (f"n{i}" for i in itertools.count())

    # --- relations ------------------------------------------------------------------------------------------

    def relation(self, operators: int) -> Relation:
        if operators <= 0:
            return self.renamed(source(self.rng.choice(list(self.bases.values()))))
        kinds = (
            self.filter,
            self.project,
            self.group,
            self.group,
            self.group,
            self.distinct,
            self.union_all,
            self.set_operation,
            self.join,
            self.join,
            self.limit,
        )
        return self.rng.choice(kinds)(operators)

    def renamed(self, relation: Relation) -> Project:
        return Project(relation, tuple((next(self.names), Column(f.name, f.type)) for f in relation.fields))

    def filter(self, operators: int) -> Relation:
        inner = self.relation(operators - 1)
        return Filter(inner, self.predicate(inner))

    def project(self, operators: int) -> Relation:
        inner = self.relation(operators - 1)
        columns = [Column(f.name, f.type) for f in inner.fields]
        kept = self.rng.sample(columns, self.rng.randint(0, len(columns)))
        exprs = [*kept, *(self.expression(inner) for _ in range(self.rng.randint(0 if kept else 1, 2)))]
        return Project(inner, tuple((next(self.names), expr) for expr in exprs))

    def group(self, operators: int) -> Relation:
        inner = self.relation(operators - 1)
        calls = tuple(c for c in (self.call(inner, INNER) for _ in range(self.rng.randint(1, 2))) if c is not None)
        return self.aggregate(inner, calls)

    def aggregate(self, inner: Relation, calls: tuple[AggregateCall, ...]) -> Aggregate:
        keys = tuple(Key(next(self.names), self.key(inner)) for _ in range(self.rng.choice((0, 1, 1, 1, 2, 2, 3))))
        listable = [key for key in keys if key.expr.type in (S, N, B)]
        listed_keys: tuple[str, ...] = ()
        listed: tuple[tuple[Literal, ...], ...] = ()
        if listable and self.rng.random() < 0.4:
            chosen = self.rng.sample(listable, self.rng.randint(1, len(listable)))
            listed_keys = tuple(key.name for key in chosen)
            listed = tuple(tuple(self.literal(key.expr.type) for key in chosen) for _ in range(self.rng.randint(1, 3)))
        return Aggregate(inner, keys, calls, listed_keys, listed)

    def distinct(self, operators: int) -> Relation:
        inner = self.relation(operators - 1)
        keys = tuple(Key(next(self.names), self.key(inner)) for _ in range(self.rng.randint(1, 2)))
        return Aggregate(inner, keys, ())

    def union_all(self, operators: int) -> Relation:
        first = self.relation(self.rng.randint(0, operators - 1))
        return UnionAll((first, self.conform(self.relation(self.rng.randint(0, operators - 1)), first)))

    def set_operation(self, operators: int) -> Relation:
        first = self.relation(self.rng.randint(0, operators - 1))
        second = self.conform(self.relation(self.rng.randint(0, operators - 1)), first)
        return SetOperation(self.rng.choice(list(SetKind)), first, second)

    def conform(self, relation: Relation, model: Relation) -> Project:
        """A relation with the column types of another."""
        items = []
        for position, field in enumerate(model.fields):
            fitting = [Column(f.name, f.type) for f in relation.fields if f.type is field.type]
            same = relation.fields[position : position + 1]
            if same and same[0].type is field.type and self.rng.random() < 0.7:
                items.append((next(self.names), Column(same[0].name, same[0].type)))
            else:
                items.append((next(self.names), self.rng.choice(fitting) if fitting else self.literal(field.type)))
        return Project(relation, tuple(items))

    def join(self, operators: int) -> Relation:
        sides = []
        for _ in range(2):
            side = self.relation(self.rng.randint(0, operators - 1))
            if self.rng.random() < 0.7:
                calls = tuple(c for c in (self.call(side, INNER),) if c is not None and self.rng.random() < 0.6)
                keys = tuple(Key(next(self.names), self.key(side)) for _ in range(self.rng.choice((1, 1, 2))))
                side = Aggregate(side, keys, calls)
            sides.append(self.renamed(side))
        left, right = sides
        pairs = [(a.name, b.name) for a in left.fields for b in right.fields if a.type is b.type]
        if not pairs:
            return left
        on = tuple(self.rng.sample(pairs, min(len(pairs), self.rng.choice((1, 1, 1, 2)))))
        if self.rng.random() < 0.4:
            aligned = tuple(
                (a.name, b.name) for a, b in zip(left.fields, right.fields, strict=False) if a.type is b.type
            )
            on = aligned or on
        kind = self.rng.choice((JoinKind.INNER, JoinKind.INNER, JoinKind.LEFT, JoinKind.FULL))
        return Join(kind, left, right, on)

    def limit(self, operators: int) -> Relation:
        inner = self.relation(operators - 1)
        order = tuple((f.name, self.rng.random() < 0.5) for f in inner.fields[:1] if self.rng.random() < 0.5)
        return Limit(inner, self.rng.choice((1, 2, 3, 5)), self.rng.choice((0, 0, 1)), order)

    # --- expressions ----------------------------------------------------------------------------------------

    def column(self, relation: Relation, kind: DataType) -> Expr | None:
        fitting = [Column(f.name, f.type) for f in relation.fields if f.type is kind]
        return self.rng.choice(fitting) if fitting else None

    def literal(self, kind: DataType) -> Literal:
        if kind is N:
            return number(self.rng.choice((-3, 0, 1, 2, Fraction(1, 2), Fraction(29, 4))))
        if kind is S:
            return text(self.rng.choice(TEXTS))
        if kind is B:
            return Literal(self.rng.random() < 0.5, B)
        return Literal(self.rng.choice([base.grid.begin_us for base in self.bases.values()]), T)

    def zone(self) -> Literal:
        return text(self.rng.choice(list(self.bases.values())).process.split.timezone)

    def key(self, relation: Relation) -> Expr:
        """A group key: often a column or a function of time."""
        if self.rng.random() < 0.55:
            field = self.rng.choice(relation.fields)
            return Column(field.name, field.type)
        moment = self.column(relation, T)
        if moment is not None and self.rng.random() < 0.7:
            return self.time(moment)
        return self.expression(relation)

    def time(self, moment: Expr) -> Expr:
        name = self.rng.choice(("hour", "hour", "day", "hour_of_day", "day_of_week", "bin", "week", "month"))
        if name == "bin":
            return Call("bin", (moment, number(self.rng.choice((30, 45, 90)) * 60_000_000), self.zone()), T)
        return Call(name, (moment, self.zone()), N if name in ("hour_of_day", "day_of_week") else T)

    def ranged(self, relation: Relation) -> Expr:
        arg = self.column(relation, N)
        if arg is None:
            return self.literal(N)
        low, high = sorted(self.rng.sample((-4, -1, 0, 1, 3, 8), 2))
        return Range(arg, Fraction(low), Fraction(high), Fraction(self.rng.choice((low, 0, high))))

    def expression(self, relation: Relation) -> Expr:
        x, p = self.column(relation, N), self.column(relation, S)
        moment = self.column(relation, T)
        choices: list[Expr] = [self.literal(self.rng.choice((N, S))), self.case(relation)]
        if x is not None:
            y = self.column(relation, N)
            assert y is not None
            choices += [
                self.ranged(relation),
                Call(self.rng.choice(("add", "sub", "mul", "div")), (x, y), N),
                Call("mul", (x, number(-1)), N),
                Call("coalesce", (x, self.literal(N)), N),
                Call("nullif", (x, self.literal(N)), N),
            ]
        if p is not None:
            choices += [Call("upper", (p,), S), Call("concat", (p, text("z")), S)]
        if moment is not None:
            choices += [self.time(moment)] * 2
        return self.rng.choice(choices)

    def case(self, relation: Relation) -> Expr:
        kind = self.rng.choice((N, S))
        values = [
            self.column(relation, kind) or self.literal(kind) if self.rng.random() < 0.5 else self.literal(kind)
            for _ in range(2)
        ]
        default = values[1] if self.rng.random() < 0.7 else None
        return Case(((self.predicate(relation), values[0]),), default, kind)

    def predicate(self, relation: Relation) -> Expr:
        x, p = self.column(relation, N), self.column(relation, S)
        flag, moment = self.column(relation, B), self.column(relation, T)
        choices: list[Expr] = [Call("eq", (number(1), number(1)), B)]
        if x is not None:
            choices += [Call(self.rng.choice(("lt", "ge", "eq")), (x, self.literal(N)), B), Call("is_null", (x,), B)]
        if p is not None:
            choices.append(Call("eq", (p, self.literal(S)), B))
        if flag is not None:
            choices += [flag, Call("not", (flag,), B)]
        if moment is not None:
            hour = Call("hour_of_day", (moment, self.zone()), N)
            choices.append(Call(self.rng.choice(("lt", "ge")), (hour, number(self.rng.choice((1, 2, 12)))), B))
        return self.rng.choice(choices)

    def call(self, relation: Relation, functions: Sequence[Function]) -> AggregateCall | None:
        function = self.rng.choice(functions)
        condition = self.predicate(relation) if self.rng.random() < 0.2 else None
        arg: Expr | None = None
        if function in (Function.COUNT, Function.COUNT_DISTINCT):
            if function is Function.COUNT_DISTINCT or self.rng.random() < 0.4:
                field = self.rng.choice(relation.fields)
                arg = Column(field.name, field.type)
        elif function in (Function.MIN, Function.MAX) and functions is INNER and self.rng.random() < 0.4:
            field = self.rng.choice(relation.fields)
            arg = Column(field.name, field.type)
        else:
            arg = self.ranged(relation) if self.rng.random() < 0.6 else self.column(relation, N) or self.literal(N)
        parameter = Fraction(self.rng.choice((0, 1, 3)), 4) if function is Function.QUANTILE else None
        return AggregateCall(next(self.names), function, arg, parameter, None, condition)
