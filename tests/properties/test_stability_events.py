"""Whole events against Delta: all presence periods, all segments under a mask, all regions (privacy-model.md, 3 and 4).

A slot moves a release by at most w, a segment by at most cap; an event is K periods of k_m segments, and in each of
their chunks up to g regions. What is charged for it is checked against what it moves, on the real engine.
"""

import pytest

from privid.domain.budget import Loss
from privid.domain.loss_profile import weighted_losses
from privid.domain.units import NANO
from tests.support.events import CALLS, Query, Scene, check_event

SCHEMES = ((0, "none"), (3, "hard"), (3, "none"), (2, "soft"))
SCENES = [
    Scene(periods, segments, *scheme) for periods, segments in ((1, 1), (3, 1), (1, 4), (2, 3)) for scheme in SCHEMES
]


@pytest.mark.parametrize("scene", SCENES, ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_an_event_reaches_delta_and_no_event_exceeds_it(name, scene):
    most, delta = check_event(scene, name)
    assert most == delta


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_the_charge_of_an_event_covers_what_it_loses(scene):
    # What the ledger takes at the worst moment is at least moved/b for an event that reaches Delta.
    query = Query.of(scene, "SUM")
    ((q, cap),) = query.calibration.rates
    ((_, profile),) = weighted_losses([Loss("bench", q, cap, query.base.grid)], scene.policy()).items()
    charged = max(step.value for step in profile)
    assert NANO * query.calibration.delta / query.calibration.scale <= charged <= NANO
