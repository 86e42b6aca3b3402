"""Releases: how far one slot, and one segment, of each source moves a released vector (privacy-model.md, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction

from privid.privacy.refusal import Refusal
from privid.privacy.stability.formulas import count_change, sum_change
from privid.privacy.stability.groups import trusted_keys
from privid.privacy.stability.results import lip_of
from privid.privacy.stability.rows import kept
from privid.privacy.stability.state import MAGNITUDE, TICKS, State
from privid.privacy.tree import call_text, outermost
from query_lang.intervals import Interval
from query_lang.logical import Aggregate, AggregateCall, DataType, Function

SQUARE_STEPS = 1 << 30
"""s^2, in [0, 1], is rounded to so many steps before it is summed."""


class Method(Enum):
    """How a value is released."""

    COUNT = "noise on the number of rows"
    COUNT_DISTINCT = "noise on the number of distinct values"
    SUM = "noise on the exact sum"
    AVG_EXACT = "noise on the exact sum, divided by the public number of rows"
    AVG_VECTOR = "noise on (sum of s, COUNT)"
    VAR = "noise on (COUNT, sum of s, sum of s^2 - 1/2)"
    CONSTANT = "the range is one point"
    POINT = "a choice among the points of a public grid"
    ARGMAX = "a choice among public keys, by their scores"


@dataclass(frozen=True, slots=True)
class Component:
    """One entry of the released vector: noise of scale `factor` * b, on integers that are multiples of `unit`.

    `choice`: no noise, but a choice with probabilities proportional to exp(utility / b).
    """

    of: str
    factor: Fraction
    unit: Fraction
    choice: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """How far one source moves a release: `w` for each touched slot, `cap` for a segment (None: not below M*w)."""

    w: Fraction
    cap: Fraction | None


@dataclass(frozen=True, slots=True, eq=False)
class Sensitivity:
    """The sensitivity of one aggregate of an outermost SELECT.

    `rows` is what it aggregates (FILTER applied), `range` where its argument is clipped, `nullable` whether it may be
    NULL, `size` the public number of rows where AVG divides by it, `score` that of ARGMAX.
    """

    call: AggregateCall
    rows: State
    method: Method
    range: Interval | None
    nullable: bool
    size: int | None
    moved: Mapping[str, Moved]
    components: tuple[Component, ...]
    score: Sensitivity | None = None

    @property
    def raw_call(self) -> AggregateCall:
        """The aggregate that is computed from rows: of ARGMAX, the score."""
        return self.call if self.score is None else self.score.raw_call


def measure(call: AggregateCall, select: Aggregate, inner: State) -> Sensitivity:
    """w and cap of one aggregate for every source. Raises Refusal where there is no bound."""
    if call.function is Function.ARGMAX:
        return _argmax(call, select, inner)
    rows = kept(inner, call.condition) if call.condition is not None else inner
    nullable = call.arg is not None and rows.nullable(call.arg)
    bounds = _range(call, rows)
    trusted = all(rows.influence.keys() <= trusted_keys(select, key, rows).keys() for key in select.keys)
    size = None
    if call.function is Function.AVG and not nullable and trusted:
        size = _public_size(select, rows)
    method = _method(call, bounds, size)
    moved = {}
    for base, influence in rows.influence.items():
        w = _change(call, method, influence.r, influence.net, bounds, nullable, trusted)
        cap = _change(call, method, influence.R, influence.net_segment, bounds, nullable, trusted)
        if trusted and call.arg is not None and method in (Method.SUM, Method.AVG_EXACT):
            lip = lip_of(call.arg, rows, base)
            w = w if lip is None else min(w, lip)
        moved[base] = Moved(w, cap if cap < influence.touched * w else None)
    return Sensitivity(call, rows, method, bounds, nullable, size, moved, _components(call, method, bounds))


def _argmax(call: AggregateCall, select: Aggregate, inner: State) -> Sensitivity:
    """ARGMAX(key, score): w = min(2*L-infinity, L1) of the scores.

    Untrusted keys: a slot moves COUNT by at most 2r in all (L1), and by r in one group (L-infinity): 2r; of SUM neither
    is below its L1. Trusted keys: all of a slot's rows are in one group, the only one whose score moves.
    """
    assert call.score is not None
    score = measure(call.score, select, inner)
    return replace(
        score, call=call, method=Method.ARGMAX, components=_components(call, Method.ARGMAX, None), score=score
    )


def _range(call: AggregateCall, rows: State) -> Interval | None:
    if call.function in (Function.COUNT, Function.COUNT_DISTINCT):
        return None
    assert call.arg is not None
    if call.arg.type is not DataType.NUMBER:
        raise Refusal(
            "no_range",
            f"{call_text(call)} of a {call.arg.type.value} is not released: noise is added to numbers",
            f"Count instead: COUNT(DISTINCT {outermost(call.arg)}), or COUNT(*) in groups WITH KEYS [...].",
            call.span,
        )
    bounds = rows.range_of(call.arg)
    if bounds is None:
        raise Refusal(
            "no_range",
            f"{call_text(call)} needs a range: how far can one value move the answer?",
            f"Write RANGE({outermost(call.arg)}, low, high) there, with the lowest and the highest value that matter.",
            call.span,
        )
    if max(abs(bounds[0]), abs(bounds[1])) > MAGNITUDE:
        raise Refusal("range_too_wide", "a range lies within 2^42", "Narrow it with RANGE(x, low, high).", call.span)
    return bounds


def _method(call: AggregateCall, bounds: Interval | None, size: int | None) -> Method:
    match call.function:
        case Function.COUNT:
            return Method.COUNT
        case Function.COUNT_DISTINCT:
            return Method.COUNT_DISTINCT
        case Function.SUM:
            return Method.SUM
        case _ if bounds is not None and bounds[0] == bounds[1]:
            return Method.CONSTANT
        case Function.AVG:
            return Method.AVG_EXACT if size else Method.AVG_VECTOR
        case Function.VAR | Function.STDDEV:
            return Method.VAR
        case _:
            return Method.POINT


def _public_size(select: Aggregate, rows: State) -> int | None:
    """The exact number of rows, if public for the relation and for every group."""
    if not select.keys:
        return rows.size
    groups = rows.counted and all(rows.rows.knows(key.expr) for key in select.keys)
    return rows.size if groups else None


def _change(
    call: AggregateCall,
    method: Method,
    r: int,
    net: int,
    bounds: Interval | None,
    nullable: bool,
    trusted: bool,
) -> Fraction:
    """The L1 change of the released vector when r rows leave and r enter, and the count moves by net.

    Keys trusted for every source: the rows of a slot stay in one group, as in the scalar. Otherwise each row that
    leaves and each that enters may be in a group of its own.
    """
    match method:
        case Method.CONSTANT | Method.ARGMAX:
            return Fraction(0)
        case Method.POINT:
            if call.function in (Function.MIN, Function.MAX):
                return Fraction(r if trusted else 2 * r)
            q = quantile(call)
            return Fraction(2 * r) if trusted else 4 * r * max(q, 1 - q)
        case Method.COUNT:
            change = net if call.arg is None else count_change(r, net, nullable)
            return Fraction(change if trusted else 2 * r)
        case Method.COUNT_DISTINCT:
            return Fraction(r if trusted else 2 * r)
        case Method.SUM | Method.AVG_EXACT:
            assert bounds is not None
            most = max(abs(bounds[0]), abs(bounds[1]))
            return sum_change(r, net, bounds, nullable) if trusted else 2 * r * most
        case Method.AVG_VECTOR:
            return Fraction(2 * r if trusted else 4 * r)
        case Method.VAR:
            return Fraction(5 * r, 2) if trusted else Fraction(5 * r)


def quantile(call: AggregateCall) -> Fraction:
    """The q of a QUANTILE; that of MEDIAN is 1/2."""
    return Fraction(1, 2) if call.parameter is None else call.parameter


def _components(call: AggregateCall, method: Method, bounds: Interval | None) -> tuple[Component, ...]:
    half = (bounds[1] - bounds[0]) / 2 if bounds is not None else Fraction(0)
    rows = Component("COUNT", Fraction(1), Fraction(1))
    centred = Component("SUM", half, Fraction(1, 2 * TICKS))
    match method:
        case Method.COUNT | Method.COUNT_DISTINCT:
            return (rows,)
        case Method.SUM | Method.AVG_EXACT:
            return (Component("SUM", Fraction(1), Fraction(1, TICKS)),)
        case Method.AVG_VECTOR:
            return (centred, rows)
        case Method.VAR:
            square = half * half
            return (rows, centred, Component("SUM_OF_SQUARES", square, square / (2 * SQUARE_STEPS)))
        case Method.POINT | Method.ARGMAX:
            return (Component(call.function.value, Fraction(1), Fraction(1), choice=True),)
        case Method.CONSTANT:
            return ()
