from fractions import Fraction

from privid.domain.policy import CameraPolicy, MaskPolicy, RegionScheme
from privid.domain.policy_document import from_document, to_document

POLICY = CameraPolicy(
    epsilon_nano=1_500_000_000,
    rho_us=30_000_001,
    K=2,
    fps=Fraction(30000, 1001),
    width=768,
    height=576,
    timezone="Europe/Lisbon",
    timing="open",
    slot_cores=2,
    isolation="exec",
    masks={"benches": MaskPolicy(10_000_000, 3)},
    regions={"lanes": RegionScheme(("north", "süd"), "hard")},
    version=4,
)


def test_a_policy_survives_its_document_exactly():
    assert from_document(to_document(POLICY), 4) == POLICY


def test_the_version_is_not_part_of_the_document():
    assert "version" not in to_document(POLICY)
    assert from_document(to_document(POLICY), 9).version == 9
