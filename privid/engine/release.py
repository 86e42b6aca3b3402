"""From exact aggregates to an answer: the only place that adds noise (privacy-model.md, sections 3, 4 and 6).

Noise is drawn once for each vector, all groups together. Whatever follows (HAVING, ORDER BY, LIMIT, arithmetic,
clipping) reads noisy values only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import pyarrow as pa

from privid.domain.release import Estimate, Scalar, Table
from privid.domain.units import epsilon, isoformat
from privid.engine.aggregate import EngineSettings, raw_aggregates
from privid.privacy import mechanisms
from privid.privacy.certificate import Certificate, ReleaseCertificate, SelectCertificate
from privid.privacy.mechanisms import half_width95
from privid.privacy.sensitivity import SQUARE_STEPS, Method
from privid.privacy.stability.expressions import columns_of
from privid.privacy.stability.state import TICKS
from query_lang import functions
from query_lang.intervals import Interval
from query_lang.logical import Column, DataType, Expr, Function, Script, Value

Row = dict[str, "Value | float"]


def answer(
    script: Script,
    certificate: Certificate,
    tables: Mapping[str, pa.Table],
    settings: EngineSettings | None = None,
) -> tuple[Table, ...]:
    """The noisy answer to every SELECT of a script, in order.

    `tables` holds the source table of every PROCESS, by name. Every call draws new noise: the caller stores what it
    gets, and never asks twice for one charge.
    """
    if len(script.selects) != len(certificate.selects):
        raise ValueError("the certificate is for another script")
    return tuple(_select(select, tables, settings or EngineSettings()) for select in certificate.selects)


@dataclass(frozen=True, slots=True)
class _Noisy:
    """One released value; `scale` and `half_width` in the value's unit, None where there are none."""

    value: float | None
    scale: float | None
    half_width: float | None
    epsilon: float


def _select(certified: SelectCertificate, tables: Mapping[str, pa.Table], settings: EngineSettings) -> Table:
    raw = raw_aggregates(certified, tables, settings)
    groups = ((),) if certified.keys is None else certified.keys.rows
    columns = [
        _release(release, [row[i] for row in raw.rows], _sizes(certified, release))
        for i, release in enumerate(certified.releases)
    ]
    names = () if certified.keys is None else certified.keys.names
    rows = []
    for position, key in enumerate(groups):
        keys: Row = {n: float(v) if isinstance(v, Fraction) else v for n, v in zip(names, key, strict=True)}
        noisy = {
            release.sensitivity.call.name: column[position]
            for release, column in zip(certified.releases, columns, strict=True)
        }
        rows.append((keys, noisy))
    return Table(
        select=certified.select.index,
        columns=tuple(output.name for output in certified.select.outputs),
        rows=_finished(certified, rows),
        epsilon=epsilon(sum(release.epsilon_nano for release in certified.releases)),
    )


# --- noise --------------------------------------------------------------------------------------------------


def _sizes(certified: SelectCertificate, release: ReleaseCertificate) -> list[int]:
    """The public number of rows of every group, where AVG divides by it."""
    if release.method is not Method.AVG_EXACT:
        return []
    size = release.sensitivity.size
    assert size is not None
    if certified.keys is None:
        return [size]
    exprs = tuple(key.expr for key in certified.select.aggregate.keys)
    counts = release.sensitivity.rows.rows.count(exprs)
    return [counts.get(key, 0) for key in certified.keys.rows]


def _release(release: ReleaseCertificate, raw: Sequence[tuple[int, ...]], sizes: Sequence[int]) -> list[_Noisy]:
    """One release for all groups: noise on each component, then the value of every group."""
    vectors = [_vector(release, values) for values in raw]
    if release.scale is not None:
        for i, part in enumerate(release.components):
            noised = mechanisms.laplace([vector[i] for vector in vectors], release.scale * part.factor / part.unit)
            for vector, value in zip(vectors, noised, strict=True):
                vector[i] = value
    return [_value(release, vector, sizes[i] if sizes else 0) for i, vector in enumerate(vectors)]


def _vector(release: ReleaseCertificate, raw: tuple[int, ...]) -> list[int]:
    """The integers that get noise, in units of the components: sums centred on the middle of the range."""
    if release.method not in (Method.AVG_VECTOR, Method.VAR):
        return list(raw)
    low, high = _range(release)
    centred = 2 * raw[0] - raw[1] * round((low + high) * TICKS)
    if release.method is Method.AVG_VECTOR:
        return [centred, raw[1]]
    return [raw[1], centred, 2 * raw[2] - raw[1] * SQUARE_STEPS]


def _range(release: ReleaseCertificate) -> Interval:
    assert release.sensitivity.range is not None
    return release.sensitivity.range


def _value(release: ReleaseCertificate, vector: Sequence[int], size: int) -> _Noisy:
    spent = epsilon(release.epsilon_nano)
    if release.method is Method.CONSTANT:
        low, _ = _range(release)
        return _Noisy(0.0 if release.sensitivity.call.function is not Function.AVG else float(low), None, None, 0.0)
    parts = [float(Fraction(value) * part.unit) for value, part in zip(vector, release.components, strict=True)]
    scale = None if release.scale is None else float(release.scale)
    match release.method:
        case Method.AVG_EXACT if not size:
            return _Noisy(None, None, None, spent)
        case Method.AVG_EXACT:
            each = None if scale is None else scale / size
            return _Noisy(parts[0] / size, each, None if each is None else half_width95(each), spent)
        case Method.AVG_VECTOR:
            return _average(release, parts, scale, spent)
        case Method.VAR:
            return _variance(release, parts, scale, spent)
    return _Noisy(parts[0], scale, None if scale is None else half_width95(scale), spent)


def _average(release: ReleaseCertificate, parts: Sequence[float], scale: float | None, spent: float) -> _Noisy:
    """mid + (sum of x - mid) / max(COUNT, 1), clipped; `parts` are that sum and COUNT, noisy.

    The interval: with 95 % both noises stay within t = b * ln(40) of 0, in units of h and of 1.
    """
    low, high = (float(bound) for bound in _range(release))
    half, rows = (high - low) / 2, max(parts[1], 1.0)
    centred = parts[0] / rows
    value = min(max((low + high) / 2 + centred, low), high)
    if scale is None:
        return _Noisy(value, None, None, spent)
    reach = scale * math.log(40)
    width = high - low
    if rows > reach:
        width = min(width, reach * (half + min(abs(centred), half)) / (rows - reach))
    return _Noisy(value, half * scale / rows, width, spent)


def _variance(release: ReleaseCertificate, parts: Sequence[float], scale: float | None, spent: float) -> _Noisy:
    """Population variance from noisy COUNT, sum of x - mid, and sum of (x - mid)^2 - h^2/2; between 0 and h^2.

    The interval: with 95 % all three noises stay within t = b * ln(60) of 0, in units of 1, h and h^2.
    """
    low, high = (float(bound) for bound in _range(release))
    half, rows = (high - low) / 2, max(parts[0], 1.0)
    mean = min(max(parts[1] / rows, -half), half)
    square = min(max(parts[2] / rows + half * half / 2, 0.0), half * half)
    variance = min(max(square - mean * mean, 0.0), half * half)
    root = release.sensitivity.call.function is Function.STDDEV
    value = math.sqrt(variance) if root else variance
    if scale is None:
        return _Noisy(value, None, None, spent)
    reach = scale * math.log(60)
    most = width = half if root else half * half
    if rows > reach:
        off = reach / (rows - reach)
        error = half * half * off * 1.5 + (2 * abs(mean) + 2 * half * off) * 2 * half * off
        width = min(most, math.sqrt(error) if root else error)
    return _Noisy(value, None, width, spent)


# --- what acts on noisy values ------------------------------------------------------------------------------


def _finished(
    certified: SelectCertificate, rows: Sequence[tuple[Row, Mapping[str, _Noisy]]]
) -> tuple[tuple[Scalar | Estimate, ...], ...]:
    """HAVING, ORDER BY, LIMIT and the output expressions."""
    select = certified.select
    kept = []
    for keys, noisy in rows:
        values: Row = {**keys, **{name: released.value for name, released in noisy.items()}}
        if select.having is None or functions.evaluate(select.having, values) is True:
            kept.append((values, noisy))
    for expr, descending in reversed(select.order):
        present = [row for row in kept if functions.evaluate(expr, row[0]) is not None]
        missing = [row for row in kept if functions.evaluate(expr, row[0]) is None]
        present.sort(key=lambda row, expr=expr: functions.evaluate(expr, row[0]), reverse=descending)  # type: ignore[misc]
        kept = present + missing
    end = None if select.limit is None else select.offset + select.limit
    return tuple(
        tuple(_output(output.expr, values, noisy) for output in select.outputs)
        for values, noisy in kept[select.offset : end]
    )


def _output(expr: Expr, values: Row, noisy: Mapping[str, _Noisy]) -> Scalar | Estimate:
    value = _scalar(functions.evaluate(expr, values), expr.type)
    used = sorted(columns_of(expr) & noisy.keys())
    if not used:
        return value
    if isinstance(expr, Column):
        released = noisy[expr.name]
        return Estimate(value, released.scale, released.half_width, released.epsilon)
    spent = sum(noisy[name].epsilon for name in used)
    return Estimate(value, None, _spread(expr, value, values, noisy, len(used)), spent)


def _spread(expr: Expr, value: Scalar, values: Row, noisy: Mapping[str, _Noisy], count: int) -> float | None:
    """The half-width of a 95 % interval of an expression over noisy values, by interval arithmetic; None if unbounded.

    Each of `count` noises stays within its 1 - 0.05/count interval; that all do has probability 95 % or more.
    """
    factor = math.log(20 * count) / math.log(20)

    def bounds(column: Column) -> Interval | None:
        centre = values[column.name]
        if not isinstance(centre, float | Fraction | int) or isinstance(centre, bool):
            return None
        released = noisy.get(column.name)
        if released is None or (released.scale is None and released.half_width is None):
            return Fraction(centre), Fraction(centre)
        if released.scale is None or released.half_width is None:
            return None
        reach = Fraction(released.half_width * factor)
        return Fraction(centre) - reach, Fraction(centre) + reach

    if not isinstance(value, float):
        return None
    found = functions.value_range(expr, bounds, lambda column: values[column.name] is None)
    return None if found is None else max(float(found[1]) - value, value - float(found[0]))


def _scalar(value: object, kind: DataType) -> Scalar:
    """A value as it is shown: numbers as floats, moments as ISO 8601."""
    if value is None or isinstance(value, bool | str):
        return value
    if kind is DataType.TIMESTAMP and isinstance(value, int):
        return isoformat(value)
    return float(value)  # type: ignore[arg-type]
