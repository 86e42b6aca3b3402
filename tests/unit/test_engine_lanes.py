"""Slotted work has cores of its own, or is refused."""

import os

import pytest

from privid.engine.errors import CannotEnforce
from privid.engine.lanes import Lanes


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})


@pytest.mark.usefixtures("four_cores")
def test_the_lanes_are_disjoint_and_cover_the_host() -> None:
    assert Lanes.of_host() == Lanes((2, 3), (0, 1))
    assert Lanes.of_host(1) == Lanes((3,), (0, 1, 2))


@pytest.mark.usefixtures("four_cores")
def test_a_core_is_always_left_for_decoding() -> None:
    with pytest.raises(ValueError, match="at most 3"):
        Lanes.of_host(4)


def test_what_a_host_cannot_keep_is_refused() -> None:
    lanes = Lanes((1,), (0,))
    assert lanes.cores("slotted", 1) == (1,)
    assert lanes.cores("open", 1) == (0,)
    with pytest.raises(CannotEnforce, match="2 slot cores"):
        lanes.cores("slotted", 2)
    assert lanes.cores("strict", 1) == (1,)
    with pytest.raises(CannotEnforce, match="0"):
        Lanes((), (0,)).cores("slotted", 1)
