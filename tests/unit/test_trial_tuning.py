"""What tune computes, from rows instead of video."""

import math

import pytest

from privid.domain.policy import CameraPolicy
from privid.trial.runs import Attempt
from privid.trial.tuning import Outcome, Question, Setting, Unsuitable, candidates, outcomes
from privid.video.chunking import Chunk
from query_lang import compile_script
from query_lang.schema import CameraSchema, Catalog

SECOND = 1_000_000
QUERY = """SPLIT plaza BEGIN 0 END 3600 BY TIME {chunk} sec INTO c;
PROCESS c USING 'p.py' TIMEOUT 1 sec PRODUCING {rows} ROWS WITH SCHEMA (n:NUMBER=0) INTO t;
SELECT {what} FROM t {rest};
"""
POLICIES = {"plaza": CameraPolicy(epsilon_nano=10**9, rho_us=30 * SECOND, K=1)}


def question(what="AVG(RANGE(n, 0, 10))", chunk=5, rows="EXACTLY 1", rest="") -> Question:
    text = QUERY.format(what=what, chunk=chunk, rows=rows, rest=rest)
    script = compile_script(text, Catalog(cameras={"plaza": CameraSchema("plaza")}))
    return Question(script, POLICIES, 10**9)


def attempts(*rows, took_ms=1.0):
    return [Attempt(Chunk(i, 0, 1), 1, part, took_ms, None) for i, part in enumerate(rows)]


def test_answer_and_noise_are_those_of_the_whole_window():
    answer, noise = question().evaluate([((2.0,),), ((4.0,),)])
    assert answer == 3
    # 720 chunks of 5 s; one person shows in ceil((30 + 5) / 5) = 7 of them, and moves each by at most 10
    assert noise == pytest.approx(7 * 10 / 720, rel=1e-6)


def test_a_setting_changes_chunks_rows_and_range():
    changed = question(rows=4).at(Setting(10 * SECOND, 2, (0.0, 6.0)))
    assert changed.process.split.chunk_us == 10 * SECOND
    assert changed.process.max_rows == 2
    assert [(r.low, r.high) for r in changed.ranges] == [(0, 6)]
    answer, _ = changed.evaluate([((2.0,), (9.0,))])
    assert answer == 4
    _, noise = question(what="SUM(RANGE(n, 0, 10))", rows=4).at(Setting(10 * SECOND, 2, (0.0, 6.0))).evaluate([()])
    assert noise == pytest.approx(4 * 2 * 6, rel=1e-6)


def test_the_best_setting_is_the_one_with_the_least_expected_error():
    tried = {
        5 * SECOND: attempts(((4.0,),), ((4.0,),), took_ms=7),
        30 * SECOND: attempts(((5.0,),), took_ms=40),
    }
    truth, found = outcomes(question(), tried, None)
    assert truth == 5
    assert [outcome.error for outcome in found] == sorted(outcome.error for outcome in found)
    by_setting = {(o.setting.chunk_us // SECOND, o.setting.range): o for o in found}
    assert by_setting[5, (0, 10)].bias == -1
    assert by_setting[30, (0, 5)].noise == pytest.approx(2 * 5 / 120, rel=1e-6)
    assert found[0] is by_setting[30, (0, 5)]
    assert found[0].longest_ms == 40
    assert outcomes(question(), tried, 4.0)[1][0].setting.chunk_us == 5 * SECOND


def test_the_expected_error_of_bias_and_laplace_noise():
    outcome = Outcome(Setting(1, 1, None), 0.0, -2.0, 3.0, 0.0)
    steps = [(i + 0.5) / 1000 for i in range(100_000)]
    density = [math.exp(-x / 3) / 6 for x in steps]
    integral = sum((abs(x - 2) + abs(-x - 2)) * p for x, p in zip(steps, density, strict=True)) / 1000
    assert outcome.error == pytest.approx(integral, rel=1e-5)
    assert Outcome(Setting(1, 1, None), 0.0, -2.0, 0.0, 0.0).error == 2


def test_fewer_rows_are_tried_only_as_far_as_there_are_rows():
    few = [((1.0,), (2.0,)), ()]
    rows = {setting.rows for setting in candidates(question(what="COUNT(*)", rows=50), SECOND, few)}
    assert rows == {1, 2}
    assert {setting.rows for setting in candidates(question(rows="EXACTLY 7"), SECOND, few)} == {7}


def test_a_setting_that_is_refused_is_left_out():
    dear = question(what="SUM(RANGE(n, 0, 10))", rest="CONSUMING 0.000000005")
    with pytest.raises(Unsuitable, match="refused"):
        outcomes(dear, {SECOND: attempts(((1.0,),))}, 1.0)


@pytest.mark.parametrize(
    ("what", "rest"),
    [("COUNT(*)", "GROUP BY hour(chunk)"), ("COUNT(*), SUM(RANGE(n, 0, 1))", ""), ("MAX(RANGE(n, 0, 10))", "")],
)
def test_what_cannot_be_tuned_is_said(what, rest):
    with pytest.raises(Unsuitable):
        question(what=what, rest=rest).evaluate([((1.0,),)])
