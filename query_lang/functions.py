"""The registry of scalar functions and operators: all that an expression of a plan may call.

Each entry says how it is typed, when its result may be NULL, how far its result can lie, how DuckDB computes it and
how Python does. Everything is total: no value makes a function fail. A result that is no finite number (1e300 * 1e300)
stays so in DuckDB, where RANGE and the clipping of aggregate arguments take it out, and is NULL in Python. Results of
string functions are cut to 256 characters. A TIMESTAMP is a BIGINT of microseconds UTC in DuckDB, an int in Python;
a NUMBER is a DOUBLE there, a float or Fraction here.

Users of the registry: `query_lang.bind` (types), the privacy layer (`nullable`, `value_range`), the engine (`render`
for rows, `evaluate` for public keys and for arithmetic on noisy results).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Any, Final

from sqlglot import exp

from query_lang import duckdb_sql as sql
from query_lang import intervals as iv
from query_lang import pure
from query_lang import timefunctions as tf
from query_lang.intervals import Bounds, Interval
from query_lang.logical import Call, Case, Column, DataType, Expr, Literal, Range, Value

N: Final = DataType.NUMBER
S: Final = DataType.STRING
B: Final = DataType.BOOLEAN
T: Final = DataType.TIMESTAMP


class Nulls(Enum):
    """When a result is NULL."""

    STRICT = "if an argument is"
    """NULL only if an argument is NULL (and, or, in: possibly not even then)."""
    PARTIAL = "if an argument is, or where the function has no value"
    NEVER = "never"
    ALL = "if all arguments are"


@dataclass(frozen=True, slots=True)
class Signature:
    """Parameter types and the result's. None stands for one type, whichever, the same wherever None is written.

    `optional` parameters at the end may be missing; `variadic` repeats the last one.
    """

    params: tuple[DataType | None, ...]
    result: DataType | None
    optional: int = 0
    variadic: bool = False


@dataclass(frozen=True, slots=True)
class ScalarFunction:
    """A function or operator.

    `constants` are the positions of arguments that must be literals; `check` raises ValueError for literals out of
    range. `range` gets the arguments' intervals (all known, NUMBER or None for other types) and whether each can be
    NULL. `python` gets the arguments, none of them NULL unless `nulls` says otherwise.
    """

    name: str
    signature: Signature
    python: Callable[..., Any]
    duckdb: Callable[[Sequence[exp.Expression]], exp.Expression]
    nulls: Nulls = Nulls.STRICT
    range: Callable[[Bounds, Sequence[bool]], Interval | None] | None = None
    constants: frozenset[int] = frozenset()
    check: Callable[[Mapping[int, Value]], None] | None = None
    commutative: bool = False
    handles_null: bool = field(default=False)


def _one(rule: Callable[[Interval], Interval | None]) -> Callable[[Bounds, Sequence[bool]], Interval | None]:
    return lambda args, _: None if args[0] is None else rule(args[0])


def _two(rule: Callable[[Interval, Interval], Interval | None]) -> Callable[[Bounds, Sequence[bool]], Interval | None]:
    return lambda args, _: None if args[0] is None or args[1] is None else rule(args[0], args[1])


def _always(low: int, high: int) -> Callable[[Bounds, Sequence[bool]], Interval | None]:
    return lambda _, __: (Fraction(low), Fraction(high))


def _extreme(lowest: bool) -> Callable[[Bounds, Sequence[bool]], Interval | None]:
    """LEAST or GREATEST, which skip NULLs: only arguments that are never NULL bound the far side."""

    def rule(args: Bounds, nullable: Sequence[bool]) -> Interval | None:
        whole = iv.hull(args)
        if whole is None:
            return None
        sure = [arg for arg, null in zip(args, nullable, strict=True) if arg is not None and not null]
        if lowest:
            return whole[0], min((high for _, high in sure), default=whole[1])
        return max((low for low, _ in sure), default=whole[0]), whole[1]

    return rule


def _round_range(args: Bounds, _: Sequence[bool]) -> Interval | None:
    digits = args[1] if len(args) > 1 else (Fraction(0), Fraction(0))
    return None if args[0] is None or digits is None else iv.rounded(args[0], digits)


def _hull_range(args: Bounds, _: Sequence[bool]) -> Interval | None:
    return iv.hull(args)


def _first_range(args: Bounds, _: Sequence[bool]) -> Interval | None:
    return args[0]


def _whole(position: int, low: int, high: int, what: str) -> Callable[[Mapping[int, Value]], None]:
    def check(constants: Mapping[int, Value]) -> None:
        value = constants.get(position)
        if value is None:
            return
        if not isinstance(value, Fraction) or value.denominator != 1 or not low <= value <= high:
            raise ValueError(f"{what} is a whole number from {low} to {high}")

    return check


def _check_substring(constants: Mapping[int, Value]) -> None:
    _whole(1, 1, 256, "where a substring starts, counted from 1,")(constants)
    _whole(2, 0, 256, "the length of a substring")(constants)


def _check_power(constants: Mapping[int, Value]) -> None:
    value = constants.get(1)
    if isinstance(value, Fraction) and not -16 <= value <= 16:
        raise ValueError("an exponent lies between -16 and 16")


_COMPARE: Final = Signature((None, None), B)
_NUMBER: Final = Signature((N,), N)
_NUMBERS: Final = Signature((N, N), N)
_TEXT: Final = Signature((S,), S)
_TEXT_TEST: Final = Signature((S, S), B)
_ZONED: Final = Signature((T, S), T)
_ZONE_ARG: Final = frozenset({1})

_ALL: Final = (
    # arithmetic
    ScalarFunction("add", _NUMBERS, pure.add, sql.binary(exp.Add), range=_two(iv.add), commutative=True),
    ScalarFunction("sub", _NUMBERS, pure.sub, sql.binary(exp.Sub), range=_two(iv.sub)),
    ScalarFunction("mul", _NUMBERS, pure.mul, sql.binary(exp.Mul), range=_two(iv.mul), commutative=True),
    ScalarFunction("div", _NUMBERS, pure.div, sql.divide, Nulls.PARTIAL, _two(iv.div)),
    ScalarFunction("mod", _NUMBERS, pure.mod, sql.modulo, Nulls.PARTIAL, _two(iv.mod)),
    ScalarFunction("neg", _NUMBER, pure.neg, sql.negate, range=_one(iv.neg)),
    ScalarFunction("abs", _NUMBER, abs, sql.call("abs"), range=_one(iv.absolute)),
    ScalarFunction("sign", _NUMBER, pure.sign, sql.sign, range=_one(iv.sign)),
    ScalarFunction("floor", _NUMBER, pure.floor, sql.call("floor"), range=_one(iv.floors)),
    ScalarFunction("ceil", _NUMBER, pure.ceil, sql.call("ceil"), range=_one(iv.ceilings)),
    ScalarFunction(
        "round",
        Signature((N, N), N, optional=1),
        pure.round_half_up,
        sql.round_,
        range=_round_range,
        constants=frozenset({1}),
        check=_whole(1, 0, 9, "the number of digits"),
    ),
    ScalarFunction("sqrt", _NUMBER, pure.sqrt, sql.call("sqrt"), range=_one(iv.square_root)),
    ScalarFunction("exp", _NUMBER, pure.exp, sql.call("exp"), range=_one(iv.exponential)),
    ScalarFunction("ln", _NUMBER, pure.ln, sql.call("ln"), range=_one(iv.logarithm)),
    ScalarFunction(
        "power",
        _NUMBERS,
        pure.power,
        sql.call("pow"),
        range=_two(iv.power),
        constants=frozenset({1}),
        check=_check_power,
    ),
    ScalarFunction(
        "least", Signature((N,), N, variadic=True), pure.least, sql.call("least"), Nulls.ALL, _extreme(lowest=True)
    ),
    ScalarFunction(
        "greatest",
        Signature((N,), N, variadic=True),
        pure.greatest,
        sql.call("greatest"),
        Nulls.ALL,
        _extreme(lowest=False),
    ),
    # comparison and logic
    ScalarFunction("eq", _COMPARE, pure.eq, sql.binary(exp.EQ), commutative=True),
    ScalarFunction("ne", _COMPARE, pure.ne, sql.binary(exp.NEQ), commutative=True),
    ScalarFunction("lt", _COMPARE, pure.lt, sql.binary(exp.LT)),
    ScalarFunction("le", _COMPARE, pure.le, sql.binary(exp.LTE)),
    ScalarFunction("gt", _COMPARE, pure.gt, sql.binary(exp.GT)),
    ScalarFunction("ge", _COMPARE, pure.ge, sql.binary(exp.GTE)),
    ScalarFunction("between", Signature((None, None, None), B), pure.between, sql.between, handles_null=True),
    ScalarFunction("in", Signature((None, None), B, variadic=True), pure.is_in, sql.is_in, handles_null=True),
    ScalarFunction("not", Signature((B,), B), pure.not_, sql.not_),
    ScalarFunction(
        "and", Signature((B, B), B, variadic=True), pure.and_, sql.chain("AND"), commutative=True, handles_null=True
    ),
    ScalarFunction(
        "or", Signature((B, B), B, variadic=True), pure.or_, sql.chain("OR"), commutative=True, handles_null=True
    ),
    ScalarFunction("is_null", Signature((None,), B), pure.is_null, sql.is_null, Nulls.NEVER, handles_null=True),
    ScalarFunction(
        "coalesce",
        Signature((None, None), None, variadic=True),
        pure.coalesce,
        sql.call("coalesce"),
        Nulls.ALL,
        _hull_range,
        handles_null=True,
    ),
    ScalarFunction(
        "nullif",
        Signature((None, None), None),
        pure.nullif,
        sql.call("nullif"),
        Nulls.PARTIAL,
        _first_range,
        handles_null=True,
    ),
    # strings
    ScalarFunction("upper", _TEXT, pure.upper, sql.call("upper")),
    ScalarFunction("lower", _TEXT, pure.lower, sql.call("lower")),
    ScalarFunction("trim", _TEXT, pure.trim, sql.call("trim")),
    ScalarFunction("ltrim", _TEXT, pure.ltrim, sql.call("ltrim")),
    ScalarFunction("rtrim", _TEXT, pure.rtrim, sql.call("rtrim")),
    ScalarFunction("length", Signature((S,), N), pure.length, sql.length, range=_always(0, 256)),
    ScalarFunction(
        "substring",
        Signature((S, N, N), S, optional=1),
        pure.substring,
        sql.substring,
        constants=frozenset({1, 2}),
        check=_check_substring,
    ),
    ScalarFunction(
        "left",
        Signature((S, N), S),
        pure.left,
        sql.counted("left"),
        constants=frozenset({1}),
        check=_whole(1, 0, 256, "a number of characters"),
    ),
    ScalarFunction(
        "right",
        Signature((S, N), S),
        pure.right,
        sql.counted("right"),
        constants=frozenset({1}),
        check=_whole(1, 0, 256, "a number of characters"),
    ),
    ScalarFunction("concat", Signature((S, S), S, variadic=True), pure.concat, sql.concat),
    ScalarFunction("replace", Signature((S, S, S), S), pure.replace, sql.replace),
    ScalarFunction("like", _TEXT_TEST, pure.like, sql.like, constants=frozenset({1})),
    ScalarFunction("starts_with", _TEXT_TEST, pure.starts_with, sql.call("starts_with")),
    ScalarFunction("ends_with", _TEXT_TEST, pure.ends_with, sql.call("ends_with")),
    ScalarFunction("contains", _TEXT_TEST, pure.contains, sql.call("contains")),
    # conversions
    ScalarFunction("to_number", Signature((None,), N), pure.to_number, sql.to_number, Nulls.PARTIAL),
    ScalarFunction("to_string", Signature((None,), S), pure.to_string, sql.to_string, Nulls.PARTIAL),
    ScalarFunction("to_boolean", Signature((None,), B), pure.to_boolean, sql.to_boolean, Nulls.PARTIAL),
    # trusted time
    *(
        ScalarFunction(
            unit,
            _ZONED,
            lambda moment, timezone, unit=unit: tf.start_of(unit, moment, timezone),
            sql.calendar(unit),
            constants=_ZONE_ARG,
        )
        for unit in tf.CALENDAR
    ),
    ScalarFunction(
        "bin",
        Signature((T, N, S), T),
        lambda moment, period, timezone: tf.start_of_bin(moment, int(period), timezone),
        sql.fixed_bin,
        constants=frozenset({1, 2}),
        check=_whole(1, 1, 10**15, "the length of a bin in microseconds"),
    ),
    ScalarFunction(
        "hour_of_day",
        Signature((T, S), N),
        lambda moment, timezone: Fraction(tf.hour_of_day(moment, timezone)),
        sql.hour_of_day,
        range=_always(0, 23),
        constants=_ZONE_ARG,
    ),
    ScalarFunction(
        "day_of_week",
        Signature((T, S), N),
        lambda moment, timezone: Fraction(tf.day_of_week(moment, timezone)),
        sql.day_of_week,
        range=_always(1, 7),
        constants=_ZONE_ARG,
    ),
)

REGISTRY: Final[Mapping[str, ScalarFunction]] = {function.name: function for function in _ALL}

TIME_FUNCTIONS: Final = frozenset({*tf.CALENDAR, "bin", "hour_of_day", "day_of_week"})
"""Functions of a moment and of the zone, which is their last argument: a literal that binding adds."""


def result_type(function: ScalarFunction, args: Sequence[DataType]) -> DataType | None:
    """The type of a call, or None if these arguments do not fit the signature."""
    signature = function.signature
    params = signature.params
    if signature.variadic and len(args) > len(params):
        params += (params[-1],) * (len(args) - len(params))
    if not len(params) - signature.optional <= len(args) <= len(params):
        return None
    free: DataType | None = None
    for param, arg in zip(params, args, strict=False):
        wanted = param if param is not None else free
        if wanted is None:
            free = arg
        elif arg is not wanted:
            return None
    return signature.result if signature.result is not None else free


def nullable(expr: Expr, column: Callable[[Column], bool]) -> bool:
    """Whether the expression can be NULL, given which columns can."""
    match expr:
        case Column():
            return column(expr)
        case Literal(value=value):
            return value is None
        case Range():
            return False
        case Case(whens=whens, default=default):
            return default is None or any(nullable(e, column) for e in (default, *(value for _, value in whens)))
        case Call(function=name, args=args):
            match REGISTRY[name].nulls:
                case Nulls.NEVER:
                    return False
                case Nulls.PARTIAL:
                    return not _total(expr) or any(nullable(arg, column) for arg in args)
                case Nulls.ALL:
                    return all(nullable(arg, column) for arg in args)
                case Nulls.STRICT:
                    return any(nullable(arg, column) for arg in args)


def _total(call: Call) -> bool:
    """Division by a literal other than 0 has a value everywhere."""
    divisor = call.args[-1]
    return call.function in ("div", "mod") and isinstance(divisor, Literal) and bool(divisor.value)


def value_range(
    expr: Expr, column: Callable[[Column], Interval | None], column_nullable: Callable[[Column], bool]
) -> Interval | None:
    """How far the expression's values (other than NULL) can lie, given the columns'; None if unknown or no NUMBER.

    A bound is a statement about exact arithmetic: the engine clips to it again where it matters.
    """
    if expr.type is not N:
        return None
    match expr:
        case Column():
            return column(expr)
        case Literal(value=value):
            return (value, value) if isinstance(value, Fraction) else None
        case Range(low=low, high=high):
            return low, high
        case Case(whens=whens, default=default):
            values = [value for _, value in whens] + ([] if default is None else [default])
            values = [v for v in values if not (isinstance(v, Literal) and v.value is None)]
            return iv.hull([value_range(v, column, column_nullable) for v in values])
        case Call(function=name, args=args):
            rule = REGISTRY[name].range
            if rule is None:
                return None
            return rule(
                [value_range(arg, column, column_nullable) for arg in args],
                [nullable(arg, column_nullable) for arg in args],
            )


def render(expr: Expr, column: Callable[[Column], exp.Expression], window: tuple[int, int]) -> exp.Expression:
    """The expression in DuckDB's SQL (generate it with dialect "duckdb").

    `window` is the public interval [begin, end] that holds every moment in the rows: calendar functions are written
    out for it.
    """
    match expr:
        case Column():
            return column(expr)
        case Literal():
            return sql.literal(expr)
        case Range(arg=arg, low=low, high=high, default=default):
            return sql.clip(render(arg, column, window), low, high, default)
        case Case(whens=whens, default=default):
            return sql.case(
                [(render(test, column, window), render(value, column, window)) for test, value in whens],
                None if default is None else render(default, column, window),
            )
        case Call(function=name, args=args):
            with sql.public_window(window):
                return REGISTRY[name].duckdb([render(arg, column, window) for arg in args])


def evaluate(expr: Expr, row: Mapping[str, Value | float]) -> Any:
    """The expression's value in Python for one row of column values; NULL and what is no finite number are None."""
    match expr:
        case Column(name=name):
            return row[name]
        case Literal(value=value):
            return value
        case Range(arg=arg, low=low, high=high, default=default):
            number = evaluate(arg, row)
            return min(max(default if number is None else number, low), high)
        case Case(whens=whens, default=default):
            for test, branch in whens:
                if evaluate(test, row) is True:
                    return evaluate(branch, row)
            return None if default is None else evaluate(default, row)
        case Call(function=name, args=args):
            return apply(name, [evaluate(arg, row) for arg in args])


def apply(name: str, args: Sequence[Any]) -> Any:
    """The value of a function of the registry for values of its arguments."""
    function = REGISTRY[name]
    if not function.handles_null and None in args:
        if function.nulls is not Nulls.ALL:
            return None
        args = [arg for arg in args if arg is not None]
        if not args:
            return None
    try:
        result = function.python(*args)
    except (OverflowError, ZeroDivisionError, ValueError):
        return None
    return None if isinstance(result, float) and not math.isfinite(result) else result
