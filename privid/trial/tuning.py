"""Which chunk length, number of rows and range give the least error: what chunking costs the detector, plus the noise.

Longer chunks let a detector see more, and shorter ones hide a person with less noise; more rows and wider ranges lose
less, and cost more noise. So the executable is run on a video at every chunk length, and every setting's answer and
noise are computed from the rows, as if the video went on, repeated, for the whole window of the query.

The expected error of a setting with bias m (its answer without noise, less the truth) and Laplace noise of scale b is
E|m + X| = |m| + b*exp(-|m|/b).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import exp
from typing import Any, TypeVar

import numpy as np

from privid.domain.policy import CameraPolicy
from privid.domain.release import Estimate
from privid.engine import release, tables
from privid.privacy.certificate import Certificate, certify
from privid.trial.runs import Attempt, Rows
from privid.video.chunking import chunk_count
from query_lang.errors import QueryError
from query_lang.logical import Column, Process, Range, Script

T = TypeVar("T")

QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
"""Ranges are tried that end at these quantiles of the values seen."""
MOST_SLOTS = 100_000
"""A longer window would take minutes to evaluate."""


class Unsuitable(Exception):
    """A query that cannot be tuned; the text says why and what to change."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What can be set: chunk length in microseconds, rows a chunk, range (None: the query has none to set)."""

    chunk_us: int
    rows: int
    range: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to expect of a setting, in the unit of the answer. `longest_ms` is the longest that one chunk took."""

    setting: Setting
    answer: float
    bias: float
    noise: float
    longest_ms: float

    @property
    def error(self) -> float:
        """Expected absolute error of the released value."""
        size = abs(self.bias)
        return size if self.noise == 0 else size + self.noise * exp(-size / self.noise)


@dataclass(frozen=True, slots=True)
class Question:
    """One SELECT of a query over one PROCESS, without GROUP BY, under a policy."""

    script: Script
    policies: Mapping[str, CameraPolicy]
    default_epsilon_nano: int

    def __post_init__(self) -> None:
        if len(self.script.processes) != 1 or len(self.script.selects) != 1 or self.script.selects[0].aggregate.keys:
            raise Unsuitable("tune looks at one SELECT without GROUP BY over one PROCESS: leave the others out")
        if len(self.script.selects[0].outputs) != 1:
            raise Unsuitable("tune looks at one aggregate: leave the others out")
        split = self.process.split
        if split.every_us is not None or split.region is not None:
            raise Unsuitable("tune knows neither EVERY nor BY REGION: leave them out")

    @property
    def process(self) -> Process:
        """The PROCESS as written."""
        return self.script.processes[0]

    @property
    def ranges(self) -> tuple[Range, ...]:
        """Every RANGE over a plain column."""
        select = self.script.selects[0]
        return tuple(dict.fromkeys(r for r in _find(select, Range) if isinstance(r.arg, Column)))

    def at(self, setting: Setting) -> Question:
        """The same question with other settings."""
        split = self.process.split
        changed = replace(split, chunk_us=setting.chunk_us)
        process = replace(self.process, split=changed, max_rows=setting.rows)
        script = _swapped(self.script, {self.process: process})
        if setting.range is not None:
            low, high = (Fraction(bound) for bound in setting.range)
            script = _swapped(script, {old: replace(old, low=low, high=high) for old in self.ranges})
        return replace(self, script=script)

    def evaluate(self, rows: Sequence[Rows]) -> tuple[float, float]:
        """(answer without noise, scale of the noise), both for the whole window; `rows` of each chunk are repeated.

        Raises QueryError where the setting is refused, such as an epsilon that is too small for it.
        """
        certificate = certify(self.script, self.policies, self.default_epsilon_nano)
        split = self.process.split
        slots = chunk_count(split.begin_us, split.end_us, split.chunk_us, split.chunk_us + split.stride_us)
        if slots > MOST_SLOTS:
            raise Unsuitable(f"the query has {slots} chunks at {split.chunk_us / 1e6:g} s: tune a shorter window")
        table = tables.build(self.process, {slot: rows[slot % len(rows)] for slot in range(slots)})
        named = {self.process.name: table}
        noisy = _estimate(release.answer(self.script, certificate, named))
        exact = _estimate(release.answer(self.script, _without_noise(certificate), named))
        if not isinstance(exact.value, int | float) or noisy.noise_scale is None:
            raise Unsuitable("tune needs COUNT, SUM or AVG: the error of others has no formula")
        return float(exact.value), noisy.noise_scale


def candidates(question: Question, chunk_us: int, rows: Sequence[Rows]) -> Iterator[Setting]:
    """The settings to try at one chunk length: fewer rows than written, and narrower or wider ranges."""
    most = max((len(part) for part in rows), default=1)
    written = question.process.max_rows
    counts = {written} if question.process.exact else {n for n in (1, 2, 5, 10, 20, 50, written) if n <= written}
    counts = {n for n in counts if n <= max(1, most)} or {min(counts)}
    for count in sorted(counts):
        for bounds in _ranges(question, [part[:count] for part in rows]):
            yield Setting(chunk_us, count, bounds)


def outcomes(
    question: Question, attempts: Mapping[int, Sequence[Attempt]], truth: float | None
) -> tuple[float, list[Outcome]]:
    """The truth and what to expect of every setting, the best first. `attempts` are those at each chunk length.

    Without a `truth`, it is the answer at the longest chunks, which see the most, with the widest range and all rows.
    """
    if truth is None:
        longest = max(attempts)
        rows = [attempt.rows for attempt in attempts[longest]]
        *_, widest = candidates(question, longest, rows)
        truth, _ = question.at(widest).evaluate(rows)
    found = []
    for chunk_us, tried in attempts.items():
        rows = [attempt.rows for attempt in tried]
        slowest = max(attempt.took_ms for attempt in tried)
        for setting in candidates(question, chunk_us, rows):
            try:
                answer, noise = question.at(setting).evaluate([part[: setting.rows] for part in rows])
            except QueryError:
                continue  # such as an epsilon that is too small for so many rows
            found.append(Outcome(setting, answer, answer - truth, noise, slowest))
    if not found:
        raise Unsuitable("every setting is refused, the query as it is included: privid explain says why")
    return truth, sorted(found, key=lambda outcome: outcome.error)


def _ranges(question: Question, rows: Sequence[Rows]) -> list[tuple[float, float] | None]:
    """Ranges that end at quantiles of what was seen, and the one written last."""
    ranges = question.ranges
    if len(ranges) != 1:
        return [None]
    (written,) = ranges
    assert isinstance(written.arg, Column)
    names = [column.name for column in question.process.schema]
    low, high = float(written.low), float(written.high)
    if written.arg.name not in names:
        return [(low, high)]
    position = names.index(written.arg.name)
    values = np.array([row[position] for part in rows for row in part], dtype=np.float64)
    ends = {_rounded(float(q)) for q in np.quantile(values, QUANTILES)} if len(values) else set[float]()
    return [*((low, end) for end in sorted(ends) if low < end != high), (low, high)]


def _rounded(value: float) -> float:
    """Two significant digits, upwards: a range that people would write."""
    if value <= 0:
        return value
    step = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.ceil(round(value / step, 9)) * step)


def _without_noise(certificate: Certificate) -> Certificate:
    selects = tuple(
        replace(select, releases=tuple(replace(released, scale=None) for released in select.releases))
        for select in certificate.selects
    )
    return replace(certificate, selects=selects)


def _estimate(answers: Sequence[Any]) -> Estimate:
    cell = answers[0].rows[0][0] if answers[0].rows else None
    if not isinstance(cell, Estimate):
        raise Unsuitable("tune needs a SELECT that releases one number")
    return cell


def _find(value: object, kind: type[T]) -> Iterator[T]:
    """Every value of a kind in a tree of dataclasses and tuples."""
    if isinstance(value, kind):
        yield value
    for part in _parts(value):
        yield from _find(part, kind)


def _swapped(value: T, swaps: Mapping[Any, Any]) -> T:
    """A tree of dataclasses and tuples with some of its nodes exchanged."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if value in swaps:
            return swaps[value]  # type: ignore[no-any-return]
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        changed = {name: new for name, old in fields.items() if (new := _swapped(old, swaps)) is not old}
        return replace(value, **changed) if changed else value
    if isinstance(value, tuple):
        items = tuple(_swapped(item, swaps) for item in value)
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value  # type: ignore[return-value]
    return value


def _parts(value: object) -> Iterator[object]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from (getattr(value, field.name) for field in dataclasses.fields(value))
    elif isinstance(value, tuple):
        yield from value
