"""The certificate of a query: what it releases, with how much noise, and what it costs; all of it public.

A certificate is made before anything runs, from the plan and the cameras' policies alone (privacy-model.md, section 6,
step 1). The engine releases exactly what it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from privid.domain.budget import Charge, Grid, Loss
from privid.domain.policy import NO_MASK, CameraPolicy
from privid.domain.schedule import PublicSchedule
from privid.domain.units import epsilon
from privid.privacy.base import Base
from privid.privacy.calibration import Calibration, Share, TooSmallError, calibrate
from privid.privacy.refusal import Refusal
from privid.privacy.rng import MAX_LAPLACE_SCALE
from privid.privacy.sensitivity import Component, Method, Sensitivity, measure
from privid.privacy.stability import State, analyse
from privid.privacy.stability.groups import PublicKeys, public_keys
from privid.privacy.stability.slots import active_runs
from query_lang.errors import QueryError
from query_lang.logical import Column, Process, Script, Select

MOST_GRIDS = 64
"""A release is charged to at most so many separate stretches of a source; more are charged as one."""
MOST_CHOICES = 1_000
"""A choice takes milliseconds, each group's its own."""


@dataclass(frozen=True, slots=True)
class SourceShare:
    """One source of one release: `influence` is w, `cap` the bound per segment (None: not below M*w).

    Only chunks of `grids` can move the release; no segment touches two of these grids. `q` and `Q` are what the ledger
    charges, in nano-epsilon: a touched slot, a segment.
    """

    base: Base
    grids: tuple[Grid, ...]
    influence: Fraction
    cap: Fraction | None
    q: int
    Q: int | None

    @property
    def touched(self) -> int:
        """M: the most slots of these grids that one segment touches."""
        return _touched(self.base, self.grids)

    @property
    def losses(self) -> tuple[Loss, ...]:
        """The charges of this source."""
        return tuple(Loss(self.base.mask, self.q, self.Q, grid) for grid in self.grids)


@dataclass(frozen=True, slots=True, eq=False)
class ReleaseCertificate:
    """One released aggregate. `scale` is b, exact (None: public, no noise); `delta` the sensitivity Delta.

    `column` is its name in the answer, `cells` the number of groups. Component c has noise of scale b * c.factor.
    """

    select: int
    column: str
    sensitivity: Sensitivity
    cells: int
    epsilon_nano: int
    scale: Fraction | None
    delta: Fraction
    sources: tuple[SourceShare, ...]

    @property
    def method(self) -> Method:
        """How the value is released."""
        return self.sensitivity.method

    @property
    def components(self) -> tuple[Component, ...]:
        """The released vector."""
        return self.sensitivity.components


@dataclass(frozen=True, slots=True, eq=False)
class SelectCertificate:
    """One outermost SELECT: its input's state, its public groups (None without GROUP BY), its releases in order."""

    select: Select
    input: State
    keys: PublicKeys | None
    epsilon_nano: int
    releases: tuple[ReleaseCertificate, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """A whole query. `chunks` and `slots` count all PROCESSes; `public_time_us` is how long they take, in public.

    `values_only`: all cameras have `timing: open`, so the guarantee covers values only (privacy-model.md, section 7).
    """

    canonical: str
    bases: Mapping[str, Base]
    selects: tuple[SelectCertificate, ...]
    chunks: int
    slots: int
    public_time_us: int
    charges: tuple[Charge, ...]
    values_only: bool

    @property
    def releases(self) -> tuple[ReleaseCertificate, ...]:
        """All releases, in the order of the SELECTs."""
        return tuple(release for select in self.selects for release in select.releases)


def certify(script: Script, policies: Mapping[str, CameraPolicy], default_epsilon_nano: int) -> Certificate:
    """The certificate of a script under its cameras' policies.

    Raises QueryError for whatever has no sound bound, cannot be enforced, or has too small an epsilon; it says what
    would work.
    """
    try:
        masked = {process.name: _bases(process, policies) for process in script.processes}
        selects = tuple(_select(script, select, masked, default_epsilon_nano) for select in script.selects)
    except Refusal as refusal:
        raise _query_error(refusal, script, None) from None
    bases = _layer(masked, 0)
    cameras = tuple(dict.fromkeys(base.camera for base in bases.values()))
    return Certificate(
        canonical=script.canonical,
        bases=bases,
        selects=selects,
        chunks=sum(base.grid.count for base in bases.values()),
        slots=sum(base.slots for base in bases.values()),
        public_time_us=sum(_duration(base, slot_cores(base.camera, policies)) for base in bases.values()),
        charges=tuple(Charge(camera, _losses(camera, selects)) for camera in cameras),
        values_only=all(policies[camera].timing == "open" for camera in cameras),
    )


def _bases(process: Process, policies: Mapping[str, CameraPolicy]) -> tuple[Base, ...]:
    """A source table under each of its masks, if this version enforces every term of its policy.

    Its frames show what none of the masks hides, so the policy of each one holds of them (privacy-model.md, section 1).
    The mask of which a presence period touches the fewest slots comes first.
    """
    split = process.split
    policy = policies[split.camera]
    under = [Base.of(process, policy, mask) for mask in split.masks or (NO_MASK,)]
    return tuple(sorted(under, key=lambda base: (base.segments * base.touched_slots, base.mask)))


def slot_cores(camera: str, policies: Mapping[str, CameraPolicy]) -> int:
    """How many slots of a camera's tables run at a time, in a query that reads the cameras of `policies`.

    One of `timing = "strict"` among them lets only one slot run on the whole machine (privacy-model.md, section 7).
    """
    if any(policy.timing == "strict" for policy in policies.values()):
        return 1
    return policies[camera].slot_cores


def _duration(base: Base, cores: int) -> int:
    process = base.process
    return PublicSchedule(
        base.slots, cores, process.timeout_us, process.max_rows, process.model is not None
    ).duration_us


def _losses(camera: str, selects: tuple[SelectCertificate, ...]) -> tuple[Loss, ...]:
    """Every release's loss through each of its sources on a camera. Each SELECT charges, also for a table it shares."""
    return tuple(
        loss
        for select in selects
        for release in select.releases
        for source in release.sources
        if source.base.camera == camera and source.q > 0
        for loss in source.losses
    )


def _layer(masked: Mapping[str, tuple[Base, ...]], number: int) -> dict[str, Base]:
    """Every source under its mask of this number; those that have fewer, under their last."""
    return {name: bases[min(number, len(bases) - 1)] for name, bases in masked.items()}


def _select(
    script: Script, select: Select, masked: Mapping[str, tuple[Base, ...]], default_epsilon_nano: int
) -> SelectCertificate:
    aggregate = select.aggregate
    total = default_epsilon_nano if select.epsilon_nano is None else select.epsilon_nano
    layers = [_layer(masked, number) for number in range(max(map(len, masked.values())))]
    try:
        inners = [analyse(aggregate.input, bases) for bases in layers]
        inner = inners[0]
        keys = public_keys(aggregate, inner) if aggregate.keys else None
        each = total // len(aggregate.aggregates)
        releases = []
        for call in aggregate.aggregates:
            measured = [measure(call, aggregate, under) for under in inners]
            sensitivity = measured[0]
            if sensitivity.method is Method.POINT and keys is not None and len(keys.rows) > MOST_CHOICES:
                raise Refusal(
                    "too_many_groups",
                    f"{call.function.value} is chosen for at most {MOST_CHOICES:,} groups, here are {len(keys.rows):,}",
                    "Group by longer bins of time, or list fewer keys.",
                    call.span,
                )
            moved = _least([_narrowed(one, bases) for one, bases in zip(measured, layers, strict=True)])
            calibration = _calibrated(sensitivity, moved, each, len(aggregate.aggregates))
            releases.append(
                ReleaseCertificate(
                    select=select.index,
                    column=_column_name(select, call.name),
                    sensitivity=sensitivity,
                    cells=1 if keys is None else len(keys.rows),
                    epsilon_nano=each if calibration.scale is not None else 0,
                    scale=calibration.scale,
                    delta=calibration.delta,
                    sources=tuple(
                        replace(share, q=q, Q=cap) for share, (q, cap) in zip(moved, calibration.rates, strict=True)
                    ),
                )
            )
    except Refusal as refusal:
        raise _query_error(refusal, script, select) from None
    return SelectCertificate(select, inner, keys, total, tuple(releases))


def _least(layers: Sequence[tuple[SourceShare, ...]]) -> tuple[SourceShare, ...]:
    """Each source under the mask with which it needs the least noise; what one needs does not depend on the others'."""
    return tuple(min(same, key=lambda share: _share(share).most) for same in zip(*layers, strict=True))


def _share(source: SourceShare) -> Share:
    return Share(source.influence, source.cap, source.touched, source.base.segments)


def _narrowed(sensitivity: Sensitivity, bases: Mapping[str, Base]) -> tuple[SourceShare, ...]:
    """The sources with the chunks that can move the release: a filter on `chunk` narrows what is charged."""
    found = []
    for name, moved in sensitivity.moved.items():
        base, active = bases[name], sensitivity.rows.influence[name].active
        grids: tuple[Grid, ...] = (base.grid,)
        if active is not None:
            runs = active_runs(base, active)
            grids = tuple(base.between(*run) for run in runs[:MOST_GRIDS])
            if len(runs) > MOST_GRIDS:
                grids = (base.between(runs[0][0], runs[-1][1]),)
        w = moved.w if grids else Fraction(0)
        # A segment can show in two windows of a series, so nothing bounds it by what one of them can lose (section 5).
        bounded = moved.cap is not None and moved.cap < _touched(base, grids) * w and not base.in_series
        found.append(SourceShare(base, grids, w, moved.cap if bounded else None, 0, None))
    return tuple(found)


def _touched(base: Base, grids: tuple[Grid, ...]) -> int:
    if base.in_series:
        return base.touched_slots if grids else 0
    return max((grid.touched_slots(base.segment_us) for grid in grids), default=0)


def _calibrated(
    sensitivity: Sensitivity, sources: tuple[SourceShare, ...], budget: int, aggregates: int
) -> Calibration:
    try:
        calibration = calibrate([_share(source) for source in sources], budget)
    except TooSmallError as error:
        raise Refusal(
            "epsilon_too_small",
            f"epsilon {epsilon(budget * aggregates):.9g} is too small for this SELECT",
            f"The least is CONSUMING {f'{epsilon(error.least * aggregates):.9f}'.rstrip('0')}.",
            sensitivity.call.span,
        ) from None
    if calibration.scale is not None and any(
        not part.choice and calibration.scale * part.factor / part.unit > MAX_LAPLACE_SCALE
        for part in sensitivity.components
    ):
        raise Refusal(
            "range_too_wide",
            "the noise would be too large to be drawn exactly",
            "Narrow the argument with RANGE(x, low, high), or raise epsilon.",
            sensitivity.call.span,
        )
    return calibration


def _column_name(select: Select, call: str) -> str:
    """The name of the answer's column that is this aggregate; else the aggregate's own."""
    for output in select.outputs:
        if isinstance(output.expr, Column) and output.expr.name == call:
            return output.name
    return call


def _query_error(refusal: Refusal, script: Script, select: Select | None) -> QueryError:
    span = refusal.span
    if span is None and select is not None:
        span = _line_span(script.text, select.line)
    return QueryError(
        refusal.code, refusal.message, text=script.text, span=span if script.text else None, hint=refusal.hint
    )


def _line_span(text: str, line: int) -> tuple[int, int] | None:
    """The place of a line, counted from 1, in a text."""
    lines = text.splitlines(keepends=True)
    if not 1 <= line <= len(lines):
        return None
    start = sum(len(before) for before in lines[: line - 1])
    return start, start + len(lines[line - 1].rstrip())
