"""From exact aggregates to an answer: the only place that adds noise (privacy-model.md, sections 3, 4 and 6).

Noise is drawn once for each vector, all groups together. Whatever follows (HAVING, ORDER BY, LIMIT, arithmetic,
clipping) reads noisy values only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import pyarrow as pa

from privid.domain.release import Table
from privid.domain.units import epsilon
from privid.engine.aggregate import EngineSettings, Raw, raw_aggregates
from privid.engine.noisy import Noisy, Row, finished
from privid.privacy import mechanisms
from privid.privacy.candidates import Grid, runs
from privid.privacy.certificate import Certificate, ReleaseCertificate, SelectCertificate
from privid.privacy.mechanisms import half_width95
from privid.privacy.sensitivity import SQUARE_STEPS, Method, quantile
from privid.privacy.stability.state import TICKS
from query_lang.intervals import Interval
from query_lang.logical import Function, Script


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


def _select(certified: SelectCertificate, tables: Mapping[str, pa.Table], settings: EngineSettings) -> Table:
    raw = raw_aggregates(certified, tables, settings)
    if certified.releases[0].method is Method.ARGMAX:
        return _table(certified, [_best(certified, [vector(row[0]) for row in raw.rows])])
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
    return _table(certified, rows)


def _table(certified: SelectCertificate, rows: Sequence[tuple[Row, Mapping[str, Noisy]]]) -> Table:
    return Table(
        select=certified.select.index,
        columns=tuple(output.name for output in certified.select.outputs),
        rows=finished(certified.select, rows),
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


def _release(release: ReleaseCertificate, raw: Sequence[Raw], sizes: Sequence[int]) -> list[Noisy]:
    """One release for all groups: noise on each component, then the value of every group."""
    if release.method is Method.POINT:
        return [_point(release, values) for values in raw]
    vectors = [vector_of(release, vector(values)) for values in raw]
    if release.scale is not None:
        for i, part in enumerate(release.components):
            noised = mechanisms.laplace([values[i] for values in vectors], release.scale * part.factor / part.unit)
            for values, value in zip(vectors, noised, strict=True):
                values[i] = value
    return [_value(release, values, sizes[i] if sizes else 0) for i, values in enumerate(vectors)]


def vector(raw: Raw) -> tuple[int, ...]:
    """The integers of a release that is no choice among points."""
    assert isinstance(raw, tuple)
    return raw


def _point(release: ReleaseCertificate, histogram: Raw) -> Noisy:
    """One point of the public grid. A slot's rows lie in few groups, so all groups together cost one epsilon."""
    assert isinstance(histogram, Mapping)
    call = release.sensitivity.call
    grid = Grid.over(_range(release))
    options = runs(grid, call.function, quantile(call), histogram)
    run, offset = _choose([(option.weights, option.utility) for option in options], release.scale)
    return Noisy(float(grid.value(options[run].first + offset)), None, None, epsilon(release.epsilon_nano))


def _choose(options: Sequence[tuple[Sequence[int], Fraction]], scale: Fraction | None) -> tuple[int, int]:
    """A choice; the best option where nothing can move, which is public."""
    if scale is None:
        return max(range(len(options)), key=lambda i: options[i][1]), 0
    return mechanisms.choose(options, scale)


def _best(certified: SelectCertificate, scores: Sequence[tuple[int, ...]]) -> tuple[Row, Mapping[str, Noisy]]:
    """ARGMAX: one of the public keys, by its exact score."""
    (release,) = certified.releases
    assert certified.keys is not None
    score = release.sensitivity.score
    assert score is not None
    unit = score.components[0].unit
    options = [((1,), values[0] * unit) for values in scores]
    chosen, _ = _choose(options, release.scale)
    (key,) = certified.keys.rows[chosen]
    value = float(key) if isinstance(key, Fraction) else key
    names = certified.keys.names
    return {names[0]: value}, {release.sensitivity.call.name: Noisy(value, None, None, epsilon(release.epsilon_nano))}


def vector_of(release: ReleaseCertificate, raw: tuple[int, ...]) -> list[int]:
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


def _value(release: ReleaseCertificate, vector: Sequence[int], size: int) -> Noisy:
    spent = epsilon(release.epsilon_nano)
    if release.method is Method.CONSTANT:
        low, _ = _range(release)
        spread = release.sensitivity.call.function in (Function.VAR, Function.STDDEV)
        return Noisy(0.0 if spread else float(low), None, None, 0.0)
    parts = [float(Fraction(value) * part.unit) for value, part in zip(vector, release.components, strict=True)]
    scale = None if release.scale is None else float(release.scale)
    match release.method:
        case Method.AVG_EXACT if not size:
            return Noisy(None, None, None, spent)
        case Method.AVG_EXACT:
            each = None if scale is None else scale / size
            return Noisy(parts[0] / size, each, None if each is None else half_width95(each), spent)
        case Method.AVG_VECTOR:
            return _average(release, parts, scale, spent)
        case Method.VAR:
            return _variance(release, parts, scale, spent)
    return Noisy(parts[0], scale, None if scale is None else half_width95(scale), spent)


def _average(release: ReleaseCertificate, parts: Sequence[float], scale: float | None, spent: float) -> Noisy:
    """mid + (sum of x - mid) / max(COUNT, 1), clipped; `parts` are that sum and COUNT, noisy.

    The interval: with 95 % both noises stay within t = b * ln(40) of 0, in units of h and of 1.
    """
    low, high = (float(bound) for bound in _range(release))
    half, rows = (high - low) / 2, max(parts[1], 1.0)
    centred = parts[0] / rows
    value = min(max((low + high) / 2 + centred, low), high)
    if scale is None:
        return Noisy(value, None, None, spent)
    reach = scale * math.log(40)
    width = high - low
    if rows > reach:
        width = min(width, reach * (half + min(abs(centred), half)) / (rows - reach))
    return Noisy(value, half * scale / rows, width, spent)


def _variance(release: ReleaseCertificate, parts: Sequence[float], scale: float | None, spent: float) -> Noisy:
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
        return Noisy(value, None, None, spent)
    reach = scale * math.log(60)
    most = width = half if root else half * half
    if rows > reach:
        off = reach / (rows - reach)
        error = half * half * off * 1.5 + (2 * abs(mean) + 2 * half * off) * 2 * half * off
        width = min(most, math.sqrt(error) if root else error)
    return Noisy(value, None, width, spent)
