"""The doctor finds a sound host sound, and names what gets through when a wall is missing."""

import dataclasses
import os
import signal

import pytest

from workers.host import backends, doctor
from workers.host.backends import BACKENDS
from workers.host.profile import Profile


def test_this_host_is_found_sound() -> None:
    findings = doctor.check(torch=False)
    assert [finding for finding in findings if not finding.ok] == []
    expected = {"user namespaces", "seccomp filter", "Landlock", "sandbox", "self-attack"}
    expected |= {f"self-attack ({name})" for name in ("exec", "oci") if BACKENDS[name].missing() is None}
    assert expected <= {finding.name for finding in findings}


def test_a_backend_that_is_not_there_is_said_and_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = dataclasses.replace(BACKENDS["oci"], missing=lambda: "isolation 'oci' needs runsc: apt-get install runsc")
    monkeypatch.setattr(backends, "BACKENDS", {**BACKENDS, "oci": gone})
    (finding,) = doctor.attack_itself(backend="oci")
    assert finding.ok
    assert "apt-get install runsc" in finding.detail


def test_a_missing_filter_is_noticed_and_the_ways_through_are_named() -> None:
    findings = {finding.name: finding for finding in doctor.attack_itself(Profile.weakened(seccomp=False))}
    attack = findings["self-attack"]
    assert not attack.ok
    for name in ("a VSOCK socket", "a memfd", "shared anonymous memory", "a process", "a pipe"):
        assert name in attack.detail


def test_a_check_that_dies_is_a_finding_and_not_a_crash() -> None:
    assert doctor._in_child(lambda: os.kill(os.getpid(), signal.SIGKILL)) == "killed by SIGKILL"
    assert doctor._in_child(lambda: None) is None
