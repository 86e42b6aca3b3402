"""The audit of privacy-model.md, section 8.4: whole releases about two neighbouring videos, and seeded faults.

The rows come once through the real sandbox; then plan, engine, noise and release are what analysts get, 20,000 times
for each video. All error probabilities are bounded, see tests/support/audit.py: together below 1e-6 for a run.
"""

import math
import os
import pickle
import random

import pytest

from privid.domain.budget import Grid
from privid.privacy import mechanisms, rng, sensitivity
from tests.support.audit import EPSILON, SELECTS, Answer, count, rejects, releases, sure, tables_of_a_video
from tests.support.faults import operator, sparse

MANY = 20_000
TICKS = 2**20
REACHED = ("COUNT", "SUM", "AVG", "COUNT by plate", "ARGMAX", "QUANTILE", "SUM over groups")
"""The event moves these by all that is claimed: an epsilon that is too small would be seen."""


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """The tables of a video without and with somebody in it."""
    folder = tmp_path_factory.mktemp("videos")
    return [tables_of_a_video(folder / str(event), event=event) for event in (False, True)]


# The true values of the two videos, from which the sets of an audit are made before any answer is seen.
TRUE = {
    "COUNT": (0, 4),
    "SUM": (0, 240),
    "SUM, wide": (0, 240),
    "AVG": (0, 10),
    "AVG, vector": (0, 60),
    "SUM over groups": (0, 8),
}


def sets(name: str, scale: float):
    """Half-lines in steps of a quarter of the scale around the two values, and the two ends of 32 bits."""
    if name == "ARGMAX":
        return [lambda answer: answer[0] == 1]
    if name == "QUANTILE":
        return [lambda answer, cut=cut: answer[0] > cut for cut in range(0, 60, 5)]
    if name == "COUNT by plate":
        steps = [scale * step / 2 for step in range(-8, 9)]
        return [lambda answer, cut=cut: answer[0] <= 14 - cut and answer[1] >= 10 + cut for cut in steps]
    middle = sum(TRUE[name]) / 2
    cuts = [middle + scale * step / 4 for step in range(-16, 17)]
    cuts += [middle + sign * 2**31 / TICKS for sign in (-1, 1)]
    return [lambda answer, cut=cut: answer[0] >= cut for cut in cuts]


def hits(name: str, videos) -> list[tuple[int, int]]:
    """How many of the answers about each video lie in each set."""
    found = [releases(name, tables) for tables in videos]
    (one,) = found[0].certified.releases
    size = one.sensitivity.size or 1
    return count(*(asked.answers(MANY) for asked in found), sets(name, float(one.scale) / size))


def test_the_sandbox_saw_two_neighbouring_videos(videos):
    without, with_event = videos
    assert without["some"].num_rows == 0
    assert with_event["some"].num_rows == 4
    differ = [
        chunk
        for chunk, one, other in zip(
            without["two"]["chunk"].to_pylist(), without["two"].to_pylist(), with_event["two"].to_pylist(), strict=True
        )
        if one != other
    ]
    assert len(differ) == 4
    assert len(set(differ)) == 2


@pytest.mark.parametrize("name", SELECTS)
def test_the_claim_is_not_rejected_and_half_of_it_is(videos, name):
    found = hits(name, videos)
    assert not rejects(found, MANY, EPSILON)
    if name in REACHED:
        assert rejects(found, MANY, EPSILON / 2)


def test_what_is_to_be_rejected_is_rejected_for_sure():
    # Laplace: half of the answers lie beyond the larger value, exp(-loss)/2 for the other video.
    for loss, claim in ((EPSILON, EPSILON / 2), (2 * EPSILON, EPSILON)):
        assert sure(0.5, 0.5 * math.exp(-loss), MANY, claim)
    # Two groups that move apart: the product of two such half-lines.
    assert sure(0.25, 0.25 * math.exp(-EPSILON), MANY, EPSILON / 2)
    # ARGMAX: b is behind by 12 or by 4, in steps of the scale 4.
    assert sure(1 / (1 + math.e), 1 / (1 + math.exp(3)), MANY, EPSILON / 2)
    # The median: points above 50 are 2 scales behind those below, or none.
    behind = 10 * math.exp(-2) / (50 + 10 * math.exp(-2))
    assert sure(10 / 60, behind, MANY, EPSILON / 2)
    assert not sure(10 / 60, behind, MANY, EPSILON)


# --- seeded faults ------------------------------------------------------------------------------------------


def caught(name: str, videos) -> bool:
    return rejects(hits(name, videos), MANY, EPSILON)


def test_half_of_the_noise_is_caught(videos, monkeypatch):
    right = mechanisms.laplace
    monkeypatch.setattr(mechanisms, "laplace", lambda values, scale: right(values, scale / 2))
    for name in ("COUNT", "AVG"):
        assert caught(name, videos), name


def test_the_missing_chunk_is_caught(videos, monkeypatch):
    monkeypatch.setattr(
        Grid, "touched_chunks", lambda grid, segment_us: min(grid.count, -(-segment_us // grid.period_us))
    )
    for name in ("COUNT", "SUM"):
        assert caught(name, videos), name


def test_the_width_of_a_range_for_a_varying_number_of_rows_is_caught(videos, monkeypatch):
    monkeypatch.setattr(sensitivity, "sum_change", lambda r, net, bounds, nullable: r * (bounds[1] - bounds[0]))
    assert caught("SUM", videos)


def test_r_instead_of_2r_after_a_grouping_is_caught(videos, monkeypatch):
    operator("group", sparse(2))(monkeypatch)
    assert caught("SUM over groups", videos)


def test_noise_clamped_to_32_bits_is_caught(videos, monkeypatch):
    right, most = rng.discrete_laplace, 2**31 - 1
    monkeypatch.setattr(
        rng, "discrete_laplace", lambda size, scale: [min(max(v, -most), most) for v in right(size, scale)]
    )
    assert caught("SUM, wide", videos)


def in_a_child(name: str, tables, n: int) -> list[Answer]:
    """The answers of a forked process."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            pickle.dump(releases(name, tables).answers(n), pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answers = pickle.load(pipe)
    os.waitpid(child, 0)
    return answers


def audit_two_processes(videos) -> bool:
    """Whether a loss of 2*epsilon is rejected for two answers, of two SELECTs and two processes."""
    drawn = []
    for tables in videos:
        counts, sums = (in_a_child(name, tables, MANY) for name in ("COUNT", "SUM, wide"))
        # The scales are 2 and 2000. If the noise were the same, this difference would have none.
        drawn.append([(1000 * a[0] - b[0],) for a, b in zip(counts, sums, strict=True)])
    cuts = [250.0 * step for step in range(-40, 40)]
    between = [lambda answer, cut=cut: cut <= answer[0] < cut + 250 for cut in cuts]
    return rejects(count(*drawn, between), MANY, 2 * EPSILON)


def test_processes_that_were_forked_have_noise_of_their_own(videos):
    assert not audit_two_processes(videos)


def test_noise_that_forked_processes_share_is_caught(videos, monkeypatch):
    shared = random.Random(7)

    def laplace(size: int, scale: float) -> list[int]:
        return [round(scale * (shared.expovariate(1) - shared.expovariate(1))) for _ in range(size)]

    monkeypatch.setattr(rng, "discrete_laplace", laplace)
    assert audit_two_processes(videos)
