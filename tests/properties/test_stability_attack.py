"""Random plans attacked with random worlds: nothing that one slot or one segment moves ever exceeds the claim."""

import random

import pytest

from privid.privacy.stability import State
from tests.support.attack import Record, attack, climb_everywhere
from tests.support.pairs import RELATIONS, RELEASES, Pair
from tests.support.worlds import Engine, Releases

SOAK_BATCHES, SOAK_PLANS, SOAK_STEPS = 20, 30, 20


def climb(pair: Pair, steps: int) -> Record:
    """Random worlds for the query of a pair instead of its own."""
    record = Record()
    script, certificate = pair.certified()
    (select,) = certificate.selects
    state: State = select.input
    releases = None
    if not pair.reaches:
        sensitivities = [release.sensitivity for release in select.releases]
        groups = ((),) if select.keys is None else select.keys.rows
        releases = Releases(Engine(certificate.bases), script.selects[0].aggregate, state, sensitivities, groups)
    climb_everywhere(random.Random(pair.select), certificate.bases, state, releases, steps, record)
    return record


@pytest.mark.parametrize("name", [*RELATIONS, *RELEASES])
def test_no_random_world_moves_an_operator_or_an_aggregate_further_than_claimed(name):
    record = climb({**RELATIONS, **RELEASES}[name], steps=1)
    assert record.pairs >= 4


@pytest.mark.slow
@pytest.mark.parametrize("name", [*RELATIONS, *RELEASES])
def test_no_random_world_moves_an_operator_or_an_aggregate_further_than_claimed_soak(name):
    assert climb({**RELATIONS, **RELEASES}[name], steps=60).pairs >= 122


@pytest.mark.parametrize("batch", range(6))
def test_no_random_plan_moves_further_than_claimed(batch):
    record = Record()
    for seed in range(batch * 8, batch * 8 + 8):
        attack(seed, 2, record)
    assert record.plans >= 2, "most plans of this batch were refused, so little was tested"
    assert record.pairs >= 6 * record.plans


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(SOAK_BATCHES))
def test_no_random_plan_moves_further_than_claimed_soak(batch):
    # All batches together are more than 10,000 neighbour pairs: 20 * 510.
    record = Record()
    for seed in range(10_000 + batch * SOAK_PLANS, 10_000 + (batch + 1) * SOAK_PLANS):
        attack(seed, SOAK_STEPS, record)
    assert record.pairs >= 510
