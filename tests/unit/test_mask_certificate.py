"""What masks and regions do to noise and charges (privacy-model.md, sections 1 and 5)."""

import pytest

from privid.domain.loss_profile import query_profile
from privid.domain.policy import CameraPolicy, MaskPolicy, RegionScheme
from privid.privacy.certificate import certify
from privid.privacy.explain import to_json
from query_lang import CameraSchema, Catalog, QueryError, compile_script

S = 1_000_000
NANO = 10**9
POLICY = CameraPolicy(
    epsilon_nano=NANO,
    rho_us=60 * S,
    K=2,
    masks={
        "benches": MaskPolicy(10 * S, 1),
        "trees": MaskPolicy(20 * S, 1),
        "windows": MaskPolicy(5 * S, 4),
    },
    regions={
        "lanes": RegionScheme(("north", "south", "middle"), "hard"),
        "corners": RegionScheme(("left", "right"), "soft"),
        "thirds": RegionScheme(("a", "b", "c"), "none"),
    },
)


def certified(clauses="", select="SELECT COUNT(*) FROM t;", rows="1 ROWS", policy=POLICY):
    camera = CameraSchema(
        "cam", masks=tuple(policy.masks), regions={name: scheme.names for name, scheme in policy.regions.items()}
    )
    text = (
        f"SPLIT cam BEGIN 0 END 3600 BY TIME 5sec {clauses} INTO c;"
        f"PROCESS c USING 'p.py' TIMEOUT 1sec PRODUCING {rows} WITH SCHEMA (n:NUMBER=0) INTO t;{select}"
    )
    return certify(compile_script(text, Catalog({"cam": camera})), {"cam": policy}, NANO)


def source(certificate):
    return to_json(certificate, {"cam": POLICY})["releases"][0]["sources"][0]


@pytest.mark.parametrize(
    ("clauses", "mask", "touched", "segments"),
    [
        ("", "none", 13, 2),
        ("WITH MASK benches", "benches", 3, 2),
        ("WITH MASK trees", "trees", 5, 2),
        ("WITH MASK windows", "windows", 2, 8),
        ("WITH MASK trees, benches", "benches", 3, 2),
        ("WITH MASK windows, trees", "trees", 5, 2),
    ],
)
def test_the_mask_with_the_least_noise_is_the_one_charged(clauses, mask, touched, segments):
    certificate = certified(clauses)
    found = source(certificate)
    assert (found["mask"], found["touched_per_segment"], found["segments"]) == (mask, touched, segments)
    (release,) = certificate.releases
    assert release.delta == touched * segments
    assert {loss.mask for charge in certificate.charges for loss in charge.losses} == {mask}


def test_where_a_segment_is_bounded_fewer_segments_can_be_better():
    """Which mask is best depends on the question: a segment moves at most one day's row, or two."""
    policy = CameraPolicy(
        epsilon_nano=NANO,
        rho_us=60 * S,
        K=1,
        masks={"short": MaskPolicy(5 * S, 3), "long": MaskPolicy(40 * S, 1)},
    )
    bounded = "SELECT COUNT(*) FROM (SELECT day(chunk) AS d, SUM(RANGE(n, 0, 1)) AS s FROM t GROUP BY d) WHERE s > 3;"
    for select, mask in (("SELECT COUNT(*) FROM t;", "short"), (bounded, "long")):
        (charge,) = certified("WITH MASK short, long", select, policy=policy).charges
        assert {loss.mask for loss in charge.losses} == {mask}


def test_every_select_is_charged_under_its_own_mask():
    policy = CameraPolicy(
        epsilon_nano=NANO,
        rho_us=60 * S,
        K=1,
        masks={"short": MaskPolicy(5 * S, 3), "long": MaskPolicy(40 * S, 1)},
    )
    bounded = "SELECT COUNT(*) FROM (SELECT day(chunk) AS d, SUM(RANGE(n, 0, 1)) AS s FROM t GROUP BY d) WHERE s > 3"
    certificate = certified(
        "WITH MASK short, long", f"SELECT COUNT(*) FROM t CONSUMING 0.5;{bounded} CONSUMING 0.25;", policy=policy
    )
    (charge,) = certificate.charges
    assert [loss.mask for loss in charge.losses] == ["short", "long"]
    assert query_profile(charge.losses, policy).maximum() <= NANO * 3 // 4


@pytest.mark.parametrize(("scheme", "g", "regions"), [("lanes", 1, 3), ("corners", 2, 2), ("thirds", 3, 3)])
def test_touched_are_slots_and_not_chunks(scheme, g, regions):
    certificate = certified(f"BY REGION {scheme} WITH MASK benches")
    assert certificate.chunks == 720
    assert certificate.slots == 720 * regions
    assert source(certificate)["touched_per_segment"] == g * 3
    (charge,) = certificate.charges
    (loss,) = charge.losses
    assert loss.grid.slots_per_chunk == g
    assert query_profile(charge.losses, POLICY).maximum() <= NANO
    assert query_profile(charge.losses, POLICY).maximum() == loss.q * g * 3 * 2
    assert certificate.public_time_us > certified("WITH MASK benches").public_time_us


def test_region_is_a_public_column_with_a_group_for_each_region():
    certificate = certified("BY REGION thirds", "SELECT region, COUNT(*) FROM t GROUP BY region;")
    (select,) = certificate.selects
    assert select.keys.rows == (("a",), ("b",), ("c",))


def test_without_regions_there_is_no_such_column():
    with pytest.raises(QueryError, match="region"):
        certified("", "SELECT region, COUNT(*) FROM t GROUP BY region;")


def test_a_mask_of_another_camera_is_unknown_with_a_suggestion():
    with pytest.raises(QueryError) as refused:
        certified("WITH MASK bench")
    assert refused.value.code == "unknown_name"
    assert "benches" in (refused.value.hint or "")
