"""A policy's isolation is a least one: the server takes the least that it has, or refuses the query at once."""

import dataclasses

import pytest

from privid.domain.policy import ISOLATIONS, Isolation
from privid.engine import isolation
from privid.engine.errors import CannotEnforce
from workers.host import backends
from workers.host.errors import SandboxUnavailable


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> object:
    """A host with these backends."""

    def has(*names: str) -> None:
        pretended = {
            name: dataclasses.replace(
                backend, missing=lambda name=name: None if name in names else f"apt-get install what {name} needs"
            )
            for name, backend in backends.BACKENDS.items()
        }
        monkeypatch.setattr(backends, "BACKENDS", pretended)

    return has


def test_the_backends_are_the_isolations_of_policies_in_the_same_order() -> None:
    assert tuple(backends.BACKENDS) == ISOLATIONS


@pytest.mark.parametrize(
    ("least", "present", "chosen"),
    [
        ("fork", ("fork", "exec", "oci"), "fork"),
        ("exec", ("fork", "exec", "oci"), "exec"),
        ("exec", ("fork", "oci"), "oci"),
        ("oci", ("fork", "exec", "oci"), "oci"),
    ],
)
def test_the_least_that_is_enough_is_chosen(host, least: Isolation, present: tuple[str, ...], chosen: str) -> None:
    host(*present)
    assert backends.choose(least).name == chosen
    assert isolation.require(least, 10_000_000) == chosen


def test_a_program_needs_a_fresh_process(host) -> None:
    host("fork", "exec", "oci")
    assert backends.choose("fork", program=True).name == "exec"
    assert backends.choose("oci", program=True).name == "oci"
    assert isolation.require("fork", 10_000_000, program=True) == "exec"
    with pytest.raises(CannotEnforce, match="takes longer to start than this TIMEOUT"):
        isolation.require("fork", 200_000, program=True)
    host("fork")
    with pytest.raises(SandboxUnavailable, match="what exec needs"):
        backends.choose("fork", program=True)


@pytest.mark.parametrize(("least", "present"), [("exec", ("fork",)), ("oci", ("fork", "exec"))])
def test_what_the_host_lacks_is_refused_with_what_to_install(host, least: Isolation, present: tuple[str, ...]) -> None:
    host(*present)
    with pytest.raises(CannotEnforce, match=f"isolation '{least}'.*apt-get install what {least} needs"):
        isolation.require(least, 10_000_000)


@pytest.mark.parametrize(
    ("least", "libraries", "seconds"),
    [("exec", ("numpy", "torch"), 10), ("exec", ("numpy", "cv2", "ultralytics"), 20), ("oci", ("torch",), 50)],
)
def test_libraries_that_take_long_to_import_need_a_longer_timeout_in_fresh_processes(
    host, least: Isolation, libraries: tuple[str, ...], seconds: int
) -> None:
    host("fork", "exec", "oci")
    assert isolation.require("fork", 200_000, libraries=libraries) == "fork"
    assert isolation.require(least, seconds * 1_000_000, libraries=libraries) == least
    with pytest.raises(CannotEnforce, match="with these libraries takes longer to start") as refused:
        isolation.require(least, seconds * 1_000_000 - 1, libraries=libraries)
    assert f"at least {seconds}sec" in str(refused.value.hint)


def test_a_timeout_in_which_no_slot_can_start_is_refused(host) -> None:
    host("fork", "exec", "oci")
    isolation.require("fork", 1000)
    isolation.require("exec", 1_000_000)
    with pytest.raises(CannotEnforce) as refused:
        isolation.require("oci", 1_000_000)
    assert "at least 5sec" in str(refused.value.hint)
