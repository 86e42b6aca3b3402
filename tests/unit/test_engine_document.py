"""Stored releases read back as they were."""

import pytest

from privid.domain.release import Estimate, Release, Table
from privid.engine.document import decode, encode

RELEASE = Release(
    "0a1b",
    1_796_000_000_000_000,
    (
        Table(0, ("people",), ((Estimate(5.625, 0.175, 0.524, 1.0),),), 1.0),
        Table(1, ("h", "n", "best"), ((3, Estimate(None, None, None, 0.5), Estimate("RED", None, None, 0.5)),), 0.5),
        Table(2, ("ok", "x"), ((True, 1.5), (None, "é")), 0.0),
    ),
    values_only=True,
)


def test_a_release_reads_back_as_it_was() -> None:
    assert decode(encode(RELEASE)) == RELEASE
    assert isinstance(decode(encode(RELEASE)).tables[1].rows[0][0], int)


def test_the_text_is_canonical() -> None:
    assert encode(decode(encode(RELEASE))) == encode(RELEASE)
    assert "\n" not in encode(RELEASE)


def test_a_number_that_is_not_finite_is_refused() -> None:
    broken = Release("q", 0, (Table(0, ("x",), ((Estimate(float("nan"), 1.0, 3.0, 1.0),),), 1.0),), values_only=False)
    with pytest.raises(ValueError, match="JSON"):
        encode(broken)
