"""How long a budget lasts: the arithmetic, the words, and when nothing can be told."""

from dataclasses import dataclass

import pytest

from privid.owner.forecast import DAY_US, forecast, sentences, such_queries
from privid.owner.forecast_plot import save_forecast

NANO = 10**9
NOW = 1_796_112_000 * 10**6  # 2026-12-01T08:00:00Z


@dataclass(frozen=True)
class Moments:
    from_us: int
    to_us: int
    left_nano: int
    recent_nano: int = 0
    asked: int = 0


def said(*steps, peaks=(NANO // 4,), days=30.0):
    found = forecast(peaks, steps, NOW - int(days * DAY_US), NOW)
    return found, " ".join(sentences(found, NOW))


def test_such_queries_are_counted_at_the_scarcest_the_middle_and_the_best_moment():
    steps = [Moments(0, 10, 2 * NANO), Moments(10, 40, NANO), Moments(40, 60, NANO // 5), Moments(60, 70, -NANO)]
    such = such_queries(NANO // 4, steps)
    assert (such.least, such.middle, such.most) == (0, 4, 8)
    assert such.without == pytest.approx(30 / 70)


def test_a_date_comes_from_the_moments_that_are_asked_about_most():
    busy = Moments(0, 10, NANO // 2, recent_nano=NANO // 4, asked=3)  # 0.25 in 30 days, 0.5 left: 60 days
    calm = Moments(10, 40, NANO, recent_nano=NANO // 4, asked=2)  # 120 days
    once = Moments(40, 100, NANO // 4, recent_nano=NANO, asked=1)
    found, text = said(busy, calm, once)
    assert found.runs_out is not None
    assert found.runs_out.first_us == NOW + 60 * DAY_US
    assert found.runs_out.half_us == NOW + 120 * DAY_US
    assert found.runs_out.part == pytest.approx(0.4)
    assert "used up on 2027-01-30 (in about 60 days): 0.25 of them went in the last 30 days, 0.5 is left" in text
    assert "(40% of the recording) are used up by 2027-03-31" in text


def test_the_typical_query_is_the_middle_one():
    found, text = said(Moments(0, 1, NANO), peaks=(NANO // 10, NANO, NANO // 2, 0))
    assert (found.queries, found.such.epsilon_nano) == (3, NANO // 2)
    assert "3 queries in the last 30 days; the middle one takes 0.5 of each moment" in text
    assert "fits 2 times more at every recorded moment" in text


def test_moments_that_are_used_up_are_said_to_be():
    _, text = said(Moments(0, 10, 0, recent_nano=NANO, asked=4))
    assert "asked about most are used up already" in text
    assert "Half of all that are asked about again and again (100% of the recording) are used up already." in text
    assert "fits nowhere any more" in text


@pytest.mark.parametrize(
    ("steps", "peaks", "days", "why"),
    [
        ([Moments(0, 1, NANO)], (), 30, "nothing was asked"),
        ([Moments(0, 1, NANO, NANO, 5)], (NANO,), 0.5, "at least a day of history"),
        ([Moments(0, 1, NANO, NANO, 1)], (NANO,), 30, "asked about twice"),
        ([Moments(0, 1, NANO)], (0, 0), 30, "nothing was asked"),
    ],
)
def test_without_a_rate_there_is_no_date_but_a_reason(steps, peaks, days, why):
    found, text = said(*steps, peaks=peaks, days=days)
    assert found.runs_out is None
    assert why in text
    assert "No date can be told" in text


def test_a_forecast_is_drawn(tmp_path):
    steps = [Moments(NOW, NOW + DAY_US, NANO), Moments(NOW + DAY_US, NOW + 2 * DAY_US, NANO // 5)]
    save_forecast("plaza", NANO, NANO // 4, "people.sql", steps, tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
