"""How long a camera's budget lasts, in numbers and in words.

A budget belongs to moments of video, not to the calendar: every new moment begins with all of it, and a moment that
nobody asks about keeps it for ever. So there is a date only for moments that analysts ask about again and again, at the
rate at which they did lately, and none where that is not known.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from privid.domain.units import SECOND, epsilon

HOUR_US = 3_600 * SECOND
DAY_US = 24 * HOUR_US
_FOREVER_US = 200 * 365 * DAY_US
"""Further ahead nothing is said to run out."""


class Step(Protocol):
    """Presence periods that start in [from_us, to_us): what is left, what was taken lately and by how many queries."""

    @property
    def from_us(self) -> int:
        """Where it begins."""

    @property
    def to_us(self) -> int:
        """Where it ends, exclusive."""

    @property
    def left_nano(self) -> int:
        """What is left; negative where a change of policy left more spent than the budget."""

    @property
    def recent_nano(self) -> int:
        """What was taken in the history."""

    @property
    def asked(self) -> int:
        """By so many queries, margins of windows left out."""


@dataclass(frozen=True, slots=True)
class Such:
    """How often a query of one size still fits, over the recorded moments: at the scarcest, half of them, the best.

    `without` is the part of the recording where it does not fit once.
    """

    epsilon_nano: int
    least: int
    middle: int
    most: int
    without: float


@dataclass(frozen=True, slots=True)
class RunsOut:
    """When moments that are asked about again and again are used up: the first of them, and half of them.

    At the first one `taken_nano` went in the history and `left_nano` is left. `part` of the recording is such moments.
    """

    first_us: int
    half_us: int
    taken_nano: int
    left_nano: int
    part: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """`such` is None where nothing was asked in the history; `runs_out` None where `why_no_date` says why."""

    history_us: int
    queries: int
    such: Such | None
    runs_out: RunsOut | None
    why_no_date: str


def forecast(peaks_nano: Sequence[int], steps: Sequence[Step], since_us: int, now_us: int) -> Forecast:
    """The forecast of one camera from its history [since_us, now_us): the peaks of its queries, and its moments."""
    peaks = sorted(peak for peak in peaks_nano if peak > 0)
    such = such_queries(peaks[(len(peaks) - 1) // 2], steps) if peaks else None
    history_us = now_us - since_us
    again = [step for step in steps if step.asked > 1]
    why = ""
    if not peaks:
        why = "nothing was asked in that time"
    elif history_us < DAY_US:
        why = "a rate needs at least a day of history"
    elif not again:
        why = "no moment was asked about twice: new questions went to moments that still had all they needed"
    return Forecast(history_us, len(peaks), such, None if why else _runs_out(again, steps, history_us, now_us), why)


def such_queries(epsilon_nano: int, steps: Sequence[Step]) -> Such:
    """How often a query that takes `epsilon_nano` from every moment it reads still fits."""
    times = [(max(0, step.left_nano) // epsilon_nano, step.to_us - step.from_us) for step in steps]
    whole = sum(length for _, length in times)
    return Such(
        epsilon_nano=epsilon_nano,
        least=min(count for count, _ in times),
        middle=_half(times),
        most=max(count for count, _ in times),
        without=sum(length for count, length in times if count == 0) / whole,
    )


def _runs_out(again: Sequence[Step], steps: Iterable[Step], history_us: int, now_us: int) -> RunsOut:
    def empty_us(step: Step) -> int:
        return now_us + min(_FOREVER_US, max(0, step.left_nano) * history_us // max(1, step.recent_nano))

    first = min(again, key=empty_us)
    length = sum(step.to_us - step.from_us for step in again)
    return RunsOut(
        first_us=empty_us(first),
        half_us=_half([(empty_us(step), step.to_us - step.from_us) for step in again]),
        taken_nano=first.recent_nano,
        left_nano=max(0, first.left_nano),
        part=length / sum(step.to_us - step.from_us for step in steps),
    )


def _half(weighted: Iterable[tuple[int, int]]) -> int:
    """The value that half of the weight does not exceed."""
    ordered = sorted(weighted)
    rest = sum(weight for _, weight in ordered) / 2
    for value, weight in ordered:
        rest -= weight
        if rest <= 0:
            return value
    raise ValueError("the middle of nothing")


# --- in words -----------------------------------------------------------------------------------------------


def sentences(found: Forecast, now_us: int) -> Iterator[str]:
    """The forecast with its reasons."""
    history = _history(found.history_us)
    if found.such is not None:
        count = f"{found.queries} {'query' if found.queries == 1 else 'queries'} in {history}"
        yield f"{count}; the middle one takes {epsilon(found.such.epsilon_nano):g} of each moment that it reads."
        yield from such_sentences(found.such)
    if found.runs_out is None:
        yield f"No date can be told from {history}: {found.why_no_date}."
        return
    out = found.runs_out
    if out.left_nano == 0:
        yield "The moments that are asked about most are used up already."
    else:
        yield (
            f"The moments that are asked about most are used up on {_day(out.first_us)} "
            f"({_ahead(out.first_us - now_us)}): {epsilon(out.taken_nano):g} of them went in {history}, "
            f"{epsilon(out.left_nano):g} is left."
        )
    yield (
        f"Half of all that are asked about again and again ({out.part:.0%} of the recording) "
        + ("are used up already." if out.half_us <= now_us else f"are used up by {_day(out.half_us)}.")
    )
    yield "Every other moment keeps what it has, and new video begins with the whole budget."


def such_sentences(such: Such) -> Iterator[str]:
    """How often such a query fits."""
    if such.most == 0:
        yield "Such a query fits nowhere any more."
        return
    if such.least == such.most:
        yield f"Such a query fits {_times(such.least)} more at every recorded moment."
        return
    yield (
        f"Such a query fits {_times(such.middle)} more at half of the recorded moments, "
        f"{_times(such.least)} at the scarcest, {_times(such.most)} at the best."
    )
    if such.without:
        yield f"In {such.without:.0%} of the recording it does not fit at all."


def _history(span_us: int) -> str:
    days, hours = round(span_us / DAY_US), round(span_us / HOUR_US)
    if days > 1:
        return f"the last {days} days"
    return f"the last {hours} hours" if hours > 1 else "the last hour"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _day(moment_us: int) -> str:
    return datetime.fromtimestamp(moment_us // SECOND, UTC).strftime("%Y-%m-%d")


def _ahead(span_us: int) -> str:
    days = span_us / DAY_US
    return "within a day" if days < 1 else f"in about {days:.0f} days"
