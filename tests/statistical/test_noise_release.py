"""The noise of real answers, from the plan to the released table, against the scale that the certificate promised."""

import math
from fractions import Fraction

import pytest

from privid.engine import release
from privid.engine.tables import build
from privid.privacy import mechanisms
from tests.support.queries import certified, policy

GROUPS = 30_000


def misfit(drawn: list[float], scale: float) -> float:
    """Chi-squared over 20 equally likely parts of a Laplace distribution, as a share of its 1e-6 critical value."""
    cuts = [scale * math.log(2 * i / 20) if i <= 10 else -scale * math.log(2 - 2 * i / 20) for i in range(1, 20)]
    counts = [0] * 20
    for value in drawn:
        counts[sum(value > cut for cut in cuts)] += 1
    expected = len(drawn) / 20
    part = 2 / (9 * 19)
    return sum((n - expected) ** 2 / expected for n in counts) / (19 * (1 - part + 4.75 * math.sqrt(part)) ** 3)


def noises(aggregate: str, rows: str = "2 ROWS") -> tuple[list[float], float]:
    """Noisy values of many groups, of which each has the same exact value, minus that value; and the promised scale."""
    select = f"SELECT chunk, {aggregate} AS v FROM t1 GROUP BY chunk;"
    script, certificate = certified(select, rows=rows, hours=GROUPS / 3600, chunk=1, policies=policy(rho=1))
    built = build(script.processes[0], dict.fromkeys(range(GROUPS), (("a", 5.0, True), ("b", 7.0, True))))
    (table,) = release.answer(script, certificate, {"t1": built})
    exact = {"COUNT(*)": 2.0, "SUM(RANGE(speed, 0, 9))": 12.0, "AVG(RANGE(speed, 0, 9))": 6.0}[aggregate]
    scale = table.rows[0][1].noise_scale
    assert table.rows[0][1].interval95 == pytest.approx(scale * math.log(20))
    return [row[1].value - exact for row in table.rows], scale


@pytest.mark.parametrize(
    ("aggregate", "rows", "delta"),
    [
        ("COUNT(*)", "2 ROWS", 2 * 2),
        ("SUM(RANGE(speed, 0, 9))", "2 ROWS", 2 * 2 * 9),
        ("AVG(RANGE(speed, 0, 9))", "EXACTLY 2 ROWS", 2 * 2 * 9 / 2),
    ],
)
def test_released_noise_has_the_promised_scale_and_no_other(aggregate, rows, delta):
    drawn, scale = noises(aggregate, rows)
    assert scale == pytest.approx(delta, rel=1e-6)
    if aggregate == "COUNT(*)":
        # On whole numbers as coarse as the scale the parts are not equally likely; twice the mean is enough.
        p = math.exp(-1 / scale)
        mean = sum(map(abs, drawn)) / len(drawn)
        assert mean == pytest.approx(2 * p / (1 - p * p), rel=0.04)
        return
    assert misfit(drawn, scale) < 1
    assert misfit(drawn, scale * 1.08) > 1
    assert misfit(drawn, scale / 1.08) > 1


def test_the_mechanism_adds_the_scale_that_it_is_given():
    drawn = [value - 100 for value in mechanisms.laplace([100] * GROUPS, Fraction(10**6))]
    assert misfit(drawn, 1e6) < 1
    assert misfit(drawn, 1.08e6) > 1
    assert misfit(drawn, 1e6 / 1.08) > 1
